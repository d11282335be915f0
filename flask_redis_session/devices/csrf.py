"""The token of a session without which nobody changes anything.

It is random, lies in the session, and is bound to the user: a session that was planted on somebody
keeps its content when they sign in, and its planter must not know a token of theirs.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING

from flask_redis_session.request.session import RedisSession

if TYPE_CHECKING:
    from flask import Request

#: The session key under which it lies, as ``token user``.
KEY = "_devices_token"
#: The form field that carries it.
FIELD = "devices_token"
#: The header that carries it where there is no form.
HEADER = "X-Devices-Token"


def token_of(session: RedisSession, user: str) -> str:
    """Return the token of a session; the first call makes it.

    :param session: the session.
    :param user: whose it is.
    """
    token = _held(session, user)
    if token is None:
        token = secrets.token_urlsafe(24)
        session[KEY] = f"{token} {user}"
    return token


def is_genuine(request: Request, session: RedisSession, user: str) -> bool:
    """Tell whether a request comes from a page of ours.

    :param request: the request.
    :param session: its session.
    :param user: whose it is.
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
    return token if token and owner == user else None
