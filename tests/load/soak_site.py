"""The application of the soak: what its people do to their sessions, and what they see of them."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import flask

from flask_redis_session import RedisSessionInterface
from tests.support.webapp import session

#: The user who asks before a fork.
MASTER = "master"
#: What is logged then.
USED = "served before the fork"

sessions = RedisSessionInterface()


def site() -> flask.Flask:
    """Make the application, in each worker."""
    logging.basicConfig(format="%(process)d %(levelname)s %(name)s: %(message)s")
    app = flask.Flask("soak")
    app.config.update(json.loads(os.environ["SHOP"]))
    sessions.init_app(app)
    app.register_blueprint(_own)
    app.register_blueprint(_admin)
    return app


def used_site() -> flask.Flask:
    """Make the application and serve requests with it, before there is a worker."""
    app = site()
    browser = app.test_client()
    asked = {"user": MASTER, "owner": MASTER}
    assert browser.post("/sign-in", data=asked).status_code == 200
    assert browser.get("/read").json["owner"] == MASTER  # type: ignore[index]
    assert len(sessions.list_sessions(MASTER)) == 1
    print(USED, file=sys.stderr)
    return app


def _seen() -> dict[str, Any]:
    """Return what a person sees of a session: a value that is long by its length."""
    return {key: _told(value) for key, value in session.items()}


def _told(value: object) -> object:
    return len(value) if isinstance(value, str) and len(value) > 1000 else value


# --------------------------------------------------------------------------- one's own session

_own = flask.Blueprint("own", __name__)


@_own.get("/pid")
def pid() -> str:
    """Leave the session alone."""
    return str(os.getpid())


@_own.get("/read")
def read() -> Any:
    """Show all of it."""
    return _seen()


@_own.get("/one/<key>")
def one(key: str) -> Any:
    """Show one key."""
    return {"owner": session.get("owner"), key: _told(session.get(key))}


@_own.post("/begin")
def begin() -> str:
    """Begin a session that is nobody's."""
    session["owner"] = flask.request.form["owner"]
    return "begun"


@_own.post("/sign-in")
def sign_in() -> str:
    """Sign in."""
    form = flask.request.form
    session.permanent = "stay" in form
    session["owner"] = form["owner"]
    session["user_id"] = form["user"]
    return "signed in"


@_own.post("/set/<key>")
def set_key(key: str) -> str:
    """Write without a look."""
    session[key] = key
    return "set"


@_own.post("/add/<key>")
def add(key: str) -> Any:
    """Write after a read."""
    owner = session.get("owner")
    session[key] = key
    return {"owner": owner}


@_own.post("/big/<int:size>")
def big(size: int) -> str:
    """Write much."""
    session["big"] = "x" * size
    return "big"


@_own.post("/regenerate")
def regenerate() -> str:
    """Get a fresh secret."""
    session.regenerate()
    return "regenerated"


@_own.post("/sign-out")
def sign_out() -> str:
    """Sign out."""
    session.clear()
    return "signed out"


@_own.post("/end-all")
def end_all() -> Any:
    """Log out everywhere, here too unless the form says otherwise."""
    return {"ended": session.clear_user_sessions(keep_current="keep" in flask.request.form)}


@_own.get("/devices")
def devices() -> Any:
    """List one's sessions."""
    return {info.sid: info.current for info in session.user_sessions()}


# --------------------------------------------------------------------------- somebody else's

_admin = flask.Blueprint("admin", __name__, url_prefix="/admin/<user>")


@_admin.get("")
def listed(user: str) -> Any:
    """List somebody's sessions."""
    return {info.sid: info.current for info in sessions.list_sessions(user)}


@_admin.post("/revoke")
def revoke(user: str) -> Any:
    """End sessions of somebody."""
    options = flask.request.get_json()
    return {"ended": sessions.revoke_sessions(user, **options)}
