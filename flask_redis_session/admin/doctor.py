"""Find what is broken among an application's sessions in Redis, and mend it.

Requests are always on their way, and what one of them has half done must not count as broken. One
script judges and mends what one key says. Between a hash and an index:

- A session is added to its index after it was created. If it is missing there, that counts only
  from :data:`IN_FLIGHT` on, and after a second look. It is added first, and then looked at again.
- A session is added to the index of a user before it becomes theirs. A member whose session is
  somebody else's counts only if it was added :data:`IN_FLIGHT` ago. The script that removes it
  checks that again.
- A member without a session is dead: no other session gets its sid. It is removed only if it still
  has the score with which it was found, because a client may send a creation twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal, NamedTuple

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.script import Script, lua
from flask_redis_session.storage.record import number, text
from flask_redis_session.storage.token import is_sid

from .keyspace import INDEX, PAGE, KeySpace, Other

_SESSION = Script(
    lua("flask_redis_session.storage", "secrets.lua"), lua(__package__, "doctor_session.lua")
)
_INDEX = Script(lua(__package__, "doctor_index.lua"))

#: How long a request may be half-way between a hash and an index, in seconds. Our own clients give
#: up after a few seconds, but a client that the application passes may have no timeout.
IN_FLIGHT = 300

#: By how many milliseconds an index may seem to expire before a session in it. The two are not
#: looked at in the same moment.
LEEWAY = 5000

#: What may be wrong.
Kind = Literal[
    "dead-member",
    "stray-member",
    "unindexed",
    "no-expiry",
    "early-expiry",
    "no-session",
    "other-layout",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is broken.

    :param kind: what is wrong.
    :param key: the key, as it may be shown.
    :param sid: the session, if it is about one.
    :param user_id: the user of the session or of the index.
    :param note: a detail.
    :param mended: whether it was mended.
    """

    kind: Kind
    key: str
    sid: str | None = None
    user_id: str | None = None
    note: str = ""
    mended: bool = False


class Step(NamedTuple):
    """A step of the doctor's way through everything.

    :param sessions: how many sessions it looked at.
    :param indexes: how many indexes it looked at.
    :param done: how many keys and members it looked at.
    :param more: by how many members the way has become longer.
    :param findings: what is broken.
    """

    sessions: int
    indexes: int
    done: int
    more: int
    findings: Sequence[Finding]


class _Look(NamedTuple):
    """What ``doctor_session.lua`` replied about the key of a session."""

    state: str
    now: float = 0.0
    ttl: float = 0.0
    born: float = 0.0
    seen: float = 0.0
    user: bytes | None = None

    @classmethod
    def of(cls, reply: Sequence[bytes | None]) -> _Look:
        # Redis leaves out the user if there is none.
        state, now, ttl, born, seen, user = [*reply, *[None] * 6][:6]
        times = [number(value) or 0.0 for value in (now, ttl, born, seen)]
        return cls(text(state) or "", times[0], times[1], times[2], times[3], user)

    @property
    def is_session(self) -> bool:
        return self.state in ("sound", "endless", "overdue")


class Doctor:
    """Finds what is broken under an application's prefix, and mends it.

    :param backend: the sessions of the application.
    :param mends: whether to mend what is found.
    :param deletes_others: whether to delete keys of another layout, too.
    """

    def __init__(
        self, backend: ApplicationBackend, *, mends: bool = False, deletes_others: bool = False
    ) -> None:
        self._keyspace = KeySpace(backend)
        self._redis = backend.redis
        self._hashes = backend.hashes
        self._settings = backend.settings
        self._slack = backend.settings.touch_interval * 1000
        self._mends = mends
        self._deletes_others = deletes_others

    def steps(self) -> Iterator[Step]:
        """Go through everything, step by step.

        :raises StoreUnavailable: if Redis fails, or a server was replaced on the way.
        """
        for page in self._keyspace.pages():
            findings = [*self._others(page.others), *self._sessions(page.sids)]
            yield Step(len(page.sids), len(page.users), PAGE, 0, findings)
            for user in page.users:
                yield from self._index(user)

    def _others(self, others: Sequence[Other]) -> Iterator[Finding]:
        deleted = [0] * len(others)
        if self._deletes_others:
            deleted = self._redis.together(
                [_INDEX.on(other.key, "delete", other.kind) for other in others]
            )
        for other, is_deleted in zip(others, deleted, strict=True):
            shown = _masked(other.key, self._settings.prefix)
            yield Finding("other-layout", shown, note=other.kind, mended=is_deleted == 1)

    # ------------------------------------------------------------------ sessions

    def _look(self, sids: Sequence[str], *, mends: bool = False) -> list[_Look]:
        absolute, idle = self._settings.absolute, self._settings.lifetime
        arguments = ("mend" if mends else "look", "" if absolute is None else repr(absolute))
        replies = self._redis.together(
            [_SESSION.on(self._hashes.key(sid), *arguments, repr(idle)) for sid in sids]
        )
        return [self._redis.understood(_Look.of, reply) for reply in replies]

    def _sessions(self, sids: Sequence[str]) -> Iterator[Finding]:
        owned: dict[str, _Look] = {}
        for sid, look in zip(sids, self._look(sids, mends=self._mends), strict=True):
            finding = Finding(
                "no-expiry", self._shown(sid), sid, text(look.user), mended=self._mends
            )
            if look.state == "broken":
                yield replace(finding, kind="no-session", sid=None)
            elif look.state == "overdue":
                yield replace(finding, note="it should have ended by now")
            elif look.state == "endless":
                yield finding
            if look.state == "overdue" and self._mends:
                self._redis.call(_INDEX.on(self._index_key(look), "remove-old", IN_FLIGHT, sid))
            elif look.is_session and look.user is not None:
                owned[sid] = look
        yield from self._unindexed(owned)

    def _unindexed(self, owned: dict[str, _Look]) -> Iterator[Finding]:
        """Find the sessions that are not in the index of their user."""
        missing = self._missing(owned)
        old = [sid for sid in missing if owned[sid].born <= owned[sid].now - IN_FLIGHT]
        looks = dict(zip(old, self._look(old), strict=True))
        still = {sid: look for sid, look in looks.items() if look.user == owned[sid].user}
        for sid in self._missing(still):
            look = still[sid]
            user = text(look.user) or ""
            mended = self._mends and self._add(sid, look)
            yield Finding("unindexed", self._shown(sid), sid, user, mended=mended)

    def _missing(self, owned: dict[str, _Look]) -> list[str]:
        scores = self._redis.together(
            [_INDEX.on(self._index_key(look), "score", sid) for sid, look in owned.items()]
        )
        found = zip(owned, scores, strict=True)
        return [sid for sid, score in found if score is None or score == b"other"]

    def _add(self, sid: str, look: _Look) -> bool:
        """Add a session to the index of its user; tell whether that worked."""
        life = int(look.ttl + self._slack) + 1
        key = self._index_key(look)
        if self._redis.call(_INDEX.on(key, "add", sid, repr(look.seen), life)) != 1:
            return False
        if not self._look([sid])[0].is_session:
            self._remove(key, {sid.encode(): look.seen})
        return True

    def _remove(self, key: bytes, dead: dict[bytes, float]) -> None:
        """Remove dead members from an index, if they still have these scores."""
        pairs = [part for member, score in dead.items() for part in (member, repr(score))]
        self._redis.call(_INDEX.on(key, "remove-same", *pairs))

    def _index_key(self, look: _Look) -> bytes:
        return self._hashes.index.key("") + (look.user or b"")

    # ------------------------------------------------------------------ indexes

    def _index(self, user: str) -> Iterator[Step]:
        """Go through the index of a user."""
        key = self._hashes.index.key(user)
        size = self._redis.call(("ZCARD", key))
        yield Step(0, 0, 0, size, ())
        cursor, ends = 0, 0.0
        while True:
            cursor, members = self._redis.call(("ZSCAN", key, cursor, "COUNT", PAGE))
            scores = {bytes(member): float(score) for member, score in members}
            looks = self._look_at_members(scores)
            findings = [
                *self._dead_members(user, looks, scores),
                *self._stray_members(user, looks, scores),
            ]
            yield Step(0, 0, len(scores), 0, findings)
            own = [look.ttl for look in looks.values() if look.user == user.encode()]
            ends = max([ends, *(monotonic() * 1000 + ttl for ttl in own)])
            if cursor == 0:
                break
        if ends:
            yield Step(0, 0, 0, 0, list(self._expiry(user, ends)))

    def _look_at_members(self, members: Iterable[bytes]) -> dict[bytes, _Look]:
        """Look at the session of each member; a member that is not a sid has none."""
        sids = {member: sid for member in members if is_sid(sid := member.decode("latin-1"))}
        looks = dict(zip(sids, self._look(list(sids.values())), strict=True))
        return {member: looks.get(member, _Look("none")) for member in members}

    def _dead_members(
        self, user: str, looks: dict[bytes, _Look], scores: dict[bytes, float]
    ) -> Iterator[Finding]:
        """Find the members of an index that have no session."""
        dead = [member for member, look in looks.items() if not look.is_session]
        if dead and self._mends:
            self._remove(self._hashes.index.key(user), {member: scores[member] for member in dead})
        for member in dead:
            yield self._member("dead-member", user, member, self._mends)

    def _stray_members(
        self, user: str, looks: dict[bytes, _Look], scores: dict[bytes, float]
    ) -> Iterator[Finding]:
        """Find the members of an index whose session is somebody else's."""
        stray = [
            member
            for member, look in looks.items()
            if look.is_session
            and look.user != user.encode()
            and scores[member] <= look.now - IN_FLIGHT
        ]
        if not stray:
            return
        removed = [(member, 1) for member in stray]
        if self._mends:
            key = self._hashes.index.key(user)
            reply = self._redis.call(_INDEX.on(key, "remove-old", IN_FLIGHT, *stray))
            removed = self._redis.understood(lambda each: [*zip(stray, each, strict=True)], reply)
        for member, is_removed in removed:
            owner = text(looks[member].user)
            note = "of nobody" if owner is None else f"of user {owner!r}"
            if is_removed:
                yield self._member("stray-member", user, member, self._mends, note)

    def _expiry(self, user: str, ends: float) -> Iterator[Finding]:
        """Find an index that does not expire, or expires sooner than a session in it."""
        key = self._hashes.index.key(user)
        left = self._redis.call(_INDEX.on(key, "ttl"))
        needed = ends - monotonic() * 1000
        if not isinstance(left, int) or (left != -1 and not 0 <= left < needed - LEEWAY):
            return
        kind: Kind = "no-expiry" if left == -1 else "early-expiry"
        if self._mends:
            self._redis.call(_INDEX.on(key, "outlive", int(needed + self._slack) + 1))
        yield Finding(kind, self._shown(INDEX + user), None, user, mended=self._mends)

    def _member(
        self, kind: Kind, user: str, member: bytes, mended: bool, note: str = ""
    ) -> Finding:
        sid = member.decode("latin-1")
        # A member that is not a sid may be a whole cookie.
        sid = sid if is_sid(sid) else f"{sid[:4]}…"
        return Finding(kind, self._shown(INDEX + user), sid, user, note, mended)

    def _shown(self, rest: str) -> str:
        return self._settings.prefix + rest


def _masked(key: bytes, prefix: str) -> str:
    """Return the name of a key of another layout, as it may be shown.

    In Flask-Session the name of a key holds the cookie that opens the session.
    """
    rest = key.decode("utf-8", "replace").removeprefix(prefix)
    return f"{prefix}{rest}" if rest.startswith(INDEX) else f"{prefix}{rest[:4]}…"
