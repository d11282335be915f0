"""An application with Flask-Session that writes one session; a program of its own.

It reads what to write from the standard input, and prints the cookie. Whoever starts it says by
``PYTHONPATH`` which version of Flask-Session it uses.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import flask
import flask_session
import redis

CONTENT: dict[str, dict[str, Any]] = {
    "rich": {
        "user_id": 23,
        "cart": [{"sku": "Ä-1", "count": 2}, {"sku": "B", "count": 1}],
        "seen": {"at": 1.5, "of": None},
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "pair": (1, 2),
        "big": 2**60,
        "flag": True,
        "@odd": "key",
    },
    "plain": {"user_id": "ann", "step": 1},
}


def main() -> None:
    """Write the session."""
    asked = json.load(sys.stdin)
    app = flask.Flask("old")
    client = redis.Redis(port=asked["port"])
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, **asked["config"])
    flask_session.Session(app)

    @app.route("/")
    def fill() -> str:
        flask.session.update(CONTENT[asked["content"]])
        if asked["permanent"] is not None:
            flask.session.permanent = asked["permanent"]
        return ""

    browser = app.test_client()
    browser.get("/")
    cookie = browser.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    print(json.dumps({"cookie": cookie.value, "version": version("flask-session")}))


main()
