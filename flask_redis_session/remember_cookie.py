"""Flask-Login's "remember me" cookie, which signs its browser in again whatever was ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask, Request, Response

#: What says, in ``app.extensions``, that an application remembers by its sessions instead.
BY_SESSION = "flask_redis_session.login"

_DEFAULT_NAME = "remember_token"


@dataclass(frozen=True, slots=True)
class Remembering:
    """What ``app.extensions`` holds of an application that remembers by its sessions.

    :param until: until when it turns remember cookies into sessions; ``None``: it never does.
    :param lifetime: for how long a remember cookie lasts, in seconds.
    """

    until: datetime | None
    lifetime: float

    @property
    def accepts_cookies(self) -> bool:
        """Whether a remember cookie is turned into a session at this moment."""
        return self.until is not None and datetime.now(timezone.utc) < self.until

    @property
    def marked_until(self) -> float:
        """Until when the mark of a revocation stays, in epoch seconds; ``until`` may be put off."""
        return 0.0 if self.until is None else self.until.timestamp() + self.lifetime


def remembering_of(app: Flask) -> Remembering | None:
    """Return how an application remembers by its sessions; ``None`` if it does not.

    :param app: the application.
    """
    return app.extensions.get(BY_SESSION)


def keeps_remember_cookie(app: Flask) -> bool:
    """Tell whether an application may hand out remember cookies, which no revocation reaches.

    :param app: the application; it has a ``login_manager`` if it uses Flask-Login.
    """
    return hasattr(app, "login_manager") and BY_SESSION not in app.extensions


def has_remember_cookie(app: Flask, request: Request) -> bool:
    """Tell whether a request came with a remember cookie.

    :param app: the application.
    :param request: the request.
    """
    return remember_cookie_of(app, request) is not None


def remember_cookie_of(app: Flask, request: Request) -> str | None:
    """Return the remember cookie that a request came with, if there is one.

    :param app: the application.
    :param request: the request.
    """
    name = _name(app)
    # To parse all cookies takes as long as all the rest of a request without a session.
    if name not in request.environ.get("HTTP_COOKIE", ""):
        return None
    return request.cookies.get(name)


def delete_remember_cookie(app: Flask, response: Response) -> None:
    """Delete the remember cookie of the browser that gets a response.

    :param app: the application, whose ``REMEMBER_COOKIE_…`` settings count.
    :param response: the response.
    """
    config = app.config
    # A browser deletes only the cookie with these same flags.
    response.delete_cookie(
        _name(app),
        path=config.get("REMEMBER_COOKIE_PATH", "/"),
        domain=config.get("REMEMBER_COOKIE_DOMAIN"),
        secure=config.get("REMEMBER_COOKIE_SECURE", False),
        httponly=config.get("REMEMBER_COOKIE_HTTPONLY", True),
        samesite=config.get("REMEMBER_COOKIE_SAMESITE"),
    )


def _name(app: Flask) -> str:
    name: str = app.config.get("REMEMBER_COOKIE_NAME", _DEFAULT_NAME)
    return name
