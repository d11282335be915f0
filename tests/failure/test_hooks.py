"""Hooks that read the session while Redis is down."""

from __future__ import annotations

import logging
from typing import Any

import flask
import pytest

from flask_redis_session import RedisSessionInterface, StoreUnavailable
from tests.support.webapp import session

pytestmark = pytest.mark.one_server("a server that is stopped")


class Fault(Exception):
    """What a view raises by a fault of its own."""


def view() -> str:
    """Answer without the session."""
    return "served"


def reads() -> str:
    """Answer with something of the session."""
    return str(session.get("name"))


def catches() -> str:
    """Answer without what cannot be read."""
    try:
        return str(session["name"])
    except StoreUnavailable:
        return "without"


def faulty() -> str:
    """Fail for a reason that has nothing to do with the session."""
    raise Fault


def streams() -> Any:
    """Answer with a stream that reads the session when the response has begun."""

    def parts() -> Any:
        yield "begun "
        yield str(session.get("name"))

    return flask.Response(flask.stream_with_context(parts()))


class Hooked:
    """An application with hooks, and a browser whose session is on a server that is then killed."""

    def __init__(self, server: Any, **config: Any) -> None:
        app = self.app = flask.Flask("hooked")
        url = f"{server.url}?socket_timeout=0.5&socket_connect_timeout=0.5"
        app.config.update(SESSION_REDIS_URL=url, **config)
        RedisSessionInterface().init_app(app)
        #: What the hook in the teardown read.
        self.torn: list[Any] = []
        for each in (view, reads, catches, faulty, streams):
            app.add_url_rule(f"/{each.__name__}", view_func=each)
        app.add_url_rule("/sign-in", view_func=self.sign_in)
        self.client = app.test_client()
        self._server = server

    def get(self, path: str) -> Any:
        """Sign in, kill the server, and get a page."""
        self.client.get("/sign-in")
        self.torn.clear()
        self._server.kill()
        return self.client.get(path)

    @staticmethod
    def sign_in() -> str:
        """Store a session."""
        session.update(user_id=23, name="alice")
        return "signed in"

    def after(self) -> Hooked:
        """Add a header with the name of the user to each response."""

        @self.app.after_request
        def name(response: flask.Response) -> flask.Response:
            response.headers["X-Name"] = str(session.get("name"))
            return response

        return self

    def teardown(self) -> Hooked:
        """Read the session at the end of each request."""

        @self.app.teardown_request
        def note(_: Any) -> None:
            self.torn.append(session.get("name"))

        return self

    def page(self) -> Hooked:
        """Answer a 503 with a page of the application's own."""
        self.app.register_error_handler(503, lambda _: ("our page", 503))
        return self


MODES = [{}, {"TESTING": True}, {"PROPAGATE_EXCEPTIONS": True}, {"PROPAGATE_EXCEPTIONS": False}]
modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: " ".join(mode) or "plain")


@modes
class TestAfterRequest:
    """A hook that reads after the view."""

    @pytest.mark.parametrize("path", ["/view", "/reads", "/no-such-page"])
    def test_503(self, fragile: Any, path: str, mode: Any) -> None:
        """The answer is a 503 that says when to come back, and the cookie stays."""
        response = Hooked(fragile, **mode).after().get(path)

        assert 503 == response.status_code
        assert "1" == response.headers["Retry-After"]
        assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize("path", ["/view", "/reads"])
    def test_own_page(self, fragile: Any, path: str, mode: Any) -> None:
        """The application's own page for it is shown."""
        response = Hooked(fragile, **mode).after().page().get(path)

        assert (503, "our page") == (response.status_code, response.text)

    def test_view_without(self, fragile: Any, mode: Any) -> None:
        """A view that did without its session is served: it knew."""
        response = Hooked(fragile, **mode).after().get("/catches")

        assert (200, "without") == (response.status_code, response.text)

    def test_no_cookie(self, fragile: Any, mode: Any) -> None:
        """Who has no session is served."""
        hooked = Hooked(fragile, **mode).after()
        hooked.get("/view")

        assert 200 == hooked.app.test_client().get("/view").status_code


@modes
class TestTeardown:
    """A hook that reads when the answer is finished."""

    def test_answer_stays(self, fragile: Any, mode: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The answer stays as it is, the session reads as empty, and one line says so."""
        hooked = Hooked(fragile, **mode).teardown()
        with caplog.at_level(logging.WARNING, "flask_redis_session"):
            response = hooked.get("/view")

        assert (200, "served") == (response.status_code, response.text)
        assert [None] == hooked.torn
        assert 1 == [record.message for record in caplog.records].count(
            "A session cannot be loaded for a finished response: it reads as empty."
        )

    def test_after_503(self, fragile: Any, mode: Any) -> None:
        """A 503 stays a 503, with both hooks."""
        hooked = Hooked(fragile, **mode).after().teardown()

        assert 503 == hooked.get("/reads").status_code
        assert [None] == hooked.torn

    def test_fault(self, fragile: Any, mode: Any) -> None:
        """A fault of the view's is what leaves the application, or its 500, and nothing else."""
        hooked = Hooked(fragile, **mode).teardown()
        if mode.get("TESTING") or mode.get("PROPAGATE_EXCEPTIONS"):
            with pytest.raises(Fault):
                hooked.get("/faulty")
        else:
            assert 500 == hooked.get("/faulty").status_code
        assert [None] == hooked.torn


@modes
def test_stream(fragile: Any, mode: Any) -> None:
    """A stream that reads too late ends as it began; nothing leaves the application."""
    response = Hooked(fragile, **mode).get("/streams")

    assert (200, "begun None") == (response.status_code, response.text)
