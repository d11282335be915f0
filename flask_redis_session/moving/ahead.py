"""Carry Flask-Session's sessions over before their browsers come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from flask_redis_session.client.commands import Commands
from flask_redis_session.request.draft import Terms
from flask_redis_session.storage.record import Binding
from flask_redis_session.storage.session_hash import SessionHashes
from flask_redis_session.storage.token import new_sid

from .content import Content
from .mover import Mover, Old
from .old_cookie import OldKey, digest_of, id_of

#: What became of one. *already*: it had come over before, or is coming. *revoked*: its user's
#: sessions were. *empty*: it holds nothing, or has no readable user. *unreadable*: its text is
#: neither MessagePack nor JSON.
Result = Literal["moved", "already", "revoked", "empty", "unreadable"]


class Found(NamedTuple):
    """A key of Flask-Session's.

    :param key: the key.
    :param digest: the SHA-256 of its id.
    :param text: what is stored there.
    :param left: how long it has to live, in milliseconds; less than 1: for ever.
    """

    key: OldKey
    digest: str
    text: bytes
    left: int


class Ahead:
    """Carries sessions over whose cookies nobody has sent yet.

    :param mover: says which, and where they are.
    :param redis: the Redis of the sessions here.
    :param hashes: the sessions here.
    :param terms: what the settings say of every session.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    """

    def __init__(
        self,
        mover: Mover,
        redis: Commands,
        hashes: SessionHashes,
        terms: Terms,
        *,
        absolute: float | None,
    ) -> None:
        self._mover = mover
        self._redis = redis
        self._hashes = hashes
        self._terms = terms
        self._absolute = absolute

    def found(self, names: Sequence[bytes]) -> list[Found]:
        """Return those of some keys that are Flask-Session's.

        :param names: the keys; not many, because their texts are kept in memory.
        :raises StoreUnavailable: if Redis fails.
        """
        store = self._mover.store
        ids = [(OldKey(name), id_of(name, store.prefix)) for name in names]
        known = [(key, digest_of(old_id)) for key, old_id in ids if old_id is not None]
        keys = [key for key, _ in known]
        return [
            Found(key, digest, text, left)
            for (key, digest), text, left in zip(
                known, store.texts(keys), store.lives(keys), strict=True
            )
            if text is not None
        ]

    def move(self, found: Found, *, dry_run: bool = False) -> Result:
        """Carry one over; its cookie opens it when the browser comes back.

        :param found: the session.
        :param dry_run: whether to change nothing, and only say what would become of it.
        :raises StoreUnavailable: if Redis fails.
        """
        old = self._mover.old_of(found.key, found.digest, found.text)
        if old is None:
            return "unreadable"
        content = old.content
        if content is None:
            return "empty"
        if self._mover.marks.is_known(old.digest):
            return "already"
        if self._mover.marks.is_revoked(content.user, None):
            return "revoked"
        return "moved" if dry_run else self._moved(old, content, found.left)

    def _moved(self, old: Old, content: Content, left: int) -> Result:
        mover, sid = self._mover, new_sid()
        until, permanent = mover.until(old), content.permanent
        claim = mover.marks.claim(old.digest, sid, until, permanent=permanent, ahead=True)
        if claim.what != "yours":
            return "already"
        mover.tidy(claim, content.user)
        token = mover.create(old, content, sid, self._terms, Binding(None), state="ready")
        if token is None:
            return "revoked"
        if left > 0:
            self._keep(sid, content.user, left)
        return "moved"

    def _keep(self, sid: str, user: str | None, left: int) -> None:
        """Let a session live for as long as the old one would, until its browser comes back."""
        left = left if self._absolute is None else min(left, int(self._absolute * 1000))
        if user is not None:
            # The index must not end before the session.
            self._redis.call(self._hashes.index.touch(user, sid, left / 1000))
        self._redis.call(("PEXPIRE", self._hashes.key(sid), left))
