"""Stores below any web framework, and a look at the hashes in them."""

from __future__ import annotations

from flask_redis_session.client.commands import Commands
from flask_redis_session.storage.commit import Lifetime
from flask_redis_session.storage.record import Binding, Changes
from flask_redis_session.storage.session_hash import SessionHashes
from flask_redis_session.storage.token import new_token
from tests.support.clients import shared_client

DAY = Lifetime(86400)


def make_store(server, *, absolute=None, touch_interval=60):
    """Make a store with these settings."""
    way = Commands(lambda: shared_client(server))
    return SessionHashes(way, "s:", absolute=absolute, touch_interval=touch_interval)


def stored(store):
    """Return the cookie of a stored session with one key."""
    token = new_token(permanent=False)
    store.create(token, Changes({b"a": b"1"}), DAY, Binding(None))
    return token


def users(redis, token):
    """Return the fields of the user's."""
    held = redis.hgetall(f"s:{token.sid}")
    return {name: value for name, value in held.items() if name[:1] != b"@" or name[:2] == b"@@"}


def ours(redis, token):
    """Return our own fields."""
    held = redis.hgetall(f"s:{token.sid}")
    return {name: value for name, value in held.items() if name[:1] == b"@" and name[:2] != b"@@"}
