"""The application: a small site on flask-redis-session, with a meter on each page."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

import forgery
from cost import metered
from elsewhere import sign_in_elsewhere
from flask_redis_session import RedisSessionInterface
from flask_redis_session.client.url import connect
from flask_redis_session.devices import blueprint as devices_page
from guide import visit_each_page
from held import Observer
from ledger import Meter
from panel import show_meter
from views import site, whose_page

_MESSAGES = {
    "signed-in": "You are signed in. Your session holds 200 KB. This page read only what it needs.",
    "signed-out": "You are signed out. The session is deleted from Redis.",
    "ended": "Your session has ended. Perhaps you signed it out from another device.",
    "cart": "Added to the cart.",
    "cart-emptied": "The cart is empty.",
    "note": "Note saved.",
    "larger": "The session is larger. Change the note now: that still writes one field.",
    "smaller": "The data is removed. With a small session, saving all of it costs little.",
    "regenerated": "The cookie has a new secret. The old cookie is dead, the session is the same.",
}

_CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


def create_app(redis_url: str = "embedded://") -> Flask:
    """Return the site.

    :param redis_url: where the sessions are; ``embedded://`` starts a server for them.
    :raises StoreUnavailable: if that server does not answer.
    """
    app = Flask(__name__)
    app.config.update(
        # Browsers share cookies between ports: another app on this host may have a "session".
        SESSION_COOKIE_NAME="demo_session",
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    _keep_sessions(app, redis_url)
    _add_pages(app)
    sign_in_elsewhere(app)
    visit_each_page(app)
    return app


def _keep_sessions(app: Flask, redis_url: str) -> None:
    client = connect(redis_url)
    client.connection_pool.connection_class = metered(client.connection_pool.connection_class)
    sessions = RedisSessionInterface(redis=client)
    sessions.init_app(app)
    observer = Observer(connect(redis_url))
    app.extensions["observer"] = observer
    meter = Meter(app.wsgi_app, observer, app.config["SESSION_COOKIE_NAME"], skip="/static/")
    app.wsgi_app = meter  # type: ignore[method-assign]


def _add_pages(app: Flask) -> None:
    app.register_blueprint(site)
    devices = devices_page(
        base_template="base.html", content_block="main", sign_in="site.sign_in_form"
    )
    devices.before_request(_greet)
    app.register_blueprint(devices)
    app.register_error_handler(HTTPException, _explain)
    app.before_request(forgery.check)
    app.after_request(_be_private)
    app.after_request(show_meter)
    app.context_processor(_page_context)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["bytes"] = _bytes


def _page_context() -> dict[str, Any]:
    return {
        "person": g.get("person"),
        "message": _MESSAGES.get(request.args.get("done", "")),
        "csrf": forgery.hidden_field,
    }


def _greet() -> None:
    """Look up who is signed in, for the header of the pages that the library brings."""
    if not _is_static():
        whose_page()


def _is_static() -> bool:
    return (request.endpoint or "").endswith("static")


def _explain(error: HTTPException) -> tuple[str, int, list[tuple[str, str]]]:
    """Say what is wrong without asking the session, because the session may be what fails."""
    return render_template("error.html", error=error), error.code or 500, error.get_headers()


def _be_private(response: Response) -> Response:
    if not _is_static():
        response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = _CONTENT_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _bytes(size: int) -> str:
    """Return a size as people read it: ``1.5 KB``."""
    if size < 1_000:
        return f"{size} B"
    if size < 1_000_000:
        return f"{size / 1_000:.{1 if size < 10_000 else 0}f} KB"
    return f"{size / 1_000_000:.1f} MB"
