"""The sorted set of a user: their sessions by when they were last seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from flask_redis_session.client.commands import HMGET, ZREVRANGE, Command, Commands, Script
from flask_redis_session.errors import RevocationUnconfirmed, WrongType

from .record import (
    ADDRESS,
    AGENT,
    BORN,
    IDLE,
    LONGEST,
    SEEN,
    USER,
    SessionInfo,
    expiry,
    moment,
    number,
    text,
)
from .token import is_sid

_INDEX = Script(__package__, "index.lua")
_REVOKE = Script(__package__, "revoke.lua")
_FORGET = Script(__package__, "forget.lua")
_PAGE = Script(__package__, "page.lua")

#: A session in an index: its sid and its score.
Member = tuple[str, float]

#: How many members one command removes from an index.
REMOVED = 1000

#: How many sessions are described in one round trip.
LISTED = 500

#: How many members one page has where sessions are ended: it costs two round trips, which are to
#: be one per thousand sessions.
PAGE = 2000


class _Which(NamedTuple):
    """Which of a user's sessions are to be ended."""

    before: float | None
    created_before: float | None
    keep: Collection[str]


class UserIndex:
    """The sorted set of each user.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as in ``SESSION_KEY_PREFIX``.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    :param slack: seconds by which a session may outlive its last touch here, because the
        index is touched at most once per ``SESSION_TOUCH_INTERVAL``.
    :param wait: how many replicas must have a revocation, and how long it waits for them in
        milliseconds; ``None``: it does not.
    """

    def __init__(
        self,
        redis: Commands,
        prefix: str,
        *,
        absolute: float | None,
        slack: float,
        wait: tuple[int, int] | None,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._absolute = absolute
        self._slack = slack
        self._wait = wait

    def key(self, user: str) -> bytes:
        """Return the key of a user's sorted set.

        :param user: the user's id, as text.
        """
        return f"{self._prefix}user:{user}".encode()

    def _session_key(self, sid: str) -> bytes:
        return self._prefix.encode() + _bytes_of(sid)

    def add(self, user: str, sid: str, idle: float) -> Command:
        """Return the command that puts a session into a user's index.

        :param user: the user's id, as text.
        :param sid: the session.
        :param idle: its idle lifetime in seconds; the index outlives it twice.
        """
        return _INDEX.on(self.key(user), sid, "add", self._milliseconds(idle))

    def touch(self, user: str, sid: str, idle: float) -> Command:
        """Return the command that notes that a session was seen, if it still is in there.

        :param user: the user's id, as text.
        :param sid: the session.
        :param idle: its idle lifetime in seconds; the index outlives it twice.
        """
        return _INDEX.on(self.key(user), sid, "touch", self._milliseconds(idle))

    def remove(self, user: str, sid: str, now: bytes) -> Command:
        """Return the command that removes a session from a user's index.

        :param user: the user's id, as text.
        :param sid: the session.
        :param now: when it left that user, in the server's time; what came in later stays.
        """
        return _FORGET.on(self.key(user), sid, now)

    def sessions(
        self, user: str, *, limit: int | None = None, offset: int = 0
    ) -> list[SessionInfo]:
        """Return a user's live sessions, last seen first; forget those that have died.

        :param user: the user's id, as text.
        :param limit: how many to return at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises StoreUnavailable: where Redis fails.
        """
        pages = self.pages(user, limit=limit, offset=offset)
        # One that was seen between two pages may be on both.
        return [*{info.sid: info for page in pages for info in page}.values()]

    def pages(
        self, user: str, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[list[SessionInfo]]:
        """Yield a user's live sessions, last seen first, so many at a time that none waits long.

        A session that is seen between two pages may be in both.

        :param user: the user's id, as text.
        :param limit: how many to yield at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises StoreUnavailable: where Redis fails.
        """
        for infos, _ in self._steps(user, limit=limit, offset=offset):
            yield infos

    def ranked(self, user: str) -> list[str]:
        """Return the sids of a user's live sessions, the one that came last first.

        It came when both its hash and its place in the index were there, so the later of the two
        says when; whoever is last by that order has seen all the others.

        :param user: the user's id, as text.
        :raises StoreUnavailable: where Redis fails.
        """
        came: dict[str, float] = {}
        for infos, members in self._steps(user, limit=None, offset=0):
            scores = dict(members)
            for info in infos:
                seen = info.last_seen_at.timestamp() if info.last_seen_at else 0.0
                came[info.sid] = max(seen, scores[info.sid])
        return sorted(came, key=lambda sid: (came[sid], sid), reverse=True)

    def _steps(
        self, user: str, *, limit: int | None, offset: int
    ) -> Iterator[tuple[list[SessionInfo], list[Member]]]:
        """Yield live sessions, and the members of the index that they were found by."""
        left = limit
        while left is None or left > 0:
            wanted = LISTED if left is None else min(left, LISTED)
            members = self._newest(user, offset, wanted)
            infos, dead = self._described(user, members)
            yield infos, members
            if len(members) < wanted:
                break
            offset += len(members) - dead
            left = None if left is None else left - len(infos)

    def _described(self, user: str, members: Sequence[Member]) -> tuple[list[SessionInfo], int]:
        """Describe a user's live sessions; remove the dead ones, and return how many."""
        sids = [sid for sid, _ in members]
        names = (BORN, SEEN, IDLE, USER, AGENT, ADDRESS)
        hashes = self.held(sids, names)
        # Only the dead are removed: a session that is another user's at the moment may be on
        # its way here, and its sid is not dead for good.
        dead = [
            member
            for member, held in zip(members, hashes, strict=True)
            if all(value is None for value in held) or not is_sid(member[0])
        ]
        self._redis.together(self._removals(user, dead))
        infos = [
            self._info(user, sid, dict(zip(names, held, strict=True)))
            for sid, held in zip(sids, hashes, strict=True)
            if text(held[3]) == user and number(held[0]) is not None and is_sid(sid)
        ]
        return infos, len(dead)

    def held(self, sids: Sequence[str], names: Sequence[bytes]) -> list[Sequence[bytes | None]]:
        """Return what these fields of some sessions hold; of what is no session, ``None`` each.

        :param sids: the sessions.
        :param names: the fields.
        :raises StoreUnavailable: where Redis fails.
        """
        commands = [(HMGET, self._session_key(sid), *names) for sid in sids]
        try:
            return self._redis.together(commands)
        except WrongType:
            # One by one: a key of another type must not hide the sessions beside it.
            return [self._held_alone(command, len(names)) for command in commands]

    def _held_alone(self, command: Command, count: int) -> Sequence[bytes | None]:
        try:
            return self._redis.call(command)  # type: ignore[no-any-return]
        except WrongType:
            return [None] * count

    def _info(self, user: str, sid: str, held: dict[bytes, bytes | None]) -> SessionInfo:
        born, seen, idle = (number(held[name]) for name in (BORN, SEEN, IDLE))
        return SessionInfo(
            sid=sid,
            user_id=user,
            created_at=moment(born),
            last_seen_at=moment(seen),
            expires_at=moment(expiry(born, seen, idle, self._absolute)),
            user_agent=text(held[AGENT]),
            ip_address=text(held[ADDRESS]),
        )

    def revoke(
        self,
        user: str,
        *,
        before: float | None = None,
        created_before: float | None = None,
        only: Collection[str] | None = None,
        keep: Collection[str] = (),
    ) -> Iterator[list[str]]:
        """End a user's sessions, a page at a time; yields the sids that each page ended.

        :param user: the user's id, as text.
        :param before: only those last seen before, in epoch seconds.
        :param created_before: only those created before, in epoch seconds.
        :param only: only these, by sid.
        :param keep: not these, by sid.
        :raises StoreUnavailable: where Redis fails; what was yielded has been ended.
        :raises RevocationUnconfirmed: where too few replicas have it in time.
        """
        which = _Which(before, created_before, keep)
        confirmed: list[int] = []
        if only is not None:
            page = self._scores(user, sorted(set(only) - set(keep)))
            ended, dead = self._end(user, page, which, confirmed)
            yield [sid for sid, _ in ended]
            self._redis.together(self._removals(user, ended + dead))
        else:
            yield from self._end_all(user, which, confirmed)
        self.ensure_confirmed(0, confirmed)

    def _end_all(self, user: str, which: _Which, confirmed: list[int]) -> Iterator[list[str]]:
        """End what is to be ended of a whole index, a page at a time."""
        below = b"+inf" if which.before is None else f"({which.before!r}".encode()
        place: tuple[bytes, bytes] = (b"-inf", b"")
        done: list[Member] = []
        while True:
            page = _PAGE.on(self.key(user), PAGE, below, *place)
            found = self._redis.together([page, *self._removals(user, done)])[0]
            ended, dead = self._end(user, _pairs(found), which, confirmed)
            done = ended + dead
            yield [sid for sid, _ in ended]
            if len(found) < 2 * PAGE:
                break
            place = found[-1], found[-2]
        self._redis.together(self._removals(user, done))

    def _removals(self, user: str, members: Sequence[Member]) -> list[Command]:
        """Return commands that remove dead sessions from an index, none of which takes long."""
        pieces = (members[first : first + REMOVED] for first in range(0, len(members), REMOVED))
        return [
            _FORGET.on(
                self.key(user), *(part for sid, at in piece for part in (_bytes_of(sid), repr(at)))
            )
            for piece in pieces
        ]

    def _end(
        self,
        user: str,
        page: Iterable[Member],
        which: _Which,
        confirmed: list[int],
    ) -> tuple[list[Member], list[Member]]:
        """End those of a page that are to be ended; return them, and those found dead.

        How many replicas have it is appended to ``confirmed``, where that is asked.
        """
        members = [
            (sid, seen)
            for sid, seen in page
            if sid not in which.keep and (which.before is None or seen < which.before)
        ]
        owned = [(sid, user.encode()) for sid, _ in members]
        replies = self.end_each(owned, which.before, which.created_before, confirmed)
        found = list(zip(members, replies, strict=True))
        ended = [member for member, was in found if was == 1]
        return ended, [member for member, was in found if was == 0]

    def end_each(
        self,
        owned: Sequence[tuple[str, bytes]],
        before: float | None,
        created_before: float | None,
        confirmed: list[int],
    ) -> list[int]:
        """End sessions, each if it still is its user's and as old as asked.

        :param owned: each sid with its user; nobody's is ``b""``.
        :param before: only those last seen before, in epoch seconds.
        :param created_before: only those created before, in epoch seconds.
        :param confirmed: how many replicas have it is appended, where ``SESSION_REVOKE_WAIT`` asks.
        :returns: what ``revoke.lua`` replied to each.
        :raises StoreUnavailable: where Redis fails.
        """
        limits = ["" if at is None else repr(at) for at in (before, created_before)]
        commands: list[Command] = [
            _REVOKE.on(self._session_key(sid), user, *limits) for sid, user in owned
        ]
        if self._wait is None or not commands:
            return self._redis.together(commands)
        # In the same pipeline: WAIT is about the writes of its own connection. And the script
        # before: one that has to be sent again would come after it.
        load = ("SCRIPT", "LOAD", _REVOKE.text)
        _, *replies, replicas = self._redis.together([load, *commands, ("WAIT", *self._wait)])
        confirmed.append(replicas)
        return replies

    def ensure_confirmed(self, ended: int, confirmed: Sequence[int]) -> None:
        """Make sure that as many replicas have what was ended as ``SESSION_REVOKE_WAIT`` asks.

        :param ended: how many sessions were ended, for the error.
        :param confirmed: what :meth:`end_each` appended.
        :raises RevocationUnconfirmed: where too few have it.
        """
        if self._wait is not None and confirmed and min(confirmed) < self._wait[0]:
            raise RevocationUnconfirmed(ended, min(confirmed))

    def _newest(self, user: str, offset: int, count: int) -> list[Member]:
        last = offset + count - 1
        reply = self._redis.call((ZREVRANGE, self.key(user), offset, last, "WITHSCORES"))
        if reply and not isinstance(reply[0], bytes):
            # RESP3 replies with pairs, RESP2 with one after the other.
            return [_member(*pair) for pair in reply]
        return _pairs(reply)

    def _scores(self, user: str, sids: Sequence[str]) -> list[Member]:
        key = self.key(user)
        replies = self._redis.together([("ZSCORE", key, sid) for sid in sids])
        found = zip(sids, replies, strict=True)
        # One that is not in there is looked at too: the index may have been evicted.
        return [(sid, float(score or 0)) for sid, score in found]

    def _milliseconds(self, idle: float) -> int:
        # Twice: a session may be saved at the last moment, and the touch of its index that
        # follows may come late, or be lost. Once gone, an index is not brought back by a touch.
        # One that is longer than LONGEST is damaged, and Redis would refuse it.
        return int((2 * min(idle, LONGEST) + self._slack) * 1000) + 1


def _member(sid: bytes, score: Any) -> Member:
    return sid.decode("utf-8", "surrogateescape"), float(score)


def _bytes_of(sid: str) -> bytes:
    # Also of what is no sid, so that it can be removed.
    return sid.encode("utf-8", "surrogateescape")


def _pairs(reply: Sequence[Any]) -> list[Member]:
    """Return the sessions of a reply in which their scores stand after each."""
    return [_member(*pair) for pair in zip(reply[::2], reply[1::2], strict=True)]
