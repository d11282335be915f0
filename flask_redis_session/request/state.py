"""What is known of a session in one request: its phase, what was loaded, what the request wants.

``draft.py`` has the phases. This module moves from one to the next as Redis answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from flask_redis_session.errors import StoreUnavailable, UnstorableValue
from flask_redis_session.storage.record import TOMBSTONE, Binding, Changes, Record, field_of
from flask_redis_session.storage.token import Token

from .backend import SessionBackend, Usage
from .delivery import changes_nothing, reaches_no_browser
from .draft import NOTHING, Draft, Origin, Phase, Terms
from .lasting import LastingMapping
from .outcome import Outcome, Reply, Step
from .save import save
from .user import UserKey

if TYPE_CHECKING:
    from flask import Request

log = logging.getLogger("flask_redis_session")

TORN = "The session ended or changed its cookie while it was read. Please try again."


class SessionState(LastingMapping):
    """A mapping that loads itself when it is first used, and knows how it is to be saved.

    :param backend: where it comes from.
    :param tokens: what the request's cookies of our name say.
    :param permanent: whether a new session starts permanent.
    :param request: the request that it is opened for.
    """

    def __init__(
        self,
        backend: SessionBackend,
        tokens: Sequence[Token],
        *,
        permanent: bool = False,
        request: Request | None = None,
    ) -> None:
        super().__init__(backend, tokens[0] if tokens else None, permanent=permanent)
        self._request = request
        self._opened = monotonic()
        #: What is known of the session; see ``draft.py``.
        self._phase: Phase = "unproved" if tokens else "new"
        #: The cookie as the browser has it; the first of several, until Redis was asked.
        self._sent = self._token
        self._others = tokens[1:]
        # The public id that the application was told, of a session that is not stored yet.
        self._sid: str | None = None
        self._complete = not tokens
        # None: only nested changes, if any. False: the application said so.
        self._modified: bool | None = None
        self._forced = self._rotates = self._confirms = False
        self._usage: Usage | None = None
        self._failure: StoreUnavailable | None = None
        # Whether the response is being finished, what it read was empty by a failure, a value was
        # refused, and more than reading depends on what is loaded: then nothing kept is believed.
        self._is_finishing = self._lacks = self._is_refused = self._is_for_real = False

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._backend.user_keys.roots:
            self._load_for_sign_in()
        super().__setitem__(key, value)

    def _load_for_sign_in(self) -> None:
        # It depends on whose session it was before. It loads everything: if it turns out that it
        # needs a session of its own, that one takes it along.
        if self._complete:
            self._is_stored()
        else:
            self._fetch(None)
        if self._usage is not None:
            self._usage.signs_in = True

    def clear(self) -> None:
        super().clear()
        self._sid = None

    def _mutated(self) -> None:
        self._modified = True

    def _fetch(self, key: str | None) -> None:
        with self._lock:  # of threads that share it, one at a time
            self._load(key)

    def _load(self, key: str | None) -> None:
        if self._token is not None:  # pragma: no branch - without one it is complete
            self._attempt(partial(self._ask, self._token, key))
        self._complete = self._complete or self._token is None

    def _attempt(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except StoreUnavailable as failure:
            if not self._is_finishing:
                self._failure = failure
                raise
            if not self._complete:  # pragma: no branch - another thread met the failure first
                log.warning(
                    "A session cannot be loaded for a finished response: it reads as empty."
                )
            self._lacks = self._failure is None
            self._failure, self._complete = failure, True

    def _ask(self, token: Token, key: str | None) -> None:
        """Ask Redis for what is stored under a key, or under every key."""
        if self._failure is not None:
            # One wait for a dead server is enough for one request.
            raise self._failure
        if self._others:
            token = self._sent = self._token = self._backend.choose((token, *self._others))
            self._others = ()
        if self._usage is None:
            # The endpoint is known by now: Flask opens the session before it routes.
            endpoint = self._request.endpoint if self._request is not None else None
            # Without one it may be no request, such as Flask-SocketIO's of a connection.
            is_safe = self._backend.keeps and endpoint is not None and not self._is_for_real
            is_safe = is_safe and changes_nothing(self._request)
            self._usage = Usage(endpoint, self._used, is_safe)
        record, asked = self._backend.load(token, key, self._usage)
        self._usage.fetches += 1
        if record.standing != "live":
            asked = None
        if asked is None and self._usage.fetches == 1:
            self._usage.everything = record.fields
        if self._phase == "unproved":
            self._prove(record)
        elif record.standing != "live":
            # Some keys were already read; fail rather than report the rest as missing.
            raise StoreUnavailable(TORN)
        self._loaded(record.fields, asked)

    def _prove(self, record: Record) -> None:
        """Take over what Redis says of the cookie."""
        if record.standing == "live":
            self._phase, self._record = "live", record
        elif record.standing == "rotated":
            self._phase = "rotated"
        else:
            self._phase, self._token, self._complete = "gone", None, True

    def _is_stored(self) -> bool:
        """Tell whether there is a session that the cookie opens, loading it to know."""
        if self._phase == "unproved":
            self._fetch(self._backend.user_keys.roots[0])
        return self._phase == "live"

    def _stored_record(self) -> Record | None:
        return self._record if self._is_stored() else None

    def _binding(self, changed: Collection[UserKey]) -> Binding | None:
        """Return whose the session becomes, or ``None`` if it stays whose it is.

        :param changed: the user's keys that this request changed.
        """
        if not self._wiped and not changed:
            return None
        user = self._user()
        before = self._record.user if self._record is not None else None
        # After clear() even the same user has signed in anew.
        if user == before and not (self._wiped and user is not None):
            return None
        if user is None:
            return Binding(None)
        return Binding(user, *self._backend.device(self._request))

    def _is_done(self, status: int, is_asked: bool) -> bool:
        """Tell whether the end of the request has nothing to do for the session.

        :param status: of the response.
        :param is_asked: whether the application says itself if the cookie is sent.
        """
        if self._failure is not None:
            # The view was told, unless it failed for that; and nothing of this request's is lost.
            is_told = status != 500 and not self._modified and not self._lacks
            return is_told and (self._modified is False or not self._has_nested_changes())
        if self._modified is None and self._phase in ("new", "unproved"):
            return not self.permanent
        if is_asked or self._mutable or not self._is_only_read():
            return False
        with self._lock:  # of threads that still use it
            self._learn()
        return True

    def _draft(self, terms: Terms, nested: Changes | None = None) -> Draft:
        """Return what this request wants of its session.

        :param terms: what the settings say.
        :param nested: what it changed, if that is known already.
        :raises UnstorableValue: if a value has no form in Redis.
        :raises StoreUnavailable: if Redis fails while it is asked whose session this is.
        """
        if self._others or (self._modified is not False and self._needs_owner()):
            self._is_stored()
        changes, binding, origin = NOTHING, None, Origin()
        changed: list[UserKey] = []
        permanent, own = self.permanent, self._own()
        if self._modified is False:
            permanent = permanent if self._token is None else self._token.permanent
            own = None if self._record is None else self._record.own
        elif self._modified or self._mutable:
            changes = nested or self._changes()
            changed = self._changed_keys(changes)
            binding = self._binding(changed)
            signs_in = binding is not None and binding.user is not None
            if signs_in:
                origin = self._origin()
            if signs_in or self._is_reassigned:
                permanent = self._permanent_proved()
        is_wanted = self._modified is not False
        return Draft(
            terms,
            self._phase,
            self._token,
            self._sent,
            self._record,
            changes,
            binding,
            origin,
            self._backend.rules,
            sid=self._sid,
            permanent=permanent,
            permanent_anew=self._permanent_anew(),
            own=own,
            rotates=is_wanted and (self._rotates or self._turns_user(changed)),
            confirms=is_wanted and self._confirms,
            forced=self._forced,
            is_late=monotonic() - self._opened > TOMBSTONE,
            is_undeliverable=reaches_no_browser(self._request),
        )

    def _origin(self) -> Origin:
        assigned = [*map(field_of, self._assigned)]
        return Origin(self._holder(), self._fields, self._dropped(), assigned)

    def _save(self, terms: Terms, send: Callable[[Step], Reply]) -> Outcome:
        """Save what this request wants of its session, and become what came of it.

        :param terms: what the settings say.
        :param send: sends a step to Redis and returns the reply.
        :raises UnstorableValue: if a value has no form in Redis; nothing was written.
        :raises StoreUnavailable: if Redis fails.
        """
        if self._failure is not None:
            raise self._failure
        try:
            with self._lock:  # of threads that still use it
                self._learn()
                is_only_read = self._is_only_read()
                nested = self._changes() if is_only_read and self._mutable else None
                if is_only_read and not nested:
                    # A draft would come to the same, but this is what most requests are.
                    return Outcome("leave", self._phase, self._token, self._record)
                draft = self._draft(terms, nested)
            if self._failure is not None:
                # In a finished response a load fails in silence: whose session is it?
                raise self._failure
            outcome = save(draft, send)
        except StoreUnavailable as failure:
            self._failure = failure
            raise
        except UnstorableValue as error:
            if self._is_refused:
                # Flask saves again with its error page: once is enough to say so.
                return Outcome("leave", self._phase)
            self._is_refused = True
            error.endpoint = self._request.endpoint if self._request is not None else None
            raise
        self._take_over(outcome)
        return outcome

    def _learn(self) -> None:
        """Let the backend know what the request used of what it loaded."""
        if self._usage is not None:
            self._backend.learn(self._usage)
            self._usage = None

    def _is_only_read(self) -> bool:
        """Tell whether nothing is due but what changed inside of values, if anything did."""
        return (
            self._modified is None
            and self._token is not None
            # Else an earlier save of this request owes the browser a cookie.
            and self._token is self._sent
            and not (self.permanent or self._token.permanent)
            and self._record is not None
            and not self._backend.is_due(self._record)
        )

    def _take_over(self, outcome: Outcome) -> None:
        """Become what a save made of the session.

        :param outcome: what came of the save.
        """
        if outcome.written is not None and outcome.token is not None:
            with self._lock:  # of threads that still use it
                is_another = self._token is None or self._token.sid != outcome.token.sid
                # First what the browser is owed: if something raises now, Flask saves again.
                self._phase, self._token, self._record = "live", outcome.token, outcome.record
                if is_another:
                    self._keep_only(outcome.written.sets)
                self._settle(outcome.written)
            self._sid = None
            self._is_reassigned = False
            self._rotates = self._confirms = self._forced = False
        elif outcome.phase == "new" and self._phase != "new":
            self._end()
        elif outcome.phase == "gone" and self._phase == "unproved":
            self._prove(Record("gone"))

    def _end(self) -> None:
        """Become a new and empty session: the stored one has been ended."""
        if self._token is not None:
            self._backend.ended(self._token)
        self.clear()
        if self._phase not in ("gone", "rotated"):
            self._phase = "new"
        self._token = self._record = None
        self._rotates = self._confirms = self._forced = False
