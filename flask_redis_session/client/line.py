"""One connection on which Redis says what has changed of what was read over it.

Whatever is odd ends it, and with it all that is kept by its word: what is not known to be true is
asked of Redis. Nobody waits for it: neither for what it has to say, nor for its lock to be read.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from os import getpid
from ssl import SSLWantReadError
from typing import Any, Protocol
from weakref import finalize

from .glance import glance_at
from .packer import packed
from .stream import Garbled, Push, Refused, Stream

#: How much may wait beside the replies that are awaited, in bytes. To take in so many changes takes
#: a few milliseconds; rather than more, everything is loaded anew.
BACKLOG = 64 * 1024
#: How many replies are awaited at most, and how many bytes of them, if they are several.
MOST_AWAITED = 256
MOST_BYTES = 2**20
#: After how many times the bound a silent server is left, and after how many seconds at least.
PATIENCE = 3

#: For how long a thread may have the lock before something is wrong with it, in seconds.
LONGEST_HOLD = 0.5

_PIECE = 64 * 1024
_BEAT = b"".join(packed(("HELLO",), ("TIME",)))
#: What is raised if nothing has come, and if nothing can be sent.
_NOTHING = (BlockingIOError, SSLWantReadError)
#: What is raised if a reply has another form than it should.
_ODD = (Garbled, TypeError, ValueError, IndexError, KeyError, AttributeError, RecursionError)


@dataclass(slots=True, repr=False)
class Ask:
    """A command that is sent so that Redis tells when its key changes.

    :param key: the key.
    :param command: the words.
    :param size: about how many bytes the reply has.
    :param sent: when, by the monotonic clock.
    :param take: takes the reply.
    """

    key: bytes
    command: Sequence[Any]
    size: int
    sent: float
    take: Callable[[Any], None]
    #: Whether this process has written to the key since.
    is_void: bool = False


class Told(Protocol):
    """What is told of changes."""

    def changed(self, key: bytes) -> None:
        """Take note that a key has changed."""

    def cleared(self) -> None:
        """Take note that any key may have changed."""


class Line:
    """An open connection, and what was heard over it.

    :param sock: its socket, on which RESP3 and ``CLIENT TRACKING`` were agreed upon.
    :param stream: what puts together what comes on it.
    :param told: what is told of changes.
    :param stale: seconds after which what was heard is not believed any more.
    :param peer: which server it reaches.
    :param named: the server that Sentinels named; ``None``: there are none.
    :param look: is called with each beat.
    """

    def __init__(
        self,
        sock: socket.socket,
        stream: Stream,
        told: Told,
        stale: float,
        *,
        peer: Any,
        named: tuple[str, int] | None,
        look: Callable[[], None],
    ) -> None:
        #: The process that it belongs to; not the child of a fork.
        self.pid = getpid()
        self.told: Any = told
        self.peer = peer
        self.named = named
        self.is_lost = False
        #: What Redis refused, if that is why it was lost; a word of Redis's own.
        self.refusal: str | None = None
        #: How far the server's clock is before the monotonic one, in seconds; rather too far.
        self.ahead = inf
        self._sock = sock
        # Not by __del__: of what goes together, the socket may go first.
        finalize(self, sock.close).atexit = False
        self._stream = stream
        self._stale = stale
        self._look = look
        self._lock = threading.Lock()
        # The replies that are awaited: those to asks, and two to each beat.
        self._awaited: deque[Ask | _Beat] = deque()
        self._bytes = 0
        # When that was sent which was answered last, and when the next beat is due.
        self._heard_at = self._beat_at = -inf
        # Since when the lock has been found taken.
        self._busy_at = inf
        self._glance = glance_at(sock)

    def is_heard(self, now: float) -> bool:
        """Read what has come; tell whether what is kept by then can be believed.

        :param now: the present, by the monotonic clock.
        """
        if not self._glance():
            if self._lock.locked():
                # Another thread may have taken something off the socket and not be done with it.
                self._note_busy(now)
                return False
        else:
            if not self._lock.acquire(blocking=False):
                self._note_busy(now)
                return False
            try:
                self._read()
            finally:
                self._lock.release()
        self._busy_at = inf
        if now >= self._beat_at:
            self._beat(now)
        return now - self._heard_at < self._stale and not self.is_lost

    def _note_busy(self, now: float) -> None:
        """Note that another thread has the lock; too long, and nobody will let it go."""
        self._busy_at = min(self._busy_at, now)
        if now - self._busy_at > LONGEST_HOLD:
            self.lose()

    def ask(self, ask: Ask) -> None:
        """Send a command, if the line is free at once.

        :param ask: the command, and what becomes of its reply.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self.is_lost or len(self._awaited) >= MOST_AWAITED:
                return
            if self._bytes and self._bytes + ask.size > MOST_BYTES:
                return
            self._bytes += ask.size
            self._send(b"".join(packed(tuple(ask.command))), ask)
        finally:
            self._lock.release()

    def forget(self, keys: Collection[bytes]) -> None:
        """Drop what is kept of keys, and what was asked of them and is not answered.

        :param keys: the keys, to which this process writes.
        """
        if self.is_lost:
            return
        if not self._lock.acquire(timeout=LONGEST_HOLD):
            # An exception came between the lock and what lets it go.
            self.lose()
            return
        try:
            for key in keys:
                self.told.changed(key)
            for each in self._awaited:
                if isinstance(each, Ask) and each.key in keys:
                    each.is_void = True
        except BaseException:
            # Some of it may be kept still.
            self.lose()
            raise
        finally:
            self._lock.release()

    def lose(self) -> None:
        """Believe nothing any more that was heard over it."""
        self.is_lost = True
        self.told.cleared()

    @property
    def has_lasted(self) -> bool:
        """Whether it ever was of use."""
        return self._heard_at > -inf

    def close(self) -> None:
        """Close it, unless another thread uses its socket: then it is closed when nobody does."""
        self.lose()
        if self.pid != getpid():
            # Whoever had the lock did not come along into this process.
            self._sock.close()
        elif self._lock.acquire(blocking=False):
            try:
                self._sock.close()
            finally:
                self._lock.release()

    def _beat(self, now: float) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self.is_lost or now < self._beat_at:
                return
            awaited = self._awaited
            if awaited and now - awaited[0].sent > PATIENCE * max(1.0, self._stale):
                self.lose()
                return
            self._look()
            self._beat_at = now + self._stale / 3
            self._send(_BEAT, _Hello(now), _Time(now))
        finally:
            self._lock.release()

    def _send(self, data: bytes, *awaited: Ask | _Beat) -> None:
        try:
            self._awaited += awaited
            if self._sock.send(data) < len(data):
                self.lose()
        except OSError:
            # What cannot be sent at once neither: it would be the part that was sent that counts.
            self.lose()
        except BaseException:
            self.lose()
            raise

    def _read(self) -> None:
        """Read to the end of what has come, and take it in."""
        try:
            for message in self._stream.feed(self._received()):
                self._take(message)
        except (*_ODD, OSError):
            self.lose()
        except BaseException:
            # Something was taken off the socket, and its changes are not known.
            self.lose()
            raise

    def _received(self) -> bytes:
        room = self._bytes + BACKLOG - self._stream.waiting
        pieces: list[bytes] = []
        try:
            while room > 0:
                piece = self._sock.recv(_PIECE)
                if not piece:
                    raise Garbled
                pieces.append(piece)
                room -= len(piece)
        except _NOTHING:
            return b"".join(pieces)
        raise Garbled

    def _take(self, message: Any) -> None:
        if isinstance(message, Push):
            kind, keys = message
            if kind != b"invalidate":
                raise Garbled
            if keys is None:
                self.told.cleared()
                return
            for key in keys:
                self.told.changed(key)
            return
        awaited = self._awaited.popleft()
        if isinstance(message, Refused):
            self.refusal = message.word
            raise Garbled
        if isinstance(awaited, Ask):
            self._bytes -= awaited.size
            if not awaited.is_void:
                awaited.take(message)
        elif isinstance(awaited, _Hello):
            if message[b"role"] != b"master":
                # It was the primary. What it says of changes now, it has from another one.
                raise Garbled
            self._heard_at = awaited.sent
        else:
            seconds, microseconds = message
            self.ahead = int(seconds) + int(microseconds) / 1e6 - awaited.sent


@dataclass(slots=True)
class _Beat:
    sent: float


class _Hello(_Beat):
    __slots__ = ()


class _Time(_Beat):
    __slots__ = ()
