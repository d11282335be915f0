from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import flask
import pytest

from flask_redis_session import RedisSession, RedisSessionInterface
from tests.support.webapp import Site, each, session

FLAGS: dict[str, Any] = {
    "SESSION_COOKIE_DOMAIN": "example.org",
    "SESSION_COOKIE_PATH": "/shop",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": False,
    "SESSION_COOKIE_SAMESITE": "Strict",
    "SESSION_COOKIE_PARTITIONED": True,
}


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestCookie:
    def test_default_flags(self, site):
        """The cookie is for the whole site and closed to scripts; it ends with the browser."""
        answer = site.browser().set(a=1)

        assert {"HttpOnly": "", "Path": "/"} == answer.cookie.flags

    def test_same_flags_on_delete(self, valkey):
        """A cookie is deleted with the flags that it was set with, or the browser keeps it."""
        site = Site(valkey, **FLAGS)
        where: dict[str, Any] = {"base_url": "https://example.org", "path": "/shop/"}
        browser = site.browser()

        was_set = browser.visit(lambda: session.update(a=1), **where).cookie
        deleted = browser.visit(lambda: session.clear(), **where).cookie
        flags = dict(deleted.flags)

        assert "Thu, 01 Jan 1970 00:00:00 GMT" == flags.pop("Expires")
        assert "0" == flags.pop("Max-Age")
        assert "" == deleted.value
        assert was_set.flags == flags
        assert {
            "Domain": "example.org",
            "Path": "/shop",
            "Secure": "",
            "SameSite": "Strict",
            "Partitioned": "",
        } == flags

    def test_name(self, valkey):
        """The cookie has the name that the application gives it."""
        browser = Site(valkey, SESSION_COOKIE_NAME="sid").browser()

        answer = browser.set(a=1)

        assert ["sid"] == [cookie.name for cookie in answer.cookies]
        assert {"a": 1} == browser.read()

    def test_other_cookies(self, site):
        """Cookies that the application itself sets are left alone."""

        def view():
            session["a"] = 1
            response = flask.make_response("served")
            response.set_cookie("theme", "dark")
            return response

        answer = site.browser().visit(view)

        assert {"theme", "session"} == {cookie.name for cookie in answer.cookies}

    @pytest.mark.parametrize(
        "view",
        [
            lambda: None,
            lambda: dict(session),
            lambda: session.update(a=2),
            lambda: session.pop("a"),
            lambda: session["cart"].append(1),
            lambda: session.user_sessions(),
        ],
        ids=["untouched", "read", "set", "deleted", "nested", "listed"],
    )
    def test_only_when_it_changes(self, site, view):
        """The cookie is sent when its secret changes, and not with every response."""
        browser = site.browser()
        browser.sign_in(23, a=1, cart=[])

        assert [] == browser.visit(view).cookies

    @pytest.mark.parametrize(
        "view", [lambda: dict(session), lambda: session.pop("a", None), lambda: session.clear()]
    )
    def test_empty_session(self, site, view):
        """A session that stays empty is not stored and sets no cookie (guarantee 8)."""
        answer = site.browser().visit(view)

        assert [] == answer.cookies
        assert set() == site.names()

    def test_set_and_taken_back(self, site):
        """A key that is set and deleted again leaves the session empty."""
        answer = site.browser().visit(each(lambda: session.update(a=1), lambda: session.pop("a")))

        assert [] == answer.cookies
        assert set() == site.names()

    def test_cleared_unknown_cookie(self, site):
        """Who clears a session that is gone keeps the cookie: it may be a newer one by now."""
        browser = site.browser()
        browser.set(a=1)
        site.expire(browser.sid)
        cookie = browser.cookie

        browser.visit(lambda: session.clear())

        assert cookie == browser.cookie

    def test_value(self, site):
        """The cookie is sid.secret, in base64url, and not quoted."""
        answer = site.browser().set(a=1)
        header = answer.headers["Set-Cookie"]

        assert SimpleCookie(header)["session"].value == answer.cookie.value
        assert [22, 43] == [len(part) for part in answer.cookie.value.split(".")]


class TestCaches:
    @pytest.mark.parametrize(
        ("expected", "view"),
        [
            (None, lambda: None),
            ("Cookie", lambda: session.get("a")),
            ("Cookie", lambda: session.update(a=2)),
            ("Cookie", lambda: session.clear()),
        ],
    )
    def test_vary(self, site, expected, view):
        """A response varies by the cookie exactly if the session was used."""
        browser = site.browser()
        browser.set(a=1)

        assert expected == browser.visit(view).headers.get("Vary")

    def test_vary_is_added(self, site):
        """What the application lets a response vary by stays."""

        def view():
            session.get("a")
            response = flask.make_response("served")
            response.headers["Vary"] = "Accept-Language"
            return response

        assert "Accept-Language, Cookie" == site.browser().visit(view).headers["Vary"]

    def test_vary_by_the_interface(self, site):
        """It varies by the cookie also if only the interface used the session, as it sent one."""
        browser = site.browser()
        browser.visit(lambda: session.update(a=1) or setattr(session, "permanent", True))

        class Curious(RedisSessionInterface):
            def should_set_cookie(self, app, session):
                return flask.session["a"] == 1

        site.interface.__class__ = Curious
        answer = browser.visit(lambda: None)

        assert answer.cookie is not None
        assert ["Cookie"] == answer.headers.getlist("Vary")

    def test_no_store(self, site):
        """A response that hands out a secret is for no cache; the others are as they were."""
        browser = site.browser()

        assert "no-store" == browser.set(a=1).headers["Cache-Control"]
        assert "Cache-Control" not in browser.set(a=2).headers
        assert "no-store" == browser.sign_in(23).headers["Cache-Control"]
        assert "no-store" == browser.visit(lambda: session.regenerate()).headers["Cache-Control"]
        assert "Cache-Control" not in browser.visit(lambda: session.clear()).headers

    def test_no_store_keeps_the_rest(self, site):
        """What the application says about caches otherwise stays."""

        def view():
            session["a"] = 1
            response = flask.make_response("served")
            response.cache_control.private = True
            return response

        answer = site.browser().visit(view)

        assert {"private", "no-store"} == set(answer.headers["Cache-Control"].split(", "))


class TestFlask:
    def test_session_transaction(self, site):
        """A test may write into a session before a request, and look at it after one."""
        browser = site.browser()

        with browser.client.session_transaction() as held:
            held["cart"] = [1]
            held["user_id"] = 23
        browser.visit(lambda: session["cart"].append(2))
        with browser.client.session_transaction() as held:
            assert [1, 2] == held["cart"]
            assert isinstance(held, RedisSession)
            assert 1 == len(held.user_sessions())
            held.clear()

        assert None is browser.cookie
        assert set() == site.names()

    def test_session_transaction_in_an_application_context(self, site):
        """It makes no difference to it whether an application context is there."""
        browser = site.browser()

        with site.app.app_context(), browser.client.session_transaction() as held:
            held["a"] = 1

        assert {"a": 1} == browser.read()

    @pytest.mark.parametrize("given", [None, {}])
    def test_save_none(self, site, given):
        """To save what is no session of ours is to do nothing: Flask may pass None."""
        response = flask.Response()

        site.interface.save_session(site.app, given, response)

        assert [] == response.headers.getlist("Set-Cookie")

    def test_no_secret_key(self, site):
        """No SECRET_KEY is needed: nothing is signed."""
        assert None is site.app.secret_key
        assert "" != site.browser().set(a=1).cookie.value

    def test_pickle_based(self, site):
        """Flask may know that nothing here is executed."""
        assert not site.interface.pickle_based

    def test_error_pages(self, site):
        """An error handler and a 404 page use the session as a view does."""
        browser = site.browser()

        @site.app.errorhandler(404)
        def missing(error):
            session["misses"] = session.get("misses", 0) + 1
            return "missing", 404

        for _ in range(2):
            browser.visit(lambda: flask.abort(404), status=404)

        assert {"misses": 2} == browser.read()

    def test_saved_though_the_view_fails(self, site):
        """As with Flask's own sessions, what was set before an error is saved with the 500."""
        browser = site.browser()

        browser.visit(each(lambda: session.update(a=1), lambda: 1 / 0), status=500)

        assert {"a": 1} == browser.read()

    def test_after_request(self, site):
        """What an after_request function changes is saved."""
        browser = site.browser()

        @site.app.after_request
        def count(response):
            session["count"] = session.get("count", 0) + 1
            return response

        browser.visit()
        browser.visit()

        assert {"count": 2} == browser.read()
