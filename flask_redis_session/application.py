"""The sessions of one application: its settings and its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from .arrivals import mover_of
from .client.meter import count_loaded, count_written
from .client.url import connect
from .cookie import CookieFlags
from .device import kept_of
from .errors import StoreUnavailable
from .request.backend import Loaded, Usage
from .request.draft import Terms
from .request.loading import LoadPlans
from .request.outcome import Create, Reply, Step, Touch, Touched, Written
from .request.save import record_of
from .request.touch_memory import TouchMemory
from .request.user import UserKeys, user_keys
from .request.user_advice import UserAdvice
from .revocation_marks import notes_of
from .settings import Settings
from .signals import session_ended
from .storage.at_once import Deed
from .storage.commit import Committed
from .storage.kept import commands, kept_sessions
from .storage.record import Changes, Record, field_of
from .storage.session_hash import SessionHashes
from .storage.token import Token, new_token
from .storage.user_sessions import UserSessions

if TYPE_CHECKING:
    from flask import Flask, Request


#: After how many loads a request that wants yet another key gets all of them.
MOST_FETCHES = 3

#: With less than so many seconds of idle lifetime left (or half of it), a load sends the touch.
RUNNING_OUT = 300.0


class ApplicationBackend:
    """The sessions of one application, as its sessions and its interface see them.

    :param settings: the settings of the application.
    :param app: the application, for the signals; it is not kept alive.
    """

    def __init__(self, settings: Settings, app: Flask | None = None) -> None:
        self.settings = settings
        #: Returns the application, if there is one and it still lives.
        self.app: Callable[[], Flask | None] = _nobody if app is None else ref(app)
        #: Whether anything was asked of it. Until then the application may change its settings.
        self.is_in_use = app is None
        self.absolute, self.rules = settings.absolute, settings.merge
        self.kept = kept_sessions(
            settings.keep, settings.keep_stale, settings.prefix, settings.absolute
        )
        self.keeps = self.kept is not None
        self.redis = commands(self._client, self.kept)
        self.hashes = SessionHashes(
            self.redis,
            settings.prefix,
            absolute=settings.absolute,
            touch_interval=settings.touch_interval,
        )
        #: The sessions of users, outside of a request.
        self.users = UserSessions(
            self.redis,
            self.hashes,
            wait=settings.revoke_wait,
            most=settings.max_per_user,
            announce=self.announce,
            note=notes_of(self),
        )
        #: Carries old sessions over; ``None`` without a ``SESSION_IMPORT``.
        self.mover = mover_of(self)
        self._plans = LoadPlans() if settings.load == "auto" else None
        #: The flags of the application's cookie.
        self.cookie_flags = CookieFlags()
        self._user_advice = UserAdvice()
        #: What this process touched lately.
        self.touches = TouchMemory()

    @cached_property
    def user_keys(self) -> UserKeys:
        """The keys that say whose a session is; Flask-Login may come after the sessions."""
        return user_keys(self.settings.user_keys, self.app())

    def _client(self) -> Any:
        if self.settings.url is None:
            return self.settings.redis
        return connect(self.settings.url)

    def terms(self, app: Flask) -> Terms:
        """Return what the settings say of every session at this moment.

        :param app: the application: Flask's own settings may change while it runs.
        """
        return Terms(
            permanent=app.permanent_session_lifetime.total_seconds(),
            passing=self.settings.lifetime,
            refreshes=app.config["SESSION_REFRESH_EACH_REQUEST"],
        )

    def _terms_now(self) -> Terms:
        # The request keeps it alive.
        app: Any = self.app()
        return self.terms(app)

    def idle_lifetime(self, permanent: bool) -> float:
        """Return the idle lifetime that the settings give a session, in seconds.

        :param permanent: whether it is permanent.
        """
        return self._terms_now().lifetime(permanent).idle

    def now(self) -> datetime:
        """Return the present (UTC), by Redis's clock as far as it is known."""
        return datetime.fromtimestamp(self.hashes.clock.now(), timezone.utc)

    def load(self, token: Token, key: str | None, usage: Usage) -> Loaded:
        """Load what is needed to know a key, or every key if it is ``None``.

        :param token: the cookie.
        :param key: the session key that is wanted.
        :param usage: what the request used so far.
        :raises StoreUnavailable: if Redis fails.
        """
        kept = self.kept if usage.is_safe else None
        if kept is not None:
            believed = kept.believed(token, partial(self._fields, key, usage))
            if believed is not None:
                count_loaded(token.sid, believed[0].fields)
                usage.is_warm = True
                return believed
        usage.is_warm = False
        fields = self._fields(key, usage)
        record = self.hashes.load(token, fields)
        count_loaded(token.sid, record.fields)
        if self._is_running_out(record):
            record = self._touched_early(token, record)
        elif kept is not None and record.standing == "live":
            kept.offer(token, fields, record, _late(record))
        return record, fields

    def is_due(self, record: Record) -> bool:
        """Tell whether a session that is only read should be touched.

        :param record: what was loaded of it.
        """
        return self.hashes.is_due(record.born, record.seen, record.idle)

    def choose(self, tokens: Sequence[Token]) -> Token:
        """Return the cookie that counts among several of one name.

        The first one that opens a session counts, else one that was rotated away or signed out
        lately: a request without either is not to get a new session beside it.

        :param tokens: the cookies.
        :raises StoreUnavailable: if Redis fails.
        """
        standings = self.hashes.standings(tokens)
        for standing in ("live", "rotated"):
            if standing in standings:
                return tokens[standings.index(standing)]
        return tokens[0]

    def _is_running_out(self, record: Record) -> bool:
        """Tell whether a session may end, for want of use, while this request goes on."""
        late = _late(record)
        return late is not None and late < self.hashes.clock.now()

    def _touched_early(self, token: Token, record: Record) -> Record:
        """Send the touch that is due now rather than at the end, and return what is known then.

        Who comes in time stays, however long the request takes.
        """
        try:
            lifetime = self._terms_now().lifetime(token.permanent)
            committed = self.hashes.commit(token, Changes(), lifetime, known=record)
        except StoreUnavailable:
            return record  # The request has what it came for.
        if committed.what != "saved":
            return record
        fields = {**record.fields, **record_of(committed, record.user).fields}
        return replace(record, fields=fields)

    def _fields(self, key: str | None, usage: Usage) -> tuple[bytes, ...] | None:
        """Return the fields to ask for; ``None``: all."""
        if self._plans is None or key is None or usage.fetches >= MOST_FETCHES:
            return None
        roots = self.user_keys.roots
        wanted = {*map(field_of, roots if key in roots else (key,))}
        if usage.fetches:
            return tuple(wanted)
        usage.first = wanted
        planned = self._plans.of(usage.endpoint).fields
        return None if planned is None else tuple(wanted.union(planned))

    def learn(self, usage: Usage) -> None:
        """Take note of what a request used of a session that it loaded.

        :param usage: what it used.
        """
        if self._plans is not None and usage.fetches and (usage.signs_in or not usage.is_warm):
            plan = self._plans.of(usage.endpoint)
            if usage.signs_in:
                plan.load_whole()
            plan.learn(usage.fields, usage.fetches - 1, usage.everything, usage.first)

    def advise(self, session: Mapping[str, Any]) -> None:
        """Tell the application, once, if a session that is nobody's holds something.

        :param session: the session.
        """
        self._user_advice.give(self.user_keys, session)

    def announce(self, user: str | None, sids: Iterable[str], reason: str) -> None:
        """Send the signal that these sessions ended.

        :param user: whose they were, as text.
        :param sids: the sessions.
        :param reason: why, as :data:`~.signals.session_ended` lists.
        """
        for sid in sids if session_ended.receivers else ():
            session_ended.send(self.app(), sid=sid, user_id=user, reason=reason)

    def send(self, step: Step) -> Reply:
        """Send a step of a save to Redis and return the reply.

        :param step: what to do.
        :raises StoreUnavailable: if Redis fails; a touch that fails is no failure.
        """
        if isinstance(step, Touch):
            return Touched(self._touch(step))
        if isinstance(step, Create):
            own = step.lifetime.idle if step.lifetime.rule == "assign" else None
            token = new_token(step.permanent, step.sid).lasting(step.permanent, own)
            created = self.hashes.create(token, step.changes, step.lifetime, step.binding)
            count_written(token.sid, created.what, step.changes.sets)
            return Written(step, token, created)
        fresh = step.token.rotated() if step.rotates else None
        committed = self.hashes.commit(
            step.token,
            step.changes,
            step.lifetime,
            fresh=fresh,
            binding=step.binding,
            known=step.record,
            confirms=step.confirms,
        )
        if committed.what == "conflict" and committed.stored.keys() != step.changes.guards.keys():
            raise self.redis.mistrust()
        count_written(step.token.sid, committed.what, step.changes.sets, step.changes.deletes)
        if fresh is not None and committed.what == "saved":
            self.ended(step.token)
        return Written(step, fresh or step.token, committed)

    def at_once(self, token: Token, deed: Deed, known: Record | None) -> Committed:
        """Do something to one key of a stored session, if its cookie opens it.

        :param token: the cookie.
        :param deed: what to do.
        :param known: what was loaded of the session; ``None``: nothing was.
        :raises StoreUnavailable: if Redis fails.
        """
        lifetime = self._terms_now().lifetime(token.permanent)
        committed = self.hashes.at_once(token, deed, lifetime, known)
        count_written(token.sid, committed.what, (deed.field,))
        return committed

    def _touch(self, step: Touch) -> bool:
        """Touch a session if that is due; tell whether its cookie may be sent again."""
        token, record = step.token, step.record
        count_written(token.sid, "")
        if record is not None:
            if not self.is_due(record):
                return True
        else:
            # Only the cookie tells of a shorter lifetime: the session must not end while in use.
            idle = min(step.lifetime.idle, token.lifetime or step.lifetime.idle)
            alive = self.touches.standing(token, self.hashes.interval.of(idle))
            if alive is not None:
                return alive
        # Record it before sending, so that parallel requests do not all touch.
        self.touches.asks(token)
        try:
            committed = self.hashes.commit(token, Changes(), step.lifetime, known=record)
        except StoreUnavailable:
            # A request that does without its session must not wait for a dead server.
            self.touches.pause()
            return False
        if committed.what != "saved":
            return False
        self.touches.found_alive(token)
        return True

    def ended(self, token: Token) -> None:
        """Note that a cookie opens nothing any more.

        :param token: the cookie.
        """
        self.touches.ended(token)

    def device(self, request: Request | None) -> tuple[str | None, str | None]:
        """Return the user agent and the address to keep of a sign-in.

        :param request: the request that signs in.
        """
        return kept_of(request, self.settings.device_info)


def _nobody() -> None:
    return None


def _late(record: Record) -> float | None:
    """Return from when on a load sends the touch, in epoch seconds; ``None``: it is not known."""
    seen, idle = record.seen, record.idle
    return None if seen is None or idle is None else seen + idle - min(RUNNING_OUT, idle / 2)
