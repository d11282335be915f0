"""Flask-Login's "remember me" cookie, which signs its browser in again whatever was ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask, Request, Response

#: What says, in ``app.extensions``, that an application remembers by its sessions instead.
BY_SESSION = "flask_redis_session.login"

_DEFAULT_NAME = "remember_token"


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
    name = _name(app)
    # To parse all cookies takes as long as all the rest of a request without a session.
    return name in request.environ.get("HTTP_COOKIE", "") and name in request.cookies


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
