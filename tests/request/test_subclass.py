"""What code that was written for Flask's or Flask-Session's interface calls and overrides."""

from __future__ import annotations

import pytest

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client
from tests.support.webapp import Site, make_app, session


class Decides(RedisSessionInterface):
    """Sends the cookie as the test says."""

    answer = True

    def should_set_cookie(self, app, session):
        return self.answer and super().should_set_cookie(app, session) is not None


@pytest.fixture
def site(valkey):
    """A site whose interface is a subclass."""
    site = Site(valkey)
    site.interface = Decides(redis=shared_client(valkey))
    site.app = make_app(site.interface)
    return site


class TestShouldSetCookie:
    """``should_set_cookie`` of a subclass says whether the cookie of a live session is sent."""

    def test_not(self, site):
        """No cookie is set if it says so, whatever was written."""
        site.interface.answer = False
        browser = site.browser()

        assert [] == browser.set(a=1).cookies
        assert 1 == len(site.names())

    def test_on_each_response(self, site):
        """If it always says yes, each request that uses the session gets the same cookie again."""
        browser = site.browser()
        browser.set(a=1)
        before = browser.cookie

        for view in (lambda: session["a"], lambda: session.update(b=1)):
            answer = browser.visit(view)

            assert before == browser.cookie == answer.cookie.value

    def test_untouched(self, site):
        """A request that does without its session proves no cookie, and sends none."""
        browser = site.browser()
        browser.set(a=1)

        assert [] == browser.visit(lambda: None).cookies

    @pytest.mark.parametrize("answer", [True, False])
    def test_ended(self, site, answer):
        """A cookie whose session ended is deleted in any case."""
        browser = site.browser()
        browser.set(a=1)
        site.interface.answer = answer

        browser.visit(lambda: session.clear())

        assert None is browser.cookie

    def test_rotated(self, site):
        """A cookie that was rotated away is left alone, whatever it says."""
        browser = site.browser()
        browser.set(a=1)
        old = browser.twin()
        browser.sign_in(23)

        assert [] == old.visit(lambda: session.get("a")).cookies
        assert [] == old.set(a=2).cookies

    def test_by_the_session(self, valkey):
        """It is asked before the save, so that it can tell what was modified."""

        class Asks(RedisSessionInterface):
            asked: list[bool] = []  # noqa: RUF012

            def should_set_cookie(self, app, session):
                self.asked.append(session.modified)
                return super().should_set_cookie(app, session)

        site = Site(valkey)
        site.interface = Asks(redis=shared_client(valkey))
        site.app = make_app(site.interface)
        browser = site.browser()
        browser.set(cart=[1])
        browser.visit(lambda: session["cart"].append(2))
        browser.visit(lambda: session["cart"])

        assert [True, True, False] == Asks.asked


def test_regenerate(valkey):
    """``app.session_interface.regenerate(session)``, as with Flask-Session, is a fresh secret."""
    site = Site(valkey)
    browser = site.browser()
    browser.set(a=1)
    old = browser.twin()

    browser.visit(lambda: site.interface.regenerate(session))

    assert {} == old.read()
    assert {"a": 1} == browser.read()
    assert old.sid == browser.sid
