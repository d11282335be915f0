"""What Flask-Session 0.7 and 0.8 left in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Script, lua

_TEXT = Script(lua(__package__, "text.lua"))


class FlaskSessionStore:
    """The sessions of Flask-Session in one Redis, under one prefix.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as ``SESSION_KEY_PREFIX`` was there.
    """

    def __init__(self, redis: Commands, prefix: str) -> None:
        self.redis = redis
        self.prefix = prefix

    def key(self, old_id: str) -> bytes:
        """Return the key of an old session.

        :param old_id: its id.
        """
        return f"{self.prefix}{old_id}".encode()

    def texts(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return what is stored under these keys; ``None`` for one of another type, or for none.

        :param keys: the keys.
        :raises StoreUnavailable: if Redis fails.
        """
        return texts(self.redis, keys)

    def end(self, key: bytes) -> None:
        """Delete an old session.

        :param key: its key.
        :raises StoreUnavailable: if Redis fails.
        """
        self.redis.call(("UNLINK", key))


def texts(redis: Commands, keys: Sequence[bytes]) -> list[bytes | None]:
    """Return the strings under these keys; ``None`` for one of another type, or for none.

    :param redis: sends the commands.
    :param keys: the keys.
    :raises StoreUnavailable: if Redis fails.
    """
    replies = redis.together([_TEXT.on(key) for key in keys])
    found: list[bytes | None] = []
    for key, reply in zip(keys, replies, strict=True):
        if not isinstance(reply, list) or len(reply) != 2 or reply[0] != key:
            raise redis.mistrust()
        found.append(reply[1])
    return found


def decoded(text: bytes) -> Mapping[Any, Any] | None:
    """Return what a stored text holds; ``None`` if neither MessagePack nor JSON says a dict.

    A pickle is not read: to read one executes it.

    :param text: the text.
    """
    import msgspec  # noqa: PLC0415 (it comes with the extra "import")

    for decode in (msgspec.msgpack.decode, msgspec.json.decode):
        try:
            data = decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            continue
        return data if isinstance(data, dict) else None
    return None
