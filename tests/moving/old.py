"""Applications as they were before the move, and the site that they move to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import flask
import flask_session

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.interface import backend_of
from tests.support.webapp import Answer, Browser, Site, View

SECRET = "the old key"

#: All that ``SESSION_IMPORT`` can name, for a day from now.
SOURCES = ("flask-session", "cookie")

WRITER = Path(__file__).with_name("writer.py")


def until(**ahead: float) -> datetime:
    """Return a moment that is so far ahead."""
    return datetime.now(timezone.utc) + timedelta(**(ahead or {"days": 1}))


class OldSite:
    """An application with Flask-Session, or with Flask's own cookies.

    :param server: where Flask-Session keeps its sessions; ``None``: in the cookie, as Flask does.
    :param config: settings of the application.
    """

    def __init__(self, server: Any = None, **config: Any) -> None:
        self.app = flask.Flask("old")
        self.app.config.update(SECRET_KEY=SECRET, **config)
        if server is not None:
            self.app.config.update(SESSION_TYPE="redis", SESSION_REDIS=server.client())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                flask_session.Session(self.app)

        @self.app.route("/", methods=["GET", "POST"])
        def page() -> Any:
            do = flask.request.environ["do"]
            return {"value": repr(do())}

    def cookie(self, *, permanent: Any = None, **values: Any) -> str:
        """Return the cookie of a new session that holds these values."""

        def fill() -> None:
            flask.session.update(values)
            if permanent is not None:
                flask.session.permanent = permanent

        return self.visit(None, fill)

    def visit(self, cookie: str | None, do: View) -> str:
        """Send a request that does something; return the browser's cookie after it."""
        client = self.app.test_client()
        name = self.app.config["SESSION_COOKIE_NAME"]
        if cookie is not None:
            client.set_cookie(name, cookie)
        client.get("/", environ_overrides={"do": do})
        found = client.get_cookie(name)
        return "" if found is None else found.value

    @property
    def serializer(self) -> Any:
        """What signs the cookies of Flask's own sessions."""
        interface: Any = self.app.session_interface
        return interface.get_signing_serializer(self.app)

    def read(self, cookie: str) -> dict[str, Any]:
        """Return what the session of a cookie holds."""
        seen: list[dict[str, Any]] = []
        self.visit(cookie, lambda: seen.append(dict(flask.session)))
        return seen[0]


class NewSite(Site):
    """The same application with these sessions, which carries the old ones over."""

    def __init__(self, server: Any, *, sources: Any = SOURCES, **config: Any) -> None:
        if not isinstance(sources, dict):
            sources = dict.fromkeys(sources, until())
        config = {"SECRET_KEY": SECRET, "SESSION_IMPORT": sources, **config}
        super().__init__(server, **config)
        self.old_name = config.get("SESSION_IMPORT_COOKIE_NAME", "session")
        # From here on the interface knows its application, with no request yet.
        assert self.backend is not None

    @property
    def backend(self) -> ApplicationBackend:
        """The sessions of the application."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "SESSION_IMPORT")
            backend = backend_of(self.app)
        assert backend is not None
        return backend

    @property
    def mover(self) -> Any:
        """What carries the old sessions over."""
        return self.backend.mover

    def comes(self, cookie: str) -> Browser:
        """Return a browser that has an old cookie."""
        browser = self.browser()
        browser.client.set_cookie(self.old_name, cookie)
        return browser

    def marks(self) -> dict[str, str]:
        """Return every mark of an import, by its key without the prefix."""
        keys = sorted(self.redis.keys("session:old:*"))
        return {key.decode()[12:]: self.redis.get(key).decode() for key in keys}

    def sessions(self) -> list[str]:
        """Return the sids of all sessions."""
        keys = [key for key in self.redis.keys("session:*") if self.redis.type(key) == b"hash"]
        return [key.decode()[8:] for key in keys if self.redis.hexists(key, "@born")]

    def age_marks(self, seconds: float) -> None:
        """Let so much time pass since every old session was claimed, or came over."""
        for name, text in self.marks().items():
            *words, at = text.split()
            if words:
                older = " ".join([*words, f"{float(at) - seconds:.3f}"])
                self.redis.set(f"session:old:{name}", older, keepttl=True)


def new_cookie(answer: Answer) -> str | None:
    """Return the value of the session cookie that a response sets; ``""``: it deletes it."""
    return None if answer.cookie is None else answer.cookie.value


class Writer:
    """A version of Flask-Session's, in a process of its own.

    :param folder: where that version is installed.
    :param server: where it keeps its sessions.
    :param config: settings of the application.
    """

    def __init__(self, folder: Path, server: Any, **config: Any) -> None:
        self._folder = folder
        self._port = server.port
        self._config = {"SECRET_KEY": SECRET, **config}

    def write(self, *, permanent: bool | None = None, content: str = "rich") -> dict[str, Any]:
        """Write a session; return its cookie, what it holds, and the version that wrote it."""
        asked = {
            "port": self._port,
            "config": self._config,
            "permanent": permanent,
            "content": content,
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(WRITER)],
            input=json.dumps(asked),
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told
