"""A mapping that knows how long it lasts."""

from __future__ import annotations

from datetime import timedelta

from flask_redis_session.storage.record import LONGEST, SHORTEST, Record
from flask_redis_session.storage.token import Token

from .backend import SessionBackend
from .guarded import GuardedMapping


class LastingMapping(GuardedMapping):
    """A mapping that knows whether it outlives the browser, and how long it may be idle.

    :param backend: where it comes from.
    :param token: what the request's cookie says; ``None``: there is none.
    :param permanent: whether a new session starts permanent.
    """

    def __init__(self, backend: SessionBackend, token: Token | None, *, permanent: bool) -> None:
        super().__init__(backend)
        #: The cookie that opens the session; ``None`` if none does.
        self._token = token
        #: What was loaded of the session; ``None`` unless it is stored and was loaded.
        self._record: Record | None = None
        self._starts_permanent = permanent
        # None: the application has not assigned it.
        self._permanent: bool | None = None
        # Whether the application assigned the lifetime; what, in seconds, None: the settings'.
        self._is_reassigned = False
        self._lifetime: float | None = None

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser, for ``PERMANENT_SESSION_LIFETIME``."""
        if self._permanent is not None:
            return self._permanent
        return self._starts_permanent if self._token is None else self._token.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        if bool(value) != self.permanent:
            self._mutated()
        self._permanent = bool(value)

    @property
    def lifetime(self) -> timedelta:
        """How long the session may be idle; if it is permanent, its cookie lasts as long.

        With a cookie, to read it loads the session. Assigned, it stays whatever the settings say;
        assign ``None`` to go back to what they say.

        :raises TypeError: if something else than a ``timedelta`` or ``None`` is assigned.
        :raises ValueError: if it is not positive, or more than 100 years.
        """
        return timedelta(seconds=self._idle())

    @lifetime.setter
    def lifetime(self, value: timedelta | None) -> None:
        self._lifetime = None if value is None else _seconds(value)
        self._is_reassigned = True
        self._mutated()

    def _is_stored(self) -> bool:
        """Tell whether there is a session that the cookie opens, loading it to know."""
        raise NotImplementedError

    def _idle(self) -> float:
        """Return the idle lifetime in seconds."""
        stored = None
        if not self._is_reassigned and self._is_stored():
            turns = self._token is None or self._token.permanent != self.permanent
            stored = None if self._record is None or turns else self._record.idle
        own = self._own()
        idle = stored if own is None else own
        return self._backend.idle_lifetime(self.permanent) if idle is None else idle

    def _own(self) -> float | None:
        """Return the assigned lifetime in seconds, if there is one, as far as is known."""
        if self._is_reassigned:
            return self._lifetime
        return None if self._record is None else self._record.own

    def _lasts_otherwise(self, token: Token) -> bool:
        """Tell whether the request changed how long the session of a cookie lasts.

        :param token: the cookie.
        """
        return self.permanent != token.permanent or self._is_reassigned

    def _needs_owner(self) -> bool:
        """Tell whether whose session it is decides how it is saved.

        It decides whether the secret rotates, and which index must live longer.
        """
        if self._wiped:
            return bool(self._assigned)
        return self._token is not None and self._lasts_otherwise(self._token)

    def clear(self) -> None:
        super().clear()
        # As in Flask, whose session keeps it among what is cleared.
        self._permanent = self._starts_permanent
        self._lifetime, self._is_reassigned = None, True

    def _permanent_proved(self) -> bool:
        """Tell whether the session is to be permanent, if that gives it another lifetime.

        What Redis holds counts, not the cookie: the browser could write there what it likes.
        """
        if self._permanent is None and self._record is not None:
            return self._record.permanent
        return self._permanent_anew()

    def _permanent_anew(self) -> bool:
        """Tell whether the session is permanent if its cookie turns out to open nothing."""
        return self._starts_permanent if self._permanent is None else self._permanent


def _seconds(value: object) -> float:
    """Return a lifetime that the application assigns, in seconds.

    :param value: the lifetime.
    """
    if not isinstance(value, timedelta):
        raise TypeError(
            "session.lifetime expects a timedelta, or None for what the settings say, "
            f"not {value!r}."
        )
    seconds = value.total_seconds()
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"session.lifetime expects a positive time of at most 100 years, not {value!r}."
        )
    return seconds
