"""An index that was lost comes back with the next touches, and a failure in it loses no commit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.webapp import Site, each, session, sids

INDEX = "session:user:23"


@pytest.fixture
def site(server: Any) -> Site:
    """A site whose touches are due after a minute."""
    return Site(server, SESSION_TOUCH_INTERVAL=60)


@pytest.fixture
def browser(site: Site) -> Any:
    """A browser that is signed in, whose index was evicted, and whose touch is due."""
    browser = site.browser()
    browser.sign_in(23, a=1)
    site.later(100)
    site.redis.delete(INDEX)
    return browser


READ, WRITE = (lambda: session["a"]), (lambda: session.update(b=1))


@pytest.mark.parametrize("view", [READ, WRITE, each(READ, WRITE)])
def test_touch_heals(site: Site, browser: Any, view: Any) -> None:
    """The next request of a session puts it back, whether it reads, writes or both."""
    browser.visit(view)

    assert [browser.sid] == site.index(23)
    assert 1 == site.interface.revoke_sessions(23)
    assert site.redis.pttl(INDEX) != -1


def test_never_loaded(server: Any) -> None:
    """So does the touch of a permanent session that its request never uses."""
    site = Site(server, SESSION_TOUCH_INTERVAL=60)
    browser = site.browser()
    browser.visit(lambda: (session.update(user_id=23), setattr(session, "permanent", True)))
    site.later(100)
    site.redis.delete(INDEX)
    browser.visit()

    assert [browser.sid] == site.index(23)


@pytest.mark.parametrize("view", [READ, WRITE, each(READ, WRITE)])
@pytest.mark.parametrize(
    "lengthens",
    [
        lambda: setattr(session, "permanent", True),
        lambda: setattr(session, "lifetime", timedelta(days=365)),
    ],
    ids=["permanent", "assigned"],
)
def test_longer_meanwhile(site: Site, browser: Any, view: Any, lengthens: Any) -> None:
    """A request that loaded a session before its lifetime grew lets the index outlive it."""
    other = browser.twin()

    def late() -> None:
        dict(session)
        other.visit(lengthens)
        site.redis.delete(INDEX)
        site.later(100)
        view()

    browser.visit(late)

    assert [browser.sid] == site.index(23)
    assert site.redis.pttl(INDEX) > site.redis.pttl(site.key(browser.sid)) > 2_000_000_000


@pytest.mark.parametrize("view", [READ, WRITE, each(READ, WRITE)])
def test_touch_after_revocation(site: Site, browser: Any, view: Any) -> None:
    """What ended before the touch stays ended."""

    def late() -> None:
        dict(session)
        Site(site.server).interface.revoke_sessions(23, only=browser.sid)
        view()

    browser.visit(late)

    assert [] == site.interface.list_sessions(23)
    assert b"@born" not in site.hash(browser.sid)


def test_touch_before_revocation(site: Site, browser: Any) -> None:
    """What the touch has put back is found by the revocation after it."""
    browser.visit(READ)

    assert 1 == site.interface.revoke_sessions(23)
    assert b"@born" not in site.hash(browser.sid)


def test_change_of_user(site: Site, browser: Any) -> None:
    """A touch that comes after a change of user leaves the session with the new one alone."""
    other = browser.twin()

    def late() -> None:
        dict(session)
        other.sign_in(42)

    browser.visit(late)

    assert [] == site.interface.list_sessions(23)
    assert [other.sid] == sids(site.interface.list_sessions(42))
    assert 0 == site.interface.revoke_sessions(23)
    assert 1 == site.interface.revoke_sessions(42)


@pytest.mark.parametrize("view", [READ, WRITE, each(READ, WRITE)])
def test_index_of_another_type(site: Site, browser: Any, view: Any) -> None:
    """If the index alone cannot be written to, the commit stands and the request is served."""
    site.redis.set(INDEX, "no index")
    browser.visit(view)
    site.redis.delete(INDEX)

    assert ("b" in browser.read()) == (view is not READ)


@pytest.mark.parametrize("act", ["signs out", "rotates", "becomes permanent"])
def test_commit_stands(site: Site, browser: Any, act: str) -> None:
    """A rotation, a sign-out and a change of kind stand if only the index fails."""
    site.redis.set(INDEX, "no index")
    views = {
        "signs out": lambda: session.pop("user_id"),
        "rotates": lambda: session.regenerate(),
        "becomes permanent": lambda: setattr(session, "permanent", True),
    }
    browser.visit(each(lambda: session["a"], views[act]))
    site.redis.delete(INDEX)

    assert 1 == browser.read()["a"]


@pytest.mark.one_server("in a cluster nothing is sent after a refusal, so nothing is to be undone")
def test_sign_in_without_a_place(site: Site) -> None:
    """A sign-in whose place in the index cannot be had is undone, and answered with 503."""
    browser = site.browser()
    browser.set(a=1)
    site.redis.set(INDEX, "no index")
    for visitor in (browser, site.browser()):
        answer = visitor.visit(lambda: session.update(user_id=23), status=503)

        assert [] == answer.cookies
    assert {INDEX} == site.names()
