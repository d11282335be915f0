"""The session of one request."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import TypeVar

from flask.sessions import SessionMixin

from flask_redis_session.errors import RevocationIncomplete, StoreUnavailable
from flask_redis_session.storage.record import (
    Record,
    SessionInfo,
    Standing,
    expiry,
    field_of,
    moment,
)
from flask_redis_session.storage.revocation import Selection
from flask_redis_session.storage.token import Token, new_sid

from .at_once import AtOnceState
from .backend import SessionBackend, Usage, When
from .user import user_text

R = TypeVar("R")


class RedisSession(AtOnceState, SessionMixin):
    """A mapping that loads itself when it is first used and knows what was changed in it.

    Nested changes are noticed without ``session.modified = True``.

    :param backend: where it comes from.
    :param tokens: what the request's cookies of our name say.
    :param permanent: whether a new session starts permanent.
    :param request: the request that it is opened for.
    :param carry: carries the session of an old cookie over; ``None``: there is none.
    """

    # Flask's context assigns it when flask.session is used.
    accessed = False

    @property
    def sid(self) -> str:
        """The public id, safe to log and to show; with a cookie, to ask for it loads the session.

        It is chosen when it is first asked for, and the session is stored under it. A stored
        session keeps it, also if ``clear()`` empties it and the same request puts something in
        again. One that is not stored yet has another one after ``clear()``, and so has a sign-in
        that gets a session of its own.
        """
        if self._is_stored() and self._token is not None:
            return self._token.sid
        if self._sid is None:
            self._sid = new_sid()
        return self._sid

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether there is no stored session yet."""
        return not self._is_stored()

    @property
    def modified(self) -> bool:
        """Whether something was changed, even deep inside a value; it can be assigned."""
        return self._has_nested_changes() if self._modified is None else self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = self._forced = bool(value)

    @property
    def created_at(self) -> datetime | None:
        """When the session was created (UTC); ``None`` until it is stored."""
        record = self._stored_record()
        return moment(record.born) if record else None

    @property
    def signed_in_at(self) -> datetime | None:
        """When its user signed in or was last confirmed (UTC).

        ``None`` while the session is nobody's, and if that is not known. A sign-in or ``confirm()``
        of this request is now.
        """
        user = self._user()
        if user is None:
            return None
        record = self._stored_record()
        before = None if record is None else record.user
        if self._confirms or (user != before and self._is_assigned()):
            return self._backend.now()
        return None if record is None or user != before else moment(record.signed)

    @property
    def last_seen_at(self) -> datetime | None:
        """When the session was last seen before this request, to ``SESSION_TOUCH_INTERVAL``."""
        record = self._stored_record()
        return moment(record.seen) if record else None

    @property
    def expires_at(self) -> datetime | None:
        """When the session ends if it is not used again (UTC); ``None`` until it is stored."""
        record = self._stored_record()
        if record is None:
            return None
        return moment(expiry(record.since, record.seen, record.idle, self._backend.absolute))

    def regenerate(self) -> None:
        """Give the session a fresh secret: the old cookie is dead, ``sid`` and data stay.

        It happens by itself when the user of the session appears, changes or goes
        (OWASP Session Management: renew the session id after any privilege level change).
        """
        self._rotates = True
        self._mutated()

    def confirm(self) -> None:
        """Note that the user has just proved who they are: ``signed_in_at`` is now.

        By the password once more, or by a second factor. The session gets a fresh secret too.

        :raises RuntimeError: if the session is nobody's.
        """
        if self._somebody_now() is None:
            raise RuntimeError("This session is nobody's: sign the user in instead.")
        self._confirms = True
        self.regenerate()

    def user_sessions(self, user_id: object = None) -> list[SessionInfo]:
        """Return the live sessions of the current user, or of another one, last seen first.

        :param user_id: whose; ``None``: the current user's.
        :raises TypeError: if ``user_id`` is of a type that no user id has.
        :raises StoreUnavailable: if Redis fails.
        """
        user = self._somebody_now() if user_id is None else user_text("user_id", user_id)
        return [] if user is None else self._backend.users.list_sessions(user, current=self.sid)

    def clear_user_sessions(
        self, user_id: object = None, *, before: When | None = None, keep_current: bool = False
    ) -> int:
        """End the sessions of the current user, or of another one; return how many.

        The current session is ended too if it is among them; this request may go on to
        use it, as a new one.

        :param user_id: whose; ``None``: the current user's.
        :param before: only those last seen before: an aware time, so long ago, or epoch
            seconds. The current session counts as seen now.
        :param keep_current: whether to spare the current session.
        :raises ValueError: if ``before`` is a naive time.
        :raises TypeError: if ``user_id`` or ``before`` is of another type.
        :raises RevocationIncomplete: if Redis fails on the way.
        """
        self._look_again()
        mine = self._user() if user_id is not None else self._somebody()
        user = mine if user_id is None else user_text("user_id", user_id)
        if user is None:
            return 0
        current = self.sid
        keep = frozenset([current] if keep_current else [])
        selection = Selection(before=self._backend.users.epoch("before", before), keep=keep)
        ended = self._backend.users.revoke_from(user, selection, current)
        if current in ended:
            self._end()
        elif user == mine and before is None and not keep_current:
            ended += self._end_unlisted(user, current, len(ended))
        return len(ended)

    def _somebody(self) -> str | None:
        """Return whose session it is; the application hears of one that is nobody's."""
        user = self._user()
        if user is None:
            self._backend.advise(self)
        return user

    def _somebody_now(self) -> str | None:
        """Return whose session it is, by Redis's word and not by what is kept."""
        self._look_again()
        return self._somebody()

    def _look_again(self) -> None:
        """Believe nothing any more that is kept: more than reading depends on it now."""
        if not self._backend.keeps or self._is_for_real:
            return
        self._is_for_real = True
        if self._usage is not None:
            self._usage.is_safe = False
        if self._token is not None and self._record is not None and self._record.is_kept:
            self._attempt(partial(self._prove_again, self._token, self._record))

    def _prove_again(self, token: Token, known: Record) -> None:
        """Ask Redis of what this request knows from what is kept alone."""
        with self._lock:
            record, asked = self._backend.load(token, None, Usage(None, set()))
            if record.standing != "live" or record.user != known.user:
                # As if Redis had been asked at once; what the request assigned stays.
                self._keep_only({*map(field_of, self._assigned)})
                self._complete = record.standing != "live"
            self._phase, self._record = "unproved", None
            self._prove(record)
            if record.standing == "live":
                self._loaded(record.fields, asked)

    def _load_for_sign_in(self) -> None:
        # Who signs in must not be taken for whoever was here a moment ago.
        self._look_again()
        super()._load_for_sign_in()

    def _end_unlisted(self, user: str, current: str, ended: int) -> list[str]:
        """End this session, which was not among its user's; return its sid if it was alive.

        A sign-in of this request is not stored yet; or the index was evicted, or a reply was lost.
        """
        found: list[str] = []
        if self._record is not None and self._record.user == user:
            found = self._backend.users.revoke_one(user, current)
            try:
                standing: Standing = "live" if found else self._standing_now()
            except StoreUnavailable as failure:
                raise RevocationIncomplete(ended) from failure
            if standing == "live" and not found:
                # It is nobody's now, and has the same cookie.
                return []
            if not found:
                # Another request ended it, such as the first of a double click, or made it somebody
                # else's: by now the browser may have another cookie.
                self._phase = "rotated" if standing == "rotated" else "gone"
        self._end()
        return found

    def _standing_now(self) -> Standing:
        """Return what the request's cookie opens by now."""
        if self._token is None:  # pragma: no cover - whoever is somebody's has one
            return "gone"
        key, usage = self._backend.user_keys.roots[0], Usage(None, set())
        return self._backend.load(self._token, key, usage)[0].standing

    def _finish(self, response: R) -> R:
        """Note that the response is being finished: an exception could only spoil it.

        :param response: the response, which is returned as it is.
        """
        self._is_finishing = True
        return response

    def _cookie_sid(self, backend: SessionBackend) -> str | None:
        """Return the sid that the request's cookie names, if it is one of this backend's."""
        return self._token.sid if self._token and self._backend is backend else None

    def _ended_outside(self, backend: SessionBackend, sids: Collection[str]) -> None:
        """Become a new session if this one is among those that the application just ended.

        :param backend: whose sessions were ended.
        :param sids: the sessions.
        """
        if self._backend is backend and self._token is not None and self._token.sid in sids:
            self._end()

    def __repr__(self) -> str:
        # Neither loads anything nor shows what may be private.
        sid = self._token.sid if self._token is not None else None
        return f"<RedisSession {sid}>"
