"""The index of a user: a sorted set of their sessions by when each was last seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Command, Script, lua
from flask_redis_session.errors import StoreUnavailable

from .record import (
    ADDRESS,
    AGENT,
    BORN,
    IDLE,
    LONGEST,
    SEEN,
    SIGNED,
    USER,
    Record,
    SessionInfo,
    expiry,
    moment,
    number,
    text,
)
from .token import is_sid

_INDEX = Script(lua(__package__, "index.lua"))
_REMOVE = Script(lua(__package__, "remove.lua"))
_LIST = Script(lua(__package__, "list.lua"), reads=True)
_READ = Script(lua(__package__, "refused.lua"), lua(__package__, "read.lua"), reads=True)
_DEAD = Script(lua(__package__, "refused.lua"), lua(__package__, "dead.lua"), reads=True)

#: A session in an index: its sid and its score.
Member = tuple[str, float]

#: How many members one command removes from an index.
REMOVED = 1000

_EPOCH = datetime.fromtimestamp(0, timezone.utc)

#: How many sessions are described in one round trip.
LISTED = 500

#: How many members one step looks at while a list goes past dead ones.
SWEPT = 2000

#: A sign-in to an index with more members looks at some of them, and removes those that are dead.
MANY = 100


class UserIndex:
    """The sorted set of each user: keeps it up to date, and lists what is in it.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as in ``SESSION_KEY_PREFIX``.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    :param slack: seconds by which a session may outlive its last touch here, because the
        index is touched at most once per ``SESSION_TOUCH_INTERVAL``.
    """

    def __init__(
        self, redis: Commands, prefix: str, *, absolute: float | None, slack: float
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._absolute = absolute
        self._slack = slack

    def key(self, user: str) -> bytes:
        """Return the key of a user's sorted set.

        :param user: the user's id, as text.
        """
        return f"{self._prefix}user:{user}".encode()

    def session_key(self, sid: str) -> bytes:
        """Return the key of the hash that a member of an index names.

        :param sid: the member; it need not have the form of a sid.
        """
        return self._prefix.encode() + _bytes_of(sid)

    def add(self, user: str, sid: str, idle: float) -> Command:
        """Return the command that puts a session into a user's index.

        :param user: the user's id, as text.
        :param sid: the session.
        :param idle: its idle lifetime in seconds; the index lives for twice as long.
        """
        return _INDEX.on(self.key(user), sid, "add", self._milliseconds(idle), MANY)

    def touch(self, user: str, sid: str, idle: float) -> Command:
        """Return the command that records that a session was seen, and puts back a lost member.

        :param user: the user's id, as text.
        :param sid: the session.
        :param idle: its idle lifetime in seconds; the index lives for twice as long.
        """
        return _INDEX.on(self.key(user), sid, "touch", self._milliseconds(idle), MANY)

    def remove(self, user: str, sid: str, now: bytes) -> Command:
        """Return the command that removes a session from a user's index.

        :param user: the user's id, as text.
        :param sid: the session.
        :param now: when it left that user, in the server's time. If it was put in again after
            that, it stays.
        """
        return _REMOVE.on(self.key(user), sid, now)

    def remove_dead(self, user: str, dead: Sequence[Member]) -> list[Command]:
        """Return the commands that remove dead sessions from an index; none of them takes long.

        :param user: the user's id, as text.
        :param dead: the sessions, with the scores that they had. If one has a higher score by
            now, it was put in again, and stays.
        """
        chunks = (dead[first : first + REMOVED] for first in range(0, len(dead), REMOVED))
        return [
            _REMOVE.on(
                self.key(user), *(part for sid, at in chunk for part in (_bytes_of(sid), repr(at)))
            )
            for chunk in chunks
        ]

    def list_pages(
        self, user: str, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[list[SessionInfo]]:
        """Yield a user's live sessions page by page, last seen first; remove the dead ones.

        A session that is seen between two pages may be in both.

        :param user: the user's id, as text.
        :param limit: how many to yield at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises StoreUnavailable: if Redis fails.
        """
        for infos, _ in self._pages(user, limit=limit, offset=offset):
            yield infos

    def list_by_arrival(self, user: str, now: Callable[[], float]) -> list[str]:
        """Return the sids of a user's live sessions; the one that arrived last comes first.

        A session has arrived when both its hash and its place in the index are there: the later
        of the two times counts. Whoever arrives last can see all the others. A time in the future
        counts for nothing: the server's clock had jumped, and the session was there before.

        :param user: the user's id, as text.
        :param now: tells the server's time in epoch seconds.
        :raises StoreUnavailable: if Redis fails.
        """
        times: dict[str, tuple[float, float]] = {}
        for infos, members in self._pages(user, limit=None, offset=0):
            scores = dict(members)
            for info in infos:
                times[info.sid] = info.last_seen_at.timestamp(), scores[info.sid]
        latest = now() + 1
        arrived = {
            sid: max((at for at in both if at <= latest), default=0.0)
            for sid, both in times.items()
        }
        return sorted(arrived, key=lambda sid: (arrived[sid], sid), reverse=True)

    def remove_some_dead(self, user: str, sample: Any) -> None:
        """Remove the dead among some members, which a sign-in was told of.

        :param user: the user's id, as text.
        :param sample: member, score, member, score, … as ``index.lua`` replied it.
        """
        if not sample:
            return
        # The sign-in stands even if Redis fails now; the next one removes them.
        with suppress(StoreUnavailable):
            members = [*dict(self.members(sample)).items()]
            born = self.read_fields([sid for sid, _ in members], (BORN,))
            dead = [one for one, (at,) in zip(members, born, strict=True) if at is None]
            self._redis.together(self.remove_dead(user, dead))

    def read_fields(
        self, sids: Sequence[str], names: Sequence[bytes]
    ) -> list[Sequence[bytes | None]]:
        """Return the values of these fields for each session; of what is no session, ``None`` each.

        :param sids: the sessions.
        :param names: the fields.
        :raises StoreUnavailable: if Redis fails.
        """
        keys = [self.session_key(sid) for sid in sids]
        replies = self._redis.together([_READ.on(key, *names) for key in keys])
        return [self.proven(key, reply) for key, reply in zip(keys, replies, strict=True)]

    def members(self, reply: Any) -> list[Member]:
        """Return the members in a reply in which each is followed by its score.

        :param reply: member, score, member, score, …
        :raises StoreUnavailable: if it has another form.
        """
        return self._redis.understood(_members, reply)

    def proven(self, key: bytes, reply: Any) -> list[Any]:
        """Return what a reply says, if it begins with the key that was asked about.

        :param key: the key.
        :param reply: the reply.
        :raises StoreUnavailable: if it is the reply to another command.
        """
        if not isinstance(reply, list) or not reply or reply[0] != key:
            raise self._redis.mistrust()
        return reply[1:]

    def _pages(
        self, user: str, *, limit: int | None, offset: int
    ) -> Iterator[tuple[list[SessionInfo], list[Member]]]:
        """Yield live sessions, and the members of the index by which they were found."""
        left = limit
        wanted = LISTED if left is None else min(left, LISTED)
        while left is None or left > 0:
            members = self._newest(user, offset, wanted)
            infos, removed = self._describe(user, members)
            yield infos[:left], members
            if len(members) < wanted:
                break
            offset += len(members) - removed
            left = None if left is None else left - len(infos)
            wanted = LISTED
            if 2 * removed > len(members):
                self._sweep(user, offset)

    def _sweep(self, user: str, offset: int) -> None:
        """Remove dead members from an index, in large steps, until most of a step's are alive.

        :param user: the user's id, as text.
        :param offset: how many of the newest to leave out.
        """
        while True:
            members = self._newest(user, offset, SWEPT)
            if 2 * self._removed(user, self._dead_among(members)) <= len(members):
                return

    def _dead_among(self, members: Sequence[Member]) -> list[Member]:
        """Return those members that are no sessions, by as few commands as there can be."""
        keys = {self.session_key(sid): (sid, score) for sid, score in members}
        size = 1 if self._redis.is_cluster else SWEPT
        groups = [[*keys][first : first + size] for first in range(0, len(keys), size)]
        found: list[Member] = []
        for reply in self._redis.together([_DEAD.on_all(group) for group in groups]):
            found += self._redis.understood(lambda words: [keys[word] for word in words], reply)
        return found

    def _newest(self, user: str, offset: int, count: int) -> list[Member]:
        key = self.key(user)
        return self.members(self.proven(key, self._redis.call(_LIST.on(key, offset, count))))

    def _describe(self, user: str, members: Sequence[Member]) -> tuple[list[SessionInfo], int]:
        """Describe a user's live sessions; remove the dead ones, and return how many they were."""
        sids = [sid for sid, _ in members]
        names = (BORN, SEEN, IDLE, USER, AGENT, ADDRESS, SIGNED)
        hashes = self.read_fields(sids, names)
        # Only what has ended is removed. A session that belongs to another user now, or to nobody,
        # may be on its way to this one.
        dead = [
            member
            for member, values in zip(members, hashes, strict=True)
            if values[0] is None or not is_sid(member[0])
        ]
        removed = self._removed(user, dead)
        infos = [
            self._info(user, sid, score, _known(names, values))
            for (sid, score), values in zip(members, hashes, strict=True)
            if text(values[3]) == user and number(values[0]) is not None and is_sid(sid)
        ]
        return infos, removed

    def _removed(self, user: str, dead: Sequence[Member]) -> int:
        """Remove dead members, and return how many; 0 if Redis takes no writes now."""
        # What is alive can be listed all the same, such as on a replica.
        try:
            self._redis.together(self.remove_dead(user, dead))
        except StoreUnavailable:
            return 0
        return len(dead)

    def _info(self, user: str, sid: str, score: float, record: Record) -> SessionInfo:
        # In the place of a field that is damaged: when the index last saw the session.
        known = moment(score) or _EPOCH
        end = expiry(record.since, record.seen, record.idle, self._absolute)
        return SessionInfo(
            sid=sid,
            user_id=user,
            created_at=moment(record.born) or known,
            signed_in_at=moment(record.signed),
            last_seen_at=moment(record.seen) or known,
            expires_at=moment(end) or known,
            user_agent=text(record.fields.get(AGENT)),
            ip_address=text(record.fields.get(ADDRESS)),
        )

    def _milliseconds(self, idle: float) -> int:
        # Twice: a session may be saved at the last moment, and the touch of its index that
        # follows may come late, or be lost. A touch does not bring back an index that expired.
        # A lifetime of more than LONGEST is damaged, and Redis would refuse it.
        return int((2 * min(idle, LONGEST) + self._slack) * 1000) + 1


def _known(names: Sequence[bytes], values: Sequence[bytes | None]) -> Record:
    """Return what these fields of a live session say."""
    pairs = zip(names, values, strict=True)
    return Record("live", {name: value for name, value in pairs if value is not None})


def _members(reply: Any) -> list[Member]:
    return [_member(*pair) for pair in zip(reply[::2], reply[1::2], strict=True)]


def _member(sid: bytes, score: Any) -> Member:
    return sid.decode("utf-8", "surrogateescape"), float(score)


def _bytes_of(sid: str) -> bytes:
    # A member that is not a sid keeps its bytes, so that it can be removed.
    return sid.encode("utf-8", "surrogateescape")
