"""What a save sends to Redis, step by step, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from flask_redis_session.storage.commit import Committed, Lifetime
from flask_redis_session.storage.record import Binding, Changes, Record
from flask_redis_session.storage.token import Token

from .draft import Phase

#: What the response does with the browser's cookie. *fresh*: it hands out a new secret. *refresh*:
#: it sends the same one again, for its expiry. *same*: it need not, though something was written.
#: *leave*: it must not. *clear*: it deletes the cookie.
Cookie = Literal["leave", "same", "fresh", "refresh", "clear"]


class Create(NamedTuple):
    """Store a new session.

    :param changes: its content.
    :param binding: whose it is.
    :param permanent: whether it is permanent.
    :param lifetime: how long it may be idle.
    :param sid: its public id; ``None``: any new one.
    """

    changes: Changes
    binding: Binding
    permanent: bool
    lifetime: Lifetime
    sid: str | None = None


class Commit(NamedTuple):
    """Write to a session, if its cookie opens it.

    :param token: the cookie.
    :param record: what was loaded of the session, if it was.
    :param changes: what to set and delete.
    :param binding: whose it becomes; ``None``: it stays whose it is.
    :param rotates: whether it gets a fresh secret.
    :param lifetime: how long it may be idle.
    :param confirms: whether its user has just proved who they are.
    """

    token: Token
    record: Record | None
    changes: Changes
    binding: Binding | None
    rotates: bool
    lifetime: Lifetime
    confirms: bool = False


class Touch(NamedTuple):
    """Move a session's expiry, if that is due and its cookie opens it.

    :param token: the cookie.
    :param record: what was loaded of the session, if it was.
    :param lifetime: how long it may be idle.
    """

    token: Token
    record: Record | None
    lifetime: Lifetime


Step = Create | Commit | Touch


class Written(NamedTuple):
    """The reply to :class:`Create` and :class:`Commit`.

    :param step: what was sent.
    :param token: the cookie that opens the session if the step was carried out.
    :param committed: what became of it.
    """

    step: Create | Commit
    token: Token
    committed: Committed


class Touched(NamedTuple):
    """The reply to :class:`Touch`.

    :param is_alive: whether the cookie opens the session, as far as is known without a round trip
        if the touch was not due.
    """

    is_alive: bool


Reply = Written | Touched


class Event(NamedTuple):
    """A signal to send.

    :param name: which, as in ``signals.py``.
    :param arguments: what it says.
    """

    name: Literal["session_created", "session_ended", "user_bound", "save_refused"]
    arguments: Mapping[str, Any]


class Outcome(NamedTuple):
    """What came of a save.

    :param cookie: what the response does with the cookie.
    :param phase: what the session is now.
    :param token: the cookie that opens it now.
    :param record: what is known of what is stored, if something was written.
    :param written: the changes that were written; ``None`` if nothing was.
    :param events: the signals to send.
    :param signed_in: the user whose sessions beyond ``SESSION_MAX_PER_USER`` now end.
    """

    cookie: Cookie
    phase: Phase
    token: Token | None = None
    record: Record | None = None
    written: Changes | None = None
    events: tuple[Event, ...] = ()
    signed_in: str | None = None
