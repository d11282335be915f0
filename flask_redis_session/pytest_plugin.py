"""Fixtures for the tests of applications; pytest loads this in every run.

Nothing else of the package is imported, nor Flask, until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flask import Flask

    from .interface import RedisSessionInterface


@pytest.fixture(scope="session")
def session_redis_url() -> Iterator[str]:
    """Say where the tests keep their sessions: on an embedded server of this run's own.

    With pytest-xdist each worker has one. A fixture of this name in ``conftest.py`` replaces it.
    """
    from .testing import own_server  # noqa: PLC0415

    with own_server() as url:
        yield url


@pytest.fixture(scope="session")
def _session_redis_client(session_redis_url: str) -> Iterator[Any]:
    from .client.url import connect  # noqa: PLC0415

    client = connect(session_redis_url)
    yield client
    client.close()


@pytest.fixture
def isolated_sessions(app: Flask, _session_redis_client: Any) -> Iterator[RedisSessionInterface]:
    """Give this test's ``app`` sessions that no other test sees, and forget them at its end."""
    from .testing import isolated  # noqa: PLC0415

    with isolated(app, _session_redis_client) as sessions:
        yield sessions
