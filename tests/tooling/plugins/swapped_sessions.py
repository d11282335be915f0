"""A plugin for pytest: these sessions in every application that sets none of its own.

It is loaded into the test runs of other projects, which may have a package ``tests`` themselves: so
it is a module by itself, and imports nothing of these tests.
"""

from __future__ import annotations

import http.cookies
import json
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import _pytest.monkeypatch
import flask
import pytest
import redis
from werkzeug.test import Client, TestResponse, create_environ

#: Where the tests find Redis; without it the apps keep Flask's own sessions.
URL = "SWAPPED_SESSIONS_REDIS_URL"
#: Where they write their outcome.
OUTCOME = "SWAPPED_SESSIONS_OUTCOME"

# Flask's tests import this name, which pytest 9.1 renamed.
if not hasattr(_pytest.monkeypatch, "notset"):
    _pytest.monkeypatch.notset = _pytest.monkeypatch.NOTSET  # type: ignore[attr-defined]


class _Sessions:
    """Gives each app an interface of its own, unless it or its class sets one."""

    def __init__(self, client: redis.Redis) -> None:
        # `--baseline` must also run if the package does not.
        from flask_redis_session import RedisSessionInterface

        self._make = RedisSessionInterface
        self._client = client
        self._app: Any = None

    def __get__(self, app: flask.Flask | None, owner: type[flask.Flask]) -> Any:
        if app is None:
            return self
        interface = self._make(redis=self._client, prefix="session:")
        app.__dict__["session_interface"] = interface
        self._app = weakref.ref(app)
        return interface

    def held_after(self, response: TestResponse) -> dict[str, Any] | None:
        """Return what the session holds that a browser has after a response.

        Flask-Security's tests open its signed cookie; these ask the interface.
        """
        jar = http.cookies.SimpleCookie(response.request.headers.get("Cookie", ""))
        for header in response.headers.getlist("Set-Cookie"):
            jar.load(header)
        return self._held(jar["session"].value if "session" in jar else None)

    def held_by(self, client: Client) -> dict[str, Any] | None:
        """Return what the session holds whose cookie a client has."""
        cookie = client.get_cookie("session")
        return self._held(None if cookie is None else cookie.value)

    def _held(self, cookie: str | None) -> dict[str, Any] | None:
        if cookie is None:
            return None
        app = self._app()
        request = app.request_class(create_environ(headers={"Cookie": f"session={cookie}"}))
        return {**app.session_interface.open_session(app, request)}


def pytest_configure(config: pytest.Config) -> None:
    """Swap the sessions in."""
    if OUTCOME in os.environ:
        config.pluginmanager.register(_Record(), "swapped_sessions_record")
    if URL in os.environ:
        client = redis.Redis.from_url(os.environ[URL])
        config.pluginmanager.register(_Empty(client), "swapped_sessions_empty")
        sessions: Any = _Sessions(client)
        flask.Flask.session_interface = sessions
        helpers: Any = sys.modules.get("tests.test_utils")
        for name, ask in (
            ("get_session", sessions.held_after),
            ("get_existing_session", sessions.held_by),
        ):
            if hasattr(helpers, name):
                setattr(helpers, name, ask)


class _Empty:
    """Empties Redis before each test."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @pytest.fixture(autouse=True)
    def _empty_redis(self) -> None:
        self._client.flushall()


class _Record:
    """Notes what became of each test."""

    def __init__(self) -> None:
        self._passed: set[str] = set()
        self._skipped: set[str] = set()
        self._failed: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.skipped:
            self._skipped.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.skipped:
            self._skipped.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        outcome = {
            "passed": len(self._passed - set(self._failed)),
            "skipped": len(self._skipped),
            "failed": list(self._failed),
        }
        Path(os.environ[OUTCOME]).write_text(json.dumps(outcome))
