"""Revoke sessions: end them from outside, all of a user's or those that are selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Command, Script, lua, text_of
from flask_redis_session.errors import (
    RevocationIncomplete,
    RevocationUnconfirmed,
    StoreUnavailable,
)

from .user_index import Member, UserIndex

_REVOKE = Script(
    lua(__package__, "refused.lua"), lua(__package__, "secrets.lua"), lua(__package__, "revoke.lua")
)
_PAGE = Script(lua(__package__, "page.lua"), reads=True)

#: How many members of an index one page has. A page costs two round trips, and a revocation may
#: cost one per thousand sessions.
PAGE = 2000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions to revoke: those that meet every condition.

    :param before: last seen before, in epoch seconds; ``None``: at any time.
    :param created_before: created before, in epoch seconds; ``None``: at any time.
    :param signed_in_before: whose user signed in, or was confirmed, before, in epoch seconds;
        ``None``: at any time.
    :param only: one of these sids; ``None``: any sid.
    :param keep: none of these sids.
    """

    before: float | None = None
    created_before: float | None = None
    signed_in_before: float | None = None
    only: frozenset[str] | None = None
    keep: frozenset[str] = frozenset()

    def selects(
        self, sid: str, seen: float | None, created: float | None, signed_in: float | None
    ) -> bool:
        """Tell whether a session meets every condition; an unknown time meets any.

        :param sid: the session.
        :param seen: when it was last seen, in epoch seconds.
        :param created: when it was created, in epoch seconds.
        :param signed_in: when its user signed in or was confirmed, in epoch seconds.
        """
        return (
            sid not in self.keep
            and (self.only is None or sid in self.only)
            and _is_before(seen, self.before)
            and _is_before(created, self.created_before)
            and _is_before(signed_in, self.signed_in_before)
        )


class Revocation:
    """One revocation, which counts what it ends.

    :param redis: sends the commands.
    :param index: the indexes of the users.
    :param wait: how many replicas must have it, and how long it waits for them in milliseconds,
        as in ``SESSION_REVOKE_WAIT``; ``None``: it does not wait.
    :param own: the sid of the request that revokes, which leaves its tombstones if it ends.
    """

    def __init__(
        self,
        redis: Commands,
        index: UserIndex,
        wait: tuple[int, int] | None,
        own: str | None = None,
    ) -> None:
        self._redis = redis
        self._index = index
        self._wait = wait
        self._own = own
        self._revoked = 0
        #: The smallest number of replicas that have a part of it.
        self._replicas: int | None = None

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Make sure that what is revoked in this context is all of it, and confirmed.

        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        try:
            yield
        except StoreUnavailable as failure:
            raise RevocationIncomplete(self._revoked) from failure
        if self._wait and self._replicas is not None and self._replicas < self._wait[0]:
            raise RevocationUnconfirmed(self._revoked, self._replicas)

    def begin(self, notes: Sequence[Command]) -> None:
        """Send what notes that a revocation begins.

        :param notes: scripts that may run twice.
        :raises StoreUnavailable: if Redis fails.
        """
        self._sent(notes)

    def of_user(self, user: str, selection: Selection) -> Iterator[list[str]]:
        """Revoke sessions of a user, page by page; yields the sids of each page.

        :param user: the user's id, as text.
        :param selection: which of them.
        :raises StoreUnavailable: if Redis fails; what was yielded has been revoked.
        """
        if selection.only is None:
            yield from self._whole_index(user, selection)
            return
        members = self._scores(user, sorted(selection.only - selection.keep))
        revoked, dead = self._page(user, members, selection)
        yield [sid for sid, _ in revoked]
        self._redis.together(self._index.remove_dead(user, revoked + dead))

    def _whole_index(self, user: str, selection: Selection) -> Iterator[list[str]]:
        below = b"+inf" if selection.before is None else f"({selection.before!r}".encode()
        place: tuple[bytes, bytes] = (b"-inf", b"")
        removable: list[Member] = []
        while True:
            page = _PAGE.on(self._index.key(user), PAGE, below, *place)
            reply = self._redis.together([page, *self._index.remove_dead(user, removable)])[0]
            found = self._index.proven(self._index.key(user), reply)
            revoked, dead = self._page(user, self._index.members(found), selection)
            removable = revoked + dead
            yield [sid for sid, _ in revoked]
            if len(found) < 2 * PAGE:
                break
            place = found[-1], found[-2]
        self._redis.together(self._index.remove_dead(user, removable))

    def _scores(self, user: str, sids: Sequence[str]) -> list[Member]:
        key = self._index.key(user)
        scores = self._redis.together([("ZSCORE", key, sid) for sid in sids])
        # A session that is not in the index counts too: the index may have been evicted.
        return [(sid, float(score or 0)) for sid, score in zip(sids, scores, strict=True)]

    def _page(
        self, user: str, page: Sequence[Member], selection: Selection
    ) -> tuple[list[Member], list[Member]]:
        """Revoke what is selected of a page; return that, and what was found dead."""
        # When they were seen is for their hashes to say: a score may lie in the future.
        members = [(sid, score) for sid, score in page if selection.selects(sid, None, None, None)]
        replies = self.of_anyone([(sid, user.encode()) for sid, _ in members], selection)
        found = list(zip(members, replies, strict=True))
        revoked = [member for member, reply in found if reply == 1]
        return revoked, [member for member, reply in found if reply == 0]

    def of_anyone(self, owned: Sequence[tuple[str, bytes]], selection: Selection) -> list[int]:
        """Revoke sessions, each if it still is its user's and as old as selected.

        :param owned: each sid with its user; ``b""`` for nobody.
        :param selection: says how old they must be. Its sids are not looked at.
        :returns: what ``revoke.lua`` replied to each.
        :raises StoreUnavailable: if Redis fails.
        """
        limits = [
            "" if limit is None else repr(limit)
            for limit in (
                selection.before,
                selection.created_before,
                selection.signed_in_before,
            )
        ]
        keys = [self._index.session_key(sid) for sid, _ in owned]
        commands: list[Command] = [
            _REVOKE.on(key, user, *limits, "own" if sid == self._own else "")
            for key, (sid, user) in zip(keys, owned, strict=True)
        ]
        replies = [
            self._verdict(key, reply) for key, reply in zip(keys, self._sent(commands), strict=True)
        ]
        self._revoked += replies.count(1)
        return replies

    def _verdict(self, key: bytes, reply: Any) -> int:
        if not isinstance(reply, list) or len(reply) != 2 or reply[1] != key:
            raise self._redis.mistrust()
        return self._redis.understood(int, reply[0])

    def _sent(self, commands: Sequence[Command]) -> list[Any]:
        # Once: a revocation that was carried out twice would say that it ended nothing.
        if self._wait is None or not commands:
            return self._redis.once(commands) if commands else []
        # WAIT is about the writes of its own connection, so it goes in the same pipeline. The
        # script goes first: a command that has to be sent again would come after the WAIT.
        load = ("SCRIPT", "LOAD", text_of(commands[0]))
        _, *replies, replicas = self._redis.once([load, *commands, ("WAIT", *self._wait)])
        self._replicas = replicas if self._replicas is None else min(self._replicas, replicas)
        return replies


def _is_before(at: float | None, limit: float | None) -> bool:
    return limit is None or at is None or at < limit
