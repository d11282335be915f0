"""What an application can listen to. The sender is the application."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from blinker import Namespace

from .request.outcome import Event

if TYPE_CHECKING:
    from flask import Flask

    from .request.session import RedisSession

log = logging.getLogger("flask_redis_session")

_signals = Namespace()

session_created = _signals.signal("session-created")
"""A session was stored for the first time. Arguments: ``session``, ``sid``, ``user_id``."""

session_ended = _signals.signal("session-ended")
"""A session ended. Arguments: ``sid``, ``user_id`` and ``reason``: *signed out*, *revoked*,
*replaced* (by a newer sign-in, under ``SESSION_MAX_PER_USER``) or *gone* (found expired or
ended by another request when this one wanted to save)."""

user_bound = _signals.signal("user-bound")
"""A session's user appeared, changed or went. Arguments: ``session``, ``sid``, ``user_id``
(``None``: nobody's any more), ``previous`` (whose it was)."""

save_refused = _signals.signal("save-refused")
"""A request's changes were not written, because its cookie no longer opened the session.
Arguments: ``session``, ``sid`` and ``reason``: *gone* or *rotated*."""

_BY_NAME = {
    "session_created": session_created,
    "session_ended": session_ended,
    "user_bound": user_bound,
    "save_refused": save_refused,
}


def send_events(app: Flask, session: RedisSession, events: Iterable[Event]) -> None:
    """Send the signals that came of a save, and log a refusal.

    :param app: the application.
    :param session: the session that was saved.
    :param events: what came of it.
    """
    for name, arguments in events:
        if name == "save_refused":
            log.warning(
                "The changes of a request were not saved: session %s is %s.",
                arguments["sid"],
                arguments["reason"],
            )
        if name == "session_ended":
            session_ended.send(app, **arguments)
        else:
            _BY_NAME[name].send(app, session=session, **arguments)
