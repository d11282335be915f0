"""The token that every change must carry, against forged requests.

It is random, is kept in the session, and is valid for one user only. Reason: an attacker may plant
a session in a victim's browser and read its token first. The session keeps its content when the
victim signs in, but that token is then worth nothing.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING

from flask_redis_session.request.session import RedisSession

if TYPE_CHECKING:
    from flask import Request

#: The session key that holds it, as ``token user``.
KEY = "_devices_token"
#: The form field that carries it.
FIELD = "devices_token"
#: The header that carries it if there is no form.
HEADER = "X-Devices-Token"


def token_of(session: RedisSession, user: str) -> str:
    """Return the token of a session, and make one if there is none.

    :param session: the session.
    :param user: the user of the session.
    """
    token = _held(session, user)
    if token is None:
        token = secrets.token_urlsafe(24)
        session[KEY] = f"{token} {user}"
    return token


def is_genuine(request: Request, session: RedisSession, user: str) -> bool:
    """Tell whether a request carries the token of its session.

    :param request: the request.
    :param session: its session.
    :param user: the user of the session.
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return False
    token = _held(session, user)
    given = request.headers.get(HEADER) or request.form.get(FIELD, "")
    return token is not None and compare_digest(token.encode(), given.encode("utf-8", "replace"))


def _held(session: RedisSession, user: str) -> str | None:
    held = session.get(KEY)
    if not isinstance(held, str):
        return None
    token, _, owner = held.partition(" ")
    # Another program may have written anything there, such as what has no UTF-8 form.
    return token if token and token.isascii() and owner == user else None
