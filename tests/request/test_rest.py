"""A request that only read its session comes to its end by a shorter way, and to the same."""

from __future__ import annotations

import pytest

from flask_redis_session import RedisSessionInterface
from flask_redis_session.request.session import RedisSession
from flask_redis_session.signals import user_bound
from tests.support.webapp import Site, load_scripts, session

VIEWS = {
    "reads": lambda: session["a"],
    "reads what is missing": lambda: session.get("gone"),
    "reads all": lambda: dict(session),
    "reads a list": lambda: len(session["cart"]),
    "changes a list": lambda: session["cart"].append(2),
    "sets": lambda: session.update(a=2),
    "sets to the same": lambda: session.update(a=session["a"]),
    "removes": lambda: session.pop("a"),
    "says modified": lambda: (session["a"], setattr(session, "modified", True)),
    "says not modified": lambda: (session["a"], setattr(session, "modified", False)),
    "increments": lambda: (session["a"], session.increment("n")),
    "takes": lambda: (session["a"], session.take("a")),
    "rotates": lambda: (session["a"], session.regenerate()),
    "becomes permanent": lambda: (session["a"], setattr(session, "permanent", True)),
    "gets a lifetime": lambda: (session["a"], setattr(session, "lifetime", None)),
    "signs out": lambda: (session["a"], session.pop("user_id")),
    "clears": lambda: (session["a"], session.clear()),
}


def outcome(server, view, rests, permanent, age):
    """Return what became of the cookie and of what is stored, and which commands were sent."""
    site = Site(server)
    load_scripts(site.redis)
    browser = site.browser()
    browser.sign_in(23, a=1, cart=[1])
    if permanent:
        browser.visit(lambda: setattr(session, "permanent", True))
    site.age(browser.sid, age)
    sid = browser.sid
    with pytest.MonkeyPatch.context() as patch, server.cost() as cost:
        if not rests:
            patch.setattr(RedisSession, "_is_only_read", lambda _: False)
        answer = browser.visit(view)
    stored = site.hash(sid)
    kinds = {name: value for name, value in stored.items() if name[:1] != b"@"}
    cookie = None if answer.cookie is None else {*answer.cookie.flags} - {"Expires"}
    headers = {name for name, _ in answer.headers}
    return cookie, headers, kinds, len(stored), sorted(set(cost.names)), browser.cookie is None


@pytest.mark.parametrize("age", [0, 100], ids=["touched", "due"])
@pytest.mark.parametrize("permanent", [False, True], ids=["passing", "permanent"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_same(valkey, view, permanent, age):
    """Whatever a request does, it comes to the same as by the long way."""
    long, short = (outcome(valkey, view, rests, permanent, age) for rests in (False, True))

    assert long == short


def test_is_taken(valkey, monkeypatch):
    """A request that only reads takes it: no draft is made."""
    browser = Site(valkey).browser()
    browser.sign_in(23, a=1)
    drafts = []
    draft = RedisSession._draft
    monkeypatch.setattr(
        RedisSession, "_draft", lambda *given: drafts.append(given) or draft(*given)
    )
    browser.visit(lambda: session["a"])

    assert [] == drafts
    browser.visit(lambda: session.update(a=2))
    assert drafts


def test_application_decides(valkey):
    """A subclass that wants the cookie sent again gets it."""
    site = Site(valkey)
    browser = site.browser()
    browser.sign_in(23)

    class Always(RedisSessionInterface):
        def should_set_cookie(self, app, session):
            return True

    site.interface.__class__ = Always

    assert browser.visit(lambda: session["user_id"]).cookie is not None


def test_owes_cookie(valkey):
    """If a save was cut short once it had rotated the secret, the error page sends the cookie.

    Here a user's id changes inside of a dict: nothing says so but the text of that dict.
    """
    site = Site(valkey, SESSION_USER_KEY="user.id")
    browser = site.browser()
    browser.set(user={"id": 23})

    def fail(*_, **__):
        raise ValueError

    with user_bound.connected_to(fail, site.app):
        answer = browser.visit(lambda: session["user"].update(id=42), status=500)

    assert answer.cookie is not None
    assert {"user": {"id": 42}} == browser.read()
