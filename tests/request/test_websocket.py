"""Saves whose response reaches no browser: of a WebSocket, and of Flask-SocketIO's events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import flask
import pytest
from flask_socketio import SocketIO

from flask_redis_session import RedisSessionInterface
from flask_redis_session.request.delivery import reaches_no_browser
from tests.support.clients import shared_client
from tests.support.webapp import Site, each, session

UPGRADED: dict[str, Any] = {
    "path": "/socket",
    "headers": {"Upgrade": "websocket", "Connection": "Upgrade"},
}


@pytest.fixture
def site(server: Any) -> Site:
    """A site on each server."""
    site = Site(server)
    page: Any = site.app.view_functions["page"]
    site.app.add_url_rule("/socket", "socket", page, websocket=True)
    return site


class TestUpgraded:
    """A request that became a WebSocket."""

    def test_creates_none(self, site: Site) -> None:
        """Neither a key nor a sign-in makes a session, with a dead cookie or without any."""
        ended = site.browser()
        ended.sign_in(23)
        site.redis.flushdb()
        for browser in (ended, site.browser()):
            for values in ({"a": 1}, {"user_id": 23}):
                answer = browser.visit(lambda: session.update(values), **UPGRADED)  # noqa: B023

                assert [] == answer.cookies
                assert set() == site.names()

    def test_live_session(self, site: Site) -> None:
        """A live session is saved."""
        browser = site.browser()
        browser.set(a=1)
        browser.visit(lambda: session.update(b=2), **UPGRADED)

        assert {"a": 1, "b": 2} == browser.read()

    @pytest.mark.parametrize("act", ["signs in", "rotates", "becomes another"])
    def test_rotation(self, site: Site, act: str) -> None:
        """What needs a fresh cookie is refused, so that the browser keeps the session it has."""
        browser = site.browser()
        browser.set(a=1)
        user = 23 if act == "becomes another" else None
        if user:
            browser.sign_in(user)
        before = site.hash(browser.sid)
        action = {"rotates": lambda: session.regenerate()}.get(act)
        browser.visit(action or (lambda: session.update(user_id=42)), **UPGRADED)

        assert before == site.hash(browser.sid)
        assert 1 == browser.read()["a"]
        assert [] == site.index(42)

    def test_sign_out(self, site: Site) -> None:
        """A sign-out takes place, and the cookie goes on to open what is left."""
        browser = site.browser()
        browser.sign_in(23, a=1)
        browser.visit(lambda: session.pop("user_id"), **UPGRADED)

        assert {"a": 1} == browser.read()
        assert [] == site.index(23)

    def test_clear(self, site: Site) -> None:
        """A session can be ended."""
        browser = site.browser()
        browser.sign_in(23)
        browser.visit(each(lambda: dict(session), lambda: session.clear()), **UPGRADED)

        assert {} == browser.read()
        assert [] == site.index(23)

    def test_only_of_flask_socketio(self, site: Site) -> None:
        """A request that the application gives a namespace of its own has a response as ever."""

        def view() -> None:
            request: Any = flask.request
            request.namespace = "tenant"
            session["a"] = 1

        browser = site.browser()
        browser.visit(view)

        assert {"a": 1} == browser.read()


@pytest.fixture
def socket(server: Any) -> Any:
    """An application with Flask-SocketIO that leaves the sessions to us."""
    app = flask.Flask("socket")
    app.session_interface = RedisSessionInterface(shared_client(server))
    sockets = SocketIO(app, manage_session=False, async_mode="threading")

    @app.get("/set")
    def assign() -> str:
        flask.session["a"] = 1
        return "set"

    @app.get("/get")
    def everything() -> Any:
        return dict(flask.session)

    @sockets.on("set")  # type: ignore[untyped-decorator]
    def on_set(values: Any) -> None:
        flask.session.update(values)

    browser = app.test_client()
    return SimpleNamespace(app=app, sockets=sockets, browser=browser, redis=server.client())


class TestFlaskSocketIO:
    """Events, with ``manage_session=False``."""

    def events(self, socket: Any, *events: Any) -> None:
        """Connect and send events."""
        client = socket.sockets.test_client(socket.app, flask_test_client=socket.browser)
        for values in events:
            client.emit("set", values)
        client.disconnect()

    def test_creates_none(self, socket: Any) -> None:
        """Ten events, sign-ins among them, leave nothing behind."""
        self.events(socket, *({"b": n} for n in range(5)), *({"user_id": n} for n in range(5)))

        assert [] == socket.redis.keys("*")

    def test_ended_session(self, socket: Any) -> None:
        """Nor do they if the session has ended."""
        socket.browser.get("/set")
        socket.redis.flushdb()
        self.events(socket, {"b": 1}, {"user_id": 23})

        assert [] == socket.redis.keys("*")

    def test_live_session(self, socket: Any) -> None:
        """What an event puts into a live session is there for the browser's next request."""
        socket.browser.get("/set")
        self.events(socket, {"b": 2})

        assert {"a": 1, "b": 2} == socket.browser.get("/get").json

    def test_sign_in(self, socket: Any) -> None:
        """A sign-in by an event is refused: the browser keeps the session that it has."""
        socket.browser.get("/set")
        self.events(socket, {"user_id": 23})

        assert {"a": 1} == socket.browser.get("/get").json
        assert not socket.redis.exists("session:user:23")


def test_without_a_request():
    """What has no request, such as a test that makes a session, is no WebSocket."""
    assert not reaches_no_browser(None)
