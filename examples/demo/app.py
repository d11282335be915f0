"""The application: a small site on flask-redis-session, with a meter beside it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

import agents
import forgery
from cost import metered
from flask_redis_session import RedisSessionInterface
from flask_redis_session.connect import connect
from held import Observer
from ledger import Meter
from panel import show_meter
from views import site

_MESSAGES = {
    "signed-in": "Signed in. The cookie got a new secret on the way.",
    "signed-out": "Signed out. The session is gone from Redis.",
    "ended": "That session has ended, perhaps from another of your devices.",
    "cart": "In the cart.",
    "cart-emptied": "The cart is empty.",
    "note": "Note saved.",
    "weight": "More weight in the session. Now change the note: it still writes one field.",
    "weight-dropped": "The weight is gone.",
    "regenerated": "A new secret. The old cookie is dead, the session is the same.",
    "one-ended": "That device is signed out.",
    "others-ended": "Signed out everywhere else: {} ended.",
    "all-ended": "Logged out everywhere: {} ended.",
}

_CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


def create_app(redis_url: str = "embedded://") -> Flask:
    """Make the site.

    :param redis_url: where the sessions live; ``embedded://`` starts a server for them.
    """
    app = Flask(__name__)
    app.config.update(
        # Cookies know no ports: another app on this host may have a "session" as well.
        SESSION_COOKIE_NAME="demo_session",
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    _keep_sessions(app, redis_url)
    _add_pages(app)
    return app


def _keep_sessions(app: Flask, redis_url: str) -> None:
    client = connect(redis_url)
    client.connection_pool.connection_class = metered(client.connection_pool.connection_class)
    sessions = RedisSessionInterface(redis=client)
    sessions.init_app(app)
    observer = Observer(connect(redis_url))
    app.extensions.update(sessions=sessions, observer=observer)
    meter = Meter(app.wsgi_app, observer, app.config["SESSION_COOKIE_NAME"], skip="/static/")
    app.wsgi_app = meter  # type: ignore[method-assign]


def _add_pages(app: Flask) -> None:
    app.register_blueprint(site)
    app.register_error_handler(HTTPException, _explain)
    app.before_request(forgery.check)
    app.after_request(_be_private)
    app.after_request(show_meter)
    app.context_processor(_page_context)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(device=agents.describe, bytes=_bytes, ago=_ago)
    app.jinja_env.tests["handheld"] = agents.is_handheld


def _page_context() -> dict[str, Any]:
    return {
        "person": g.get("person"),
        "message": _message(request.args.get("done"), request.args.get("count", 0, type=int)),
        "csrf": forgery.hidden_field,
    }


def _message(done: str | None, count: int) -> str | None:
    if done not in _MESSAGES:
        return None
    return _MESSAGES[done].format("1 session" if count == 1 else f"{count} sessions")


def _explain(error: HTTPException) -> tuple[str, int, list[tuple[str, str]]]:
    """Say what is wrong, without asking the session: it may be what fails."""
    return render_template("error.html", error=error), error.code or 500, error.get_headers()


def _be_private(response: Response) -> Response:
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = _CONTENT_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _bytes(size: int) -> str:
    """A size for people to read, as in ``1.5 KB``."""
    if size < 1_000:
        return f"{size} B"
    if size < 1_000_000:
        return f"{size / 1_000:.{1 if size < 10_000 else 0}f} KB"
    return f"{size / 1_000_000:.1f} MB"


def _ago(moment: datetime | None) -> str:
    """How long ago that was, as in ``5 minutes ago``."""
    if moment is None:
        return "unknown"
    seconds = (datetime.now(timezone.utc) - moment).total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"
