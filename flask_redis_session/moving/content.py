"""What an old session holds, as it is stored here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask_redis_session.errors import UnstorableValue
from flask_redis_session.request.codec import encode
from flask_redis_session.request.user import UserKeys
from flask_redis_session.storage.record import field_of

log = logging.getLogger("flask_redis_session")

# Where Flask's and Flask-Session's sessions keep it.
_PERMANENT = "_permanent"
# Flask-Login's: that the user has just signed in. Nobody knows when that was.
_FRESH, _LOGIN = "_fresh", "_user_id"


@dataclass(frozen=True, slots=True)
class Content:
    """What an old session holds.

    :param fields: the fields of its hash.
    :param user: whose it is, as text; ``None``: nobody's.
    :param permanent: whether it is permanent.
    """

    fields: Mapping[bytes, bytes]
    user: str | None
    permanent: bool


def content_of(data: Mapping[Any, Any], keys: UserKeys) -> Content | None:
    """Return what an old session holds; ``None`` if there is nothing to carry over.

    :param data: what the old session holds.
    :param keys: the keys that say whose it is.
    """
    try:
        users = [key.user(data.get(key.key)) for key in keys]
    except UnstorableValue as error:
        # Without its user, nothing could end it.
        log.warning("An old session is not carried over: %s", error)
        return None
    held = {name: value for name, value in data.items() if name != _PERMANENT}
    if _LOGIN in held and _FRESH in held:
        held[_FRESH] = False
    fields = dict(filter(None, (_field(name, value) for name, value in held.items())))
    user = next((user for user in users if user is not None), None)
    return Content(fields, user, data.get(_PERMANENT) is True) if fields else None


def _field(name: Any, value: Any) -> tuple[bytes, bytes] | None:
    """Return a key and its value as fields of a hash; ``None`` if they cannot be stored."""
    if not isinstance(name, str):
        log.warning("A key of an old session is not carried over: it is no text.")
        return None
    try:
        return field_of(name), encode(name, value)
    except UnstorableValue as error:
        log.warning("A key of an old session is not carried over: %s", error)
        return None
