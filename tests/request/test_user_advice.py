"""What an application is told whose users are under another key than the sessions look at."""

from __future__ import annotations

import uuid

import pytest

from flask_redis_session.devices import blueprint
from flask_redis_session.request.user_advice import look_like_users
from tests.support.webapp import Site, session

ASKS = [
    lambda: session.user_sessions(),
    lambda: session.clear_user_sessions(),
    lambda: session.clear_user_sessions(keep_current=True),
]


def advice(caplog):
    """Return what was logged about users."""
    return [message for message in caplog.messages if "no user" in message]


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    site = Site(valkey)
    site.app.register_blueprint(blueprint())
    return site


@pytest.mark.parametrize("ask", ASKS)
def test_named(site, caplog, ask):
    """The key that looks like a user is named, with the setting to name it by."""
    browser = site.browser()
    browser.set(username="mira", cart=[1])

    browser.visit(ask)

    assert [
        "A session holds something, but no user under 'user_id'. `username`: set SESSION_USER_KEY."
    ] == advice(caplog)


def test_devices_page(site, caplog):
    """The page for devices says it too."""
    browser = site.browser()
    browser.set(user={"sub": "ann"})

    browser.client.get("/devices")

    assert ["`user.sub`: set SESSION_USER_KEY" in text for text in advice(caplog)] == [True]


def test_once(site, caplog):
    """It is said once in a process, and costs a later request nothing."""
    browser = site.browser()
    browser.set(username="mira")
    for ask in ASKS * 2:
        browser.visit(ask)

    with site.server.cost() as cost:
        browser.visit(ASKS[0])

    assert (1, 1) == (len(advice(caplog)), cost.round_trips)


@pytest.mark.parametrize(
    "view",
    [
        lambda: session.user_sessions(),
        lambda: (session.clear(), session.user_sessions()),
        lambda: session.user_sessions("mira"),
        lambda: session.clear_user_sessions("mira"),
        lambda: session.get("username"),
    ],
    ids=["signed in", "empty", "list of another", "end of another", "read"],
)
def test_not_said(site, caplog, view):
    """Nothing is said of a session that has a user or is empty, nor if another user is meant."""
    browser = site.browser()
    browser.set(username="mira", user_id=23)

    browser.visit(view)
    site.browser().visit(lambda: session.user_sessions())

    assert [] == advice(caplog)


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({"uid": 23}, "`uid`: set"),
        ({"account_id": uuid.UUID(int=1)}, "`account_id`: set"),
        ({"_user_id": "23"}, "`_user_id`: set"),
        ({"current_user": "mira"}, "`current_user`: set"),
        ({"email": "mira@example.org"}, "`email`: set"),
        ({"profile": {"id": 23, "name": "Mira"}}, "`profile.id`: set"),
        ({"token": {"userinfo": {"sub": "ann"}}}, "`token.userinfo.sub`: set"),
        ({"user": {"sub": "ann", "email": "a@b.c"}}, "`user.sub`, `user.email`: set"),
        ({"csrf_token": "x", "cart": {"id": 5}}, "If somebody is signed in, name the key: set"),
        (
            {"user": None, "logins": 3, "user.sub": "x"},
            "If somebody is signed in, name the key: set",
        ),
        ({"is_user": True, "user_ids": [1]}, "If somebody is signed in, name the key: set"),
    ],
)
def test_what_looks_like_a_user(site, caplog, held, named):
    """Ids under names that users have are named, in dicts too; nothing else is."""
    browser = site.browser()
    browser.visit(lambda: session.update(held))

    browser.visit(lambda: session.user_sessions())

    assert f" {named} SESSION_USER_KEY." in advice(caplog)[0]


def test_only_so_deep():
    """A dict in a dict in a dict is too deep to be a user's."""
    assert ["user.id"] == [*look_like_users({"user": {"id": 1, "of": {"user": {"id": 2}}}})]
