from __future__ import annotations

import pytest
from flask.sessions import SessionMixin

from flask_redis_session import RedisSession
from tests.support.webapp import Site, each, real_session, session


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestAttributes:
    def test_type(self, site):
        """flask.session is a RedisSession, which is a session in Flask's sense."""
        view = real_session

        assert isinstance(site.browser().visit(view).value, RedisSession)
        assert issubclass(RedisSession, SessionMixin)

    def test_sid_stays(self, site):
        """The sid is the same after a sign-in, a sign-out and a rotation."""
        browser = site.browser()
        browser.set(a=1)
        sid = browser.sid

        browser.sign_in(23)
        browser.sign_in(42)
        browser.visit(lambda: session.regenerate())
        browser.visit(lambda: session.pop("user_id"))

        assert sid == browser.sid == browser.visit(lambda: session.sid).value

    def test_new(self, site):
        """A session is new until it is stored, and again after it ended."""
        browser = site.browser()

        assert browser.visit(each(lambda: session.update(a=1), lambda: session.new)).value
        assert not browser.visit(lambda: session.new).value

        site.expire(browser.sid)

        assert browser.visit(lambda: session.new).value

    def test_accessed(self, site):
        """A session is accessed once flask.session is used."""

        def view():
            real = real_session()
            return real.accessed

        assert site.browser().visit(view).value
        assert not RedisSession(site.interface._any_backend(), ()).accessed

    @pytest.mark.parametrize(
        ("expected", "view"),
        [
            (False, lambda: None),
            (False, lambda: session.get("cart")),
            (True, lambda: session.update(a=1)),
            (True, lambda: session.pop("cart")),
            (False, lambda: session.pop("nothing", None)),
            (True, lambda: session.clear()),
            (True, lambda: session["cart"].append(1)),
            (False, lambda: (session["cart"].append(1), session["cart"].pop())),
            (True, lambda: setattr(session, "permanent", True)),
            (False, lambda: setattr(session, "permanent", False)),
            (True, lambda: session.regenerate()),
            (True, lambda: setattr(session, "modified", True)),
            (False, lambda: each(lambda: session.update(a=1), lambda: unmodified())()),
        ],
    )
    def test_modified(self, site, expected, view):
        """A session is modified once something in it was, and as soon as one says so."""
        browser = site.browser()
        browser.set(cart=[])

        assert expected == browser.visit(each(view, lambda: session.modified)).value

    def test_modified_by_hand(self, site):
        """To assign True saves what nothing else shows; to assign False drops the changes."""
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 10)
        seen = site.hash(browser.sid)[b"@seen"]

        browser.visit(lambda: setattr(session, "modified", True))

        assert seen != site.hash(browser.sid)[b"@seen"]

        browser.visit(each(lambda: session.update(a=2), unmodified))

        assert {"a": 1} == browser.read()

    def test_unmodified_session_is_not_created(self, site):
        """A new session whose changes are dropped is not stored."""
        answer = site.browser().visit(each(lambda: session.update(a=2), unmodified))

        assert None is answer.cookie
        assert set() == site.names()

    def test_changes_after_unmodified_count(self, site):
        """What is assigned after modified was set to False is saved, as with Flask's own."""
        browser = site.browser()

        browser.visit(each(unmodified, lambda: session.update(a=1)))

        assert {"a": 1} == browser.read()

    def test_permanent(self, site):
        """A session is permanent where it was made so, in this request or an earlier one."""
        browser = site.browser()

        assert not browser.visit(lambda: session.permanent).value

        browser.visit(each(lambda: session.update(a=1), lambda: setattr(session, "permanent", 1)))

        assert browser.visit(lambda: session.permanent).value is True

        browser.visit(lambda: setattr(session, "permanent", False))

        assert not browser.visit(lambda: session.permanent).value
        assert {"a": 1} == browser.read()

    def test_repr(self, site):
        """A session is shown without its content, without its secret, and without a load."""
        browser = site.browser()
        browser.set(a="private")
        seen = {}

        def view():
            seen["repr"] = repr(session)

        with site.server.cost() as cost:
            browser.visit(view)

        assert f"<RedisSession {browser.sid}>" == seen["repr"]
        assert 0 == cost.calls
        assert "<RedisSession None>" == site.browser().visit(lambda: repr(session)).value


def unmodified():
    """Say that nothing was modified."""
    session.modified = False
