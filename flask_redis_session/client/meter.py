"""What a request asks of Redis, counted if somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any


class Meter:
    """What one request has asked of Redis so far.

    :param owner: tells for whom this is counted.
    :param counts: tells whether what is sent at the moment counts here.
    :param outer: that of the request during which this one began, if there is one.
    """

    def __init__(
        self,
        owner: Callable[[], Any],
        counts: Callable[[], bool],
        outer: Meter | None = None,
    ) -> None:
        self.owner = owner
        self.counts = counts
        self.outer = outer
        #: The public id of the session; ``None``: nothing was asked about one.
        self.sid: str | None = None
        #: The fields that were loaded, and those that were set or deleted.
        self.loaded: set[bytes] = set()
        self.written: set[bytes] = set()
        self.round_trips = 0
        #: Bytes as RESP2 writes commands and replies.
        self.bytes_sent = self.bytes_received = 0
        #: For how long the request waited for replies.
        self.seconds = 0.0
        self._asked_at: float | None = None

    def asks(self, commands: Iterable[Sequence[Any]]) -> None:
        """Note that commands are sent in one round trip."""
        self.round_trips += 1
        self.bytes_sent += sum(map(_size_of_command, commands))
        self._asked_at = monotonic()

    def hears(self, replies: Iterable[Any] = ()) -> None:
        """Note their replies; none: it failed."""
        if self._asked_at is not None:
            self.seconds += monotonic() - self._asked_at
            self._asked_at = None
        self.bytes_received += sum(map(_size_of_reply, replies))


#: That of the request which began last; ``None``: nobody wants to know.
METER: ContextVar[Meter | None] = ContextVar("METER", default=None)


def counting() -> Meter | None:
    """Return what counts the commands of this moment, if anything does.

    A request that began inside another one may end without a word to us.
    """
    meter = METER.get()
    while meter is not None and not meter.counts():
        meter = meter.outer
    return meter


def count_loaded(sid: str, fields: Iterable[bytes]) -> None:
    """Count the fields that were loaded, or kept, if somebody wants to know.

    :param sid: of the session.
    :param fields: the fields.
    """
    meter = counting()
    if meter is not None:
        meter.sid = sid
        meter.loaded.update(fields)


def count_written(sid: str, what: str, *fields: Iterable[bytes]) -> None:
    """Count the fields that a commit wrote, if somebody wants to know.

    :param sid: of the session.
    :param what: what became of the commit; of a touch that is only about to be sent, ``""``.
    :param fields: what was set and what was deleted.
    """
    meter = counting()
    if meter is not None:
        meter.sid = sid
        if what in ("saved", "ended"):
            meter.written.update(*fields)


def metered(
    send: Callable[[Any, Sequence[Any]], list[Any]], client: Any, commands: Sequence[Any]
) -> list[Any]:
    """Send commands in one round trip, and count that if somebody wants to know.

    :param send: sends them.
    :param client: by which they are sent.
    :param commands: the commands.
    """
    meter = counting()
    if meter is None:
        return send(client, commands)
    meter.asks(commands)
    replies: list[Any] = []
    try:
        replies = send(client, commands)
    finally:
        meter.hears(replies)
    return replies


def _bulk(size: int) -> int:
    return len(str(size)) + size + 5


def _size_of_command(words: Sequence[Any]) -> int:
    texts = (word if isinstance(word, bytes) else str(word).encode() for word in words)
    return len(str(len(words))) + 3 + sum(_bulk(len(text)) for text in texts)


def _size_of_reply(reply: Any) -> int:
    """Return how many bytes a reply has, of which a client made this."""
    if reply is None:
        return 5
    if isinstance(reply, dict):
        reply = [part for item in reply.items() for part in item]
    if isinstance(reply, (list, tuple)):
        return len(str(len(reply))) + 3 + sum(map(_size_of_reply, reply))
    if isinstance(reply, (bytes, str)):
        return _bulk(len(reply))
    # A number, a status or a refusal.
    return len(str(reply)) + 3
