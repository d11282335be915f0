"""What a process keeps of the sessions that it loaded, and when it may believe that.

What is kept is never believed to say more than that a session is live and what it holds; all else
is asked of Redis. How old it may be at most is for the line to say, on which Redis tells what has
changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from flask_redis_session.client.commands import HGETALL, HMGET, Commands
from flask_redis_session.client.line import Ask
from flask_redis_session.client.listener import Listener
from flask_redis_session.client.notice import NoticedCommands
from flask_redis_session.client.stream import Garbled

from .record import SECRET, Record, mark, names_of
from .shelf import Kept, Shelf
from .token import Token

#: For how long a session is kept, in seconds: what no bound covers is over by then.
LONGEST_KEPT = 60.0
#: How much of its lifetimes must be left, in seconds.
LEFT = 1.0
#: How many fields of a session are handed out if some are asked for. To choose them costs more.
FEW = 64
#: How many fields may be kept of one session. Whoever reads the line next, in the request of
#: another browser, reads them: a few milliseconds.
MOST = 1000


#: The user's fields that are asked for; ``None``: all.
Fields = Sequence[bytes] | None
#: What is loaded of a session, and the fields that this answers for.
Loaded = tuple[Record, Fields]


class KeptSessions:
    """The sessions that this process keeps of one application.

    :param room: how many bytes they may take, as in ``SESSION_KEEP``.
    :param stale: seconds, as in ``SESSION_KEEP_STALE``.
    :param prefix: the prefix of every key.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    """

    def __init__(self, room: int, stale: float, prefix: str, absolute: float | None) -> None:
        self._room = room
        self._prefix = prefix.encode()
        self._absolute = absolute
        #: The line that they depend on.
        self.listener = Listener(self._book, stale)

    def _book(self) -> Book:
        return Book(self._prefix, self._room)

    def believed(self, token: Token, wanted: Callable[[], Fields]) -> Loaded | None:
        """Return a session that is live, without a round trip; ``None``: Redis is to be asked.

        :param token: the cookie.
        :param wanted: tells which of the user's fields are; it is not asked if there are few.
        :returns: what is kept, and the fields that this answers for.
        """
        line = self.listener.line
        if line is None:
            return None
        now = monotonic()
        if not line.is_heard(now):
            return None
        kept = line.told.shelf.take(token.sid)
        if kept is None or now >= kept.until or now + line.ahead >= kept.over:
            return None
        proof, found = token.proof, kept.fields
        if found.get(SECRET + proof.encode()) != mark(proof):
            return None
        asked = kept.asked
        if asked is None and len(found) <= FEW:
            return Record("live", found, proof, is_kept=True), None
        fields = wanted()
        if asked is not None and (fields is None or not asked.issuperset(fields)):
            return None
        if fields is not None and len(found) > FEW:
            names = names_of(proof, fields)
            found = {name: found[name] for name in names if name in found}
        return Record("live", found, proof, is_kept=True), fields

    def offer(
        self, token: Token, fields: Sequence[bytes] | None, record: Record, late: float | None
    ) -> None:
        """Keep a live session that was just loaded, once the line has shown the same.

        :param token: the cookie that opened it.
        :param fields: the user's fields that were asked for; ``None``: all fields.
        :param record: what was loaded.
        :param late: from when on it is due to be touched at once, in epoch seconds; ``None``: that
            is not known.
        """
        line: Any = self.listener.line
        if line is None:
            self.listener.listen()
            return
        if late is None or len(record.fields) > MOST:
            return
        over = min(late, (record.seen or 0.0) + (record.idle or 0.0) - LEFT)
        if self._absolute is not None:
            over = min(over, (record.since or 0.0) + self._absolute - LEFT)
        now = monotonic()
        asked = None if fields is None else frozenset(fields)
        kept = Kept(record.fields, asked, now + LONGEST_KEPT, over)
        if kept.size > line.told.shelf.largest:
            return
        names = None if fields is None else names_of(token.proof, fields)
        key = self._prefix + token.sid.encode()
        command = (HGETALL, key) if names is None else (HMGET, key, *names)
        take = partial(line.told.answered, token.sid, kept, names)
        line.ask(Ask(key, command, kept.size, now, take))


def kept_sessions(
    room: int, stale: float, prefix: str, absolute: float | None
) -> KeptSessions | None:
    """Return what is to keep sessions; ``None``: nothing is kept.

    :param room: how many bytes they may take, as in ``SESSION_KEEP``.
    :param stale: seconds, as in ``SESSION_KEEP_STALE``.
    :param prefix: the prefix of every key.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    """
    return KeptSessions(room, stale, prefix, absolute) if room else None


def commands(connect: Callable[[], Any], kept: KeptSessions | None) -> Commands:
    """Return the way to Redis, which gives notice of what it writes to what is kept.

    :param connect: makes the client, as :class:`Commands` takes it.
    :param kept: what is kept; ``None``: nothing is.
    """
    return Commands(connect) if kept is None else NoticedCommands(connect, kept.listener)


class Book:
    """What is kept by the word of one line.

    :param prefix: the prefix of every key.
    :param room: how many bytes it may take.
    """

    def __init__(self, prefix: bytes, room: int) -> None:
        self._prefix = prefix
        self.shelf = Shelf(room)

    def changed(self, key: bytes) -> None:
        """Drop what is kept of a key."""
        if key.startswith(self._prefix):
            self.shelf.drop(key[len(self._prefix) :].decode("latin-1"))

    def cleared(self) -> None:
        """Drop everything."""
        self.shelf.clear()

    def answered(self, sid: str, kept: Kept, names: Sequence[bytes] | None, reply: Any) -> None:
        """Keep a session if the reply on the line is the one that the load found.

        Else another one has written meanwhile, or the two came from different servers.

        :param sid: the session.
        :param kept: what the load found.
        :param names: the fields that were asked for; ``None``: all.
        :param reply: what the line shows.
        :raises Garbled: if it is the reply to another command.
        """
        if names is None:
            found = reply
        elif isinstance(reply, list) and len(reply) == len(names):
            pairs = zip(names, reply, strict=True)
            found = {name: value for name, value in pairs if value is not None}
        else:
            raise Garbled
        if not isinstance(found, dict):
            raise Garbled
        if found != kept.fields:
            self.shelf.drop(sid)
            return
        before = self.shelf.take(sid)
        if (
            before is not None
            and before.asked is not None
            and kept.asked is not None
            and monotonic() < before.until
        ):
            # Both hold now: else the one before would have been dropped.
            kept = Kept(
                {**before.fields, **kept.fields},
                before.asked | kept.asked,
                min(before.until, kept.until),
                kept.over,
            )
        self.shelf.put(sid, kept)
