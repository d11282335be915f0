"""What a request costs Redis, counted on the wire.

The sockets of the session client are wrapped. So the bytes are those that really went over them,
and the commands are read out of these bytes. A round trip is an answer that was waited for.
Opening a connection is not counted: the pool does that once, not on every request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

#: The cost of the request that this thread serves.
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
    """What one request sent to Redis and got back."""

    round_trips: int = 0
    wire: bytearray = field(default_factory=bytearray, repr=False)

    def commands(self) -> list[list[bytes]]:
        """Return the commands that were sent, each as its arguments."""
        return list(_parse(bytes(self.wire)))


@contextmanager
def counting(cost: Cost | None) -> Iterator[None]:
    """Add what is sent inside this block to a cost; ``None``: count nothing."""
    token = _current.set(cost)
    try:
        yield
    finally:
        _current.reset(token)


class MeteredSocket:
    """A connected socket that adds what passes through it to the current cost."""

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
    """Return a subclass of this redis-py connection class whose socket is metered."""

    def connect(self: Any) -> None:
        with counting(None):
            plain.connect(self)

    def _connect(self: Any) -> MeteredSocket:
        return MeteredSocket(plain._connect(self))  # noqa: SLF001 (it is a method of a subclass)

    return type(f"Metered{plain.__name__}", (plain,), {"connect": connect, "_connect": _connect})


def command_names(commands: Iterable[list[bytes]]) -> Counter[str]:
    """Return how often each command was sent, by name."""
    return Counter(command[0].decode().upper() for command in commands)


def fields_written(
    commands: Iterable[list[bytes]], before: frozenset[bytes], after: frozenset[bytes]
) -> list[str]:
    """Return which keys of a session these commands wrote or deleted.

    A key counts if a writing command names it, or if it is gone from a session that still lives.
    Fields that begin with ``@`` belong to the library and are not counted.

    :param before: the fields of the session's hash before the commands.
    :param after: the fields after them.
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
    """Return what a store moves that loads and saves the whole session on each request.

    It sends GET first, and at the end SET with an expiry, or DEL if the session is gone.

    :param before: the size of the session as one JSON text when the request began, in bytes; 0:
        there was none.
    :param after: its size when the request ended, in bytes; 0: there is none.
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
    """Return the number in a header like ``*3`` or ``$5``, and the position after the header."""
    end = wire.index(b"\r\n", at)
    return int(wire[at + 1 : end]), end + len("\r\n")
