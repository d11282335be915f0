"""When Redis fails (guarantee 10)."""

from __future__ import annotations

import flask
import pytest
from werkzeug.exceptions import HTTPException

from flask_redis_session import StoreUnavailable
from tests.support.servers import HOST, Server
from tests.support.webapp import Site, each, session

VIEWS = {
    "read": lambda: session["a"],
    "missing": lambda: session.get("x"),
    "all": lambda: dict(session),
    "sid": lambda: session.sid,
    "blind set": lambda: session.update(a=2),
    "sign in": lambda: session.update(user_id=42),
    "read and set": lambda: session.update(a=session["a"] + 1),
    "clear": lambda: session.clear(),
    "regenerate": lambda: session.regenerate(),
    "list": lambda: session.user_sessions(),
    "end all": lambda: session.clear_user_sessions(),
    "end another's": lambda: session.clear_user_sessions(42),
}


@pytest.fixture
def site(fragile, hasty_client):
    """A site on a server that a test may stop and pause."""
    return Site(fragile, redis=hasty_client)


@pytest.fixture
def browser(site):
    """A browser that is signed in."""
    browser = site.browser()
    browser.sign_in(23, a=1)
    return browser


class TestServed:
    """A request that does without its session is served."""

    def test_untouched(self, browser, fail):
        """It gets its answer, and its cookie is left as it is."""
        fail()

        assert [] == browser.visit().cookies

    def test_untouched_permanent(self, browser, fail):
        """So does one whose session is permanent and due to be touched."""
        browser.visit(lambda: setattr(session, "permanent", True))
        fail()

        assert [[], []] == [browser.visit().cookies for _ in range(2)]

    def test_without_a_cookie(self, site, fail):
        """A new session is empty, which needs no Redis."""
        fail()

        assert {} == site.browser().visit(lambda: dict(session)).value

    def test_no_form_of_a_cookie(self, site, fail):
        """Nor does a cookie that has not the form of one."""
        fail()

        assert {} == site.send("session=x", lambda: dict(session)).value

    def test_touch_of_a_reader(self, site, browser, fail):
        """A request that was able to read is served, though the touch after it fails."""
        site.later(1000)

        answer = browser.visit(each(lambda: session["a"], fail, lambda: session["a"]))

        assert 1 == answer.value
        assert [] == answer.cookies

    def test_does_without(self, browser, fail):
        """An application that catches the failure may serve its page without a session."""
        fail()

        def view():
            try:
                return session["a"]
            except StoreUnavailable:
                return "no session"

        answer = browser.visit(view)

        assert "no session" == answer.value
        assert [] == answer.cookies


class TestRefused:
    """A request that needs its session gets 503, and its cookie is left as it is."""

    @pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
    def test_503(self, browser, fail, view):
        """It says when to try again, and sets no cookie."""
        fail()

        answer = browser.visit(view, status=503)

        assert [] == answer.cookies
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert browser.secret not in answer.response.text

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session.update(a=2),
            lambda: session.update(user_id=42),
            lambda: session.clear(),
            lambda: session.regenerate(),
        ],
        ids=["set", "sign in", "clear", "regenerate"],
    )
    def test_only_at_the_save(self, browser, fail, change):
        """A failure after the view had done its work is no different."""
        answer = browser.visit(each(lambda: session["a"], fail, change), status=503)

        assert [] == answer.cookies
        assert "Retry-After" in answer.headers
        assert "served" not in answer.response.text

    def test_new_session(self, site, fail):
        """A cookie is not handed out for what could not be stored."""
        fail()

        assert [] == site.browser().visit(lambda: session.update(a=1), status=503).cookies

    def test_not_for_caches(self, browser, fail):
        """No cache keeps the answer of a failed save."""
        answer = browser.visit(each(fail, lambda: session.update(a=1)), status=503)

        assert "no-store" in answer.headers["Cache-Control"]

    def test_cookies_of_the_application(self, browser, fail):
        """Cookies that the application set itself are sent though the save failed."""

        def view():
            fail()
            session["a"] = 2
            response = flask.make_response("served")
            response.set_cookie("theme", "dark")
            return response

        answer = browser.visit(view, status=503)

        assert ["theme"] == [cookie.name for cookie in answer.cookies]

    @pytest.mark.parametrize("before", [False, True], ids=["in the view", "at the save"])
    @pytest.mark.parametrize("what", [503, StoreUnavailable, HTTPException])
    def test_handler(self, site, fail, what, before):
        """The application's own handler makes the answer, wherever the failure is."""

        @site.app.errorhandler(what)
        def handle(error):
            assert isinstance(error, StoreUnavailable)
            return "back soon", 503, {"Retry-After": "7"}

        browser = site.browser()
        browser.set(a=1)
        view = each(lambda: session["a"], fail) if before else fail
        answer = browser.visit(each(view, lambda: session.update(a=session["a"] + 1)), status=503)

        assert "back soon" == answer.response.text
        assert "7" == answer.headers["Retry-After"]
        assert [] == answer.cookies

    def test_handler_that_needs_the_session(self, site, fail):
        """A handler that uses the session itself does not make it worse."""

        @site.app.errorhandler(503)
        def handle(error):
            return f"Hello {session['name']}", 503

        browser = site.browser()
        browser.set(a=1)
        fail()

        for view in (lambda: session["a"], lambda: session.update(a=2)):
            assert [] == browser.visit(view, status=503).cookies

    def test_handler_that_asks_redis(self, site, fail):
        """Nor does one that asks Redis for something else."""

        @site.app.errorhandler(503)
        def handle(error):
            return f"{len(site.interface.list_sessions(23))} devices", 503

        fail()

        answer = site.browser().visit(lambda: session.update(a=2), status=503)
        assert "devices" not in answer.response.text

    def test_cookies_of_the_handler(self, site, fail):
        """What the handler sets arrives, and so does what the view had set."""

        @site.app.errorhandler(503)
        def handle(error):
            response = flask.make_response("back soon", 503)
            response.set_cookie("one", "1")
            response.set_cookie("two", "2")
            return response

        def view():
            fail()
            session["a"] = 2
            response = flask.make_response("served")
            response.set_cookie("theme", "dark")
            return response

        answer = site.browser().visit(view, status=503)

        assert ["one", "theme", "two"] == sorted(cookie.name for cookie in answer.cookies)

    def test_error_of_another_kind(self, browser, fail):
        """An error of the view is a 500 still, if the session was never needed."""
        fail()

        browser.visit(lambda: 1 / 0, status=500)

    @pytest.mark.parametrize(
        "command", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", HOST, 1)]
    )
    def test_refuses_writes(self, command):
        """A server that is full, or a replica, serves readers and refuses writers."""
        with Server() as server:
            browser = Site(server).browser()
            browser.sign_in(23, a=1)
            server.ask(*command)

            assert {"user_id": 23, "a": 1} == browser.read()

            for view in (lambda: session.update(a=2), lambda: session.update(user_id=42)):
                assert [] == browser.visit(view, status=503).cookies

            assert {"user_id": 23, "a": 1} == browser.read()
