"""Listing and ending sessions through the interface, with and without a request."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_redis_session import RedisSessionInterface, SessionInfo
from tests.support.clients import shared_client
from tests.support.webapp import Site, make_app, session, sids


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def live(*browsers):
    """Tell which of the browsers are signed in."""
    return [bool(browser.twin().read()) for browser in browsers]


def in_order(site, count):
    """Sign in so often as user 23 and return the sids, last seen first."""
    browsers = site.browsers(23, count)
    for at, browser in enumerate(browsers):
        site.age(browser.sid, 10 * at, user_id=23)
    return [browser.sid for browser in browsers]


class TestWhere:
    """Neither a request nor an application context is needed."""

    def test_outside(self, site):
        """Outside of any context, the application that has the interface is meant."""
        browsers = site.browsers(23, 2)

        assert {each.sid for each in browsers} == set(sids(site.interface.list_sessions(23)))
        assert 2 == site.interface.revoke_sessions(23)

    def test_in_an_application_context(self, site):
        """In a context, it is that application."""
        site.browsers(23, 2)

        with site.app.app_context():
            assert 2 == len(site.interface.list_sessions(23))
            assert 2 == site.interface.revoke_sessions(23)

    def test_in_a_request(self, site):
        """In a request, without a look at its session."""
        browsers = site.browsers(23, 2)

        assert 2 == site.browser().visit(lambda: site.interface.revoke_sessions(23)).value
        assert [False, False] == live(*browsers)

    def test_in_another_applications_context(self, valkey, site):
        """In the context of an application with other sessions, its own are meant."""
        site.browsers(23, 2)
        other = Site(valkey, prefix="other:")

        with other.app.app_context():
            assert 2 == len(site.interface.list_sessions(23))
            assert [] == other.interface.list_sessions(23)

    def test_before_the_first_request(self, valkey, site):
        """An interface with a client needs no application: a script can end sessions."""
        site.browsers(23, 2)

        interface = RedisSessionInterface(shared_client(valkey))

        assert 2 == len(interface.list_sessions(23))
        assert 2 == interface.revoke_sessions(23)

    def test_no_application(self, valkey, caplog):
        """If the prefix of no application is known and none was given, that is said, once."""
        interface = RedisSessionInterface(shared_client(valkey))
        make_app(interface, SESSION_KEY_PREFIX="shop:")
        told = RedisSessionInterface(shared_client(valkey), prefix="session:")

        assert [0, 0, 0] == [each.revoke_sessions(23) for each in (interface, interface, told)]
        assert ["session:"] == [record.args[0] for record in caplog.records]
        assert "give prefix=" in caplog.text

    def test_prefix(self, valkey):
        """Without an application the prefix is the argument."""
        Site(valkey, prefix="mine:").browsers(23, 2)

        assert 2 == RedisSessionInterface(shared_client(valkey), prefix="mine:").revoke_sessions(23)

    def test_nothing_known(self):
        """An interface that knows neither a client nor an application says what to do."""
        with pytest.raises(RuntimeError, match="init_app"):
            RedisSessionInterface().list_sessions(23)

    def test_after_init_app(self, valkey, site):
        """After init_app the configuration of the application counts, before any request."""
        site.browsers(23, 2)
        interface = RedisSessionInterface()
        app = make_app(SESSION_REDIS=shared_client(valkey))
        interface.init_app(app)

        assert 2 == len(interface.list_sessions(23))

    def test_current_request_ends(self, site):
        """If a request ends its own session, its cookie goes as soon as it saves."""
        (browser,) = site.browsers(23, 1)

        def view():
            session["a"] = session.get("a", 0) + 1
            return site.interface.revoke_sessions(23)

        assert 1 == browser.visit(view).value
        assert None is browser.cookie
        assert set() == site.names()

    @pytest.mark.parametrize("load", ["auto", "all"])
    @pytest.mark.parametrize("looks", [True, False])
    def test_current_request_goes_on(self, valkey, load, looks):
        """A request that ends its own session goes on with a new one, as after a new password."""
        site = Site(valkey, SESSION_LOAD=load)
        browser, other = site.browsers(23, 2)
        browser.set(**{f"key{number}": "x" * 1000 for number in range(20)})
        for _ in range(3):
            browser.visit(lambda: session["user_id"])
        before = browser.sid

        def view():
            if looks:
                assert 23 == session["user_id"]
            site.interface.revoke_sessions(23)
            assert session.get("user_id") is None
            session["user_id"] = 23
            session["news"] = "changed"

        browser.visit(view)

        assert before != browser.sid
        assert {"user_id": 23, "news": "changed"} == browser.read()
        assert [browser.sid] == sids(site.interface.list_sessions(23))
        assert [False] == live(other)

    def test_current_request_is_spared(self, site):
        """A request that ends other sessions goes on with its own."""
        browser, other = site.browsers(23, 2)

        def view():
            session["a"] = 1
            return site.interface.revoke_sessions(23, keep=session.sid)

        assert 1 == browser.visit(view).value
        assert {"user_id": 23, "a": 1} == browser.read()
        assert [False] == live(other)

    def test_current_request_of_another_application(self, valkey, site):
        """The session of a request to another application is not among them."""
        browser = Site(valkey, prefix="other:").browser()
        browser.set(a=1)
        (victim,) = site.browsers(23, 1)

        def view():
            with site.app.app_context():
                return site.interface.revoke_sessions(23)

        assert 1 == browser.visit(view).value
        assert {"a": 1} == browser.read()
        assert [False] == live(victim)


class TestList:
    def test_order(self, site):
        """Last seen comes first."""
        first, second, third = site.browsers(23, 3)
        site.age(first.sid, 10, user_id=23)
        site.age(second.sid, 20, user_id=23)

        assert [third.sid, first.sid, second.sid] == sids(site.interface.list_sessions(23))

    def test_content(self, site):
        """Each is a SessionInfo; none is current, as there is no request."""
        (browser,) = site.browsers(23, 1)

        (info,) = site.interface.list_sessions(23)

        assert isinstance(info, SessionInfo)
        assert (browser.sid, "23", False) == (info.sid, info.user_id, info.current)
        assert info.created_at == info.last_seen_at
        assert info.expires_at is not None
        assert info.last_seen_at is not None
        assert timedelta(days=1) == info.expires_at - info.last_seen_at
        assert browser.secret not in repr(info)

    def test_nobody(self, site):
        """An unknown user has no sessions."""
        assert [] == site.interface.list_sessions("nobody")
        assert [] == site.interface.list_sessions("")

    def test_pages(self, site):
        """Limit and offset give a page of the list."""
        every = in_order(site, 7)

        assert every[:3] == sids(site.interface.list_sessions(23, limit=3))
        assert every[3:6] == sids(site.interface.list_sessions(23, limit=3, offset=3))
        assert every[6:] == sids(site.interface.list_sessions(23, limit=3, offset=6))
        assert every[5:] == sids(site.interface.list_sessions(23, offset=5))
        assert [] == site.interface.list_sessions(23, offset=7)
        assert [] == site.interface.list_sessions(23, limit=0)

    def test_pages_without_the_dead(self, site):
        """Dead sessions leave no gaps in a page, and hide no live ones."""
        every = in_order(site, 6)
        site.expire(*every[:2], every[3])

        assert [every[2], every[4]] == sids(site.interface.list_sessions(23, limit=2))
        assert [every[5]] == sids(site.interface.list_sessions(23, limit=2, offset=2))
        assert [every[2], every[4], every[5]] == site.index(23)

    @pytest.mark.parametrize("name", ["limit", "offset"])
    @pytest.mark.parametrize(
        ("value", "error"),
        [(-1, ValueError), (10**20, ValueError), (1.5, TypeError), ("1", TypeError)],
    )
    def test_no_number_of_sessions(self, site, name, value, error):
        """A limit or an offset that is none is an error that names it."""
        with pytest.raises(error, match=name):
            site.interface.list_sessions(23, **{name: value})

    def test_changes_nothing(self, site):
        """To be listed is not to be seen."""
        (browser,) = site.browsers(23, 1)
        site.age(browser.sid, 1000, user_id=23)
        before = site.hash(browser.sid)

        site.interface.list_sessions(23)

        assert before == site.hash(browser.sid)


class TestRevoke:
    def test_all(self, site):
        """All sessions of the user end, and nobody else's."""
        browsers = site.browsers(23, 3)
        (other,) = site.browsers(42, 1)

        assert 3 == site.interface.revoke_sessions(23)
        assert [False, False, False, True] == live(*browsers, other)
        assert {site.key(other.sid), "session:user:42"} == site.names()

    def test_twice(self, site):
        """A second time there is nothing to end."""
        site.browsers(23, 3)

        assert [3, 0] == [site.interface.revoke_sessions(23) for _ in range(2)]

    def test_only(self, site):
        """With only, a sid or several are ended, and no other."""
        first, second, third, fourth = site.browsers(23, 4)

        assert 1 == site.interface.revoke_sessions(23, only=first.sid)
        assert 2 == site.interface.revoke_sessions(23, only=[second.sid, third.sid])
        assert [False, False, False, True] == live(first, second, third, fourth)
        assert [fourth.sid] == site.index(23)

    def test_only_none_of_them(self, site):
        """To end only the sessions of an empty list is to end none."""
        browsers = site.browsers(23, 2)

        assert 0 == site.interface.revoke_sessions(23, only=[])
        assert [True, True] == live(*browsers)

    def test_only_of_this_user(self, site):
        """A sid of another user's session is not ended: who knows a sid has no power over it."""
        (other,) = site.browsers(42, 1)

        assert 0 == site.interface.revoke_sessions(23, only=other.sid)
        assert [True] == live(other)

    def test_keep(self, site):
        """With keep, a sid or several are spared."""
        browsers = site.browsers(23, 4)
        kept = [browser.sid for browser in browsers[:2]]

        assert 2 == site.interface.revoke_sessions(23, keep=kept)
        assert [True, True, False, False] == live(*browsers)

        assert 1 == site.interface.revoke_sessions(23, keep=kept[0])
        assert [True, False] == live(*browsers[:2])

    def test_keep_wins(self, site):
        """What is both to be ended and to be kept is kept."""
        first, second = site.browsers(23, 2)

        ended = site.interface.revoke_sessions(23, only=(first.sid, second.sid), keep={second.sid})

        assert 1 == ended
        assert [False, True] == live(first, second)

    @pytest.mark.parametrize("name", ["only", "keep"])
    @pytest.mark.parametrize(
        "value",
        ["", "x", "A" * 21, "A" * 23, "A" * 21 + "*", ["A" * 22, "x"], [5], "A" * 22 + "\n"],
    )
    def test_no_sid(self, site, name, value):
        """What has not the form of a sid is a ValueError that names the argument."""
        browsers = site.browsers(23, 1)

        with pytest.raises(ValueError, match=name):
            site.interface.revoke_sessions(23, **{name: value})

        assert [True] == live(*browsers)

    def test_cookie_is_no_sid(self, site):
        """A whole cookie is refused, so that no secret gets where only sids should be."""
        (browser,) = site.browsers(23, 1)

        with pytest.raises(ValueError):
            site.interface.revoke_sessions(23, only=browser.cookie)

    @pytest.mark.parametrize(
        "when",
        [
            lambda: timedelta(seconds=500),
            lambda: datetime.now(timezone.utc) - timedelta(seconds=500),
            lambda: datetime.now(timezone(timedelta(hours=-8))) - timedelta(seconds=500),
            lambda: datetime.now(timezone.utc).timestamp() - 500,
        ],
        ids=["timedelta", "utc", "offset", "epoch"],
    )
    @pytest.mark.parametrize(
        ("name", "field"),
        [("before", "@seen"), ("created_before", "@born"), ("signed_in_before", "@signed")],
    )
    def test_times(self, site, name, field, when):
        """Each goes by its time: when a session was last seen, created, or signed in to."""
        first, second, third = site.browsers(23, 3)
        site.age(first.sid, 1000, field, user_id=23)
        site.age(second.sid, 400, field, user_id=23)

        assert 1 == site.interface.revoke_sessions(23, **{name: when()})
        assert [False, True, True] == live(first, second, third)

    def test_both_times(self, site):
        """If both are given, both must hold."""
        first, second, third = site.browsers(23, 3)
        site.age(first.sid, 1000, "@seen", "@born", user_id=23)
        site.age(second.sid, 1000, "@seen", user_id=23)
        site.age(third.sid, 1000, "@born")

        ended = site.interface.revoke_sessions(
            23, before=timedelta(seconds=500), created_before=timedelta(seconds=500)
        )

        assert 1 == ended
        assert [False, True, True] == live(first, second, third)

    @pytest.mark.parametrize("name", ["before", "created_before", "signed_in_before"])
    def test_naive(self, site, name):
        """A naive time is a ValueError that names the argument: whose midnight would it be?"""
        browsers = site.browsers(23, 1)

        with pytest.raises(ValueError, match=f"{name}: the time is naive"):
            site.interface.revoke_sessions(23, **{name: datetime(2030, 1, 1)})  # noqa: DTZ001

        assert [True] == live(*browsers)

    @pytest.mark.parametrize("name", ["before", "created_before", "signed_in_before"])
    @pytest.mark.parametrize("value", ["now", False, b"1"])
    def test_no_time(self, site, name, value):
        """What is of no type of a time is a TypeError that names the argument."""
        with pytest.raises(TypeError, match=name):
            site.interface.revoke_sessions(23, **{name: value})

    def test_sessions_without_an_index(self, site):
        """A session that moved to another user meanwhile is not ended by its old index."""
        (browser,) = site.browsers(42, 1)
        site.redis.zadd("session:user:23", {browser.sid: 1})

        assert 0 == site.interface.revoke_sessions(23)
        assert [True] == live(browser)
