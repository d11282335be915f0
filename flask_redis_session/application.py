"""The sessions of one application: its settings and its store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import ref

from .advice import Advice
from .client.commands import Commands
from .client.url import connect
from .device import clipped, device
from .errors import SettingError, StoreUnavailable
from .request.backend import Loaded, Usage
from .request.loading import LoadPlans
from .request.touch_memory import TouchMemory
from .settings import Settings
from .signals import session_ended
from .storage.record import Changes, Record, SessionInfo, field_of, moment
from .storage.revocation import Revocation, Selection
from .storage.session_hash import Lifetime, SessionHashes
from .storage.token import Token, is_sid

if TYPE_CHECKING:
    from flask import Flask, Request

#: After how many loads a request that wants yet another key gets all of them.
MOST_FETCHES = 3

#: No point in time is more seconds from the epoch.
MOST_SECONDS = 1e15

#: What Redis takes for the number of a member of an index.
MOST_SESSIONS = 2**62


class ApplicationBackend:
    """The sessions of one application, as its sessions and its interface see them.

    :param settings: the settings of the application.
    :param app: the application, for the signals; it is not kept alive.
    """

    def __init__(self, settings: Settings, app: Flask | None = None) -> None:
        self.settings = settings
        self._app: Callable[[], Flask | None] = _nobody if app is None else ref(app)
        self.user_keys = settings.user_keys
        self.absolute = settings.absolute
        self.redis = Commands(self._client)
        self.hashes = SessionHashes(
            self.redis,
            settings.prefix,
            absolute=settings.absolute,
            touch_interval=settings.touch_interval,
        )
        self._plans = LoadPlans() if settings.load == "auto" else None
        #: What the application is told of its cookie.
        self.advice = Advice()
        self._first_flags: dict[str, Any] | None = None
        #: What this process touched lately.
        self.touches = TouchMemory()

    def _client(self) -> Any:
        if self.settings.url is None:
            return self.settings.redis
        return connect(self.settings.url)

    def load(self, token: Token, key: str | None, usage: Usage) -> Loaded:
        """Load what is needed to know a key, or every key where it is ``None``.

        :param token: the cookie.
        :param key: the session key that is wanted.
        :param usage: what the request used so far.
        :raises StoreUnavailable: where Redis fails.
        """
        fields = self._fields(key, usage)
        return self.hashes.load(token, fields), fields

    def _fields(self, key: str | None, usage: Usage) -> tuple[bytes, ...] | None:
        """Return the fields to ask for; ``None``: all."""
        if self._plans is None or key is None or usage.fetches >= MOST_FETCHES:
            return None
        wanted = {*map(field_of, self.user_keys if key in self.user_keys else (key,))}
        if usage.fetches:
            return tuple(wanted)
        usage.first = wanted
        planned = self._plans.of(usage.endpoint).fields
        return None if planned is None else tuple(wanted.union(planned))

    def learn(self, usage: Usage) -> None:
        """Take note of what a request used of a session that it loaded.

        :param usage: what it used.
        """
        if self._plans is not None and usage.fetches:
            plan = self._plans.of(usage.endpoint)
            if usage.signs_in:
                plan.load_whole()
            plan.learn(usage.fields, usage.fetches - 1, usage.everything, usage.first)

    def reflags(self, flags: dict[str, Any]) -> bool:
        """Tell whether the cookie's flags are others than when the application started.

        Only then is the same cookie sent again where a session is modified. Sent with every
        change, it could overtake a rotation that another request made meanwhile, and sign the
        browser out.

        :param flags: the flags, as ``response.set_cookie`` takes them.
        """
        if self._first_flags is None:
            self._first_flags = flags
        return flags != self._first_flags

    def list_pages(
        self, user: str, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[list[SessionInfo]]:
        """Yield a user's live sessions page by page, last seen first.

        A session that is seen between two pages may be in both.

        :param user: the user's id, as text.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises ValueError: if one of them is negative, or more than Redis counts.
        :raises TypeError: if one of them is not a number.
        :raises StoreUnavailable: if Redis fails.
        """
        if limit is not None:
            _check_count("limit", limit)
        _check_count("offset", offset)
        yield from self.hashes.index.list_pages(user, limit=limit, offset=offset)

    def list_sessions(
        self, user: str, *, limit: int | None = None, offset: int = 0, current: str | None = None
    ) -> list[SessionInfo]:
        """Return a user's live sessions, last seen first; the current one is seen now.

        :param user: the user's id, as text.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :param current: the sid of the current session, which is marked.
        :raises ValueError: as :meth:`list_pages`.
        :raises TypeError: as :meth:`list_pages`.
        :raises StoreUnavailable: if Redis fails.
        """
        infos = {
            info.sid: info
            for page in self.list_pages(user, limit=limit, offset=offset)
            for info in page
        }
        if current in infos:
            now = moment(self.hashes.clock.now())
            infos[current] = replace(infos[current], current=True, last_seen_at=now)
        return sorted(infos.values(), key=_last_seen, reverse=True)

    def index_size(self, user: str) -> int:
        """Return how many members a user's index has, dead ones included.

        :param user: the user's id, as text.
        :raises StoreUnavailable: if Redis fails.
        """
        size: int = self.redis.call(("ZCARD", self.hashes.index.key(user)))
        return size

    def revoke(
        self, user: str, selection: Selection, *, reason: str = "revoked"
    ) -> Iterator[list[str]]:
        """Revoke sessions of a user page by page, and announce each; yields their sids.

        :param user: the user's id, as text.
        :param selection: which of them.
        :param reason: for the signal.
        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        revocation = self.revocation()
        with revocation.checked():
            for page in revocation.of_user(user, selection):
                self.announce(user, page, reason)
                yield page

    def revocation(self) -> Revocation:
        """Return a new revocation, in which nothing is revoked yet."""
        return Revocation(self.redis, self.hashes.index, self.settings.revoke_wait)

    def revoke_from(self, user: str, selection: Selection, current: str | None) -> list[str]:
        """Revoke sessions of a user out of a request; return the sids.

        :param user: the user's id, as text.
        :param selection: which of them.
        :param current: the sid of the session of the request, which counts as seen now.
        :raises RevocationIncomplete: if Redis fails on the way.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        before = selection.before
        if current is not None and before is not None and before <= self.hashes.clock.now():
            selection = replace(selection, keep=selection.keep | {current})
        return [sid for page in self.revoke(user, selection) for sid in page]

    def revoke_one(self, user: str, sid: str) -> list[str]:
        """Revoke one session of a user, even if their index lacks it; return its sid if it lived.

        :param user: the user's id, as text.
        :param sid: the session.
        :raises RevocationIncomplete: if Redis fails.
        :raises RevocationUnconfirmed: if too few replicas have it in time.
        """
        selection = Selection(only=frozenset([sid]))
        return [sid for page in self.revoke(user, selection) for sid in page]

    def revoke_surplus(self, user: str, *, keep: str) -> None:
        """Revoke a user's sessions beyond ``SESSION_MAX_PER_USER``.

        :param user: the user's id, as text.
        :param keep: the sid that was signed in just now.
        """
        most = self.settings.max_per_user
        if most is None:
            return
        # The sign-in stands even if Redis fails now; the next one makes up for it.
        with suppress(StoreUnavailable):
            # The order is the same for all: otherwise two sign-ins at once could each revoke the
            # other.
            surplus = frozenset(self.hashes.index.list_by_arrival(user)[most:]) - {keep}
            if surplus:
                deque(self.revoke(user, Selection(only=surplus), reason="replaced"), maxlen=0)

    def announce(self, user: str | None, sids: Iterable[str], reason: str) -> None:
        """Send the signal that these sessions ended.

        :param user: whose they were, as text.
        :param sids: the sessions.
        :param reason: why, as :data:`~.signals.session_ended` lists.
        """
        for sid in sids if session_ended.receivers else ():
            session_ended.send(self._app(), sid=sid, user_id=user, reason=reason)

    def touch(self, token: Token, record: Record | None, lifetime: Lifetime) -> bool:
        """Touch a session where it is due; return whether its cookie may be sent again.

        :param token: its cookie.
        :param record: what was loaded of it, if it was.
        :param lifetime: how long it may be idle.
        """
        if record is not None:
            if not self.hashes.is_due(record.born, record.seen, record.idle):
                return True
        else:
            alive = self.touches.standing(token, self.hashes.interval(lifetime.idle))
            if alive is not None:
                return alive
        # Noted before: of many requests at once, one is enough.
        self.touches.note(token, alive=False)
        try:
            committed = self.hashes.commit(token, Changes(), lifetime, known=record)
        except StoreUnavailable:
            # A request that does without its session must not wait for a dead server.
            self.touches.pause()
            return False
        self.touches.note(token, alive=committed.what == "saved")
        return committed.what == "saved"

    def ended(self, token: Token) -> None:
        """Note that a cookie opens nothing any more.

        :param token: the cookie.
        """
        self.touches.note(token, alive=False)

    def device(self, request: Request | None) -> tuple[str | None, str | None]:
        """Return the user agent and the address to keep of a sign-in.

        :param request: the request that signs in.
        """
        decide = self.settings.device_info
        if request is None or decide is False:
            return None, None
        keep = device if decide is True else decide
        kept: Any = keep(request) or (None, None)
        if not isinstance(kept, tuple) or [*map(_is_text_or_none, kept)] != [True, True]:
            problem = f"has to return two texts, each of which may be None, not {kept!r}."
            raise SettingError("SESSION_DEVICE_INFO", problem)
        agent, address = kept
        return clipped(agent), clipped(address)

    def epoch(self, name: str, when: object) -> float | None:
        """Return a point in time in epoch seconds.

        :param name: the argument's name, for the error.
        :param when: an aware time, a timedelta (that long ago), or epoch seconds.
        :raises ValueError: if it is a naive time, or not finite.
        :raises TypeError: if it is of another type.
        """
        if when is None:
            return None
        if isinstance(when, timedelta):
            return self.hashes.clock.now() - when.total_seconds()
        if isinstance(when, datetime):
            if when.utcoffset() is None:
                problem = "the time is naive; give its zone, as in datetime.now(timezone.utc)."
                raise ValueError(f"{name}: {problem}")
            return when.timestamp()
        if isinstance(when, (int, float)) and not isinstance(when, bool):
            if not abs(when) < MOST_SECONDS:
                raise ValueError(f"{name}: that number is not a point in time, in epoch seconds.")
            return float(when)
        problem = f"expects an aware datetime, a timedelta or epoch seconds, not {when!r}."
        raise TypeError(f"{name}: {problem}")


def sids_of(name: str, value: Any) -> frozenset[str]:
    """Return a sid or several as a set.

    :param name: the argument's name, for the error.
    :param value: a sid or several.
    :raises ValueError: if one does not have the form of a sid.
    """
    sids = frozenset({value} if isinstance(value, str) else value)
    for sid in sids:
        if not isinstance(sid, str) or not is_sid(sid):
            raise ValueError(f"{name}: {sid!r} is not a sid, which has 22 characters of base64url.")
    return sids


def _last_seen(info: SessionInfo) -> float:
    return info.last_seen_at.timestamp() if info.last_seen_at else 0.0


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} expects a number of sessions, not {value!r}.")
    if not 0 <= value <= MOST_SESSIONS:
        raise ValueError(f"{name}={value} is not a number of sessions.")


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _nobody() -> None:
    return None
