"""The applications that are compared: the same views over different sessions.

Every contender comes by Redis as its documentation says: Flask-Session by a client of redis-py,
ours by a URL. All have a lifetime of one day, sessions that are not permanent, and the defaults
of Flask and of their own for everything else.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import redis
from flask import Flask, Request, Response, current_app, session
from flask.sessions import SessionInterface, SessionMixin
from flask_session import Session

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_redis_session import RedisSessionInterface

#: The server of all benchmarks, as ``servers.PROGRAMS`` calls it: Debian's Redis, over TCP.
BENCHMARKED = "redis7"

DAY = timedelta(days=1)

#: Number of keys and size of each value as JSON text, in bytes.
SIZES = {
    "3 × 20 B": (3, 20),
    "100 × 1 KB": (100, 1000),
    "1,000 × 1 KB": (1000, 1000),
    "10 × 100 KB": (10, 100_000),
}


def text(size: int, letter: str = "x") -> str:
    """Return a text whose JSON form has so many bytes."""
    return letter * (size - 2)


def nested(size: int, count: int = 0) -> dict[str, Any]:
    """Return a dict whose JSON form has about so many bytes."""
    return {"n": count, "t": text(max(size - len('{"n":0,"t":}'), 2))}


def content(keys: int, size: int) -> dict[str, Any]:
    """Return what a session of this size holds: texts, and a dict under the last key."""
    return {f"key{i}": text(size) for i in range(keys - 1)} | {"last": nested(size)}


# --------------------------------------------------------------------------- views


def add_views(app: Flask, data: dict[str, Any], size: int, *, notices: bool = False) -> None:
    """Give an application a view per kind of request.

    :param notices: whether its sessions notice a nested change without being told.
    """
    texts = cycle([text(size, "a"), text(size, "b")])
    users = cycle(range(1, 1001))
    ten = [key for key in data if key != "last"][:10]

    def untouched() -> str:
        return "0"

    def read_one() -> str:
        return str(len(session["key0"]))

    def read_ten() -> str:
        return str(sum(len(session[key]) for key in ten))

    def set_one() -> str:
        session["key0"] = next(texts)
        return "1"

    def read_and_set_one() -> str:
        before = len(session["key0"])
        session["key0"] = next(texts)
        return str(before)

    def change_nested() -> str:
        session["last"]["n"] = 1 - session["last"]["n"]
        if not notices:
            session.modified = True
        return "1"

    def set_to_same() -> str:
        session["key1"] = session["key1"]
        return "1"

    def sign_in() -> str:
        session["user_id"] = next(users)
        return "1"

    def sign_in_as(user: str) -> str:
        session["user_id"] = user
        return "1"

    def sign_in_renewed() -> str:
        # Flask-Session renews the id of a session where it is told to; ours does it by itself.
        interface = current_app.session_interface
        if hasattr(interface, "regenerate"):
            interface.regenerate(session)
        session["user_id"] = next(users)
        return "1"

    def new_visitor() -> str:
        session["key0"] = next(texts)
        return "1"

    def iterate_all() -> str:
        return str(len([*session.values()]))

    def read_other() -> str:
        return str(len(session["key1"]))

    def put(number: int) -> str:
        session[f"n{number}"] = number
        return "1"

    def count() -> str:
        return str(sum(key.startswith("n") for key in session))

    def seed() -> str:
        session.update(data)
        return "1"

    for view in (
        *(untouched, read_one, read_ten, set_one, read_and_set_one, change_nested, set_to_same),
        *(sign_in, sign_in_renewed, new_visitor, iterate_all, read_other, count, seed),
    ):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    app.add_url_rule("/put/<int:number>", view_func=put)
    app.add_url_rule("/sign_in_as/<user>", view_func=sign_in_as)


# --------------------------------------------------------------------------- contenders


class InMemory(dict[str, Any], SessionMixin):
    """A session that is there already and goes nowhere."""


class NoSessions(SessionInterface):
    """Neither loads nor stores: what is left is Flask and the view."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._session = InMemory(data)

    def open_session(self, app: Flask, request: Request) -> InMemory:  # noqa: ARG002
        return self._session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Nothing is saved."""


def _app(name: str) -> Flask:
    app = Flask(name)
    app.config.update(SESSION_PERMANENT=False, PERMANENT_SESSION_LIFETIME=DAY)
    return app


def floor(data: dict[str, Any], size: int) -> Flask:
    """Flask that stores nothing: what every contender costs at least."""
    app = _app("floor")
    app.session_interface = NoSessions(data)
    add_views(app, data, size)
    return app


def cookie(data: dict[str, Any], size: int) -> Flask:
    """Flask's own session, in a signed cookie."""
    app = _app("cookie")
    app.secret_key = "of a benchmark"
    add_views(app, data, size)
    return app


def flask_session(data: dict[str, Any], size: int, url: str) -> Flask:
    """Flask-Session with Redis and msgpack, its default format."""
    app = _app("flask_session")
    client = redis.Redis.from_url(url)
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, SESSION_KEY_PREFIX="fs:")
    Session(app)
    add_views(app, data, size)
    return app


def ours(data: dict[str, Any], size: int, url: str, **settings: Any) -> Flask:
    """Flask with the sessions of this package."""
    app = _app("ours")
    app.config.update(SESSION_LIFETIME=DAY, SESSION_REDIS_URL=url, **settings)
    RedisSessionInterface(prefix="ours:").init_app(app)
    add_views(app, data, size, notices=True)
    return app


def own_client(data: dict[str, Any], size: int, url: str) -> Flask:
    """The same, with a client of the application's own."""
    app = _app("own_client")
    app.config.update(SESSION_LIFETIME=DAY, SESSION_REDIS=redis.Redis.from_url(url))
    RedisSessionInterface(prefix="ours:").init_app(app)
    add_views(app, data, size, notices=True)
    return app
