"""``flask sessions`` as the tests call it, and sessions in numbers that no browser makes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask_redis_session.admin.cli import sessions
from flask_redis_session.storage.record import mark
from flask_redis_session.storage.token import new_token

if TYPE_CHECKING:
    import flask


#: An application in a file; ``SHOP % url`` is on that server.
SHOP = """
import flask, flask_redis_session

app = flask.Flask(__name__)
app.config["SESSION_REDIS_URL"] = "%s"
app.session_interface = flask_redis_session.RedisSessionInterface()
"""


class Outcome:
    """What a command came to."""

    def __init__(self, result: Any) -> None:
        self.out: str = result.stdout
        self.error: str = result.stderr

    @property
    def json(self) -> Any:
        """What it printed, which is one JSON text."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()


def run(app: flask.Flask, *arguments: object, status: int = 0) -> Outcome:
    """Call ``flask sessions`` with these arguments, without a terminal."""
    result = app.test_cli_runner().invoke(sessions, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception

    assert status == result.exit_code, result.output
    return Outcome(result)


def make(
    redis: Any, user_id: object, count: int, *, life: int = 3600, prefix: str = "session:"
) -> list[str]:
    """Store so many sessions of a user as the library would, and return their sids."""
    now = time.time()
    made: list[str] = []
    for first in range(0, count, 10_000):
        pipeline = redis.pipeline(transaction=False)
        seen = {}
        for _ in range(min(10_000, count - first)):
            token = new_token(permanent=False)
            seen[token.sid] = now
            fields = {
                "@born": f"{now:.3f}",
                "@seen": f"{now:.3f}",
                "@idle": str(life),
                f"@secret:{token.proof}": mark(token.proof),
                "user_id": json.dumps(str(user_id)),
            }
            if user_id is not None:
                fields["@user"] = str(user_id)
            pipeline.hset(f"{prefix}{token.sid}", mapping=fields)
            pipeline.expire(f"{prefix}{token.sid}", life)
        if user_id is not None:
            pipeline.zadd(f"{prefix}user:{user_id}", seen)
            pipeline.expire(f"{prefix}user:{user_id}", life + 60)
        pipeline.execute()
        made += seen
    return made


def on_a_terminal(folder: Path, *arguments: str, keys: str) -> tuple[int, str]:
    """Call ``flask --app shop sessions`` on a terminal; return its status and its screen."""
    mine, its = pty.openpty()
    program = Path(sys.executable).with_name("flask")
    with subprocess.Popen(
        [program, "--app", "shop", "sessions", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "100", "TERM": "xterm"},
        stdin=its,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        os.write(mine, keys.encode())
        screen = b""
        while chunk := _read(mine):
            screen += chunk
    os.close(mine)
    return process.returncode, screen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody is at the other end any more
        return b""
