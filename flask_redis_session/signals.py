"""What an application can listen to. The sender is the application."""

from __future__ import annotations

from blinker import Namespace

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
