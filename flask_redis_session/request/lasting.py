"""A mapping that knows how long it lasts."""

from __future__ import annotations

from flask_redis_session.storage.record import Record
from flask_redis_session.storage.token import Token

from .backend import SessionBackend
from .owner import OwnedMapping


class LastingMapping(OwnedMapping):
    """A mapping that knows whether it outlives the browser.

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

    def clear(self) -> None:
        super().clear()
        # As in Flask, whose session keeps it among what is cleared.
        self._permanent = self._starts_permanent

    def _permanent_anew(self) -> bool:
        """Tell whether the session is permanent if its cookie turns out to open nothing."""
        return self._starts_permanent if self._permanent is None else self._permanent
