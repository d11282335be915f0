"""How the connection is opened on which Redis says what has changed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from .line import Line, Told
from .packer import packed
from .stream import Garbled, Refused, Stream

#: What may fail while it is opened.
FAILURES = (RedisError, OSError, Garbled)


class RefusedTracking(Exception):
    """Redis, or a proxy before it, refuses to say what has changed.

    :param command: the command that was refused.
    :param word: the first word of the refusal.
    """

    def __init__(self, command: str, word: str) -> None:
        super().__init__(command, word)
        self.command = command
        self.word = word


class HungUp(Exception):
    """The connection ended in the place of an answer.

    :param command: the command that was sent.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


def peer_of(sock: Any) -> Any:
    """Return which server a socket reaches; ``None`` if that cannot be told."""
    try:
        return sock.getpeername()
    except (AttributeError, OSError):
        return None


def dial(pool: Any, connection: Any, told: Told, stale: float, look: Callable[[], None]) -> Line:
    """Open a line, with the options that the URL gives every connection.

    :param pool: the pool of the other connections.
    :param connection: the class of connections, of redis-py's.
    :param told: what is told of changes.
    :param stale: seconds, as in ``SESSION_KEEP_STALE``.
    :param look: as :class:`Line` takes it.
    :raises RefusedTracking: if the server does not do that.
    :raises HungUp: if it ends the connection instead of an answer.
    :raises redis.exceptions.RedisError: if it does not answer, or does not let this user in.
    """
    # RESP2 first: redis-py would put the password into the command that asks for RESP3, and an old
    # server repeats that in its refusal.
    opened = _tapped(connection)(**{**pool.connection_kwargs, "protocol": 2})
    opened.connect()
    sock: socket.socket = opened.tap()
    try:
        stream = Stream()
        _agree(sock, stream, ("HELLO", "3"))
        _agree(sock, stream, ("CLIENT", "TRACKING", "ON"))
        sock.setblocking(False)
        named = (opened.host, opened.port) if hasattr(pool, "master_address") else None
        return Line(sock, stream, told, stale, peer=peer_of(sock), named=named, look=look)
    except BaseException:
        sock.close()
        raise


def _agree(sock: socket.socket, stream: Stream, command: tuple[str, ...]) -> None:
    sock.sendall(b"".join(packed(command)))
    replies: list[Any] = []
    while not replies:
        try:
            piece = sock.recv(4096)
        except ConnectionError:
            piece = b""
        if not piece:
            raise HungUp(" ".join(command))
        replies = stream.feed(piece)
    # What is pushed behind the reply is about nothing that was read.
    if isinstance(replies[0], Refused):
        raise RefusedTracking(" ".join(command), replies[0].word)


class _Tapped:
    """Hands its socket over: redis-py has no way to read a part of what has come."""

    _sock: Any

    def tap(self) -> Any:
        """Return the socket, which is no longer this connection's."""
        sock, self._sock = self._sock, None
        return sock


def _tapped(connection: Any) -> Any:
    return type(f"Tapped{connection.__name__}", (_Tapped, connection), {})
