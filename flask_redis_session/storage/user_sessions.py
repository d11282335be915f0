"""The sessions of users: to list them, and to revoke them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Command
from flask_redis_session.errors import StoreUnavailable

from .record import SessionInfo, moment
from .revocation import Revocation, Selection
from .session_hash import SessionHashes
from .token import is_sid

#: No point in time is more seconds from the epoch.
MOST_SECONDS = 1e15

#: What Redis takes for the number of a member of an index.
MOST_SESSIONS = 2**62


class UserSessions:
    """The sessions of users, outside of the request that each belongs to.

    :param redis: sends the commands.
    :param hashes: the session hashes.
    :param wait: replicas, milliseconds, as in ``SESSION_REVOKE_WAIT``.
    :param most: how many sessions a user may have; ``None``: any number.
    :param announce: is told of the sessions that ended: the user, the sids, the reason.
    :param note: returns what notes a revocation before it begins, if something may come over later.
    """

    def __init__(
        self,
        redis: Commands,
        hashes: SessionHashes,
        *,
        wait: tuple[int, int] | None,
        most: int | None,
        announce: Callable[[str | None, Iterable[str], str], None],
        note: Callable[[str, Selection], list[Command]],
    ) -> None:
        self._redis = redis
        self._hashes = hashes
        self._wait = wait
        self._most = most
        self._announce = announce
        self._note = note

    def list_pages(
        self, user: str, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[list[SessionInfo]]:
        """Yield a user's live sessions page by page, last seen first.

        A session that is seen between two pages may be in both.

        :param user: the user's id, as text.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises ValueError: if one of them is negative, or more than Redis counts.
        :raises TypeError: if one of them is not a number.
        :raises StoreUnavailable: if Redis fails.
        """
        if limit is not None:
            _check_count("limit", limit)
        _check_count("offset", offset)
        for page in self._hashes.index.list_pages(user, limit=limit, offset=offset):
            now = datetime.fromtimestamp(self._hashes.clock.now(), timezone.utc)
            # A time in the future counts as now: the server's clock had jumped.
            yield [replace(info, last_seen_at=min(info.last_seen_at, now)) for info in page]

    def list_sessions(
        self, user: str, *, limit: int | None = None, offset: int = 0, current: str | None = None
    ) -> list[SessionInfo]:
        """Return a user's live sessions, last seen first; the current one is seen now.

        :param user: the user's id, as text.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :param current: the sid of the current session, which is marked.
        :raises ValueError: as :meth:`list_pages`.
        :raises TypeError: as :meth:`list_pages`.
        :raises StoreUnavailable: if Redis fails.
        """
        infos = {
            info.sid: info
            for page in self.list_pages(user, limit=limit, offset=offset)
            for info in page
        }
        if current in infos:
            now = moment(self._hashes.clock.now()) or infos[current].last_seen_at
            infos[current] = replace(infos[current], current=True, last_seen_at=now)
        return sorted(infos.values(), key=_last_seen, reverse=True)

    def has_unseen_since(self, user: str, when: datetime, *, current: str) -> bool:
        """Tell whether a user has a live session that was last seen before a point in time.

        :param user: the user's id, as text.
        :param when: the point in time.
        :param current: the sid of the current session, which is seen now.
        :raises StoreUnavailable: if Redis fails.
        """
        key = self._hashes.index.key(user)
        below = f"({when.timestamp()!r}"
        size, old = self._redis.together([("ZCARD", key), ("ZCOUNT", key, "-inf", below)])
        # Some of the old members may be dead.
        pages = self.list_pages(user, offset=max(0, size - old)) if old else ()
        return any(
            info.last_seen_at < when and info.sid != current for page in pages for info in page
        )

    def index_size(self, user: str) -> int:
        """Return how many members a user's index has, dead ones included.

        :param user: the user's id, as text.
        :raises StoreUnavailable: if Redis fails.
        """
        size: int = self._redis.call(("ZCARD", self._hashes.index.key(user)))
        return size

    def revoke(
        self,
        user: str,
        selection: Selection,
        *,
        reason: str = "revoked",
        own: str | None = None,
    ) -> Iterator[list[str]]:
        """Revoke sessions of a user page by page, and announce each; yields their sids.

        :param user: the user's id, as text.
        :param selection: which of them.
        :param reason: for the signal.
        :param own: the sid of the request that revokes, which leaves its tombstones if it ends.
        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        revocation = self.revocation(own)
        with revocation.checked():
            revocation.begin(self._note(user, selection))
            for page in revocation.of_user(user, selection):
                self._announce(user, page, reason)
                yield page

    def revocation(self, own: str | None = None) -> Revocation:
        """Return a revocation that is to begin.

        :param own: as for :meth:`revoke`.
        """
        return Revocation(self._redis, self._hashes.index, self._wait, own)

    def revoke_from(self, user: str, selection: Selection, current: str | None) -> list[str]:
        """Revoke sessions of a user out of a request; return the sids.

        :param user: the user's id, as text.
        :param selection: which of them.
        :param current: the sid of the session of the request, which counts as seen now.
        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        before = selection.before
        if current is not None and before is not None and before <= self._hashes.clock.now():
            selection = replace(selection, keep=selection.keep | {current})
        return [sid for page in self.revoke(user, selection, own=current) for sid in page]

    def revoke_one(self, user: str, sid: str) -> list[str]:
        """Revoke the session of a request, even if the index lacks it; return its sid if it lived.

        :param user: the user's id, as text.
        :param sid: the session.
        :raises RevocationIncomplete: if Redis fails.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        selection = Selection(only=frozenset([sid]))
        return [one for page in self.revoke(user, selection, own=sid) for one in page]

    def revoke_surplus(self, user: str, *, keep: str) -> None:
        """Revoke a user's sessions beyond ``SESSION_MAX_PER_USER``.

        :param user: the user's id, as text.
        :param keep: the sid that was signed in just now.
        """
        most = self._most
        if most is None:
            return
        # The sign-in stands even if Redis fails now; the next one makes up for it.
        with suppress(StoreUnavailable):
            # The order is the same for all: otherwise two sign-ins at once could each revoke the
            # other.
            sids = self._hashes.index.list_by_arrival(user, self._hashes.clock.now)
            surplus = frozenset(sids[most:]) - {keep}
            if surplus:
                deque(self.revoke(user, Selection(only=surplus), reason="replaced"), maxlen=0)

    def epoch(self, name: str, when: object) -> float | None:
        """Return a point in time in epoch seconds.

        :param name: the argument's name, for the error.
        :param when: an aware time, a timedelta (that long ago), or epoch seconds.
        :raises ValueError: if it is a naive time, or not finite.
        :raises TypeError: if it is of another type.
        """
        if when is None:
            return None
        if isinstance(when, timedelta):
            return self._hashes.clock.now() - when.total_seconds()
        if isinstance(when, datetime):
            if when.utcoffset() is None:
                problem = "the time is naive; give its zone, as in datetime.now(timezone.utc)."
                raise ValueError(f"{name}: {problem}")
            return when.timestamp()
        if isinstance(when, (int, float)) and not isinstance(when, bool):
            if not abs(when) < MOST_SECONDS:
                raise ValueError(f"{name}: that number is not a point in time, in epoch seconds.")
            return float(when)
        problem = f"expects an aware datetime, a timedelta or epoch seconds, not {when!r}."
        raise TypeError(f"{name}: {problem}")


def sids_of(name: str, value: Any) -> frozenset[str]:
    """Return a sid or several as a set.

    :param name: the argument's name, for the error.
    :param value: a sid or several.
    :raises ValueError: if one does not have the form of a sid.
    """
    sids = frozenset({value} if isinstance(value, str) else value)
    for sid in sids:
        if not isinstance(sid, str) or not is_sid(sid):
            raise ValueError(f"{name}: {sid!r} is not a sid, which has 22 characters of base64url.")
    return sids


def _last_seen(info: SessionInfo) -> float:
    return info.last_seen_at.timestamp()


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} expects a number of sessions, not {value!r}.")
    if not 0 <= value <= MOST_SESSIONS:
        raise ValueError(f"{name}={value} is not a number of sessions.")
