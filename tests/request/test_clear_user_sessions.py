"""Log out everywhere, from within a session."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.support.webapp import Site, each, session


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def live(*browsers):
    """Tell which of the browsers are signed in."""
    return [bool(browser.twin().read()) if browser.cookie else False for browser in browsers]


def test_all(site):
    """All sessions of the user end, the current one too, and nobody else's."""
    first, second, third = site.browsers(23, 3)
    (other,) = site.browsers(42, 1)

    answer = first.visit(lambda: session.clear_user_sessions())

    assert 3 == answer.value
    assert "" == answer.cookie.value
    assert [False, False, False, True] == live(first, second, third, other)
    assert {site.key(other.sid), "session:user:42"} == site.names()


def test_keep_current(site):
    """With keep_current the session of this request is spared."""
    first, second, third = site.browsers(23, 3)

    answer = first.visit(lambda: session.clear_user_sessions(keep_current=True))

    assert 2 == answer.value
    assert None is answer.cookie
    assert [True, False, False] == live(first, second, third)
    assert [first.sid] == site.index(23)


def test_keep_current_keeps_changes(site):
    """A session that is spared is saved like any other."""
    first, _ = site.browsers(23, 2)

    first.visit(
        each(
            lambda: session.update(a=1),
            lambda: session.clear_user_sessions(keep_current=True),
            lambda: session.update(b=2),
        )
    )

    assert {"user_id": 23, "a": 1, "b": 2} == first.read()


@pytest.mark.parametrize("user_id", [23, "23"])
def test_of_another_user(site, user_id):
    """The sessions of a user are ended by somebody else, whose own session lives."""
    first, second = site.browsers(23, 2)
    (admin,) = site.browsers(1, 1)

    answer = admin.visit(lambda: session.clear_user_sessions(user_id=user_id))

    assert 2 == answer.value
    assert [False, False, True] == live(first, second, admin)


def test_by_ones_own_id(site):
    """To name oneself is to mean the current session too."""
    first, second = site.browsers(23, 2)

    assert 2 == first.visit(lambda: session.clear_user_sessions(23)).value
    assert None is first.cookie
    assert [False, False] == live(first, second)


def test_nobody(site):
    """Who is not signed in ends nothing."""
    (other,) = site.browsers(23, 1)
    browser = site.browser()
    browser.set(a=1)

    assert 0 == browser.visit(lambda: session.clear_user_sessions()).value
    assert [True, True] == live(browser, other)


@pytest.mark.parametrize(
    "before",
    [
        lambda: timedelta(seconds=500),
        lambda: datetime.now(timezone.utc) - timedelta(seconds=500),
        lambda: datetime.now(timezone(timedelta(hours=5))) - timedelta(seconds=500),
        lambda: datetime.now(timezone.utc).timestamp() - 500,
        lambda: int(datetime.now(timezone.utc).timestamp()) - 500,
    ],
    ids=["timedelta", "utc", "offset", "float", "int"],
)
def test_before(site, before):
    """With before, only those end that were last seen before that time."""
    first, second, third = site.browsers(23, 3)
    site.age(second.sid, 1000, user_id=23)
    site.age(third.sid, 400, user_id=23)

    answer = first.visit(lambda: session.clear_user_sessions(before=before()))

    assert 1 == answer.value
    assert [True, False, True] == live(first, second, third)


def test_current_counts_as_seen_now(site):
    """With before, the session of this request is spared though Redis saw it long ago."""
    first, second = site.browsers(23, 2)
    for browser in (first, second):
        site.age(browser.sid, 1000, user_id=23)

    answer = first.visit(lambda: session.clear_user_sessions(before=timedelta(seconds=500)))

    assert 1 == answer.value
    assert [True, False] == live(first, second)


def test_before_the_future(site):
    """A time that is yet to come is after all sessions, the current one included."""
    first, second = site.browsers(23, 2)

    answer = first.visit(lambda: session.clear_user_sessions(before=timedelta(days=-1)))

    assert 2 == answer.value
    assert None is first.cookie
    assert [False] == live(second)


def test_index_that_lags_behind(site):
    """It is the session's own last-seen that counts, also if the index has an older one."""
    first, second = site.browsers(23, 2)
    site.redis.zincrby("session:user:23", -1000, second.sid)

    answer = first.visit(lambda: session.clear_user_sessions(before=timedelta(seconds=500)))

    assert 0 == answer.value
    assert [True, True] == live(first, second)


@pytest.mark.parametrize("before", [datetime(2030, 1, 1), float("nan"), float("inf")])  # noqa: DTZ001
def test_no_time(site, before):
    """A naive time and one that is none are refused, and nothing ends."""
    first, second = site.browsers(23, 2)

    def view():
        with pytest.raises(ValueError, match="before"):
            session.clear_user_sessions(before=before)

    first.visit(view)

    assert [True, True] == live(first, second)


@pytest.mark.parametrize("before", ["yesterday", True, [1]])
def test_wrong_type(site, before):
    """What is of no type of a time is a TypeError, and nothing ends."""
    first, second = site.browsers(23, 2)

    def view():
        with pytest.raises(TypeError, match="before"):
            session.clear_user_sessions(before=before)

    first.visit(view)

    assert [True, True] == live(first, second)


def test_go_on(site):
    """A request that ended its own session may go on: it gets a new one."""
    first, second = site.browsers(23, 2)
    old = first.twin()

    def view():
        session.clear_user_sessions()
        before = dict(session), session.sid, session.new
        session["flash"] = "You are signed out everywhere."
        return before

    answer = first.visit(view)

    assert ({}, first.sid, True) == answer.value
    assert old.sid != first.sid
    assert {"flash": "You are signed out everywhere."} == first.read()
    assert {} == old.read()
    assert [True, False] == live(first, second)


def test_sign_in_again(site):
    """A request that ended all sessions may sign in again, into a session of its own."""
    first, second = site.browsers(23, 2)
    old = first.twin()

    first.visit(each(lambda: session.clear_user_sessions(), lambda: session.update(user_id=23)))

    assert [True, False] == live(first, second)
    assert old.sid != first.sid
    assert [first.sid] == site.index(23)


def test_changes_before_it_die(site):
    """What the request had changed before it ended its session is not saved."""
    first, _ = site.browsers(23, 2)

    first.visit(each(lambda: session.update(a=1), lambda: session.clear_user_sessions()))

    assert None is first.cookie
    assert set() == site.names()


def test_sign_in_of_the_same_request(site):
    """A sign-in that is not stored yet ends with the others."""
    (other,) = site.browsers(23, 1)
    browser = site.browser()

    answer = browser.visit(
        each(lambda: session.update(user_id=23), lambda: session.clear_user_sessions())
    )

    assert 1 == answer.value
    assert None is browser.cookie
    assert [False] == live(other)
    assert set() == site.names()


def test_sign_in_and_end_the_others(site):
    """After a change of password: sign in, end all others, and stay."""
    others = site.browsers(23, 2)
    browser = site.browser()
    browser.set(a=1)

    answer = browser.visit(
        each(
            lambda: session.update(user_id=23),
            lambda: session.clear_user_sessions(keep_current=True),
        )
    )

    assert 2 == answer.value
    assert [True, False, False] == live(browser, *others)
    assert [browser.sid] == site.index(23)


def test_ended_stay_ended(site):
    """A session that was ended is not brought back by what its browser does next."""
    first, second = site.browsers(23, 2)
    first.visit(lambda: session.clear_user_sessions(keep_current=True))
    dead = second.sid

    second.set(a=1)

    assert dead != second.sid
    assert {"a": 1} == second.read()
    assert site.key(dead) not in site.names()
    assert [first.sid] == site.index(23)


def test_twice(site):
    """To end all sessions again ends none, and is no error."""
    site.browsers(23, 2)
    browser = site.browser()

    assert 2 == browser.visit(lambda: session.clear_user_sessions(23)).value
    assert 0 == browser.visit(lambda: session.clear_user_sessions(23)).value


@pytest.mark.parametrize("user_id", [None, 23])
def test_without_an_index(site, user_id):
    """The current session ends also if the index that it was in has been evicted."""
    (browser,) = site.browsers(23, 1)
    thief = browser.twin()
    site.redis.delete("session:user:23")

    answer = browser.visit(lambda: session.clear_user_sessions(user_id))

    assert 1 == answer.value
    assert "" == answer.cookie.value
    assert [False] == live(thief)


def test_ended_meanwhile(site):
    """The current session is given up also if another request has just ended it."""
    (browser,) = site.browsers(23, 1)

    def view():
        assert session["user_id"] == 23
        site.interface.revoke_sessions(23)
        return session.clear_user_sessions(), dict(session)

    answer = browser.visit(view)

    assert (0, {}) == answer.value
    assert "" == answer.cookie.value


def test_ended_by_somebody_else(site):
    """If somebody else had ended the current session, the browser's new cookie is left alone."""
    (browser,) = site.browsers(23, 1)

    def view():
        assert session["user_id"] == 23
        site.redis.delete(site.key(browser.sid), "session:user:23")
        return session.clear_user_sessions(), dict(session)

    answer = browser.visit(view)

    assert (0, {}) == answer.value
    assert None is answer.cookie


def test_nobodys_meanwhile(site):
    """If another request signed the user out and the cookie opens it still, the session goes on."""
    (browser,) = site.browsers(23, 1)

    def signed_out_meanwhile():
        assert 23 == session["user_id"]
        site.redis.hdel(site.key(browser.sid), "@user", "user_id")
        site.redis.delete("session:user:23")
        return session.clear_user_sessions()

    assert 0 == browser.visit(signed_out_meanwhile).value
    browser.set(a=1)
    assert {"a": 1} == browser.read()


@pytest.mark.one_server("the right to a command of one server")
def test_failure_meanwhile(valkey):
    """If Redis fails while it is asked what became of the session, nothing counts as ended."""
    site = Site(valkey, SESSION_LOAD="all")
    (browser,) = site.browsers(23, 1)

    def fails_meanwhile():
        assert 23 == session["user_id"]
        site.redis.delete(site.key(browser.sid), "session:user:23")
        site.redis.execute_command("ACL", "SETUSER", "default", "-hgetall")
        try:
            session.clear_user_sessions()
        finally:
            site.redis.execute_command("ACL", "SETUSER", "default", "+hgetall")

    answer = browser.visit(fails_meanwhile, status=503)

    assert "Retry-After" in answer.headers
    assert None is answer.cookie
