"""What a block of code costs at a server: commands, bytes and round trips."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .link import Link
from .waiting import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from .server import Server

#: What opens or keeps a connection; it is left out of the commands that a block of code costs.
HANDSHAKE = frozenset({"auth", "client", "hello", "ping", "select"})


@dataclass(frozen=True)
class Sent:
    """One command as the server saw it."""

    #: The command in lower case, such as ``"hset"``.
    name: str
    arguments: tuple[bytes, ...]
    #: The address of the client, or ``"lua"`` if a script called it.
    client: str


@dataclass
class Cost:
    """What a block of code cost at the server; filled in at the end of the block.

    All of it is exact as long as nothing else talks to the server meanwhile, replicas included.
    """

    #: How often each command ran, by ``INFO commandstats``: those that scripts call included,
    #: handshakes (:data:`HANDSHAKE`) left out. Subcommands have names like ``"config|get"`` from
    #: Redis 7.0 on. A command that the server refuses before it runs is not counted.
    commands: dict[str, int] = field(default_factory=dict)
    #: What clients sent, in the order in which it ran, by ``MONITOR``; handshakes left out, and
    #: so are the commands that it never shows, such as CONFIG and other administrative ones.
    #: A transaction is ``multi``, what it holds, and ``exec``.
    sent: list[Sent] = field(default_factory=list)
    #: What scripts called, in order, by ``MONITOR``.
    scripted: list[Sent] = field(default_factory=list)
    #: Bytes that the server received and sent, as it counts them. A handshake counts here: use the
    #: client once before, or the block pays for its connection.
    bytes_in: int = 0
    bytes_out: int = 0
    #: How often the server read from a socket. It is no less than the round trips, and equals them
    #: where each batch is one write of less than 6,000 bytes (redis-py cuts a longer one) over a
    #: connection that was open before and stays open.
    reads: int = 0
    #: How often a redis-py or valkey-py client **of this process** turned from sending to waiting
    #: for the answer, once per connection it waited on. Opening and checking a connection does not
    #: count. What other processes send is not seen.
    round_trips: int = 0

    @property
    def calls(self) -> int:
        """How many commands ran, those that scripts called included."""
        return sum(self.commands.values())

    @property
    def names(self) -> list[str]:
        """The names of what clients sent, in order."""
        return [each.name for each in self.sent]

    def add(self, other: Cost) -> None:
        """Add what the same block cost at another server."""
        self.commands = dict(Counter(self.commands) + Counter(other.commands))
        self.sent += other.sent
        self.scripted += other.scripted
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.reads += other.reads
        self.round_trips += other.round_trips


class Turns:
    """Counts how often this process's clients turn from sending to waiting, per server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = 0
        self._undo = ExitStack()
        self.seen: Counter[str] = Counter()

    def start(self) -> None:
        with self._lock:
            if self._counting == 0:
                for name in ("redis", "valkey"):
                    if name in sys.modules:
                        self._wrap(sys.modules[f"{name}.connection"].AbstractConnection)
            self._counting += 1

    def stop(self) -> None:
        with self._lock:
            self._counting -= 1
            if self._counting == 0:
                self._undo.close()

    def _wrap(self, connection: Any) -> None:
        for name in ("connect", "connect_check_health", "check_health"):
            if hasattr(connection, name):
                self._replace(connection, name, self._quiet)
        self._replace(connection, "send_packed_command", self._sending)
        self._replace(connection, "read_response", self._waiting)

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        setattr(owner, name, wrap(original))
        self._undo.callback(setattr, owner, name, original)

    def _quiet(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            connection._quiet = getattr(connection, "_quiet", 0) + 1
            try:
                return original(connection, *args, **kwargs)
            finally:
                connection._quiet -= 1

        return call

    def _sending(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            answer = original(connection, *args, **kwargs)
            if not getattr(connection, "_quiet", 0):
                connection._has_sent = True
            return answer

        return call

    def _waiting(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            if not getattr(connection, "_quiet", 0) and getattr(connection, "_has_sent", False):
                connection._has_sent = False
                where = getattr(connection, "path", None) or getattr(connection, "port", None)
                with self._lock:
                    self.seen[str(where)] += 1
            return original(connection, *args, **kwargs)

        return call


turns = Turns()


class _Monitor:
    """Reads ``MONITOR`` while a block runs, so that no answer waits in the server's memory."""

    def __init__(self, server: Server, end: str) -> None:
        self._link = Link(server, timeout=30)
        self._link.ask("MONITOR")
        self._end = end.encode()
        self._received = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start = 0
        with suppress(OSError):
            while chunk := self._link.socket.recv(1 << 20):
                self._received += chunk
                at = self._received.find(self._end, start)
                if at >= 0 and b"\r\n" in self._received[at:]:
                    return
                start = max(0, len(self._received) - len(self._end))

    def until_end(self) -> bytes:
        """Return what came up to the line with the end mark, that line included."""
        self._thread.join(30)
        at = self._received.find(self._end)
        if at < 0:
            raise NotReady("MONITOR did not show the end of the block")
        return bytes(self._received[: self._received.index(b"\r\n", at) + 2])

    def close(self) -> None:
        with suppress(OSError):
            self._link.send("QUIT")
        # If an exception left the block, the thread is still reading: up to the server's close.
        self._thread.join(1)
        with suppress(OSError):
            while self._link.socket.recv(65536):
                pass
            self._link.socket.shutdown(socket.SHUT_RDWR)
        self._link.close()


_MONITOR_LINE = re.compile(rb'\+\d+\.\d+ \[\d+ ([^\]]+)\] (".*)', re.DOTALL)
_MONITOR_WORD = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) == 3:
        return bytes([int(escaped[1:], 16)])
    return _ESCAPED.get(escaped, escaped)


def _parse_monitor(output: bytes) -> Iterator[Sent]:
    for line in output.split(b"\r\n"):
        if match := _MONITOR_LINE.fullmatch(line):
            words = [_ESCAPE.sub(_unescape, word) for word in _MONITOR_WORD.findall(match[2])]
            yield Sent(words[0].decode().lower(), tuple(words[1:]), match[1].decode())


class _Snapshot:
    def __init__(self, info: bytes) -> None:
        self.commands: Counter[str] = Counter()
        figures: dict[str, int] = {}
        for line in info.decode().splitlines():
            key, _, value = line.partition(":")
            if key.startswith("cmdstat_"):
                calls = value.partition(",")[0].removeprefix("calls=")
                self.commands[key.removeprefix("cmdstat_")] = int(calls)
            elif value.isdigit():
                figures[key] = int(value)
        self.bytes_in = figures["total_net_input_bytes"]
        self.bytes_out = figures["total_net_output_bytes"]
        self.reads = figures["total_reads_processed"]


class Meter:
    """Takes the figures before and after a block and knows what it added to them itself."""

    def __init__(self, server: Server, end: str) -> None:
        self._end = end
        self._link = Link(server)
        self._monitor = _Monitor(server, end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._monitor.close()
        self._link.quit()

    def start(self) -> None:
        self._received = self._link.received
        self._before = _Snapshot(self._link.ask("INFO", "all"))
        self._sent = self._link.sent

    def finish(self, cost: Cost) -> None:
        # Once the monitor has shown this, nothing of what it was sent is still under way.
        self._link.ask("ECHO", self._end)
        monitored = self._monitor.until_end()
        # The figures hold the answers to all but this last question, which is only read so far.
        received = self._link.received - self._received
        after = _Snapshot(self._link.ask("INFO", "all"))
        sent = self._link.sent - self._sent

        cost.bytes_in = after.bytes_in - self._before.bytes_in - sent
        cost.bytes_out = after.bytes_out - self._before.bytes_out - received - len(monitored)
        cost.reads = after.reads - self._before.reads - 2
        ran = after.commands - self._before.commands - Counter(info=1, echo=1)
        cost.commands = {name: n for name, n in ran.items() if not _is_handshake(name)}
        for each in _parse_monitor(monitored):
            if each.client == "lua":
                cost.scripted.append(each)
            elif each.client != self._link.name and not _is_handshake(each.name):
                cost.sent.append(each)


def _is_handshake(command: str) -> bool:
    return command.partition("|")[0] in HANDSHAKE
