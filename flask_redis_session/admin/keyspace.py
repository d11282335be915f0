"""Every session of an application, whoever it belongs to, as SCAN finds it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.commands import ZREVRANGE, Commands
from flask_redis_session.client.script import Script, lua
from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.revocation_marks import marks_of
from flask_redis_session.storage.record import BORN, SEEN, SIGNED, USER, number, text
from flask_redis_session.storage.revocation import Revocation, Selection
from flask_redis_session.storage.token import is_sid

from .cluster_scan import nodes_to_scan

_INDEX = Script(lua(__package__, "doctor_index.lua"))

#: How many keys SCAN goes through at a time.
PAGE = 1000

_GLOB = re.compile(r"[\\*?\[]")


class Other(NamedTuple):
    """A key under the prefix that this package did not put there.

    :param key: the key.
    :param kind: its type, as Redis names it.
    """

    key: bytes
    kind: str


class Page(NamedTuple):
    """What one step of SCAN found.

    :param sids: the hashes that have the name of a session, by their sids.
    :param users: the sorted sets that have the name of an index, by their users.
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


#: What stands between the prefix and the user's id in the key of an index.
INDEX = "user:"

#: What stands there in the key of a mark of an import, which is a string and ends by itself.
MARK = "old:"

#: A session, and its user.
_Found = tuple[str, bytes | None]


class KeySpace:
    """Goes through every key under an application's prefix, on each primary of a cluster.

    It finds every key that is there from the beginning to the end. It may miss a key that comes
    or goes meanwhile, and may find a key twice if the key space shrinks meanwhile.

    :param backend: the sessions of the application.
    """

    def __init__(self, backend: ApplicationBackend) -> None:
        self._backend = backend
        self._redis = backend.redis
        self._hashes = backend.hashes
        self._prefix = backend.settings.prefix

    def now(self) -> float:
        """Return the time of the server, in epoch seconds.

        :raises StoreUnavailable: if Redis fails.
        """
        seconds, micros = self._redis.nodes()[0].call(("TIME",))
        return int(seconds) + int(micros) / 1e6

    def size(self) -> int:
        """Return how many keys Redis holds, under any prefix.

        :raises StoreUnavailable: if Redis fails.
        """
        return sum(node.call(("DBSIZE",)) for node in self._redis.nodes())

    def pages(self) -> Iterator[Page]:
        """Yield what is under the prefix, step by step; a step goes through ``PAGE`` keys.

        :raises StoreUnavailable: if Redis fails. Also if a server was replaced or slots moved on
            the way, because some keys may have been missed.
        """
        for ours in names_under(self._redis, self._prefix):
            kinds = self._redis.together([("TYPE", name) for name in ours])
            yield self._by_kind(
                (name, kind.decode() if isinstance(kind, bytes) else kind)
                for name, kind in zip(ours, kinds, strict=True)
            )

    def _by_kind(self, names: Iterable[tuple[bytes, str]]) -> Page:
        page = Page([], [], [])
        start = len(self._prefix.encode())
        for name, kind in names:
            rest = _utf8(name[start:])
            if kind == "hash" and is_sid(rest):
                page.sids.append(rest)
            elif kind == "zset" and rest.startswith(INDEX):
                page.users.append(rest.removeprefix(INDEX))
            elif kind != "none" and not (kind == "string" and rest.startswith(MARK)):
                page.others.append(Other(name, kind))
        return page

    def count(self) -> Iterator[Count]:
        """Count the sessions, step by step; yields what each step adds.

        :raises StoreUnavailable: as :meth:`pages`.
        """
        for page in self.pages():
            hashes = self._hashes.index.read_fields(page.sids, (BORN, USER))
            owners = [user for born, user in hashes if number(born) is not None]
            yield Count(len(owners), self._count_signed_in(page.users), owners.count(None))

    def newest(self, users: Sequence[str]) -> list[str | None]:
        """Return what is last in the index of each user; ``None`` if there is no index.

        :param users: the users' ids, as text.
        :raises StoreUnavailable: if Redis fails.
        """
        index, understood = self._hashes.index, self._redis.understood
        replies = self._redis.together([(ZREVRANGE, index.key(user), 0, 0) for user in users])
        return [understood(lambda words: _utf8(words[0]) if words else None, r) for r in replies]

    def _count_signed_in(self, users: Sequence[str]) -> int:
        """Return how many of these users have a live session."""
        index = self._hashes.index
        newest = {
            user: sid
            for user, sid in zip(users, self.newest(users), strict=True)
            if sid is not None
        }
        hashes = index.read_fields(list(newest.values()), (BORN, USER))
        alive = {
            user
            for user, (born, owner) in zip(newest, hashes, strict=True)
            if number(born) is not None and text(owner) == user
        }
        # If the newest session is dead, an older one may be alive.
        return len(alive) + sum(any(index.list_pages(u, limit=1)) for u in {*newest} - alive)

    def count_selected(self, selection: Selection, *, anonymous: bool) -> Iterator[int]:
        """Count the selected sessions, step by step; yields what each step adds.

        :param selection: which sessions.
        :param anonymous: whether sessions of no user are among them.
        :raises StoreUnavailable: as :meth:`pages`.
        """
        for page in self.pages():
            yield len(self._selected(page.sids, selection, anonymous))

    def revoke(self, selection: Selection, *, anonymous: bool) -> Iterator[int]:
        """Revoke the selected sessions, step by step; yields how many each step revoked.

        :param selection: which sessions.
        :param anonymous: whether sessions of no user are among them.
        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        revocation = self._backend.users.revocation()
        with revocation.checked():
            marks = marks_of(self._backend)
            if marks is not None:
                revocation.begin(marks.all_revoked(selection, anonymous=anonymous))
            for page in self.pages():
                found = self._selected(page.sids, selection, anonymous)
                count, changed = self._revoke(found, selection, revocation)
                if changed:
                    # Somebody signed in or out after these were looked at.
                    found = self._selected(changed, selection, anonymous)
                    count += self._revoke(found, selection, revocation)[0]
                yield count

    def _selected(self, sids: Sequence[str], selection: Selection, anonymous: bool) -> list[_Found]:
        """Return those that are sessions, and selected."""
        hashes = self._hashes.index.read_fields(sids, (BORN, SEEN, USER, SIGNED))
        return [
            (sid, user)
            for sid, (born, seen, user, signed) in zip(sids, hashes, strict=True)
            if number(born) is not None
            and (user is not None or anonymous)
            and selection.selects(sid, number(seen), number(born), number(signed))
        ]

    def _revoke(
        self, found: Sequence[_Found], selection: Selection, revocation: Revocation
    ) -> tuple[int, list[str]]:
        """Revoke these sessions; return how many, and the sids of those that changed meanwhile."""
        # Read before they end: if a creation that is sent twice brings one back, its score differs.
        scores = self._redis.together(
            [_INDEX.on(self._index_key(user), "score", sid) for sid, user in found]
        )
        replies = revocation.of_anyone([(sid, user or b"") for sid, user in found], selection)
        revoked: defaultdict[bytes | None, list[tuple[str, Any]]] = defaultdict(list)
        for (sid, user), score, reply in zip(found, scores, replies, strict=True):
            if reply == 1:
                revoked[user].append((sid, score))
        self._redis.together(
            [
                _INDEX.on(
                    self._index_key(user), "remove-same", *(x for pair in known for x in pair)
                )
                for user, members in revoked.items()
                if (known := [member for member in members if member[1] not in (None, b"other")])
            ]
        )
        for user, members in revoked.items():
            self._backend.announce(text(user), [sid for sid, _ in members], "revoked")
        changed = [sid for (sid, _), reply in zip(found, replies, strict=True) if reply < 0]
        return replies.count(1), changed

    def _index_key(self, user: bytes | None) -> bytes:
        return self._hashes.index.key("") + (user or b"")


def names_under(redis: Commands, prefix: str) -> Iterator[list[bytes]]:
    """Yield the names of all keys under a prefix, step by step; a step goes through ``PAGE`` keys.

    :param redis: where they are.
    :param prefix: the prefix.
    :raises StoreUnavailable: if Redis fails. Also if a server was replaced or slots moved on the
        way, because some keys may have been missed.
    """
    nodes = redis.nodes()
    for node in nodes_to_scan(nodes) if redis.is_cluster else nodes:
        for names in _scan(node, prefix):
            yield [name for name in names if name.startswith(prefix.encode())]


def _scan(node: Commands, prefix: str) -> Iterator[list[bytes]]:
    pattern = _GLOB.sub(r"\\\g<0>", prefix) + "*"
    started = _incarnation(node)
    cursor = 0
    while True:
        cursor, names = node.call(("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE))
        yield names
        if cursor == 0:
            break
    if _incarnation(node) != started:
        # A restarted server, or one that took over, has the keys in another order. The
        # cursor meant nothing to it, and many keys may have been missed.
        raise StoreUnavailable("The server was replaced meanwhile; run it again.")


def _incarnation(node: Commands) -> object:
    """Return what differs between a server and one that was started later or elsewhere."""
    return node.understood(lambda info: info["run_id"], node.call(("INFO", "server")))


def _utf8(name: bytes) -> str:
    """Return a part of a key as text; ``""`` if it is not UTF-8."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""
