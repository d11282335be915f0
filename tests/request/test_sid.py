"""``session.sid``: chosen when it is first asked for, and the one that is stored."""

from __future__ import annotations

import pytest

from flask_redis_session.signals import user_bound
from flask_redis_session.storage.token import is_sid
from tests.support.webapp import Site, each, session, sids


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def sid():
    """Return what the application is told."""
    return session.sid


@pytest.mark.parametrize(
    "writes", [lambda: session.update(a=1), lambda: session.update(user_id=23)], ids=["a", "user"]
)
def test_first_request(site, writes):
    """The first request is told the sid that the session is then stored under."""
    before, after = site.browser(), site.browser()

    told = before.visit(lambda: (sid(), writes(), sid())).value

    assert (before.sid, None, before.sid) == told
    assert after.visit(each(writes, sid)).value == after.sid
    assert before.sid == before.visit(sid).value != after.sid


def test_strangers(site):
    """Two strangers have two sids: what is cached under them is not shared."""
    told = [site.browser().visit(sid).value for _ in range(2)]

    assert [True, True] == [*map(is_sid, told)]
    assert told[0] != told[1]


def test_stores_nothing(site):
    """To ask for it stores nothing and sets no cookie; without a cookie Redis is not asked."""
    with site.server.cost() as cost:
        answer = site.browser().visit(lambda: (sid(), session.new, session.modified))

    assert (True, False) == answer.value[1:]
    assert None is answer.cookie
    assert (0, set()) == (cost.calls, site.names())


def test_loads(site):
    """With a cookie, to ask for it loads the session, once."""
    (browser,) = site.browsers(23, 1)
    with site.server.cost() as cost:
        told = browser.visit(lambda: (sid(), sid(), session["user_id"])).value

    assert (browser.sid, browser.sid, 23) == told
    assert 1 == cost.round_trips


def test_other_secret(site):
    """It is never taken from a cookie that Redis has not proved: somebody's sid, another secret."""
    (victim,) = site.browsers(23, 1)
    thief = site.browser()
    thief.cookie = f"{victim.sid}.{'x' * 43}"

    told = thief.visit(sid).value
    stored = thief.visit(each(sid, lambda: session.update(a=1), sid)).value

    assert victim.sid not in (told, stored)
    assert stored == thief.sid
    assert {"user_id": 23} == victim.read()


@pytest.mark.parametrize("cookie", ["nonsense", "A" * 22 + "." + "b" * 43])
def test_unknown_cookie(site, cookie):
    """A cookie that opens nothing gets a new sid."""
    browser = site.browser()
    browser.cookie = cookie

    told = browser.visit(each(sid, lambda: session.update(a=1), sid)).value

    assert told == browser.sid != "A" * 22


def test_ended(site):
    """A session that ended gives its sid to no other."""
    (browser,) = site.browsers(23, 1)
    old = browser.sid
    site.interface.revoke_sessions(23)

    told = browser.visit(lambda: (sid(), session.update(a=1))[0]).value

    assert told == browser.sid != old


def test_rotated_cookie(site):
    """A cookie that was rotated away gives another sid, which a sign-in is stored under."""
    browser = site.browser()
    browser.set(a=1)
    old = browser.twin()
    browser.sign_in(23)

    told = old.visit(lambda: (sid(), session.update(user_id=42))[0]).value

    assert told == old.sid != browser.sid


@pytest.mark.parametrize("ends", [False, True])
def test_sign_in_that_is_refused(site, ends):
    """If a sign-in finds its session ended or rotated when it saves, its own has another sid."""
    browser = site.browser()
    browser.set(a=1)
    other = browser.twin()

    def view():
        told = sid()
        session["user_id"] = 23
        if ends:
            site.expire(browser.sid)
        else:
            other.visit(lambda: session.regenerate())
        return told

    old = browser.sid
    told = browser.visit(view).value

    assert told == old != browser.sid
    assert browser.sid == site.index(23)[0]


def test_after_clear(site):
    """After clear() it is another one: what belongs to a stranger's sid is not a user's."""
    browser = site.browser()

    def view():
        told = sid()
        session.clear()
        session["user_id"] = 23
        return told, sid()

    before, after = browser.visit(view).value

    assert before != after == browser.sid


def test_stored_after_clear(site):
    """A stored session that is emptied and filled again is the same one, and says whose it was."""
    (browser,) = site.browsers(23, 1)
    before, told = browser.sid, []
    with user_bound.connected_to(lambda _, **event: told.append(event), sender=site.app):
        browser.visit(lambda: (session.clear(), session.update(user_id=42)))

    assert before == browser.sid
    assert [(before, "42", "23")] == [(e["sid"], e["user_id"], e["previous"]) for e in told]


def test_after_the_end(site):
    """A session that this request ended, and that is used on, has another sid from then on."""
    (browser,) = site.browsers(23, 1)

    def view():
        told = sid()
        session.clear_user_sessions()
        session["a"] = 1
        return told, sid()

    before, after = browser.visit(view).value

    assert before != after == browser.sid
    assert {"a": 1} == browser.read()


def test_later_session_of_a_request(site):
    """After a save, another session of the same request does not get the sid again."""
    with site.app.test_client() as client:
        with client.session_transaction() as first:
            told = first.sid
            first["a"] = 1
        with client.session_transaction() as second:
            assert told == second.sid
            second.clear()
            second["b"] = 1
        with client.session_transaction() as third:
            assert {"b": 1} == dict(third)


@pytest.mark.parametrize("what", ["hash", "text"])
def test_taken(site, what):
    """If something is under it by the end of the request, the session gets another one."""
    browser = site.browser()

    def view():
        key = site.key(session.sid)
        if what == "hash":
            site.redis.hset(key, "a", 2)
        else:
            site.redis.set(key, "no session")
        session["user_id"] = 23
        return session.sid

    taken = browser.visit(view).value

    assert taken != browser.sid
    assert {"user_id": 23} == browser.read()
    assert [browser.sid] == sids(site.interface.list_sessions(23))
