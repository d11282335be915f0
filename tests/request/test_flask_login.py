"""Flask-Login's "remember me" as a session that lasts."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import flask
import flask_login
import pytest
from flask_login import (
    LoginManager,
    UserMixin,
    confirm_login,
    current_user,
    encode_cookie,
    fresh_login_required,
    login_fresh,
    login_user,
    logout_user,
)

from flask_redis_session import RedisSessionInterface
from flask_redis_session.errors import SettingError
from flask_redis_session.login import remember_by_session
from tests.support.commandline import run
from tests.support.webapp import Site, client_of, each, load_scripts, make_app, session

YEAR = timedelta(days=365)
DAY = timedelta(days=1)
SOON = datetime(2100, 1, 1, tzinfo=timezone.utc)
PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)


class User(UserMixin):  # type: ignore[misc]
    """Somebody whom Flask-Login signs in."""

    def __init__(self, name):
        self.id = name


def manager_of(app):
    """Give an application Flask-Login."""
    app.secret_key = "for Flask-Login's other cookie"
    manager = LoginManager(app)
    manager.user_loader(lambda name: None if name == "nobody" else User(name))
    return manager


def login_site(server, *, until=None, remembers=True, **config):
    """Return a site with Flask-Login, which remembers by its sessions."""
    site: Any = Site(server, **config)
    site.manager = manager_of(site.app)
    if remembers:
        remember_by_session(site.app, accept_cookies_until=until)
    return site


@pytest.fixture
def site(server):
    """A site on each server."""
    return login_site(server)


def sign_in(name="ann", **how):
    """Return a view that signs somebody in."""
    return lambda: login_user(User(name), **how)


def who():
    """Return who is signed in."""
    return current_user.get_id()


#: What ends all sessions of somebody, by the site or from one of their browsers.
REVOCATIONS = {
    "revoke": lambda site, _: site.interface.revoke_sessions("ann"),
    "unused": lambda site, _: site.interface.revoke_sessions("ann", before=DAY),
    "clear": lambda _, here: here.visit(lambda: session.clear_user_sessions()),
    "others": lambda _, here: here.visit(lambda: session.clear_user_sessions(keep_current=True)),
    "command": lambda site, _: run(site.app, "revoke", "ann", "--yes"),
    "everybody": lambda site, _: run(site.app, "revoke-all", "--yes"),
}


def restart(browser):
    """Let a browser forget all cookies that do not outlive it, as its restart does."""
    for key, cookie in [*browser.client._cookies.items()]:
        if cookie.expires is None and cookie.max_age is None:
            del browser.client._cookies[key]


def remember_cookie(site, name="ann"):
    """Return a remember cookie that Flask-Login has handed out earlier."""
    with site.app.app_context():
        return encode_cookie(name)


def returning(site, name="ann"):
    """Return a browser that has a remember cookie and nothing else."""
    browser = site.browser()
    browser.client.set_cookie("remember_token", remember_cookie(site, name))
    return browser


def has_token(browser):
    """Tell whether a browser has a remember cookie."""
    return browser.client.get_cookie("remember_token") is not None


def lifetime_of(site, browser):
    """Return the lifetime that Redis holds, and whether it was assigned."""
    held = site.hash(browser.sid)
    return timedelta(seconds=float(held[b"@idle"])), b"@own" in held


def names(answer):
    """Return the names of the cookies that an answer sets."""
    return [cookie.name for cookie in answer.cookies]


class TestRemember:
    """login_user(remember=True)."""

    def test_one_cookie(self, site):
        """It makes a permanent session for a year, and no second cookie."""
        browser = site.browser()
        answer = browser.visit(sign_in(remember=True))
        expires = parsedate_to_datetime(answer.cookie.flags["Expires"])

        assert ["session"] == names(answer)
        assert abs(expires - datetime.now(timezone.utc) - YEAR) < timedelta(seconds=30)
        assert lifetime_of(site, browser) == (YEAR, True)
        assert not {b"_remember", b"_remember_seconds"} & site.hash(browser.sid).keys()
        restart(browser)
        assert "ann" == browser.visit(who).value

    @pytest.mark.parametrize("value", [timedelta(days=90), 90 * 86400])
    def test_duration_of_the_settings(self, server, value):
        """REMEMBER_COOKIE_DURATION counts, as a timedelta or in seconds."""
        site = login_site(server, REMEMBER_COOKIE_DURATION=value)
        browser = site.browser()
        browser.visit(sign_in(remember=True))

        assert lifetime_of(site, browser) == (timedelta(days=90), True)

    def test_duration(self, site):
        """``duration`` counts before it."""
        browser = site.browser()
        browser.visit(sign_in(remember=True, duration=timedelta(days=3)))

        assert lifetime_of(site, browser) == (timedelta(days=3), True)
        assert b"_remember_seconds" not in site.hash(browser.sid)

    def test_without(self, site):
        """Without "remember me" a restart of the browser signs out."""
        browser = site.browser()
        answer = browser.visit(sign_in())
        restart(browser)

        assert "Expires" not in answer.cookie.flags
        assert browser.visit(who).value is None

    def test_ended_for_good(self, site):
        """What is revoked stays so: no cookie brings it back."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))

        assert 1 == site.interface.revoke_sessions("ann")
        assert browser.visit(who).value is None

    def test_sign_out(self, site):
        """So is what is signed out, and nothing of it is left."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        browser.visit(logout_user)

        assert browser.cookie is None
        assert set() == {name for name in site.names() if ":user:" not in name}

    def test_next_user(self, site):
        """A is remembered and signs out, B signs in without, the browser restarts: nobody."""
        browser = site.browser()
        browser.visit(each(lambda: session.update(cart=[1]), sign_in("a", remember=True)))
        browser.visit(logout_user)
        out = lifetime_of(site, browser)
        browser.visit(sign_in("b"))

        assert out == lifetime_of(site, browser) == (DAY, False)
        assert "b" == browser.visit(who).value
        restart(browser)
        assert browser.visit(who).value is None

    def test_next_user_without_logout_user(self, site):
        """So it is if the application takes the user out by itself, or not at all."""
        for leave in (lambda: session.pop("_user_id"), lambda: None):
            browser = site.browser()
            browser.visit(each(lambda: session.update(cart=[1]), sign_in("a", remember=True)))
            browser.visit(leave)
            browser.visit(sign_in("b"))
            restart(browser)

            assert browser.visit(who).value is None

    def test_remembered_later(self, site):
        """Who signs in once more with "remember me" is remembered from then on."""
        browser = site.browser()
        browser.visit(sign_in())
        browser.visit(sign_in(remember=True))
        restart(browser)

        assert "ann" == browser.visit(who).value

    def test_permanent_by_the_settings(self, server):
        """With SESSION_PERMANENT a sign-in without "remember me" is permanent as others are."""
        site = login_site(server, SESSION_PERMANENT=True)
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        browser.visit(sign_in("b"))

        assert lifetime_of(site, browser) == (timedelta(days=31), False)
        assert browser.cookie.endswith(".p")

    def test_parallel(self, site):
        """Parallel requests of a browser that returns are one session, not six sign-ins."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        restart(browser)
        twins = [browser.twin() for _ in range(6)]
        found: list[object] = []
        threads = [
            threading.Thread(target=lambda twin=twin: found.append(twin.visit(who).value))
            for twin in twins
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ["ann"] * 6 == found
        assert [browser.sid] == [info.sid for info in site.interface.list_sessions("ann")]

    def test_refresh_each_request(self, site):
        """REMEMBER_COOKIE_REFRESH_EACH_REQUEST makes no cookie, and remembers nobody unasked."""
        site.app.config["REMEMBER_COOKIE_REFRESH_EACH_REQUEST"] = True
        browser = site.browser()
        browser.visit(sign_in())
        answer = browser.visit(who)

        assert [] == names(answer)
        assert lifetime_of(site, browser) == (DAY, False)

    def test_duration_that_is_none(self, site):
        """A ``duration`` that is no lifetime is refused by name."""
        for value in (timedelta(0), -DAY):
            with (
                pytest.raises(ValueError, match=r"session\.lifetime"),
                site.app.test_request_context(),
            ):
                login_user(User("ann"), remember=True, duration=value)

    @pytest.mark.one_server("in a cluster the index is on another node: one round trip more")
    def test_round_trips(self, valkey):
        """A sign-in takes as many round trips as any other."""
        site = login_site(valkey)
        load_scripts(site.redis)
        browser = site.browser()
        browser.set(cart=[1])
        with valkey.cost() as cost:
            browser.visit(sign_in(remember=True))

        assert 2 == cost.round_trips

    def test_not_used(self, valkey):
        """A request that does not ask for its user costs nothing, which Flask-Login's own does."""
        site = login_site(valkey)
        browser = site.browser()
        browser.visit(sign_in())
        with valkey.cost() as cost:
            answer = browser.visit()

        assert 0 == cost.calls
        assert "Vary" not in answer.headers


class TestFreshness:
    """fresh_login_required."""

    @staticmethod
    def is_fresh():
        """Tell whether Flask-Login lets a view be seen that needs a fresh sign-in."""
        return fresh_login_required(lambda: True)() is True

    def asks(self):
        """Tell whether it asks for the password."""
        flask.current_app.login_manager.needs_refresh_handler(lambda: False)  # type: ignore[attr-defined]
        return not self.is_fresh()

    @pytest.mark.parametrize("remember", [True, False])
    def test_ends(self, site, remember):
        """It ends SESSION_LIFETIME after the sign-in, however busy the session is."""
        browser = site.browser()
        browser.visit(sign_in(remember=remember))
        site.age(browser.sid, 86_300, "@signed")
        before = browser.visit(self.asks).value
        site.age(browser.sid, 200, "@signed")

        assert (False, True) == (before, browser.visit(self.asks).value)
        assert False is browser.visit(login_fresh).value
        assert "ann" == browser.visit(who).value

    def test_confirmed(self, site):
        """``confirm_login()`` begins it anew, and rotates the secret."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        site.age(browser.sid, 90_000, "@signed")
        browser.visit(self.asks)
        before = browser.secret
        browser.visit(confirm_login)

        assert before != browser.secret
        assert False is browser.visit(self.asks).value
        assert lifetime_of(site, browser) == (YEAR, True)

    def test_signed_in_again(self, site):
        """So does ``login_user()`` of the same user, which many sign-in pages call then."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        site.age(browser.sid, 90_000, "@signed")
        browser.visit(self.asks)
        browser.visit(sign_in(remember=True))

        assert False is browser.visit(self.asks).value

    def test_not_fresh(self, site):
        """``login_user(fresh=False)`` proves nothing."""
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        site.age(browser.sid, 90_000, "@signed")
        browser.visit(sign_in(remember=True, fresh=False))

        assert True is browser.visit(self.asks).value
        assert browser.visit(lambda: session.signed_in_at).value < datetime.now(timezone.utc) - DAY

    def test_not_known(self, site):
        """Of whom it is not known when they signed in, it is over."""
        browser = site.browser()
        browser.visit(sign_in())
        site.redis.hdel(site.key(browser.sid), "@signed")

        assert True is browser.visit(self.asks).value

    def test_nobody_to_confirm(self, site):
        """``confirm_login()`` in a session that is nobody's does what it did."""
        assert True is site.browser().visit(each(confirm_login, login_fresh)).value

    @pytest.mark.parametrize("mode", ["basic", "strong"])
    def test_other_browser(self, server, mode):
        """From another browser it is over at once, as Flask-Login has it in permanent sessions."""
        site = login_site(server, SESSION_PROTECTION=mode)
        browser = site.browser()
        browser.visit(sign_in(remember=True))

        asked = browser.visit(self.asks, headers={"User-Agent": "another"}).value
        assert (True, "ann") == (asked, browser.visit(who).value)


class TestOldCookies:
    """A remember cookie that a browser still has."""

    def test_opens_nothing(self, site):
        """It signs nobody in, and the next response deletes it."""
        browser = returning(site)

        assert browser.visit(who).value is None
        assert not has_token(browser)
        assert set() == site.names()

    def test_deleted_at_once(self, valkey):
        """Also by a response that asks nothing of the session, at no cost."""
        site = login_site(valkey)
        browser = returning(site)
        with valkey.cost() as cost:
            browser.visit()

        assert not has_token(browser)
        assert 0 == cost.calls

    def test_flags(self, server):
        """It is deleted with the flags of its own, by which browsers know it."""
        flags: dict[str, Any] = {
            "REMEMBER_COOKIE_NAME": "__Secure-me",
            "REMEMBER_COOKIE_DOMAIN": "example.org",
            "REMEMBER_COOKIE_PATH": "/app",
            "REMEMBER_COOKIE_SECURE": True,
            "REMEMBER_COOKIE_SAMESITE": "Lax",
        }
        site = login_site(server, **flags)
        (cookie,) = site.send("__Secure-me=x").cookies

        assert ("__Secure-me", "") == (cookie.name, cookie.value)
        assert {"Domain", "Path", "Secure", "HttpOnly", "SameSite"} <= cookie.flags.keys()
        assert ("example.org", "/app") == (cookie.flags["Domain"], cookie.flags["Path"])

    def test_request_loader(self, site):
        """A program with a key is served by its key, whatever cookie it has."""
        site.manager.request_loader(
            lambda request: User("robot") if "X-Key" in request.headers else None
        )
        browser = returning(site)

        assert "robot" == browser.visit(who, headers={"X-Key": "1"}).value

    def test_accepted(self, server):
        """With ``accept_cookies_until`` it becomes a session that lasts, and is deleted."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        first = browser.visit(who).value
        second = browser.visit(who).value
        fresh = browser.visit(login_fresh).value

        assert ("ann", "ann", False) == (first, second, fresh)
        assert not has_token(browser)
        assert lifetime_of(site, browser) == (YEAR, True)
        restart(browser)
        assert "ann" == browser.visit(who).value
        assert 1 == len(site.interface.list_sessions("ann"))
        site.interface.revoke_sessions("ann")
        assert browser.visit(who).value is None

    @pytest.mark.parametrize("how", REVOCATIONS)
    def test_revoked(self, server, how):
        """A revocation of its user reaches a remember cookie that has not come back."""
        site = login_site(server, until=SOON)
        here, browser, other = site.browser(), returning(site), returning(site, "bob")
        here.visit(sign_in())
        REVOCATIONS[how](site, here)

        assert browser.visit(who).value is None
        assert not has_token(browser)
        assert browser.visit(who).value is None
        assert other.visit(who).value == (None if how == "everybody" else "bob")
        # With the password, everything is as before.
        browser.visit(sign_in(remember=True))
        assert "ann" == browser.visit(who).value

    @pytest.mark.parametrize("how", ["one device", "another user", "surplus"])
    def test_not_revoked(self, server, how):
        """What ends one device, or somebody else's, does not reach it."""
        site = login_site(server, until=SOON, SESSION_MAX_PER_USER=2)
        here, browser = site.browser(), returning(site)
        here.visit(sign_in())
        if how == "one device":
            site.interface.revoke_sessions("ann", only=here.sid)
        elif how == "another user":
            site.interface.revoke_sessions("bob")
        else:
            for _ in range(3):
                site.browser().visit(sign_in())

        assert "ann" == browser.visit(who).value

    def test_revoked_meanwhile(self, server):
        """A revocation between the cookie and the end of its request ends the session it became."""
        site = login_site(server, until=SOON)
        browser = returning(site)

        def view():
            seen = current_user.get_id()
            with site.app.test_request_context():
                site.interface.revoke_sessions("ann")
            return seen

        assert "ann" == browser.visit(view).value
        assert browser.visit(who).value is None
        assert [] == site.interface.list_sessions("ann")

    @pytest.mark.one_server("counts the round trips of one server")
    def test_cost_of_marks(self, valkey):
        """Only where remember cookies are accepted, a revocation costs one round trip more."""
        costs = {}
        for until in (None, SOON):
            site = login_site(valkey, until=until)
            site.browser().visit(sign_in())
            load_scripts(site.redis)
            with valkey.cost() as cost:
                site.interface.revoke_sessions("ann")
            costs[until] = cost.round_trips
            marks = [] if until is None else [b"session:old:user:ann"]

            assert marks == site.redis.keys("session:old:*")

        assert 1 == costs[SOON] - costs[None]

    def test_not_used_up(self, server):
        """A response that asks nothing of the session leaves it for one that does."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        browser.visit()

        assert has_token(browser)
        assert "ann" == browser.visit(who).value

    def test_redis_fails(self, fragile):
        """A response that could not store the session leaves the cookie."""
        site = login_site(fragile, until=SOON)
        browser = returning(site)

        def view():
            current_user.get_id()
            fragile.kill()

        browser.visit(view, status=503)

        assert has_token(browser)

    @pytest.mark.parametrize("value", ["ann|" + "0" * 128, "ann", "", "é", "ann|é"])
    def test_forged(self, server, value):
        """One that is not signed opens nothing, and is deleted."""
        site = login_site(server, until=SOON)
        browser = site.browser()
        browser.client.set_cookie("remember_token", value)

        assert browser.visit(who).value is None
        assert not has_token(browser)
        assert set() == site.names()

    def test_of_nobody(self, server):
        """One of a user who is no more opens and stores nothing."""
        site = login_site(server, until=SOON)
        browser = returning(site, "nobody")

        assert browser.visit(who).value is None
        assert set() == site.names()

    @pytest.mark.parametrize("has_session", [False, True])
    def test_user_unknown_for_a_while(self, server, has_session):
        """If its user cannot be loaded, it stays for when that is over."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        if has_session:
            browser.visit(lambda: session.update(_user_id="ann"))
        site.manager.user_loader(lambda name: None)
        before = browser.visit(who).value
        kept = has_token(browser)
        site.manager.user_loader(User)
        after = browser.visit(who).value
        browser.visit(who)
        browser.visit(who)

        assert (None, True, "ann") == (before, kept, after)
        assert not has_token(browser)
        assert lifetime_of(site, browser) == (YEAR, True)

    def test_beside_a_session(self, server):
        """A session that its user had before lasts from then on, and it is deleted then."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        browser.visit(lambda: session.update(_user_id="ann", _fresh=True, cart=[1]))
        first = browser.visit(who).value
        kept = has_token(browser)
        browser.visit(who)

        assert ("ann", True, False) == (first, kept, has_token(browser))
        assert lifetime_of(site, browser) == (YEAR, True)
        restart(browser)
        assert "ann" == browser.visit(who).value
        assert [1] == browser.read()["cart"]

    @pytest.mark.parametrize("first", [who, lambda: None])
    def test_first_request_signs_out(self, server, first):
        """A sign-out ends it also if it has just signed its browser in."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        browser.visit(each(first, logout_user))

        assert not has_token(browser)
        assert browser.visit(who).value is None

    @pytest.mark.parametrize("how", ["another user", "revoked", "sign-in", "sign-out"])
    def test_beside_a_session_that_ends_it(self, server, how):
        """It makes no session last if it is another's, was revoked, or this request decides."""
        site = login_site(server, until=SOON)
        browser = returning(site, "bob" if how == "another user" else "ann")
        if how == "revoked":
            with site.app.app_context():
                site.interface.revoke_sessions("ann")
        browser.visit(lambda: session.update(_user_id="ann", cart=[1]))
        views = {"sign-in": sign_in(), "sign-out": logout_user}
        browser.visit(each(who, views.get(how, who)))

        assert not has_token(browser)
        assert lifetime_of(site, browser) == (DAY, False)

    def test_over(self, server):
        """After that date it opens nothing."""
        site = login_site(server, until=PAST)
        browser = returning(site)

        assert browser.visit(who).value is None
        assert not has_token(browser)

    def test_signed_out(self, server):
        """A sign-out deletes it also until then."""
        site = login_site(server, until=SOON)
        browser = returning(site)
        browser.visit(who)
        browser.client.set_cookie("remember_token", remember_cookie(site))
        browser.visit(logout_user)

        assert not has_token(browser)
        assert browser.visit(who).value is None


class TestSettings:
    """What is refused at start."""

    def test_no_manager(self, valkey):
        """It comes after Flask-Login."""
        with pytest.raises(RuntimeError, match=r"after login_manager\.init_app"):
            remember_by_session(Site(valkey).app)

    def test_twice(self, valkey):
        """It is called once."""
        with pytest.raises(RuntimeError, match="already"):
            remember_by_session(login_site(valkey).app)

    def test_other_sessions(self, valkey):
        """With Flask's own sessions a sign-in says what is missing."""
        app = make_app()
        manager_of(app)
        remember_by_session(app)
        with pytest.raises(RuntimeError, match="RedisSessionInterface"), app.test_request_context():
            login_user(User("ann"))

    def test_unknown_version(self, valkey):
        """A Flask-Login without what is asked for there is refused at start."""

        class Later(LoginManager):  # type: ignore[misc]
            _load_user_from_remember_cookie = None

        app = make_app()
        Later(app)
        with pytest.raises(RuntimeError, match="_load_user_from_remember_cookie"):
            remember_by_session(app)

    @pytest.mark.parametrize("value", ["a year", 0, -1, True, timedelta(0)])
    def test_duration(self, valkey, value):
        """A REMEMBER_COOKIE_DURATION that is no time is named."""
        with pytest.raises(SettingError, match="REMEMBER_COOKIE_DURATION"):
            login_site(valkey, REMEMBER_COOKIE_DURATION=value)

    def test_absolute(self, valkey):
        """No session outlives SESSION_ABSOLUTE_LIFETIME, and so no "remember me" may."""
        with pytest.raises(SettingError, match="SESSION_ABSOLUTE_LIFETIME"):
            login_site(valkey, SESSION_ABSOLUTE_LIFETIME=DAY)
        site = login_site(valkey, SESSION_ABSOLUTE_LIFETIME=DAY, REMEMBER_COOKIE_DURATION=DAY)
        with (
            pytest.raises(SettingError, match="SESSION_ABSOLUTE_LIFETIME"),
            site.app.test_request_context(),
        ):
            login_user(User("ann"), remember=True, duration=2 * DAY)

    @pytest.mark.parametrize("keys", ["user_id", ("admin_id", "user_id")])
    def test_user_key(self, valkey, keys):
        """If Flask-Login's user is nobody's, nothing could end the session."""
        with pytest.raises(SettingError, match="SESSION_USER_KEY"):
            login_site(valkey, SESSION_USER_KEY=keys)
        login_site(valkey, SESSION_USER_KEY=("admin_id", "_user_id"))

    def test_until(self, valkey):
        """``accept_cookies_until`` is an aware time."""
        with pytest.raises(ValueError, match="accept_cookies_until"):
            login_site(valkey, until=datetime(2100, 1, 1))  # noqa: DTZ001
        with pytest.raises(TypeError, match="accept_cookies_until"):
            login_site(valkey, until="2100-01-01")


class TestApplications:
    """Where it is one of several, and what comes first."""

    def test_shared_manager(self, valkey):
        """An application that shares its LoginManager keeps its remember cookies."""
        manager = LoginManager()
        manager.user_loader(User)
        sites = []
        for prefix in ("one:", "two:"):
            one = Site(valkey, prefix=prefix)
            one.app.secret_key = "the same"
            manager.init_app(one.app)
            sites.append(one)
        remember_by_session(sites[0].app)
        found = [names(each_site.browser().visit(sign_in(remember=True))) for each_site in sites]

        assert [["session"], ["remember_token", "session"]] == [*map(sorted, found)]

    def test_two_that_remember(self, valkey):
        """Two of them may share it, each with its own date."""
        manager = LoginManager()
        manager.user_loader(User)
        found = []
        for prefix, until in (("one:", None), ("two:", SOON)):
            one = Site(valkey, prefix=prefix)
            one.app.secret_key = "the same"
            manager.init_app(one.app)
            remember_by_session(one.app, accept_cookies_until=until)
            found.append(returning(one))

        assert [None, "ann"] == [browser.visit(who).value for browser in found]

    @pytest.mark.parametrize("order", ["before", "after"])
    def test_order(self, valkey, order):
        """The sessions may come before Flask-Login, or after all."""
        app = make_app()
        sessions = RedisSessionInterface(redis=client_of(valkey))
        if order == "before":
            sessions.init_app(app)
        manager_of(app)
        remember_by_session(app)
        if order == "after":
            sessions.init_app(app)
        site = Site(valkey)
        site.app, site.interface = app, sessions
        browser = site.browser()
        browser.visit(sign_in(remember=True))

        assert lifetime_of(site, browser) == (YEAR, True)

    def test_subclass(self, valkey):
        """A LoginManager of the application's own is taken too."""

        class Own(LoginManager):  # type: ignore[misc]
            def _update_remember_cookie(self, response):
                return super()._update_remember_cookie(response)

        site = Site(valkey)
        site.app.secret_key = "x"
        manager = Own(site.app)
        manager.user_loader(User)
        remember_by_session(site.app)

        assert ["session"] == names(site.browser().visit(sign_in(remember=True)))

    def test_test_client(self, valkey):
        """Flask-Login's test client works as it did."""
        site = login_site(valkey)
        site.app.test_client_class = flask_login.FlaskLoginClient
        client = site.app.test_client(user=User("ann"))

        assert client is not None
        assert 1 == len(site.interface.list_sessions("ann"))


class TestPage:
    """What docs/flask-login.md says to do."""

    def test_everywhere(self, site):
        """To log out everywhere ends each device, and then the browser's own sign-in."""
        browser, other = site.browser(), site.browser()
        for one in (browser, other):
            one.visit(sign_in(remember=True))
        browser.visit(each(end_all, logout_user))

        assert [None, None] == [one.visit(who).value for one in (browser, other)]
        assert browser.cookie is None

    def test_change_of_password(self, site):
        """A change of password leaves this session, with a fresh secret, and no other one."""
        browser, other = site.browser(), site.browser()
        for one in (browser, other):
            one.visit(sign_in(remember=True))
        thief = browser.twin()
        browser.visit(each(confirm_login, lambda: session.clear_user_sessions(keep_current=True)))

        assert ["ann", None, None] == [one.visit(who).value for one in (browser, other, thief)]

    @pytest.mark.parametrize("clears_first", [True, False])
    def test_order_with_the_cookie(self, server, clears_first):
        """If the application keeps the remember cookie, ``clear()`` comes before the sign-out."""
        site = login_site(server, remembers=False)
        browser = site.browser()
        browser.visit(sign_in(remember=True))
        leave = [lambda: session.clear(), logout_user]
        browser.visit(each(*(leave if clears_first else leave[::-1])))

        assert clears_first == (browser.visit(who).value is None)


def end_all():
    """End every session of whoever is signed in."""
    return session.clear_user_sessions()


class TestParts:
    """What of Flask-Login is there, and what is not."""

    def test_remember_cookie_of_another_application(self, valkey):
        """An application that shares the LoginManager reads its own remember cookies."""
        manager = LoginManager()
        manager.user_loader(User)
        sites = [Site(valkey, prefix=prefix) for prefix in ("one:", "two:")]
        for one in sites:
            one.app.secret_key = "the same"
            manager.init_app(one.app)
        remember_by_session(sites[0].app)

        assert [None, "ann"] == [returning(one).visit(who).value for one in sites]

    @pytest.mark.parametrize("name", ["_set_cookie", "_update_remember_cookie"])
    def test_unknown_version(self, valkey, name, monkeypatch):
        """A Flask-Login that lacks what is replaced is refused, with the name of that."""
        monkeypatch.delattr(LoginManager, name)
        app = make_app(RedisSessionInterface(redis=client_of(valkey)))
        app.secret_key = "for Flask-Login"
        manager = LoginManager()
        app.login_manager = manager  # type: ignore[attr-defined]

        with pytest.raises(RuntimeError, match=name):
            remember_by_session(app)


def test_a_session_and_a_cookie_of_nobody(valkey):
    """If the user of both is gone, nobody is signed in, and the session keeps what it holds."""
    site = login_site(valkey, until=SOON)
    browser = site.browser()
    browser.visit(lambda: session.update(_user_id="nobody", a=1))
    with site.app.test_request_context():
        cookie = encode_cookie("nobody")
    browser.client.set_cookie("remember_token", cookie)

    assert browser.visit(who).value is None
    assert {"_user_id": "nobody", "a": 1}.items() <= browser.read().items()


def test_a_manager_without_hooks(valkey):
    """A LoginManager that never looked after the responses of the application is enough."""
    site = Site(valkey)
    site.app.secret_key = "for Flask-Login"
    manager = LoginManager()
    manager.user_loader(User)
    site.app.login_manager = manager  # type: ignore[attr-defined]
    remember_by_session(site.app)
    browser = site.browser()

    assert ["session"] == names(browser.visit(sign_in(remember=True)))
