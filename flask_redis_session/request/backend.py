"""Where a session comes from, as the session sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from flask_redis_session.storage.at_once import Deed
from flask_redis_session.storage.commit import Committed
from flask_redis_session.storage.record import Record
from flask_redis_session.storage.token import Token
from flask_redis_session.storage.user_sessions import UserSessions

from .rule import Rule
from .user import UserKeys

if TYPE_CHECKING:
    from flask import Request

#: A point in time: aware, or so long ago, or epoch seconds.
When = datetime | timedelta | float


class SessionBackend(Protocol):
    """Where a session comes from: the sessions of one application."""

    #: Seconds that no session outlives; ``None``: no limit.
    absolute: float | None
    #: Whether what was loaded is kept, for requests that change nothing.
    keeps: bool
    #: The sessions of users.
    users: UserSessions

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The keys that are merged, each with its rule."""

    @property
    def user_keys(self) -> UserKeys:
        """The keys that say whose a session is."""

    def now(self) -> datetime:
        """Return the present, by Redis's clock as far as it is known."""

    def idle_lifetime(self, permanent: bool) -> float:
        """Return the idle lifetime that the settings give a session, in seconds."""

    def load(self, token: Token, key: str | None, usage: Usage) -> Loaded:
        """Load what is needed to know a key, or every key if it is ``None``."""

    def is_due(self, record: Record) -> bool:
        """Tell whether a session that is only read should be touched."""

    def choose(self, tokens: Sequence[Token]) -> Token:
        """Return the cookie that counts among several of one name."""

    def learn(self, usage: Usage) -> None:
        """Take note of what a request used of a session that it loaded."""

    def at_once(self, token: Token, deed: Deed, known: Record | None) -> Committed:
        """Do something to one key of a stored session, if its cookie opens it."""

    def ended(self, token: Token) -> None:
        """Note that a cookie opens nothing any more."""

    def advise(self, session: Mapping[str, Any]) -> None:
        """Tell the application, once, if a session that is nobody's holds something."""

    def device(self, request: Request | None) -> tuple[str | None, str | None]:
        """Return the user agent and the address to keep of a sign-in."""


#: A session hash or a part of it, and the fields that were asked for (``None``: all).
Loaded = tuple[Record, Sequence[bytes] | None]


@dataclass(slots=True)
class Usage:
    """What one request uses of its session.

    :param endpoint: the endpoint that serves the request, if one does.
    :param fields: the fields that were read.
    :param is_safe: whether the request's method says that it changes nothing.
    :param fetches: how often something was loaded.
    :param first: the fields whose use was what the first load was for.
    :param everything: what the first load brought, if that was everything.
    :param signs_in: whether it assigned the user's id.
    :param is_warm: whether all that it read was kept, so that nothing need be learned of it.
    """

    endpoint: str | None
    fields: set[bytes]
    is_safe: bool = False
    fetches: int = 0
    first: Collection[bytes] = ()
    everything: Mapping[bytes, bytes] | None = None
    signs_in: bool = False
    is_warm: bool = False
