"""What a response says of the session: that it depends on the cookie, or that Redis failed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .errors import StoreUnavailable

if TYPE_CHECKING:
    from flask import Flask, Response

log = logging.getLogger("flask_redis_session")

# What a response and the one that takes its place may both have to say.
_OF_EACH = {"Link", "Set-Cookie", "Vary"}
_OF_THE_BODY = {"accept-ranges", "etag", "expires", "last-modified", "location"}


def vary(response: Response) -> None:
    """Tell caches that the response depends on the cookie."""
    # What Werkzeug does here takes more than twice the time; it is left to what is less usual.
    named = response.headers.get("Vary")
    if named is None:
        response.headers.add("Vary", "Cookie")
    elif named != "Cookie":
        response.vary.add("Cookie")


def forbid_storing(response: Response) -> None:
    """Tell caches not to keep the response."""
    if "Cache-Control" in response.headers:
        response.cache_control.no_store = True
    else:
        # The same in less than half the time.
        response.headers.add("Cache-Control", "no-store")


def refuse(app: Flask, response: Response, failure: StoreUnavailable) -> None:
    """Turn a response into a 503, by way of the application's own handler if it has one."""
    try:
        refusal = app.make_response(app.handle_http_exception(failure))
    except Exception as error:
        if not isinstance(error, StoreUnavailable):
            log.exception("The application's handler of a 503 failed; the plain 503 is sent.")
        refusal = app.make_response(failure.get_response())
    body = response.response
    if hasattr(body, "close"):
        response.call_on_close(body.close)
    response.status = refusal.status
    response.response = refusal.response
    # What speaks of the body goes with it; what speaks of the site, such as CORS, stays.
    for name in [*response.headers.keys()]:
        if name.lower().startswith("content-") or name.lower() in _OF_THE_BODY:
            response.headers.remove(name)
    for name in {name for name, _ in refusal.headers} - _OF_EACH:
        response.headers.remove(name)
    for name, value in refusal.headers:
        response.headers.add(name, value)
    forbid_storing(response)
