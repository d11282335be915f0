"""A session that an old one may become: it is carried over when the request first uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.storage.record import Changes
from flask_redis_session.storage.token import Token

from .arrival import NOTHING, Arrival
from .backend import SessionBackend
from .delivery import reaches_no_browser
from .draft import Draft, Terms
from .state import SessionState

if TYPE_CHECKING:
    from flask import Request


class CarriedState(SessionState):
    """A session whose request may bring an old cookie in the place of ours.

    :param backend: where it comes from.
    :param tokens: what the request's cookies of our name say.
    :param permanent: whether a new session starts permanent.
    :param request: the request that it is opened for.
    :param carry: carries the session of the old cookie over; ``None``: there is none.
    """

    def __init__(
        self,
        backend: SessionBackend,
        tokens: Sequence[Token],
        *,
        permanent: bool = False,
        request: Request | None = None,
        carry: Callable[[], Arrival] | None = None,
    ) -> None:
        super().__init__(backend, tokens, permanent=permanent, request=request)
        self._carry = carry
        #: What the old cookie came to, once that is known.
        self._arrival: Arrival | None = None
        if carry is not None:
            self._phase, self._complete = "unproved", False

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser, for ``PERMANENT_SESSION_LIFETIME``."""
        if self._carry is not None and self._permanent is None:
            # The old session says it.
            self._is_stored()
        return super().permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        SessionState.permanent.fset(self, value)  # type: ignore[attr-defined]

    def _load(self, key: str | None) -> None:
        if self._carry is not None:
            self._attempt(partial(self._arrive, self._carry))
            if self._complete:
                return
        super()._load(key)

    def _arrive(self, carry: Callable[[], Arrival]) -> None:
        """Carry the old session over, and become what it became."""
        if self._failure is not None:
            raise self._failure
        # Without a browser that gets the new cookie, the old one would be spent for nothing.
        arrival = NOTHING if reaches_no_browser(self._request) else carry()
        self._carry, self._arrival = None, arrival
        self._phase, self._token = arrival.phase, arrival.token
        if arrival.phase != "unproved":
            # It has no other cookie to send.
            self._sent, self._complete = arrival.token, True

    def _is_done(self, status: int, is_asked: bool) -> bool:
        if self._carry is not None and self._failure is None and self._modified is None:
            self._come_too_late()
            return True
        return not self._owes_cookie() and super()._is_done(status, is_asked)

    def _owes_cookie(self) -> bool:
        """Tell whether the browser has yet to get the cookie of what was carried over."""
        return (
            self._arrival is not None
            and self._arrival.phase == "unproved"
            and self._token is not None
            and self._token is not self._sent
        )

    def _draft(self, terms: Terms, nested: Changes | None = None) -> Draft:
        if self._carry is not None and self._modified:
            try:
                self._arrive(self._carry)
            except StoreUnavailable as failure:
                self._failure = failure
                raise
        elif self._carry is not None:
            self._come_too_late()
        return super()._draft(terms, nested)

    def _come_too_late(self) -> None:
        """Carry nothing over any more: the response goes without a new cookie."""
        self._carry, self._phase, self._complete = None, "new", True
