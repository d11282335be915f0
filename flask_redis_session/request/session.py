"""The session of one request."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flask.sessions import SessionMixin

from flask_redis_session.errors import RevocationIncomplete, StoreUnavailable, UnstorableValue
from flask_redis_session.storage.record import (
    TOMBSTONE,
    Binding,
    Record,
    SessionInfo,
    expiry,
    moment,
)
from flask_redis_session.storage.revocation import Selection
from flask_redis_session.storage.token import Token

from .backend import SessionBackend, Usage, When
from .mapping import TrackedMapping

if TYPE_CHECKING:
    from flask import Request


_TORN = "The session ended or changed its cookie while it was read. Please try again."


class RedisSession(TrackedMapping, SessionMixin):
    """A mapping that loads itself when it is first used and knows what was changed in it.

    Nested changes are noticed without ``session.modified = True``.

    :param backend: where it comes from.
    :param token: what the request's cookie says; ``None`` where there is no such cookie.
    :param permanent: whether a new session starts permanent.
    :param request: the request that it is opened for.
    """

    # Flask's context assigns it when flask.session is used.
    accessed = False

    def __init__(
        self,
        backend: SessionBackend,
        token: Token | None,
        *,
        permanent: bool = False,
        request: Request | None = None,
    ) -> None:
        super().__init__()
        self._backend = backend
        #: The cookie that opens the stored session; ``None`` while there is none.
        self._token = token
        self._request = request
        self._opened = monotonic()
        self._starts_permanent = permanent
        self._permanent = permanent if token is None else token.permanent
        self._chose_permanent = False
        self._complete = token is None
        self._record: Record | None = None
        self._usage: Usage | None = None
        # None: only nested changes, if any. False: the application said so.
        self._modified: bool | None = None
        self._forced = False
        self._rotates = False
        self._emptied = False
        # Whether the browser is still to get the secret that opens the session now.
        self._owes_cookie = False
        self._failure: StoreUnavailable | None = None

    @property
    def sid(self) -> str | None:
        """The public id, safe to log and to show; ``None`` until the session is stored."""
        return self._token.sid if self._is_stored() and self._token else None

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether there is no stored session yet."""
        return not self._is_stored()

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser, for ``PERMANENT_SESSION_LIFETIME``."""
        return self._permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._chose_permanent = True
        if bool(value) != self._permanent:
            self._permanent = bool(value)
            self._mutated()

    @property
    def modified(self) -> bool:
        """Whether something was changed, be it deep inside a value; it can be assigned."""
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
        return moment(expiry(record.born, record.seen, record.idle, self._backend.absolute))

    def regenerate(self) -> None:
        """Give the session a fresh secret: the old cookie is dead, ``sid`` and data stay.

        It happens by itself when the user of the session appears, changes or goes
        (OWASP Session Management: renew the session id after any privilege level change).
        """
        self._rotates = True
        self._mutated()

    def user_sessions(self, user_id: object = None) -> list[SessionInfo]:
        """Return the live sessions of the current user, or of another one, last seen first.

        :param user_id: whose; ``None``: the current user's.
        :raises TypeError: where ``user_id`` is of a type that no user id has.
        :raises StoreUnavailable: where Redis fails.
        """
        user = self._user() if user_id is None else user_text("user_id", user_id)
        return [] if user is None else self._backend.list_sessions(user, current=self.sid)

    def clear_user_sessions(
        self, user_id: object = None, *, before: When | None = None, keep_current: bool = False
    ) -> int:
        """End the sessions of the current user, or of another one; return how many.

        The current session is ended too where it is among them; this request may go on to
        use it, as a new one.

        :param user_id: whose; ``None``: the current user's.
        :param before: only those last seen before: an aware time, so long ago, or epoch
            seconds. The current session counts as seen now.
        :param keep_current: whether to spare the current session.
        :raises ValueError: where ``before`` is a naive time.
        :raises TypeError: where ``user_id`` or ``before`` is of another type.
        :raises RevocationIncomplete: where Redis fails on the way.
        """
        mine = self._user()
        user = mine if user_id is None else user_text("user_id", user_id)
        if user is None:
            return 0
        current = self.sid
        keep = frozenset([current] if keep_current and current is not None else [])
        selection = Selection(before=self._backend.epoch("before", before), keep=keep)
        ended = self._backend.revoke_from(user, selection, current)
        if current in ended:
            self._end()
        elif user == mine and before is None and not keep_current:
            ended += self._end_unlisted(user, current, len(ended))
        return len(ended)

    def _end_unlisted(self, user: str, current: str | None, ended: int) -> list[str]:
        """End this session, which was not among its user's; return its sid if it was alive.

        A sign-in of this request is not stored yet; or the index was evicted, or a reply was lost.
        """
        found: list[str] = []
        if current is not None and self._is_bound(user):
            found = self._backend.revoke_one(user, current)
            try:
                is_there = not found and self._is_there()
            except StoreUnavailable as failure:
                raise RevocationIncomplete(ended) from failure
            if is_there:
                # Another request made it somebody else's, or nobody's: the cookie is theirs.
                return []
        self._end()
        return found

    def _is_there(self) -> bool:
        """Tell whether the session still exists, whoever's it may be by now."""
        if self._token is None:
            return False
        key, usage = self._backend.user_keys[0], Usage(None, set())
        return self._backend.load(self._token, key, usage)[0].standing != "gone"

    def _is_bound(self, user: str) -> bool:
        """Tell whether the stored session is a user's; a sign-in of this request is not stored."""
        return self._record is not None and self._record.user == user

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._backend.user_keys:
            # A sign-in is judged by whose session it was before. It loads all there is: where it
            # turns out that it needs a session of its own, that one is to have it too.
            if self._complete:
                self._is_stored()
            else:
                self._fetch(None)
            if self._usage is not None:
                self._usage.signs_in = True
        super().__setitem__(key, value)

    def clear(self) -> None:
        super().clear()
        # As in Flask, whose session keeps it among what is cleared.
        self._permanent = self._starts_permanent
        self._chose_permanent = False

    def __repr__(self) -> str:
        # Neither loads anything nor shows what may be private.
        sid = self._token.sid if self._token is not None else None
        return f"<RedisSession {sid}>"

    def _mutated(self) -> None:
        self._modified = True

    def _fetch(self, key: str | None) -> None:
        # Of threads that share it, one at a time.
        with self._lock:
            self._load(key)

    def _load(self, key: str | None) -> None:
        if self._failure is not None:
            # One wait for a dead server is enough for one request.
            raise self._failure
        if self._token is None:
            self._complete = True
            return
        if self._usage is None:
            # The endpoint is known by now: Flask opens the session before it routes.
            endpoint = self._request.endpoint if self._request is not None else None
            self._usage = Usage(endpoint, self._used)
        try:
            record, asked = self._backend.load(self._token, key, self._usage)
        except StoreUnavailable as failure:
            self._failure = failure
            raise
        self._usage.fetches += 1
        if record.standing != "live":
            if self._record is not None and self._record.standing == "live":
                # Half of it was read. The other half must not read as if it had not been there.
                self._failure = StoreUnavailable(_TORN)
                raise self._failure
            asked = None
        if self._record is None:
            self._record = record
            if asked is None:
                self._usage.everything = record.fields
            if record.standing in ("gone", "unknown"):
                self._disown()
        self._loaded(record.fields, asked)

    def _is_untouched(self) -> bool:
        """Tell whether the end of the request has nothing to do for the session."""
        return (
            self._modified is None
            and self._record is None
            and self._failure is None
            and not self._permanent
        )

    def _is_only_read(self) -> bool:
        """Tell whether nothing was assigned, and nothing was read that can change in place."""
        return self._modified is None and not self._mutable

    def _is_stored(self) -> bool:
        """Tell whether there is a session that the cookie opens, loading it to know."""
        if self._record is None and self._token is not None:
            self._fetch(self._backend.user_keys[0])
        return self._record is not None and self._record.standing == "live"

    def _stored_record(self) -> Record | None:
        return self._record if self._is_stored() else None

    def _user(self) -> str | None:
        """Return whose session it is in this request."""
        for key in self._backend.user_keys:
            value = self.get(key)
            if value is None or value == "":
                continue
            try:
                return user_text(key, value)
            except UnstorableValue as error:
                if key in self._assigned:
                    raise
                # Nobody can have assigned it: another program has written it.
                self._note_damage(key, error)
        return None

    def _binding(self) -> Binding | None:
        """Return whose the session becomes, or ``None`` where it stays whose it is."""
        keys = self._backend.user_keys
        if not self._wiped and not any(k in self._assigned or k in self._deleted for k in keys):
            return None
        user = self._user()
        before = self._record.user if self._record is not None else None
        # After clear() even the same user has signed in anew.
        if user == before and not (self._wiped and user is not None):
            return None
        return Binding(user)

    def _opened_by(self, sids: Collection[str]) -> bool:
        """Tell whether the request's cookie names one of these sessions, without a load."""
        return self._token is not None and self._token.sid in sids

    def _end(self) -> None:
        """Become a new and empty session: the stored one has been ended."""
        if self._token is not None:
            self._backend.ended(self._token)
        self.clear()
        self._token = self._record = None
        self._wiped = self._rotates = self._forced = self._owes_cookie = False
        self._emptied = True

    def _disown(self) -> None:
        """Become a new session with this request's changes: the cookie opened none."""
        self._token = None
        self._complete = True
        self._emptied = self._wiped
        if not self._chose_permanent:
            # What a cookie says that opens nothing counts for nothing.
            self._permanent = self._starts_permanent

    def _is_slow(self) -> bool:
        """Tell whether the request has run for so long that its tombstone may be gone."""
        return monotonic() - self._opened > TOMBSTONE

    def _saved(self, token: Token, record: Record) -> None:
        """Note that the session is stored now.

        :param token: the cookie that opens it.
        :param record: what is stored.
        """
        if self._token is None or token.secret != self._token.secret:
            self._owes_cookie = True
        self._token = token
        self._record = record
        self._forced = self._rotates = False


def user_text(key: str, value: object) -> str:
    """Return a user's id as the text that names their index.

    :param key: under which it was found, for the error.
    :param value: the id.
    :raises UnstorableValue: where its type is not that of an id.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        problem = f"a user's id must be a str, an int or a UUID, not {type(value).__name__}."
        raise UnstorableValue(key, problem)
    try:
        text = str(value)
        text.encode()
    except UnicodeEncodeError:
        raise UnstorableValue(key, "a user's id must not hold a lone surrogate.") from None
    except ValueError:
        # Python writes no int of more than some thousand digits.
        raise UnstorableValue(key, "a user's id must not be so long a number.") from None
    return text
