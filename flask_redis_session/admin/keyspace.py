"""Every session of an application, whoever's it is, as SCAN finds it; no request needs this."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.commands import ZREVRANGE, Commands, Script
from flask_redis_session.errors import RevocationIncomplete, StoreUnavailable
from flask_redis_session.storage.record import BORN, SEEN, USER, number, text
from flask_redis_session.storage.token import is_sid

from . import cluster_slots as slots

_INDEX = Script(__package__, "doctor_index.lua")

#: How many keys SCAN goes through at a time.
PAGE = 1000

_GLOB = re.compile(r"[\\*?\[]")


class Other(NamedTuple):
    """A key under the prefix that this package did not put there.

    :param key: the key.
    :param kind: the type of what it holds, as Redis names it.
    """

    key: bytes
    kind: str


class Page(NamedTuple):
    """What one step of SCAN found.

    :param sids: the sids of hashes that are named as sessions are.
    :param users: the ids of the users of sorted sets that are named as indexes are.
    :param others: the other keys under the prefix.
    """

    sids: list[str]
    users: list[str]
    others: list[Other]


class Count(NamedTuple):
    """How many there are.

    :param sessions: the sessions.
    :param users: the users with at least one session.
    :param anonymous: the sessions of no user.
    """

    sessions: int
    users: int
    anonymous: int


class Selection(NamedTuple):
    """Which sessions are meant.

    :param before: those last seen before, in epoch seconds.
    :param created_before: those created before, in epoch seconds.
    :param keep: not these, by sid.
    :param anonymous: also those of no user.
    """

    before: float | None = None
    created_before: float | None = None
    keep: Collection[str] = ()
    anonymous: bool = False


#: How the rest of an index's name begins, before the user's id.
INDEX = "user:"

#: A session, and whose it is.
_Found = tuple[str, bytes | None]


class KeySpace:
    """Goes through every key under an application's prefix, on each primary of a cluster.

    What is there from the beginning to the end is found; what comes or goes meanwhile may be.
    Where the key space shrinks meanwhile, something may be found twice.

    :param sessions: the sessions of the application.
    """

    def __init__(self, backend: ApplicationBackend) -> None:
        self._backend = backend
        self._redis = backend.redis
        self._hashes = backend.hashes
        self._prefix = backend.settings.prefix

    def now(self) -> float:
        """Return the time of the server, in epoch seconds.

        :raises StoreUnavailable: where Redis fails.
        """
        seconds, micros = self._redis.nodes()[0].call(("TIME",))
        return int(seconds) + int(micros) / 1e6

    def size(self) -> int:
        """Return how many keys Redis holds, under any prefix.

        :raises StoreUnavailable: where Redis fails.
        """
        return sum(node.call(("DBSIZE",)) for node in self._redis.nodes())

    def pages(self) -> Iterator[Page]:
        """Yield what is under the prefix, step by step; a step goes through ``PAGE`` keys.

        :raises StoreUnavailable: where Redis fails, or a server was replaced or slots moved on the
            way, so that something may have been left out.
        """
        prefix = self._prefix.encode()
        for node in self._nodes():
            for names in self._names(node):
                ours = [name for name in names if name.startswith(prefix)]
                kinds = self._redis.together([("TYPE", name) for name in ours])
                yield self._sorted(
                    (name, kind.decode() if isinstance(kind, bytes) else kind)
                    for name, kind in zip(ours, kinds, strict=True)
                )

    def _nodes(self) -> Iterator[Commands]:
        """Yield each server; in a cluster, make sure that each key is on one of those to come."""
        nodes = self._redis.nodes()
        if not self._redis.is_cluster:
            yield from nodes
            return
        held = slots.holdings(nodes)
        yield from slots.in_order(nodes, held)
        slots.ensure_same(nodes, held)

    def _names(self, node: Commands) -> Iterator[list[bytes]]:
        pattern = _GLOB.sub(r"\\\g<0>", self._prefix) + "*"
        started = _incarnation(node)
        cursor = 0
        while True:
            cursor, names = node.call(("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE))
            yield names
            if cursor == 0:
                break
        if _incarnation(node) != started:
            # A restarted server, or one that took over, has the keys in another order: the
            # cursor said nothing to it, and much may have been left out.
            raise StoreUnavailable("The server was replaced meanwhile; run it again.")

    def _sorted(self, names: Iterable[tuple[bytes, str]]) -> Page:
        page = Page([], [], [])
        start = len(self._prefix.encode())
        for name, kind in names:
            rest = _utf8(name[start:])
            if kind == "hash" and is_sid(rest):
                page.sids.append(rest)
            elif kind == "zset" and rest.startswith(INDEX):
                page.users.append(rest.removeprefix(INDEX))
            elif kind != "none":
                page.others.append(Other(name, kind))
        return page

    def count(self) -> Iterator[Count]:
        """Count, step by step; yields what each step adds.

        :raises StoreUnavailable: as :meth:`pages`.
        """
        for page in self.pages():
            held = self._hashes.index.held(page.sids, (BORN, USER))
            whose = [user for born, user in held if number(born) is not None]
            yield Count(len(whose), self._signed_in(page.users), whose.count(None))

    def _signed_in(self, users: Sequence[str]) -> int:
        """Return how many of these users have a live session."""
        index = self._hashes.index
        replies = self._redis.together([(ZREVRANGE, index.key(user), 0, 0) for user in users])
        newest = {
            user: _utf8(reply[0]) for user, reply in zip(users, replies, strict=True) if reply
        }
        held = dict(
            zip(newest, self._hashes.index.held(list(newest.values()), (BORN, USER)), strict=True)
        )
        alive = {
            u for u, (born, owner) in held.items() if number(born) is not None and text(owner) == u
        }
        # Where the newest is dead, another may be alive.
        return len(alive) + sum(any(index.pages(u, limit=1)) for u in {*newest} - alive)

    def matching(self, selection: Selection) -> Iterator[int]:
        """Count the sessions that are meant, step by step; yields what each step adds.

        :param selection: which are meant.
        :raises StoreUnavailable: as :meth:`pages`.
        """
        for page in self.pages():
            yield len(self._selected(page.sids, selection))

    def revoke(self, selection: Selection) -> Iterator[int]:
        """End the sessions that are meant, step by step; yields how many each step ended.

        :param selection: which are meant.
        :raises RevocationIncomplete: where Redis fails on the way.
        :raises RevocationUnconfirmed: where too few replicas have it in time.
        """
        ended = 0
        confirmed: list[int] = []
        try:
            for page in self.pages():
                count, spared = self._end(page.sids, selection, confirmed)
                if spared:
                    # Somebody signed in or out between the look and the end.
                    count += self._end(spared, selection, confirmed)[0]
                ended += count
                yield count
        except StoreUnavailable as failure:
            raise RevocationIncomplete(ended) from failure
        self._hashes.index.ensure_confirmed(ended, confirmed)

    def _selected(self, sids: Sequence[str], selection: Selection) -> list[_Found]:
        """Return those that are sessions, and meant."""
        held = self._hashes.index.held(sids, (BORN, SEEN, USER))
        return [
            (sid, user)
            for sid, (born, seen, user) in zip(sids, held, strict=True)
            if number(born) is not None
            and sid not in selection.keep
            and (user is not None or selection.anonymous)
            and _is_older(seen, selection.before)
            and _is_older(born, selection.created_before)
        ]

    def _end(
        self, sids: Sequence[str], selection: Selection, confirmed: list[int]
    ) -> tuple[int, list[str]]:
        """End those of these sessions that are meant; return how many, and the sids spared.

        How many replicas have it is appended to ``confirmed``, where that is asked.
        """
        found = self._selected(sids, selection)
        # Read before they end: where a creation that is sent twice brings one back, it differs.
        scores = self._redis.together(
            [_INDEX.on(self._index_key(user), "has", sid) for sid, user in found]
        )
        replies = self._hashes.index.end_each(
            [(sid, user or b"") for sid, user in found],
            selection.before,
            selection.created_before,
            confirmed,
        )
        ended: defaultdict[bytes | None, list[tuple[str, Any]]] = defaultdict(list)
        for (sid, user), score, reply in zip(found, scores, replies, strict=True):
            if reply == 1:
                ended[user].append((sid, score))
        self._redis.together(
            [
                _INDEX.on(self._index_key(user), "forget", *(part for one in gone for part in one))
                for user, members in ended.items()
                if (gone := [member for member in members if member[1] not in (None, b"other")])
            ]
        )
        for user, members in ended.items():
            self._backend.announce(text(user), [sid for sid, _ in members], "revoked")
        spared = [sid for (sid, _), reply in zip(found, replies, strict=True) if reply < 0]
        return sum(map(len, ended.values())), spared

    def _index_key(self, user: bytes | None) -> bytes:
        return f"{self._prefix}{INDEX}".encode() + (user or b"")


def _incarnation(node: Commands) -> object:
    """Return what tells a server from one that was started later or elsewhere."""
    return node.call(("INFO", "server"))["run_id"]


def _is_older(at: bytes | None, limit: float | None) -> bool:
    """Tell whether a time is before the limit; one that is not known is."""
    known = number(at)
    return limit is None or known is None or known < limit


def _utf8(name: bytes) -> str:
    """Return a part of a key as text; ``""`` where it is none."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""
