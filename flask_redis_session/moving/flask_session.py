"""What Flask-Session 0.7 and 0.8 left in Redis."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Script, lua

from .old_cookie import OldKey

R = TypeVar("R")

_TEXT = Script(lua(__package__, "text.lua"))


class FlaskSessionStore:
    """The sessions of Flask-Session in one Redis, under one prefix.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as ``SESSION_KEY_PREFIX`` was there.
    """

    def __init__(self, redis: Commands, prefix: str) -> None:
        self.redis = redis
        self.prefix = prefix

    def key(self, old_id: str) -> OldKey:
        """Return the key of an old session.

        :param old_id: its id.
        """
        return OldKey(f"{self.prefix}{old_id}".encode())

    def texts(self, keys: Sequence[OldKey]) -> list[bytes | None]:
        """Return what is stored under these keys; ``None`` for one of another type, or for none.

        :param keys: the keys.
        :raises StoreUnavailable: if Redis fails.
        """
        return _told(keys, lambda names: texts(self.redis, names))

    def lives(self, keys: Sequence[OldKey]) -> list[int]:
        """Return how long each key has to live, in milliseconds; less than 1: for ever.

        :param keys: the keys.
        :raises StoreUnavailable: if Redis fails.
        """
        return _told(keys, lambda names: self.redis.together([("PTTL", name) for name in names]))

    def end(self, key: OldKey) -> None:
        """Delete an old session.

        :param key: its key.
        :raises StoreUnavailable: if Redis fails.
        """
        _told([key], lambda names: self.redis.call(("UNLINK", *names)))


def _told(keys: Sequence[OldKey], ask: Callable[[list[bytes]], R]) -> R:
    """Ask Redis about keys. What is raised comes without its frames: their locals hold the keys.

    :param keys: the keys.
    :param ask: asks about their names.
    """
    handled = sys.exc_info()[1]
    try:
        return ask([key.name() for key in keys])
    except BaseException as error:
        _take_frames_off(error, handled)
        raise error from error.__cause__


def _take_frames_off(error: BaseException | None, handled: BaseException | None) -> None:
    """Take the frames off an exception and off what it came from.

    :param error: the exception.
    :param handled: one that was handled before, which keeps its own.
    """
    while error is not None and error is not handled:
        error.__traceback__ = None
        if error.__cause__ is not error.__context__:
            _take_frames_off(error.__cause__, handled)
        error = error.__context__


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
