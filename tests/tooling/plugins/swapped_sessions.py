"""A plugin for pytest: these sessions in every application that sets none of its own.

It is loaded into the test runs of other projects, which may have a package ``tests`` themselves: so
it is a module by itself, and imports nothing of these tests.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import _pytest.monkeypatch
import flask
import pytest
import redis

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
        # `--baseline` must run where the package does not.
        from flask_redis_session import RedisSessionInterface

        self._make = RedisSessionInterface
        self._client = client

    def __get__(self, app: flask.Flask | None, owner: type[flask.Flask]) -> Any:
        if app is None:
            return self
        interface = self._make(redis=self._client, prefix="session:")
        app.__dict__["session_interface"] = interface
        return interface


def pytest_configure(config: pytest.Config) -> None:
    """Swap the sessions in."""
    if OUTCOME in os.environ:
        config.pluginmanager.register(_Record(), "swapped_sessions_record")
    if URL in os.environ:
        client = redis.Redis.from_url(os.environ[URL])
        config.pluginmanager.register(_Empty(client), "swapped_sessions_empty")
        flask.Flask.session_interface = _Sessions(client)  # type: ignore[assignment]


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
