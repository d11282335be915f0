"""Commands that give notice of what they write, to what this process keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask_redis_session.errors import StoreUnavailable

from .commands import HGETALL, HMGET, ZREVRANGE, Commands
from .listener import Listener, forget
from .once import SCRIPTED
from .refusal import is_elsewhere
from .script import SCRIPTS, Command, in_full

#: What writes nothing.
_READS = {HGETALL, HMGET, ZREVRANGE, "CLUSTER", "DBSIZE", "HKEYS", "HLEN", "HSCAN", "HSTRLEN"}
_READS |= {"INFO", "PTTL", "SCAN", "SCRIPT", "TIME", "TYPE", "WAIT", "ZCARD", "ZCOUNT", "ZSCAN"}
_READS |= {"ZSCORE"}

# Redis answers first whom it heard first. So it first writes of the change to whoever listens, and
# then the reply to the change; without this, some reads elsewhere that begin with the reply would
# still see what was before.
_FIRST: Command = ("TIME",)


class NoticedCommands(Commands):
    """The way to Redis, which drops what is kept of a key before a write to it and after it.

    :param connect: as :class:`Commands` takes it; it makes a client from a URL, of no cluster.
    :param listener: what is to leave its server if that is not the right one.
    """

    def __init__(self, connect: Callable[[], Any], listener: Listener) -> None:
        super().__init__(lambda: listener.attach(connect()))
        self._listener = listener

    def call(self, command: Command) -> Any:
        keys = _keys_of([command])
        if not keys:
            return super().call(command)
        forget(keys)
        try:
            return self._called(command)
        finally:
            forget(keys)

    def _called(self, command: Command) -> Any:
        if command[0] != "EVALSHA":
            return super().call(command)
        both = [_FIRST, command]
        replies = self._pipelined(self._client or self._open(), both)
        if isinstance(replies[1], self._lost_script):
            return super().call(in_full(command))
        return self._checked(replies, both)[1]

    def outcomes(self, commands: Sequence[Command]) -> list[Any]:
        return self._noticed(_keys_of(commands), super().outcomes, commands)

    def together(self, commands: Sequence[Command]) -> list[Any]:
        return self._noticed(_keys_of(commands), super().together, commands)

    def once(self, commands: Sequence[Command]) -> list[Any]:
        return self._noticed(_keys_of(commands), super().once, commands)

    def _noticed(
        self,
        keys: set[bytes],
        send: Callable[[Sequence[Command]], list[Any]],
        commands: Sequence[Command],
    ) -> list[Any]:
        if not keys:
            return send(commands)
        forget(keys)
        try:
            return send([_FIRST, *commands])[1:]
        finally:
            # What was loaded while it was on its way is from before.
            forget(keys)

    def mistrust(self) -> StoreUnavailable:
        self._listener.lose()
        return super().mistrust()

    def _judged(self, error: Exception, command: Command) -> Exception:
        if is_elsewhere(error):
            self._listener.lose()
        return super()._judged(error, command)


def _keys_of(commands: Sequence[Command]) -> set[bytes]:
    """Return the keys that commands may write to."""
    keys: set[bytes] = set()
    for command in commands:
        name = command[0]
        if name in SCRIPTED:
            script = SCRIPTS.get(command[1])
            if script is not None and script.reads:
                continue
            keys.update(command[3 : 3 + command[2]])
        elif name not in _READS:
            keys.update(word for word in command[1:] if isinstance(word, bytes))
    return keys
