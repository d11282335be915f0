"""An application under gunicorn, and a browser that speaks HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask

from flask_redis_session import RedisSessionInterface
from tests.support.servers import HOST, NotReady, free_port, wait_until
from tests.support.servers.reaper import reaper
from tests.support.webapp import session

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]


def shop() -> flask.Flask:
    """Make the application that gunicorn serves."""
    app = flask.Flask("shop")
    app.config.update(json.loads(os.environ["SHOP"]))
    RedisSessionInterface().init_app(app)

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.get("/read")
    def read() -> Any:
        return dict(session)

    @app.get("/keys")
    def keys() -> Any:
        return sorted(session)

    @app.get("/sign-in/<user_id>")
    def sign_in(user_id: str) -> str:
        session["user_id"] = user_id
        return "signed in"

    @app.get("/set/<key>")
    def set_key(key: str) -> str:
        session[key] = key
        return "set"

    @app.get("/add/<key>")
    def add(key: str) -> str:
        session[key] = session.get("user_id")
        return "added"

    return app


@dataclass(frozen=True)
class Got:
    """What a visitor got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float


class Visitor:
    """A browser that speaks HTTP, over one connection at a time."""

    def __init__(self, port: int, cookie: str | None = None) -> None:
        self.cookie = cookie
        self._connection = http.client.HTTPConnection(HOST, port, timeout=30)

    def ask(self, path: str) -> Got:
        """Send a request."""
        headers = {} if self.cookie is None else {"Cookie": f"session={self.cookie}"}
        began = time.monotonic()
        for again in (True, False):
            try:
                self._connection.request("GET", path, headers=headers)
                return self._took(began)
            except ConnectionError:  # noqa: PERF203
                # A worker closes connections that were idle for a while.
                self._connection.close()
                if not again:
                    raise
        raise NotReady("no answer")

    def _took(self, began: float) -> Got:
        response = self._connection.getresponse()
        body = response.read()
        seconds = time.monotonic() - began
        if cookie := response.headers.get("Set-Cookie"):
            self.cookie = cookie.split(";")[0].partition("=")[2] or None
        return Got(response.status, response.headers, body, seconds)

    def close(self) -> None:
        self._connection.close()


class Gunicorn:
    """The application under gunicorn, as a site would run it.

    :param options: further ones of gunicorn's command line; they win over those set here.
    :param application: what it serves, as gunicorn names it.
    :param config: of the application, as JSON has it.
    """

    def __init__(
        self,
        *options: str,
        workers: int = 2,
        threads: int = 4,
        application: str = "tests.support.gunicorn:shop()",
        **config: Any,
    ) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="frs-gunicorn-")
        self._log = Path(self._folder.name) / "log"
        self._command = [
            *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{self.port}"),
            *("--workers", str(workers), "--threads", str(threads), "--keep-alive", "30"),
            *("--worker-tmp-dir", self._folder.name, "--no-control-socket"),
            *("--chdir", str(ROOT), "--log-level", "warning"),
            *(*options, application),
        ]
        self._config = config
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._visitors: list[Visitor] = []
        self._last_log: str | None = None

    def __enter__(self) -> Self:
        # With an arena per thread, glibc keeps more and more of what was freed, for a long time.
        environment = os.environ | {"SHOP": json.dumps(self._config), "MALLOC_ARENA_MAX": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        reaper.tell("process", self._process.pid)
        try:
            wait_until(lambda: len(self.pids()) == self._workers, "gunicorn serves", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for visitor in self._visitors:
            visitor.close()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        reaper.tell("ended", self._process.pid)
        self._last_log = self._log.read_text()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The process that starts the workers."""
        assert self._process is not None
        return self._process.pid

    def reload(self) -> None:
        """Let it replace all workers."""
        os.kill(self.pid, signal.SIGHUP)

    @property
    def log(self) -> str:
        """What the workers logged, also after the end."""
        return self._last_log if self._last_log is not None else self._log.read_text()

    def visitor(self, cookie: str | None = None) -> Visitor:
        """Return a browser, whose connection is closed at the end."""
        visitor = Visitor(self.port, cookie)
        self._visitors.append(visitor)
        return visitor

    def pids(self) -> set[int]:
        """Return the workers that answer a handful of requests."""
        if self._process is not None and self._process.poll() is not None:
            raise NotReady(f"gunicorn ended at its start:\n{self.log}")
        found = set()
        for _ in range(6 * self._workers):
            visitor = Visitor(self.port)
            with suppress(OSError):
                found.add(int(visitor.ask("/pid").body))
            visitor.close()
        return found
