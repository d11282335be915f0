"""What a request is by HTTP: whether its response reaches a browser, and whether it only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Request

# Flask-SocketIO calls save_session with a response of its own, and marks the request with these.
_OF_AN_EVENT = {"event", "namespace", "sid"}


def reaches_no_browser(request: Request | None) -> bool:
    """Tell whether no browser gets the response: of an upgraded request, or of Flask-SocketIO's."""
    if request is None:
        return False
    upgrade: str | None = request.environ.get("HTTP_UPGRADE")
    if upgrade is not None and upgrade.lower() == "websocket":
        return True
    return vars(request).keys() >= _OF_AN_EVENT


#: The methods of HTTP that change nothing (RFC 9110, 9.2.1), but for TRACE, which Flask refuses.
_SAFE = {"GET", "HEAD", "OPTIONS"}


def changes_nothing(request: Request | None) -> bool:
    """Tell whether a request only reads, as far as HTTP says; no event of a WebSocket's does."""
    return request is not None and request.method in _SAFE and not reaches_no_browser(request)
