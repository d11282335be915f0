"""The marks in Redis: what an old session became, and whose sessions were revoked meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Command, Script, lua
from flask_redis_session.storage.record import number
from flask_redis_session.storage.revocation import Selection

from .flask_session import texts

_CLAIM = Script(lua("flask_redis_session.storage", "refused.lua"), lua(__package__, "claim.lua"))
_FOLLOW = Script(lua(__package__, "follow.lua"))
_REVOKED = Script(lua(__package__, "revoked.lua"))

#: What became of an old session, as ``claim.lua`` tells it.
What = Literal["yours", "wait", "stale", "join", "late", "spent", "none"]

#: What came of a claim, as ``follow.lua`` takes it.
State = Literal["became", "ready", "spent"]


class Claim(NamedTuple):
    """What an old cookie means.

    :param what: as ``claim.lua`` lists it.
    :param sid: of the session that it became, or of a claim that was given up; ``""``: of none.
    :param permanent: whether that session is permanent.
    """

    what: What
    sid: str
    permanent: bool


class Marks:
    """The marks under one prefix. Each is a string, and outlives the import.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as in ``SESSION_KEY_PREFIX``.
    :param last: until when the marks of users stay, in epoch seconds.
    """

    def __init__(self, redis: Commands, prefix: str, last: float) -> None:
        self._redis = redis
        self._prefix = f"{prefix}old:"
        self._last = _milliseconds(last)

    def key(self, digest: str) -> bytes:
        """Return the key of the mark of an old session.

        :param digest: the SHA-256 of what was proved.
        """
        return f"{self._prefix}{digest}".encode()

    def user_keys(self, user: str | None) -> list[bytes]:
        """Return the keys of the marks that are about a user's sessions.

        :param user: the user's id, as text; ``None``: nobody.
        """
        # Nobody has an empty id.
        own = f"{self._prefix}user:{user or ''}".encode()
        return [own] if user is None else [own, f"{self._prefix}users".encode()]

    def is_known(self, digest: str) -> bool:
        """Tell whether an old session came over, or opens nothing any more.

        :param digest: the SHA-256 of what was proved.
        :raises StoreUnavailable: if Redis fails.
        """
        text = texts(self._redis, [self.key(digest)])[0]
        return text is not None and not text.startswith(b"claimed")

    def claim(
        self, digest: str, sid: str, until: float, *, permanent: bool, ahead: bool = False
    ) -> Claim:
        """Claim an old session, or say what became of it.

        :param digest: the SHA-256 of what was proved.
        :param sid: the sid that it would become; ``""``: nothing is claimed.
        :param until: until when the mark stays, in epoch seconds.
        :param permanent: whether it is permanent.
        :param ahead: whether this is not the browser that has the old cookie.
        :raises StoreUnavailable: if Redis fails.
        """
        key = self.key(digest)
        words = (sid, _kind(permanent), _milliseconds(until), "ahead" if ahead else "")
        reply = self._redis.call(_CLAIM.on(key, *words))
        _, what, known, kind = self._proven(key, reply, 4)
        return Claim(what.decode(), known.decode(), kind == b"p")

    def follow(self, digest: str, sid: str, state: State, until: float, *, permanent: bool) -> bool:
        """Say what came of a claim; tell whether it still was this one's.

        :param digest: the SHA-256 of what was proved.
        :param sid: the sid of the claim.
        :param state: what the old session is from now on.
        :param until: until when the mark stays, in epoch seconds.
        :param permanent: whether it is permanent.
        :raises StoreUnavailable: if Redis fails.
        """
        key = self.key(digest)
        words = (sid, _kind(permanent), state, _milliseconds(until))
        return bool(self._proven(key, self._redis.call(_FOLLOW.on(key, *words)), 2)[1])

    def is_revoked(self, user: str | None, signed_at: float | None) -> bool:
        """Tell whether a user's sessions were revoked, one of this age among them.

        :param user: the user's id, as text; ``None``: nobody.
        :param signed_at: when the old cookie was signed, in epoch seconds; ``None``: that is not
            known, and any revocation counts.
        :raises StoreUnavailable: if Redis fails.
        """
        times = [text for text in texts(self._redis, self.user_keys(user)) if text is not None]
        # Of a damaged mark nobody knows the time.
        return any(signed_at is None or at is None or signed_at < at for at in map(number, times))

    def revoked(self, user: str, selection: Selection) -> list[Command]:
        """Return what notes that a user's sessions are being revoked; send it before they end.

        :param user: the user's id, as text.
        :param selection: which sessions.
        """
        return self._noted([self.user_keys(user)[0]], selection)

    def all_revoked(self, selection: Selection, *, anonymous: bool) -> list[Command]:
        """Return what notes that everybody's sessions are being revoked.

        :param selection: which sessions.
        :param anonymous: whether those of nobody are among them.
        """
        keys = [self.user_keys("")[1], *(self.user_keys(None) if anonymous else ())]
        return self._noted(keys, selection)

    def _noted(self, keys: Sequence[bytes], selection: Selection) -> list[Command]:
        if selection.only is not None:
            # These are sessions here; what has not come over yet is none of them.
            return []
        limit = selection.created_before if selection.before is None else selection.before
        moment = "" if limit is None else f"{limit:.6f}"
        return [_REVOKED.on(key, moment, self._last) for key in keys]

    def _proven(self, key: bytes, reply: Any, length: int) -> list[Any]:
        if not isinstance(reply, list) or len(reply) != length or reply[0] != key:
            raise self._redis.mistrust()
        return reply


def _kind(permanent: bool) -> str:
    return "p" if permanent else "-"


def _milliseconds(at: float) -> int:
    return int(at * 1000) + 1
