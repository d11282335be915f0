"""Carry an old session over: prove it, claim it, create the new one, end the old one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from flask_redis_session.client.commands import Commands
from flask_redis_session.client.script import Script, lua
from flask_redis_session.client.url import connect
from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.request.arrival import NOTHING, Arrival
from flask_redis_session.request.draft import Terms
from flask_redis_session.request.user import UserKeys
from flask_redis_session.storage.record import Binding, Changes, mark
from flask_redis_session.storage.session_hash import SessionHashes
from flask_redis_session.storage.token import Token, new_sid, new_token

from .content import Content, content_of
from .flask_session import FlaskSessionStore, decoded
from .marks import Claim, Marks, State
from .old_cookie import OldCookie, OldKey, Proof, old_cookies
from .settings import FLASK_SESSION, ImportSettings

if TYPE_CHECKING:
    from flask import Flask, Request

log = logging.getLogger("flask_redis_session")

_JOIN = Script(
    lua("flask_redis_session.storage", "refused.lua"),
    lua("flask_redis_session.storage", "secrets.lua"),
    lua(__package__, "join.lua"),
)

#: How long a request waits for another one's import before it looks again, in seconds.
PAUSE = 0.03
#: How often it looks: for longer than a claim lasts that nothing follows.
MOST_LOOKS = 50

_UNREADABLE = (
    "An old session cannot be read: it is neither MessagePack nor JSON. Flask-Session 0.8 reads "
    "what an older one wrote, and writes it as MessagePack at the next request."
)


class Old(NamedTuple):
    """An old session that was proved.

    :param source: of which sessions it is.
    :param digest: the SHA-256 of what was proved.
    :param content: what it holds; ``None``: nothing, or nothing any more.
    :param signed_at: when its cookie was signed, in epoch seconds; ``None``: not known.
    :param key: its key in Redis; ``None``: it has none.
    """

    source: str
    digest: str
    content: Content | None
    signed_at: float | None
    key: OldKey | None


class Mover:
    """Carries old sessions over, each once.

    :param settings: which, and from where.
    :param redis: the Redis of the sessions here.
    :param hashes: the sessions here.
    :param prefix: their prefix.
    :param user_keys: returns the keys that say whose a session is.
    """

    #: Waits for so many seconds.
    pause: Callable[[float], object] = staticmethod(time.sleep)

    def __init__(
        self,
        settings: ImportSettings,
        redis: Commands,
        hashes: SessionHashes,
        prefix: str,
        *,
        user_keys: Callable[[], UserKeys],
    ) -> None:
        self.settings = settings
        self.store = FlaskSessionStore(_old_redis(settings) or redis, settings.prefix)
        self.marks = Marks(redis, prefix, settings.last)
        self._redis = redis
        self._hashes = hashes
        self._user_keys = user_keys

    def cookies(self, request: Request, name: str) -> list[OldCookie]:
        """Return what a request brings that has the form of an old cookie. Redis is not asked.

        :param request: the request.
        :param name: the name of the cookie of the sessions here.
        """
        settings = self.settings
        now = self._hashes.clock.now()
        name = settings.cookie or name
        signed = settings.is_signed
        return [*old_cookies(request, name, settings.until, now, is_signed=signed)]

    def carry(
        self, app: Flask, cookies: Sequence[OldCookie], terms: Terms, device: Binding
    ) -> Arrival:
        """Carry over what old cookies stand for: the first of them that is a session.

        :param app: the application.
        :param cookies: the cookies.
        :param terms: what the settings say of every session.
        :param device: the user agent and the address to keep.
        :raises StoreUnavailable: if Redis fails.
        """
        best = NOTHING
        for cookie in cookies:
            proof = cookie.proof(app, is_signed=self.settings.is_signed)
            old = None if proof is None else self._old(proof)
            arrival = NOTHING if old is None else self._carried(old, terms, device)
            if arrival.phase == "unproved":
                return arrival
            best = best if best.phase == "rotated" else arrival
        return best

    def opens(self, token: Token) -> bool:
        """Tell whether the cookie of what was carried over still opens it, as far as is known.

        :param token: the cookie.
        """
        try:
            return self._hashes.standings([token]) == ["live"]
        except StoreUnavailable:
            # The old one is spent: this one is better than none.
            return True

    def _old(self, proof: Proof) -> Old | None:
        """Return what a proof stands for; of Flask-Session's, Redis has the rest of the proof."""
        if proof.source == FLASK_SESSION:
            key = self.store.key(proof.text)
            text = self.store.texts([key])[0]
            if text is None:
                # It may have come over a moment ago.
                return Old(proof.source, proof.digest, None, None, key)
            old = self.old_of(key, proof.digest, text)
            return None if old is None or old.content is None else old
        content = content_of(proof.content or {}, self._user_keys())
        if content is None:
            return None
        return Old(proof.source, proof.digest, content, proof.signed_at, None)

    def old_of(self, key: OldKey, digest: str, text: bytes) -> Old | None:
        """Return an old session of Flask-Session's; ``None`` if its text cannot be read.

        :param key: its key.
        :param digest: the SHA-256 of its id.
        :param text: what is stored there.
        """
        data = decoded(text)
        if data is None:
            log.warning(_UNREADABLE)
            return None
        content = content_of(data, self._user_keys())
        return Old(FLASK_SESSION, digest, content, None, key)

    def _carried(self, old: Old, terms: Terms, device: Binding) -> Arrival:
        content = old.content
        if content is not None and self.marks.is_revoked(content.user, old.signed_at):
            # It may have come over before that, as the one session that was to stay.
            content = None
        sid = "" if content is None else new_sid()
        permanent = content is not None and content.permanent
        for _ in range(MOST_LOOKS):
            claim = self.marks.claim(old.digest, sid, self.until(old), permanent=permanent)
            if claim.what == "wait":
                self.pause(PAUSE)
            elif content is not None and claim.what == "yours":
                self.tidy(claim, content.user)
                token = self.create(old, content, sid, terms, device, state="became")
                if token is not None:
                    return Arrival("unproved", token, is_new=True, user=content.user)
                # Revoked meanwhile, or taken over: the mark tells. If it were claimed again, two
                # slow requests could take it from each other for ever.
                sid = ""
            elif claim.what == "stale" and content is not None:
                break
            else:
                return self._arrived(claim)
        raise StoreUnavailable("Another request is carrying this session over.")

    def until(self, old: Old) -> float:
        """Return until when the mark of an old session stays, in epoch seconds."""
        return self.settings.marked_until(old.source)

    def tidy(self, claim: Claim, user: str | None) -> None:
        """End what a claim may have left behind that was given up.

        :param claim: the claim that took its place.
        :param user: whose session it is, as text.
        :raises StoreUnavailable: if Redis fails.
        """
        if claim.sid:
            self._end(claim.sid, user)

    def _end(self, sid: str, user: str | None) -> None:
        """End a session that nobody has the cookie of."""
        index = [] if user is None else [("ZREM", self._hashes.index.key(user), sid)]
        self._redis.together([("UNLINK", self._hashes.key(sid)), *index])

    def create(
        self, old: Old, content: Content, sid: str, terms: Terms, device: Binding, *, state: State
    ) -> Token | None:
        """Store an old session that was claimed; ``None``: it must not be, or is another's now.

        :param old: the old session.
        :param content: what it holds.
        :param sid: the sid that it was claimed for.
        :param terms: what the settings say of every session.
        :param device: the user agent and the address to keep.
        :param state: what the old session is from then on.
        :raises StoreUnavailable: if Redis fails. The claim can then be taken over.
        """
        user, permanent = content.user, content.permanent
        token = new_token(permanent, sid)
        lifetime = terms.lifetime(permanent, "set")
        binding = Binding(None) if user is None else device._replace(user=user, signs_in=False)
        created = self._hashes.create(token, Changes({**content.fields}), lifetime, binding)
        # After it is in the index: a revocation leaves its mark before it reads the index. So
        # either it finds this session there, or this finds its mark.
        is_over = created.what != "saved" or self.marks.is_revoked(user, old.signed_at)
        if is_over:
            self._end(sid, user)
            state = "spent"
        is_ours = self.marks.follow(old.digest, sid, state, self.until(old), permanent=permanent)
        if is_over:
            return None
        if not is_ours:
            self._end(sid, user)
            return None
        if old.key is not None and not self.settings.keeps_old:
            # It opens nothing any more, whether it goes or not.
            with suppress(StoreUnavailable):
                self.store.end(old.key)
        return token

    def _arrived(self, claim: Claim) -> Arrival:
        """Return what an old cookie means that another request has carried over."""
        if claim.what not in ("join", "late"):
            return NOTHING
        token = new_token(claim.permanent, claim.sid)
        if claim.what == "join":
            reply = self._redis.call(_JOIN.on(self._hashes.key(claim.sid), token.proof))
            if not isinstance(reply, list) or len(reply) != 2 or reply[1] != mark(token.proof):
                raise self._redis.mistrust()
            if reply[0] == b"joined":
                return Arrival("unproved", token)
        # The browser has the new cookie by now, or another one after it: this request must not
        # replace that. Its own opens nothing.
        return Arrival("rotated", token)


def _old_redis(settings: ImportSettings) -> Commands | None:
    """Return the way to the Redis of Flask-Session's, if it is another one."""
    url, client = settings.url, settings.redis
    if url is not None:
        return Commands(lambda: connect(url))
    return None if client is None else Commands(lambda: client)
