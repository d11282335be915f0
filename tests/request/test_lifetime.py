"""A lifetime of a session's own: session.lifetime."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.support.webapp import Site, each, load_scripts, session

YEAR = timedelta(days=365)
DAY = timedelta(days=1)


@pytest.fixture
def site(server):
    """A site whose sessions last for an hour, or for a week if they are permanent."""
    return Site(server, **LIFETIMES)


LIFETIMES: dict[str, Any] = {
    "SESSION_LIFETIME": timedelta(hours=1),
    "PERMANENT_SESSION_LIFETIME": timedelta(days=7),
}


def keep(lifetime=YEAR, *, permanent=True):
    """Return a view that gives the session a lifetime."""

    def view():
        session.permanent = permanent
        session.lifetime = lifetime

    return view


def kept(site, lifetime=YEAR, *, permanent=True, user_id=23):
    """Return a browser that is signed in for so long."""
    browser = site.browser()
    browser.visit(
        each(lambda: session.update(user_id=user_id), keep(lifetime, permanent=permanent))
    )
    return browser


def lifetime():
    """Return how long the session may be idle."""
    return session.lifetime


def lasts(answer):
    """Return how long the cookie that an answer sets lasts; ``None``: as long as the browser."""
    expires = answer.cookie.flags.get("Expires")
    return expires and parsedate_to_datetime(expires) - datetime.now(timezone.utc)


def is_about(expected, actual):
    """Tell whether two times agree, as far as the clocks do."""
    return abs(expected - actual) < timedelta(seconds=10)


def stored(site, browser):
    """Return what Redis holds of the lifetime: seconds, whether assigned, and what is left."""
    held = site.hash(browser.sid)
    left = timedelta(milliseconds=site.redis.pttl(site.key(browser.sid)))
    return timedelta(seconds=float(held[b"@idle"])), held.get(b"@own"), left


class TestRead:
    """What the session says."""

    @pytest.mark.parametrize("permanent", [False, True])
    def test_by_the_settings(self, site, permanent):
        """It is what the settings say, of a new session and of a stored one."""
        expected = timedelta(days=7) if permanent else timedelta(hours=1)
        browser = site.browser()
        views = (lambda: session.update(a=1), lambda: setattr(session, "permanent", permanent))
        first = browser.visit(each(*views, lifetime)).value

        assert [expected] * 2 == [first, browser.visit(lifetime).value]

    def test_turned(self, site):
        """If the request makes its session permanent, it is that of a permanent one."""
        browser = site.browser()
        browser.set(a=1)

        seen = browser.visit(each(lambda: setattr(session, "permanent", True), lifetime)).value

        assert timedelta(days=7) == seen

    def test_assigned(self, site):
        """It is what was assigned, in that request and in each later one."""
        browser = site.browser()
        first = browser.visit(each(lambda: session.update(a=1), keep(), lifetime)).value

        assert [YEAR] * 2 == [first, browser.visit(lifetime).value]

    def test_back(self, site):
        """With ``None`` it is what the settings say again."""
        browser = kept(site)
        first = browser.visit(each(lambda: setattr(session, "lifetime", None), lifetime)).value

        assert [timedelta(days=7)] * 2 == [first, browser.visit(lifetime).value]
        assert stored(site, browser)[:2] == (timedelta(days=7), None)
        assert browser.cookie.endswith(".p")


class TestAssign:
    """What an assigned lifetime does."""

    def test_stored(self, site):
        """It is in Redis, in the expiry of the hash, in the index's, and in the cookie's."""
        browser = site.browser()
        answer = browser.visit(each(lambda: session.update(user_id=23), keep()))
        idle, own, left = stored(site, browser)

        assert (YEAR, b"1") == (idle, own)
        assert is_about(YEAR, left)
        assert is_about(YEAR, lasts(answer))
        assert browser.cookie.endswith(".p31536000")
        assert site.redis.pttl("session:user:23") >= left / timedelta(milliseconds=1)

    @pytest.mark.parametrize("longer", [True, False])
    def test_stored_session(self, site, longer):
        """A session that is there already gets it, whether it is longer or shorter."""
        given = YEAR if longer else timedelta(minutes=5)
        browser = site.browser()
        browser.sign_in(23)
        before = browser.secret
        answer = browser.visit(keep(given))
        idle, own, left = stored(site, browser)

        assert (given, b"1", before) == (idle, own, browser.secret)
        assert is_about(given, left)
        assert is_about(given, lasts(answer))
        assert site.redis.pttl("session:user:23") >= left / timedelta(milliseconds=1)

    def test_not_permanent(self, site):
        """The cookie of a session that is not permanent still ends with the browser."""
        browser = site.browser()
        answer = browser.visit(
            each(lambda: session.update(a=1), lambda: setattr(session, "lifetime", YEAR))
        )

        assert stored(site, browser)[:2] == (YEAR, b"1")
        assert lasts(answer) is None
        assert 2 == len(browser.cookie.split("."))

    def test_empty(self, site):
        """An empty session is stored for no lifetime."""
        assert site.browser().visit(keep()).cookie is None
        assert set() == site.names()

    def test_again(self, site):
        """To assign what it is writes nothing."""
        browser = kept(site)
        before = site.hash(browser.sid)
        browser.visit(lambda: setattr(session, "lifetime", YEAR))

        assert before == site.hash(browser.sid)

    def test_not_modified(self, site):
        """With ``modified = False`` nothing of it is written."""
        browser = kept(site)
        browser.visit(
            each(
                lambda: setattr(session, "lifetime", DAY),
                lambda: setattr(session, "modified", False),
            )
        )

        assert stored(site, browser)[:2] == (YEAR, b"1")
        assert browser.cookie.endswith(".p31536000")

    def test_part_of_a_second(self, site):
        """Redis has it to the millisecond; the cookie lasts no shorter."""
        browser = kept(site, timedelta(seconds=100.25))

        assert b"100.25" == site.hash(browser.sid)[b"@idle"]
        assert browser.cookie.endswith(".p101")

    @pytest.mark.parametrize("value", [1, 3600.0, "1", True, datetime.now(timezone.utc)])
    def test_wrong_type(self, site, value):
        """Anything but a timedelta is refused, by name."""

        def view():
            session["a"] = 1
            with pytest.raises(TypeError, match=r"session\.lifetime expects a timedelta"):
                session.lifetime = value

        browser = site.browser()
        browser.visit(view)

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)

    @pytest.mark.parametrize(
        "value", [timedelta(0), -DAY, timedelta(microseconds=1), timedelta.max, 101 * YEAR]
    )
    def test_out_of_range(self, site, value):
        """So is one that is no positive time of at most 100 years."""

        def view():
            session["a"] = 1
            with pytest.raises(ValueError, match=r"session\.lifetime expects a positive time"):
                session.lifetime = value

        browser = site.browser()
        browser.visit(view)

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)


class TestStays:
    """No setting changes it, and no request that does not assign it."""

    VIEWS = (
        lambda: None,
        lambda: session.get("a"),
        lambda: session.update(b=2),
        lambda: (session.get("a"), session.update(b=2)),
        lambda: session.increment("n"),
        lambda: session.regenerate(),
        lambda: (session.get("a"), session.regenerate()),
        lambda: session.confirm(),
        lambda: session.update(user_id=42),
        lambda: session.pop("user_id"),
        lambda: session.update(user_id=None, a=1),
    )

    @pytest.mark.parametrize("given", [YEAR, timedelta(minutes=5)])
    @pytest.mark.parametrize("permanent", [True, False])
    @pytest.mark.parametrize("view", VIEWS)
    def test_whatever_comes(self, valkey, view, permanent, given):
        """Reads, blind saves, rotations, sign-ins and sign-outs leave it; the index lives on."""
        site = Site(valkey, SESSION_TOUCH_INTERVAL=0, **LIFETIMES)
        browser = kept(site, given, permanent=permanent)
        browser.set(a=1)
        sid = browser.sid
        browser.visit(view)
        idle, own, left = stored(site, browser)

        assert (sid, given, b"1") == (browser.sid, idle, own)
        assert is_about(given, left)
        suffix = [f"p{given // timedelta(seconds=1)}"] if permanent else []
        assert suffix == browser.cookie.split(".")[2:]
        user = site.hash(sid).get(b"@user", b"nobody").decode()
        index = timedelta(milliseconds=site.redis.pttl(f"session:user:{user}"))
        assert user == "nobody" or index >= left

    @pytest.mark.parametrize("permanent", [True, False])
    def test_turned(self, site, permanent):
        """A session that becomes permanent, or no longer is, keeps it."""
        browser = kept(site, permanent=not permanent)
        answer = browser.visit(lambda: setattr(session, "permanent", permanent))

        assert stored(site, browser)[:2] == (YEAR, b"1")
        assert permanent == (lasts(answer) is not None)
        assert permanent == browser.cookie.endswith(".p31536000")

    def test_settings_change(self, server):
        """Another worker with other settings leaves it as it is."""
        browser = kept(Site(server, **LIFETIMES))
        other = Site(server, PERMANENT_SESSION_LIFETIME=60, SESSION_LIFETIME=60)
        elsewhere = other.browser()
        elsewhere.cookie = browser.cookie
        elsewhere.set(a=1)

        assert stored(other, elsewhere)[:2] == (YEAR, b"1")

    def test_never_loaded(self, server):
        """Forty requests that never load leave the cookie its expiry, and Redis its own."""
        site = Site(server, SESSION_TOUCH_INTERVAL=0, **LIFETIMES)
        browser = kept(site)
        found = [browser.visit() for _ in range(40)]

        assert all(is_about(YEAR, lasts(answer)) for answer in found)
        assert 1 == len({answer.cookie.value for answer in found})
        assert is_about(YEAR, stored(site, browser)[2])

    def test_not_refreshed(self, server):
        """With SESSION_REFRESH_EACH_REQUEST off, what only reads sends no cookie."""
        site = Site(server, SESSION_REFRESH_EACH_REQUEST=False, **LIFETIMES)
        browser = kept(site)

        assert browser.visit().cookie is None
        assert browser.visit(lambda: session.get("a")).cookie is None
        assert is_about(YEAR, lasts(browser.set(a=1)))

    def test_short_and_never_loaded(self, valkey):
        """A lifetime that is shorter than the touch interval does not end while in use."""
        site = Site(valkey, **LIFETIMES)
        browser = kept(site, timedelta(seconds=1))
        touches = site.app.extensions["flask_redis_session"][1].touches
        browser.visit()
        for name in touches._alive:
            touches._alive[name] -= 0.51

        with valkey.cost() as cost:
            browser.visit()

        assert ["evalsha"] == cost.names

    @pytest.mark.one_server("in a cluster the index is on another node: one round trip more")
    def test_round_trips(self, valkey):
        """It costs no round trip more than permanence does: to load it, and to save it."""
        site = Site(valkey, **LIFETIMES)
        load_scripts(site.redis)
        browser = site.browser()
        browser.sign_in(23)
        with valkey.cost() as turned:
            browser.visit(lambda: setattr(session, "permanent", True))
        with valkey.cost() as assigned:
            browser.visit(lambda: setattr(session, "lifetime", YEAR))

        assert turned.round_trips == assigned.round_trips == 2

    @pytest.mark.parametrize("value", [b"x", b"-1", b"inf"])
    def test_damaged(self, site, value):
        """A damaged ``@idle`` is put right by what the settings say."""
        browser = kept(site)
        site.redis.hset(site.key(browser.sid), "@idle", value)
        browser.set(a=1)

        assert stored(site, browser)[0] == timedelta(days=7)


class TestEnds:
    """What puts a session back to the settings."""

    def test_clear(self, site):
        """A session that is cleared starts as new ones do."""
        browser = kept(site)
        browser.visit(each(lambda: session.clear(), lambda: session.update(user_id=42)))

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)
        assert 2 == len(browser.cookie.split("."))

    def test_clear_of_one_that_is_not_permanent(self, site):
        """Also if its cookie tells nothing of it, and what comes then is written blindly."""
        browser = kept(site, permanent=False)
        browser.visit(each(lambda: session.clear(), lambda: session.update(b=1)))

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)

    def test_cleared_and_assigned(self, site):
        """What is assigned after ``clear()`` counts."""
        browser = kept(site)
        browser.visit(each(lambda: session.clear(), lambda: session.update(b=1), keep(DAY)))

        assert stored(site, browser)[:2] == (DAY, b"1")
        assert browser.cookie.endswith(".p86400")

    def test_ended(self, site):
        """A new session after one that ended has what new ones have."""
        browser = kept(site)
        site.interface.revoke_sessions(23)
        browser.set(a=1)

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)
        assert 2 == len(browser.cookie.split("."))

    def test_absolute(self, server):
        """No session outlives SESSION_ABSOLUTE_LIFETIME by it."""
        site = Site(server, SESSION_ABSOLUTE_LIFETIME=timedelta(days=30), **LIFETIMES)
        browser = kept(site)

        assert is_about(timedelta(days=30), stored(site, browser)[2])

    def test_own_session_of_a_sign_in(self, site):
        """If a sign-in gets a session of its own, because another rotated this one, it stays."""
        browser = kept(site, user_id=23)
        late = browser.twin()

        def sign_in():
            dict(session)
            browser.visit(lambda: session.regenerate())
            session["user_id"] = 42

        late.visit(sign_in)

        assert late.sid != browser.sid
        assert stored(site, late)[:2] == (YEAR, b"1")
        assert late.cookie.endswith(".p31536000")


class TestCookie:
    """What the cookie says of it, which is no secret."""

    @pytest.mark.parametrize("suffix", ["", ".p", ".p1", ".p9999999999", ".p60"])
    @pytest.mark.parametrize(
        "view", [lambda: None, lambda: session.get("a"), lambda: session.confirm()]
    )
    def test_forged(self, site, suffix, view):
        """Whatever is written there, Redis keeps to what was assigned."""
        browser = kept(site)
        forged = browser.twin()
        forged.cookie = ".".join(browser.cookie.split(".")[:2]) + suffix
        forged.visit(view)
        forged.set(a=1)

        assert stored(site, browser)[:2] == (YEAR, b"1")
        assert {"a": 1, "user_id": 23} == forged.read()

    @pytest.mark.parametrize("suffix", [".p1", ".p9999999999"])
    def test_forged_on_another(self, site, suffix):
        """Nor does it give a lifetime to a session that was not assigned any."""
        browser = site.browser()
        browser.sign_in(23)
        forged = browser.twin()
        forged.cookie = browser.cookie + suffix
        for view in (lambda: None, lambda: session.get("a"), lambda: session.update(a=1)):
            forged.visit(view)

            assert stored(site, browser)[:2] == (timedelta(hours=1), None)
        assert forged.cookie == f"{browser.cookie}.p"

    def test_put_right(self, site):
        """A save and a load send what Redis says, if the cookie says something else."""
        for view in (lambda: session.update(a=1), lambda: session.get("a")):
            browser = kept(site)
            right = browser.cookie
            browser.cookie = right.replace(".p31536000", ".p60")
            answer = browser.visit(view)

            assert right == answer.cookie.value
            assert is_about(YEAR, lasts(answer))

    @pytest.mark.parametrize(
        "suffix",
        [".p0", ".p01", ".p-1", ".p+1", ".p1.5", ".p1e9", ".p99999999999", ".p1p", ".p١", ".p 1"],
    )
    def test_malformed(self, valkey, suffix):
        """A cookie with anything but a number of up to ten digits there is none of ours."""
        site = Site(valkey)
        with valkey.cost() as cost:
            site.send(f"session={'A' * 22}.{'b' * 43}{suffix}", lambda: dict(session))

        assert 0 == cost.calls


class TestMeanwhile:
    """A parallel request that assigns a lifetime."""

    def test_kept_by_others(self, site):
        """A request that knew nothing of it keeps it, unless it signs somebody in."""
        browser = site.browser()
        browser.sign_in(23)
        late = browser.twin()
        late.visit(lambda: (session.get("a"), browser.visit(keep()), session.update(b=2)))

        assert stored(site, browser)[:2] == (YEAR, b"1")

    @pytest.mark.parametrize("end", ["setting", "clear"])
    def test_put_back(self, site, end):
        """A request that knew it does not bring it back once another one has put it back."""
        browser = site.browser()
        browser.visit(
            each(lambda: session.update(a=1), keep(timedelta(minutes=5), permanent=False))
        )
        late = browser.twin()

        def put_back():
            if end == "clear":
                session.clear()
                session["a"] = 1
            else:
                session.lifetime = None

        late.visit(lambda: (session["a"], browser.visit(put_back), session.update(b=2)))

        assert stored(site, browser)[:2] == (timedelta(hours=1), None)

    def test_turned_and_put_back(self, site):
        """One that knew it makes the session permanent, which another one has put back."""
        browser = kept(site, timedelta(minutes=5), permanent=False)
        late = browser.twin()

        def put_back():
            session.lifetime = None

        def turn():
            session["user_id"]
            browser.visit(put_back)
            session.permanent = True

        late.visit(turn)

        assert stored(site, browser)[:2] == (timedelta(days=7), None)

    def test_sign_in(self, site):
        """A sign-in that knew nothing of it has put the session into an index for less long."""
        browser = site.browser()
        browser.set(a=1)
        late = browser.twin()

        def sign_in():
            dict(session)
            browser.visit(keep())
            session["user_id"] = 23

        late.visit(sign_in)

        assert stored(site, late)[:2] == (timedelta(hours=1), None)
        assert site.redis.pttl("session:user:23") >= site.redis.pttl(site.key(late.sid))
