"""What a request costs Redis, counted on the wire.

The sockets of the session client are wrapped, so the bytes are those that really went over
them, the commands are read out of those bytes, and a round trip is an answer that had to be
waited for. Opening a connection is left out: the pool does it once, not every request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

#: The cost of the request that runs in this thread.
_current: ContextVar[Cost | None] = ContextVar("cost", default=None)

_WRITES = frozenset({"EVAL", "EVALSHA", "HSET", "HDEL", "HSETNX"})


@dataclass
class Traffic:
    """Bytes to Redis and back."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.received


@dataclass
class Cost(Traffic):
    """Everything that one request sent to Redis and got back."""

    round_trips: int = 0
    wire: bytearray = field(default_factory=bytearray, repr=False)

    def commands(self) -> list[list[bytes]]:
        """Each command that was sent, as its arguments."""
        return list(_parse(bytes(self.wire)))


@contextmanager
def counting(cost: Cost | None) -> Iterator[None]:
    """Count what is sent inside of this block to this cost; ``None`` leaves it out."""
    token = _current.set(cost)
    try:
        yield
    finally:
        _current.reset(token)


class MeteredSocket:
    """A connected socket that tells the current cost what passes through it."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._awaiting = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def sendall(self, data: Any, *args: int) -> None:
        self._plain.sendall(data, *args)
        self._awaiting = True
        if cost := _current.get():
            cost.sent += len(data)
            cost.wire += data if isinstance(data, bytes) else data.encode()

    def recv(self, size: int, *flags: int) -> bytes:
        data: bytes = self._plain.recv(size, *flags)
        if not flags:  # with a flag it only peeks
            self._count_received(len(data))
        return data

    def recv_into(self, buffer: Any, *args: int) -> int:
        size: int = self._plain.recv_into(buffer, *args)
        self._count_received(size)
        return size

    def _count_received(self, size: int) -> None:
        if cost := _current.get():
            cost.received += size
            cost.round_trips += self._awaiting
        self._awaiting = False


def metered(plain: Any) -> Any:
    """A class like this class of redis-py connection, on a metered socket."""

    def connect(self: Any) -> None:
        with counting(None):
            plain.connect(self)

    def _connect(self: Any) -> MeteredSocket:
        return MeteredSocket(plain._connect(self))  # noqa: SLF001 (it is a method of a subclass)

    return type(f"Metered{plain.__name__}", (plain,), {"connect": connect, "_connect": _connect})


def command_names(commands: Iterable[list[bytes]]) -> Counter[str]:
    """How often each command was sent, by its name."""
    return Counter(command[0].decode().upper() for command in commands)


def fields_written(
    commands: Iterable[list[bytes]], before: frozenset[bytes], after: frozenset[bytes]
) -> list[str]:
    """Which of a session's keys these commands wrote or deleted.

    That is each one which a writing command named, and each one which is gone from a session
    that lives on.

    :param before: the fields of the session's hash before the commands. Those that begin with
        ``@`` are the library's own and are not counted.
    :param after: and after them.
    """
    arguments = {
        argument
        for command in commands
        if command[0].decode().upper() in _WRITES
        for argument in command[1:]
    }
    written = arguments & (before | after)
    if arguments and after:
        written |= before - after
    return sorted(name.decode() for name in written if not name.startswith(b"@"))


def whole_session_traffic(before: int, after: int) -> Traffic:
    """What a store moves that loads the whole session and saves the whole session.

    That is GET, and SET with its expiry or DEL, on each request that carries the cookie.

    :param before: the size of the session as one JSON text when the request began, 0 for none.
    :param after: and when it ended.
    """
    key = "session:" + "x" * 43
    traffic = Traffic()
    if before:
        traffic.sent += _command_size("GET", key)
        traffic.received += _string_size(before)
    if after:
        traffic.sent += _command_size("SET", key, "x" * after, "EX", "86400")
        traffic.received += len("+OK\r\n")
    elif before:
        traffic.sent += _command_size("DEL", key)
        traffic.received += len(":1\r\n")
    return traffic


def _command_size(*arguments: str) -> int:
    return len(f"*{len(arguments)}\r\n") + sum(_string_size(len(each)) for each in arguments)


def _string_size(length: int) -> int:
    return len(f"${length}\r\n") + length + len("\r\n")


def _parse(wire: bytes) -> Iterator[list[bytes]]:
    at = 0
    while at < len(wire):
        count, at = _number(wire, at)
        command = []
        for _ in range(count):
            length, at = _number(wire, at)
            command.append(wire[at : at + length])
            at += length + len("\r\n")
        yield command


def _number(wire: bytes, at: int) -> tuple[int, int]:
    """The number of a header like ``*3`` or ``$5``, and where the next thing begins."""
    end = wire.index(b"\r\n", at)
    return int(wire[at + 1 : end]), end + len("\r\n")
