"""What an application can listen to. The sender is the application."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from blinker import Namespace
from flask import has_request_context, request

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
Arguments: ``session``, ``sid``, ``user_id`` (whose it was when it was loaded; ``None``: nobody's,
or nothing was loaded) and ``reason``: *gone*, *rotated*, or *undeliverable* (no browser would have
got the cookie that belongs to them)."""

session_saved = _signals.signal("session-saved")
"""A request that used its session has come to its end. Arguments: ``session``, ``sid`` (``None``:
Redis was not asked about one) and ``figures``, a :class:`~.figures.SessionFigures`. Nothing is
counted for a request that began before somebody listened."""

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
                "The changes of a request were not saved: session %s is %s; endpoint %r, user %r.",
                arguments["sid"],
                arguments["reason"],
                request.endpoint if has_request_context() else None,
                arguments["user_id"],
            )
        if name == "session_ended":
            session_ended.send(app, **arguments)
        else:
            _BY_NAME[name].send(app, session=session, **arguments)
