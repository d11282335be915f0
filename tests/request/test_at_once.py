"""``increment`` and ``take``: what Redis does at once, for one request after another."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread

import flask
import pytest

from flask_redis_session import StoreUnavailable, UnstorableValue
from flask_redis_session.signals import session_ended
from tests.support.webapp import Site, each, load_scripts, session


@pytest.fixture
def site(server):
    """A site that has its scripts in the server."""
    site = Site(server)
    load_scripts(site.redis)
    return site


@pytest.fixture
def browser(site):
    """A browser that is signed in, with a count, a code and something else."""
    browser = site.browser()
    browser.sign_in(23, tries=1, otp={"code": "4711"}, theme="dark")
    return browser


def crowd(browser, view, count=8):
    """Let as many requests with one cookie come at once, and return what their views returned."""
    barrier, values = Barrier(count), []

    def come(twin):
        def waits():
            barrier.wait()
            return view()

        values.append(twin.visit(waits).value)

    threads = [Thread(target=come, args=[browser.twin()]) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return values


class TestIncrement:
    """A count that counts."""

    def test_returns_and_shows_the_new_value(self, site, browser):
        """What it returns is what the mapping shows and Redis holds."""
        value = browser.visit(lambda: (session.increment("tries"), session["tries"])).value

        assert (2, 2) == value
        assert b"2" == site.hash(browser.sid)[b"tries"]

    @pytest.mark.parametrize("by", [5, -5, 0, 2**62])
    def test_by(self, browser, by):
        """It adds what it is told to add."""
        assert 1 + by == browser.visit(lambda: session.increment("tries", by)).value

    def test_absent_counts_as_zero(self, site, browser):
        """A key that is not there begins at 0, also one whose name is escaped."""
        assert 1 == browser.visit(lambda: session.increment("@new")).value
        assert 1 == browser.read()["@new"]

    def test_is_exact(self, browser):
        """No bit is lost of 64."""
        browser.set(tries=2**63 - 2)

        assert 2**63 - 1 == browser.visit(lambda: session.increment("tries")).value
        assert 2**63 - 1 == browser.read()["tries"]

    def test_parallel_requests_count_each(self, browser):
        """None of several requests at once returns the number of another one."""
        assert [*range(2, 10)] == sorted(crowd(browser, lambda: session.increment("tries")))

    def test_is_not_written_again(self, site, browser):
        """The end of the request leaves alone what others have counted since."""
        twin = browser.twin()

        def view():
            session.increment("tries")
            twin.visit(lambda: session.increment("tries"))
            session["theme"] = "light"

        browser.visit(view)

        assert (3, "light") == (browser.read()["tries"], browser.read()["theme"])

    def test_is_what_a_later_load_shows(self, browser):
        """What was returned counts as read: other requests do not change it under the view."""
        twin = browser.twin()

        def view():
            value = session.increment("tries")
            twin.visit(lambda: session.increment("tries"))
            return value, dict(session)["tries"]

        assert (2, 2) == browser.visit(view).value

    def test_can_be_assigned_afterwards(self, browser):
        """A success sets the count back, as any assignment does."""
        browser.visit(lambda: (session.increment("tries"), session.__setitem__("tries", 0)))

        assert 0 == browser.read()["tries"]

    def test_stays_if_the_view_fails(self, site, browser):
        """A view that fails afterwards does not give the try back."""

        def view():
            session.increment("tries")
            raise RuntimeError

        browser.visit(view, status=500)

        assert 2 == browser.read()["tries"]

    @pytest.mark.parametrize("value", ["1", 1.0, True, None, [1], 2**70, {}])
    def test_no_integer(self, site, browser, value):
        """What is no integer is a TypeError that names the key, and nothing is written."""
        browser.set(tries=value)
        before = site.hash(browser.sid)

        def view():
            with pytest.raises(TypeError, match="tries"):
                session.increment("tries")

        browser.visit(view)

        assert before == site.hash(browser.sid)

    @pytest.mark.parametrize(("value", "by"), [(2**63 - 1, 1), (-(2**63), -1)])
    @pytest.mark.parametrize("assigned", [False, True])
    def test_too_large(self, site, browser, value, by, assigned):
        """A sum that does not fit into 64 bits is a TypeError, and nothing is written."""
        browser.set(tries=value)
        before = site.hash(browser.sid)

        def view():
            if assigned:
                session["tries"] = value
            with pytest.raises(TypeError):
                session.increment("tries", by)

        browser.visit(view)

        assert before[b"tries"] == site.hash(browser.sid)[b"tries"]

    @pytest.mark.parametrize("by", [True, 1.0, "1", None, 2**63])
    def test_ill_typed(self, browser, by):
        """What is to be added is an int of 64 bits."""

        def view():
            with pytest.raises(UnstorableValue):
                session.increment("tries", by)

        browser.visit(view)

        assert 1 == browser.read()["tries"]


class TestTake:
    """A value that one request gets."""

    def test_returns_and_removes(self, site, browser):
        """It is returned, gone from the mapping and from Redis."""

        def view():
            return session.take("otp"), "otp" in session, "otp" in dict(session)

        assert ({"code": "4711"}, False, False) == browser.visit(view).value
        assert b"otp" not in site.hash(browser.sid)

    def test_absent(self, browser):
        """What is not there is the default."""
        assert (None, 7) == browser.visit(lambda: (session.take("no"), session.take("no", 7))).value

    def test_one_of_parallel_requests_gets_it(self, browser):
        """Of several requests at once one gets the value, and the others the default."""
        values = crowd(browser, lambda: session.take("otp"))

        assert [{"code": "4711"}] == [value for value in values if value is not None]

    def test_one_gets_it_though_all_had_read_it(self, browser):
        """It makes no difference that each of them had loaded the session before."""
        all_have_read = Barrier(8)

        def view():
            assert session["otp"]
            all_have_read.wait()
            return session.take("otp")

        values = crowd(browser, view)

        assert 1 == len([value for value in values if value is not None])

    def test_what_was_changed_inside_is_returned(self, browser):
        """As by ``pop``, with what the view has done to it."""

        def view():
            session["otp"]["seen"] = True
            return session.take("otp")

        assert {"code": "4711", "seen": True} == browser.visit(view).value
        assert "otp" not in browser.read()

    def test_is_not_removed_again(self, browser):
        """What another request puts there afterwards stays, and this request does not see it."""
        twin = browser.twin()

        def view():
            session.take("otp")
            twin.set(otp="new")
            session["theme"] = "light"
            return dict(session).get("otp")

        assert None is browser.visit(view).value
        assert "new" == browser.read()["otp"]

    def test_can_be_assigned_afterwards(self, browser):
        """The same value can be put back."""
        browser.visit(lambda: session.__setitem__("otp", session.take("otp")))

        assert {"code": "4711"} == browser.read()["otp"]

    def test_damaged(self, site, browser):
        """A text that cannot be read counts as absent, and is gone."""
        site.redis.hset(site.key(browser.sid), "otp", "{")

        assert 7 == browser.visit(lambda: session.take("otp", 7)).value
        assert b"otp" not in site.hash(browser.sid)

    def test_stays_taken_if_the_save_is_refused(self, site, browser):
        """A rotation by another request does not give it back."""
        twin = browser.twin()

        def view():
            taken = session.take("otp")
            twin.visit(lambda: session.regenerate())
            session["theme"] = "light"
            return taken

        assert {"code": "4711"} == browser.visit(view).value
        assert b"otp" not in site.hash(browser.sid)


class TestLastKey:
    """To take the last key of a session."""

    @pytest.fixture
    def browser(self, site):
        """A browser whose session holds one key."""
        browser = site.browser()
        browser.set(otp="4711")
        return browser

    def test_ends_the_session(self, site, browser):
        """The end of the request ends the session, and says so."""
        sid, ended = browser.sid, []
        session_ended.connect(lambda _, **what: ended.append(what["sid"]), site.app, weak=False)

        assert "4711" == browser.visit(lambda: session.take("otp")).value
        assert (None, [sid]) == (browser.cookie, ended)
        assert {b"otp"} & {*site.hash(sid)} == set()
        assert b"@born" not in site.hash(sid)

    def test_saves_what_the_view_has_written_since(self, site, browser):
        """A session that holds something again goes on."""
        browser.visit(lambda: (session.take("otp"), session.__setitem__("theme", "dark")))

        assert {"theme": "dark"} == browser.read()

    def test_leaves_what_another_request_has_written_since(self, site, browser):
        """It is not empty any more, even if it is the same key."""
        twin = browser.twin()
        browser.visit(lambda: (session.take("otp"), twin.set(otp="new")))

        assert {"otp": "new"} == browser.read()

    def test_with_a_rotation(self, site, browser):
        """A session that ends is not rotated."""
        browser.visit(lambda: (session.take("otp"), session.regenerate()))

        assert {} == browser.read()


class TestAtTheEnd:
    """What is done on the mapping, and stored at the end of the request."""

    def test_new(self, site):
        """A session that is not stored yet costs nothing before its end."""
        browser = site.browser()
        value = browser.visit(
            lambda: (
                session.increment("n", 2),
                session.increment("n", 3),
                session.setdefault("otp", 7),
                session.take("otp"),
                session.take("otp"),
            )
        ).value

        assert (2, 5, 7, 7, None) == value
        assert {"n": 5} == browser.read()

    def test_assigned(self, site, browser):
        """A key that this request assigned: Redis does not know it yet."""

        def view():
            session["tries"] = 10
            session["otp"] = "new"
            return session.increment("tries"), session.take("otp")

        assert (11, "new") == browser.visit(view).value
        assert (11, None) == (browser.read()["tries"], browser.read().get("otp"))

    def test_deleted(self, browser):
        """A key that this request deleted: it is not to come back by what is stored."""

        def view():
            del session["tries"], session["otp"]
            return session.increment("tries"), session.take("otp", "none")

        assert (1, "none") == browser.visit(view).value
        assert 1 == browser.read()["tries"]

    def test_cleared(self, browser):
        """After ``clear()`` nothing of what is stored counts."""
        view = each(
            lambda: session.clear(), lambda: (session.increment("tries"), session.take("otp"))
        )

        assert (1, None) == browser.visit(view).value
        assert {"tries": 1} == browser.read()

    @pytest.mark.parametrize("value", ["1", True, 1.0])
    def test_no_integer(self, site, value):
        """It is as strict as Redis."""

        def view():
            session["n"] = value
            with pytest.raises(UnstorableValue):
                session.increment("n")

        site.browser().visit(view)

    @pytest.mark.parametrize("key", [1, None])
    def test_no_key(self, browser, key):
        """A key that is no string is refused as an assignment is, and never there."""

        def view():
            with pytest.raises(UnstorableValue):
                session.increment(key)
            return session.take(key, 7)

        assert 7 == browser.visit(view).value

    def test_surrogate(self, browser):
        """A key that UTF-8 cannot write is one like any other."""
        assert 1 == browser.visit(lambda: session.increment("\ud800")).value
        assert 1 == browser.visit(lambda: session.take("\ud800", 7)).value
        assert 7 == browser.visit(lambda: session.take("\ud800", 7)).value


class TestDeadCookies:
    """A cookie that opens nothing."""

    def test_gone(self, site, browser):
        """Of a session that ended before anything was read, nothing is left to count."""
        site.expire(browser.sid)

        assert (1, None) == browser.visit(
            lambda: (session.increment("tries"), session.take("otp"))
        ).value
        assert {"tries": 1} == browser.read()

    def test_rotated(self, site, browser):
        """A cookie that was rotated away reads as empty, and stores nothing."""
        late = browser.twin()
        browser.visit(lambda: session.regenerate())
        before = site.hash(browser.sid)
        late.visit(lambda: session.increment("tries"))

        assert None is late.visit(lambda: session.take("otp")).value
        assert before == site.hash(browser.sid)

    @pytest.mark.parametrize(
        "view", [lambda: session.increment("tries"), lambda: session.take("otp")]
    )
    @pytest.mark.parametrize("how", ["gone", "rotated"])
    def test_after_something_was_read(self, site, browser, view, how):
        """Then it is the 503 of a torn read: what was read is not true any more."""
        twin = browser.twin()

        def torn():
            session["theme"]
            if how == "gone":
                site.expire(browser.sid)
            else:
                twin.visit(lambda: session.regenerate())
            view()

        answer = browser.visit(torn, status=503)

        assert None is answer.cookie

    def test_of_several_cookies(self, site, browser):
        """The one that opens a session counts."""
        other = f"session={site.browsers(42, 1)[0].sid}.{'x' * 43}; session={browser.cookie}"

        assert 2 == site.send(other, lambda: session.increment("tries")).value

    def test_foreign_type(self, site, browser):
        """A key of another type is no session."""
        key = site.key(browser.sid)
        site.redis.delete(key)
        site.redis.set(key, "x")

        assert 1 == browser.visit(lambda: session.increment("tries")).value


@pytest.mark.parametrize("config", ["user_id", ("user_id", "org.user.sub")])
@pytest.mark.parametrize("act", [lambda key: session.increment(key), lambda key: session.take(key)])
def test_whose_it_is(server, config, act):
    """The keys that say whose a session is are refused, also before anything is stored."""
    site = Site(server, SESSION_USER_KEY=config)
    browser = site.browser()
    browser.sign_in(23)
    before = site.hash(browser.sid)
    roots = ["user_id"] if isinstance(config, str) else ["user_id", "org"]

    def view():
        for root in roots:
            with pytest.raises(UnstorableValue):
                act(root)

    browser.visit(view)
    site.browser().visit(view)

    assert before == site.hash(browser.sid)


class TestLife:
    """A browser that only increments or takes does not idle out."""

    @pytest.mark.parametrize(
        "view", [lambda: session.increment("tries"), lambda: session.take("otp")]
    )
    @pytest.mark.parametrize("reads", [False, True])
    def test_it_is_touched(self, site, browser, view, reads):
        """It moves the expiry, when the session was last seen, and its place in the index."""
        site.age(browser.sid, 1000, user_id=23)
        site.redis.pexpire(site.key(browser.sid), 5000)
        before = site.redis.zscore("session:user:23", browser.sid)

        browser.visit(lambda: (reads and session["theme"], view()))

        assert site.redis.pttl(site.key(browser.sid)) > 80_000_000
        assert site.redis.zscore("session:user:23", browser.sid) - before > 900
        assert site.redis.ttl("session:user:23") > 80_000

    def test_lifetimes(self, server):
        """Its own lifetime and the absolute one rule, as for a commit."""
        site = Site(
            server,
            SESSION_LIFETIME=timedelta(hours=1),
            SESSION_ABSOLUTE_LIFETIME=timedelta(minutes=10),
        )
        browser = site.browser()
        browser.set(n=1)
        browser.visit(lambda: session.increment("n"))

        assert 590_000 < site.redis.pttl(site.key(browser.sid)) <= 600_000
        assert b"3600" == site.hash(browser.sid)[b"@idle"]

    def test_permanent(self, site):
        """The cookie of a permanent session is sent again, and its lifetime stays."""
        browser = site.browser()
        browser.visit(lambda: (setattr(session, "permanent", True), session.increment("n")))

        answer = browser.visit(lambda: session.increment("n"))

        assert (2, True) == (answer.value, answer.cookie is not None)
        assert b"2678400" == site.hash(browser.sid)[b"@idle"]


class TestRoundTrips:
    """One each."""

    @pytest.mark.parametrize(
        ("view", "round_trips"),
        [
            (lambda: session.increment("tries"), 1),
            (lambda: session.take("otp"), 1),
            (lambda: session.take("no"), 1),
            (lambda: (session.increment("tries"), session["tries"]), 1),
            (lambda: (session.take("otp"), session.get("otp")), 1),
            (lambda: (session.increment("tries"), session.take("otp")), 2),
            (lambda: (session["theme"], session.increment("tries")), 2),
            (lambda: (session.increment("tries"), session.__setitem__("tries", 0)), 2),
            (lambda: (session.increment("tries"), session["theme"]), 2),
        ],
    )
    def test_count(self, site, browser, view, round_trips):
        """To increment or to take costs one, and what it returned is not loaded."""
        browser.visit(lambda: session.increment("other"))
        with site.server.cost() as cost:
            browser.visit(view)

        assert round_trips == cost.round_trips


class TestFailure:
    """Redis does not answer."""

    @pytest.mark.parametrize(
        "view", [lambda: session.increment("tries"), lambda: session.take("otp")]
    )
    def test_down(self, fragile, view):
        """It is a 503 with Retry-After, never as if it were allowed."""
        site = Site(fragile)
        browser = site.browser()
        browser.set(tries=1, otp=2)
        fragile.stop()
        answer = browser.visit(view, status=503)

        assert ("1", None) == (answer.headers["Retry-After"], answer.cookie)

    def test_caught(self, fragile):
        """A view that catches it may answer as it likes."""
        site = Site(fragile)
        browser = site.browser()
        browser.set(tries=1)
        fragile.stop()

        def view():
            with pytest.raises(StoreUnavailable):
                session.increment("tries")

        browser.visit(view)

    def test_in_a_finished_response(self, fragile):
        """It does not pass for done there: what is raised in it is Flask's 500."""
        site = Site(fragile)
        browser = site.browser()
        done = []

        @site.app.after_request
        def count(response):
            if flask.request.method == "POST":
                done.append(session.increment("tries"))
            return response

        browser.set(tries=1)
        fragile.stop()
        browser.visit(status=500, method="POST")

        assert [] == done
