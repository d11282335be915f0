"""A save whose cookie no longer opens the session, in the simplest order (guarantees 1 and 2)."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
from flask import make_response

from flask_redis_session.signals import save_refused, session_ended
from tests.support.webapp import Site, each, real_session, session, sids


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


@pytest.fixture
def browser(site):
    """A browser that has a session, and nobody signed in."""
    browser = site.browser()
    browser.set(a=1, b=2)
    return browser


@contextmanager
def heard(signal):
    """Collect what a signal says."""
    said = []

    def listen(_, **arguments):
        arguments.pop("session", None)
        said.append(arguments)

    with signal.connected_to(listen):
        yield said


def meanwhile(read, act, change):
    """Return a view that reads, lets something else happen, and then changes the session."""
    return each(read, act, change)


def rotate(browser):
    """Let the browser's other tab rotate the secret; return that tab."""
    other = browser.twin()
    other.visit(lambda: session.regenerate())
    return other


def sign_in_after_the_end(site, browser, **values):
    """Let a request load its session, which then ends, and sign user 23 in with these values."""
    sid = browser.sid
    browser.visit(
        meanwhile(
            lambda: dict(session),
            lambda: site.expire(sid),
            lambda: session.update(user_id=23, **values),
        )
    )


class TestGone:
    """The session ended while the request was running."""

    def test_stays_dead(self, site, browser):
        """Nothing is written, and the cookie is left alone: the browser may have a newer one."""
        sid = browser.sid

        answer = browser.visit(
            meanwhile(lambda: session["a"], lambda: site.expire(sid), lambda: session.update(a=2))
        )

        assert None is answer.cookie
        assert set() == site.names()

    def test_told(self, site, browser, caplog):
        """It is logged, and two signals say so."""
        sid = browser.sid
        view = meanwhile(
            lambda: session["a"], lambda: site.expire(sid), lambda: session.update(a=2)
        )

        with heard(save_refused) as refused, heard(session_ended) as ended:
            with caplog.at_level(logging.WARNING, "flask_redis_session"):
                browser.visit(view)

        assert [{"sid": sid, "user_id": None, "reason": "gone"}] == refused
        assert [{"sid": sid, "user_id": None, "reason": "gone"}] == ended
        assert f"session {sid} is gone" in caplog.text

    def test_reader(self, site, browser):
        """A request that only read does not bring it back either."""
        sid = browser.sid
        site.later(1000)

        answer = browser.visit(each(lambda: session["a"], lambda: site.expire(sid)))

        assert None is answer.cookie
        assert set() == site.names()

    def test_sign_in(self, site, browser):
        """A sign-in goes into a new session, with what this request set and nothing else."""
        sid = browser.sid

        sign_in_after_the_end(site, browser, c=3)

        assert sid != browser.sid
        assert {"user_id": 23, "c": 3} == browser.read()
        assert [browser.sid] == sids(site.interface.list_sessions(23))

    def test_sign_in_assigns_what_was_there(self, site, browser):
        """A key that the sign-in assigned is in its session also if the ended one held the same."""
        sign_in_after_the_end(site, browser, a=1)

        assert {"user_id": 23, "a": 1} == browser.read()

    def test_shows_what_is_stored(self, site, browser):
        """After its save, a sign-in shows nothing of the session that ended, nor stores it."""
        browser.set(cart=[1])
        sid = browser.sid
        seen = []

        def save():
            response = make_response()
            site.interface.save_session(site.app, real_session(), response)
            seen.append(dict(session))
            session.setdefault("cart", []).append(2)
            return response

        browser.visit(
            each(
                lambda: session["cart"],
                lambda: site.expire(sid),
                lambda: session.update(user_id=23),
                save,
            )
        )

        assert [{"user_id": 23}] == seen
        assert {"user_id": 23, "cart": [2]} == browser.read()

    @pytest.mark.parametrize("act", ["revoked", "rotated"])
    def test_same_user(self, site, browser, act):
        """To say again whose the session is is no sign-in, and brings back nothing that ended."""
        browser.sign_in(23)
        thief = browser.twin()

        def end():
            if act == "revoked":
                return Site(site.server).interface.revoke_sessions(23)
            return rotate(browser)

        answer = thief.visit(
            meanwhile(
                lambda: session["user_id"],
                end,
                lambda: session.update(user_id=session["user_id"], c=3),
            )
        )

        assert answer.cookie is None or not answer.cookie.value
        assert [browser.sid] * (act == "rotated") == site.index(23)
        assert (act == "rotated") == bool(site.redis.exists(site.key(browser.sid)))


class TestRotated:
    """Another request rotated the secret while this one was running."""

    @pytest.mark.parametrize("cookie", ["live", "rotated"])
    def test_not_modified(self, site, browser, cookie):
        """If the application says that nothing was modified, nothing is, whatever the cookie."""
        if cookie == "rotated":
            rotate(browser)
        before = {name: site.hash(name.removeprefix("session:")) for name in site.names()}

        answer = browser.visit(
            each(lambda: session.update(user_id=5), lambda: setattr(session, "modified", False))
        )

        assert None is answer.cookie
        assert before == {name: site.hash(name.removeprefix("session:")) for name in site.names()}

    def test_refused(self, browser):
        """Nothing is written, and the cookie is left alone."""
        others = []

        answer = browser.visit(
            meanwhile(
                lambda: session["a"],
                lambda: others.append(rotate(browser)),
                lambda: session.update(a=2),
            )
        )

        assert [] == answer.cookies
        assert {"a": 1, "b": 2} == others[0].read()

    @pytest.mark.parametrize("read", [lambda: session["a"], lambda: None], ids=["read", "blind"])
    def test_told(self, browser, caplog, read):
        """It is logged, and a signal says so."""
        view = meanwhile(read, lambda: rotate(browser), lambda: session.update(a=2))

        with heard(save_refused) as refused, heard(session_ended) as ended:
            with caplog.at_level(logging.WARNING, "flask_redis_session"):
                browser.visit(view)

        assert [{"sid": browser.sid, "user_id": None, "reason": "rotated"}] == refused
        assert [] == ended
        assert f"session {browser.sid} is rotated" in caplog.text

    def test_told_where_the_cookie_was_dead_before(self, browser):
        """So it is if the secret had been rotated away before the request began."""
        rotate(browser)

        with heard(save_refused) as refused:
            browser.visit(each(lambda: dict(session), lambda: session.update(a=2)))

        assert [{"sid": browser.sid, "user_id": None, "reason": "rotated"}] == refused

    def test_only_read(self, browser):
        """To read with a dead cookie is nothing to tell."""
        rotate(browser)

        with heard(save_refused) as refused:
            browser.read()

        assert [] == refused

    def test_sign_in(self, site, browser):
        """A sign-in goes into a new session, with what this one knew: it was its own to read."""
        others = []

        browser.visit(
            meanwhile(
                lambda: dict(session),
                lambda: others.append(rotate(browser)),
                lambda: session.update(user_id=23),
            )
        )

        assert others[0].sid != browser.sid
        assert {"user_id": 23, "a": 1, "b": 2} == browser.read()
        assert {"a": 1, "b": 2} == others[0].read()
        assert [browser.sid] == sids(site.interface.list_sessions(23))

    def test_sign_in_with_a_dead_cookie(self, site, browser):
        """A sign-in with a cookie that was dead from the start gets a new session (guarantee 2)."""
        other = rotate(browser)

        browser.sign_in(23)

        assert other.sid != browser.sid
        assert {"user_id": 23} == browser.read()
        assert {"a": 1, "b": 2} == other.read()
        assert [browser.sid] == site.index(23)

    def test_sign_in_twice(self, site, browser):
        """Of two sign-ins from one cookie, whichever answer the browser keeps is signed in."""
        second = browser.twin()

        browser.sign_in(23)
        second.sign_in(23)

        assert 23 == browser.read()["user_id"]
        assert 23 == second.read()["user_id"]
        assert {browser.sid, second.sid} == set(site.index(23))

    def test_planted(self, site, browser):
        """What the planter of a cookie does after the victim's sign-in reaches the victim not."""
        thief = browser.twin()
        browser.sign_in("victim")
        before = site.hash(browser.sid)

        thief.set(a="planted")
        thief.sign_in("thief")

        assert thief.sid != browser.sid
        assert before == site.hash(browser.sid)
        assert ([browser.sid], [thief.sid]) == (site.index("victim"), site.index("thief"))
