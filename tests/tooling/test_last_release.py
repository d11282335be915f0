"""Two versions side by side on one Redis: the last released wheel, and the present code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import flask
import pytest

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client

ROOT = Path(__file__).parents[2]

#: The last released version, such as ``0.1.0``, whose wheel is asked of the index. ``None``: there
#: is none yet, and the wheel that is built from the present code takes its place.
LAST_RELEASE: str | None = None

#: A worker of the other version: it visits with a cookie, sets a key, and tells what it saw.
WORKER = """
import json, sys
import flask, flask_redis_session
assert flask_redis_session.__file__.startswith(sys.argv[1]), flask_redis_session.__file__
url, cookie, key, value = sys.argv[2:]
app = flask.Flask("worker")
app.config["SESSION_REDIS_URL"] = url
interface = flask_redis_session.RedisSessionInterface()
interface.init_app(app)
def visit():
    seen = dict(flask.session)
    flask.session[key] = value
    if key == "user_id":
        flask.session["theirs"] = [1, {"a": (2, 3)}]
    return {"seen": {name: repr(value) for name, value in seen.items()}}
app.add_url_rule("/", view_func=visit)
client = app.test_client()
if cookie:
    client.set_cookie("session", cookie)
answer = client.get("/").get_json()
held = client.get_cookie("session")
print(json.dumps({"seen": answer["seen"], "cookie": held.value if held else None,
                  "listed": len(interface.list_sessions("23"))}))
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the other version in it."""
    folder = tmp_path_factory.mktemp("other")
    if LAST_RELEASE is None:
        command = ["-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)]
    else:
        wanted = f"flask-redis-session=={LAST_RELEASE}"
        command = ["-m", "pip", "download", "--no-deps", "--dest", str(folder), wanted]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "installed")
    return folder / "installed"


def visit_other(other: Path, url: str, cookie: str, key: str, value: str) -> dict[str, Any]:
    """Let a worker of the other version serve a request."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(other), url, cookie, key, value],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(other)},
        cwd=other,
    )
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


def test_side_by_side(valkey: Any, other: Path) -> None:
    """A session that the other version made is read and written here, and goes on there."""
    app = flask.Flask(__name__)
    app.config["SESSION_REDIS"] = shared_client(valkey)
    interface = RedisSessionInterface()
    interface.init_app(app)
    seen: list[dict[str, Any]] = []

    def visit() -> str:
        seen.append(dict(flask.session))
        flask.session["ours"] = (4, 5)
        return ""

    app.add_url_rule("/", view_func=visit)
    made = visit_other(other, valkey.url, "", "user_id", "23")
    client = app.test_client()
    client.set_cookie("session", made["cookie"])
    client.get("/")
    sid = made["cookie"].partition(".")[0]
    # A field that neither version knows.
    name = "session:" + sid
    shared_client(valkey).hset(name, "@later", "x")
    again = visit_other(other, valkey.url, made["cookie"], "more", "z")

    assert [{"user_id": "23", "theirs": [1, {"a": (2, 3)}]}] == seen
    assert "(4, 5)" == again["seen"]["ours"]
    assert 1 == again["listed"] == len(interface.list_sessions("23"))
    client.get("/")
    assert "z" == seen[-1]["more"]
    assert 1 == shared_client(valkey).hexists(name, "@later")
    assert 1 == interface.revoke_sessions("23")
    assert {} == visit_other(other, valkey.url, made["cookie"], "more", "z")["seen"]
