"""The session of the current request, typed as what it is."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import flask

from .request.session import RedisSession

R = TypeVar("R")

#: ``flask.session``.
session = cast("RedisSession", flask.session)


def finish_failed(_: flask.Flask, **__: Any) -> None:
    """Note that a request failed: what comes is its error page, if any, and its teardown."""
    session = session_of_request()
    if session is not None:
        finish(session, None)


def finish(session: RedisSession, response: R) -> R:
    """Note that the response is being finished, which is returned as it is."""
    return session._finish(response)  # noqa: SLF001


def session_of_request() -> RedisSession | None:
    """Return the session of the current request, if there is one and it is one of these."""
    if not flask.has_request_context():
        return None
    try:
        session = flask.session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    except AssertionError:
        # Flask's own: the session could not be opened, and that is what this request fails by.
        return None
    return session if isinstance(session, RedisSession) else None
