"""A store, and a session in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.hashes import make_store, stored
from tests.support.webapp import client_of

if TYPE_CHECKING:
    from flask_redis_session.storage.session_hash import SessionHashes
    from flask_redis_session.storage.token import Token


@pytest.fixture
def redis(server: Any) -> Any:
    """A client for a look at what is stored."""
    return client_of(server)


@pytest.fixture
def store(server: Any) -> SessionHashes:
    """A store without an absolute lifetime."""
    made: SessionHashes = make_store(server)
    return made


@pytest.fixture
def token(store: SessionHashes) -> Token:
    """The cookie of a stored session with one key: ``a`` is 1."""
    made: Token = stored(store)
    return made
