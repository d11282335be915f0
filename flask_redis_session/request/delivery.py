"""Whether a response, and with it a cookie, reaches a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Request

# Flask-SocketIO calls save_session with a response of its own, and marks the request with these.
_OF_AN_EVENT = ("event", "namespace", "sid")


def reaches_no_browser(request: Request | None) -> bool:
    """Tell whether no browser gets the response: of an upgraded request, or of Flask-SocketIO's."""
    if request is None:
        return False
    upgrade: str | None = request.environ.get("HTTP_UPGRADE")
    if upgrade is not None and upgrade.lower() == "websocket":
        return True
    return all(hasattr(request, name) for name in _OF_AN_EVENT)
