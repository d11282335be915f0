from __future__ import annotations

from typing import Any

import pytest

from flask_redis_session import RedisSession
from flask_redis_session.signals import session_created, user_bound
from tests.support.webapp import Site, each, session

FLAGS = {
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


class TestSavedTwice:
    """If a save raises, Flask saves again on the way to its error page."""

    def test_nothing_is_written_twice(self, site):
        """A listener that raises after the session was stored leaves one session, not two."""
        browser = site.browser()

        def fail(sender, **_):
            raise ValueError

        with session_created.connected_to(fail, site.app):
            browser.visit(lambda: session.update(a=1), status=500)

        assert 1 == len(site.names())

    @pytest.mark.parametrize("before", [{}, {"a": 1}], ids=["created", "rotated"])
    def test_cookie_arrives(self, site, before):
        """The cookie of what was stored is sent with the error page, so that nothing is lost."""
        browser = site.browser()
        if before:
            browser.set(**before)

        def fail(sender, **_):
            raise ValueError

        with user_bound.connected_to(fail, site.app):
            browser.visit(lambda: session.update(user_id=23), status=500)

        assert {**before, "user_id": 23} == browser.read()
        assert [browser.sid] == site.index(23)

    @pytest.mark.parametrize("after", ["_settle", "_keep_only"])
    @pytest.mark.parametrize("before", [{}, {"a": 1}], ids=["created", "rotated"])
    def test_cut_short_once_stored(self, site, monkeypatch, before, after):
        """An exception just after the session was stored, as of a time limit, loses no cookie."""
        browser = site.browser()
        if before:
            browser.set(**before)
        finish = getattr(RedisSession, after)

        def cut(session, *args):
            finish(session, *args)
            monkeypatch.undo()
            raise ValueError

        monkeypatch.setattr(RedisSession, after, cut)
        is_cut = after == "_settle" or not before
        browser.visit(lambda: session.update(user_id=23), status=500 if is_cut else 200)

        assert {**before, "user_id": 23} == browser.read()
        assert [browser.sid] == site.index(23)

    def test_error_page_that_writes(self, site):
        """What the error page changes after the first save is saved by the second."""
        browser = site.browser()

        @site.app.errorhandler(500)
        def failed(error):
            session["cart"].append(2)
            session["failed"] = True
            return "failed", 500

        def fail(sender, **_):
            raise ValueError

        with session_created.connected_to(fail, site.app):
            browser.visit(lambda: session.update(cart=[1]), status=500)

        assert {"cart": [1, 2], "failed": True} == browser.read()


class TestUnstorable:
    """A value that cannot be stored stops the whole save before it begins (guarantee 3)."""

    VALUES: tuple[Any, ...] = (
        object(),
        1j,
        lambda: None,
        {1j: 2},
        [{"deep": {"er": object()}}],
        frozenset(),
    )

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    def test_500(self, site, value):
        """The answer is a 500, and nothing is written: not even the other keys."""
        browser = site.browser()
        browser.set(a=1)
        before = site.hash(browser.sid)

        answer = browser.visit(
            lambda: session.update({"a": 2, "bad": value, "z": 3, "user_id": 23}), status=500
        )

        assert [] == answer.cookies
        assert before == site.hash(browser.sid)
        assert {site.key(browser.sid)} == site.names()

    def test_names_the_key(self, site):
        """The TypeError names the key and the type."""
        site.app.testing = True

        with pytest.raises(TypeError, match=r"session\['bad'\].*complex"):
            site.browser().set(good=1, bad=[1j])

        assert set() == site.names()

    def test_is_told_once(self, site, caplog):
        """The log names the key and the endpoint, once, although Flask saves its error page too."""
        site.browser().visit(lambda: session.update(bad=1j), status=500)

        told = [record for record in caplog.records if record.exc_info]

        assert ["session['bad']: the value is of type complex" in caplog.text, 1] == [
            True,
            len(told),
        ]
        assert "(endpoint 'page')" in caplog.text

    def test_nested_change(self, site):
        """A value that became unstorable deep inside is found just the same."""
        site.app.testing = True
        browser = site.browser()
        browser.set(cart=[1], b=1)

        with pytest.raises(TypeError, match=r"session\['cart'\]"):
            browser.visit(
                each(lambda: session["cart"].append(object()), lambda: session.update(b=2))
            )

        assert {"cart": [1], "b": 1} == browser.read()

    def test_error_page_may_recover(self, site):
        """An error page that removes the value gets the rest saved."""
        browser = site.browser()

        @site.app.errorhandler(500)
        def failed(error):
            session.pop("bad")
            return "failed", 500

        browser.visit(lambda: session.update(bad=object(), good=1), status=500)

        assert {"good": 1} == browser.read()
