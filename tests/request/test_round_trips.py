"""What a request costs Redis, counted at the server: commands, writes, bytes and round trips."""

from __future__ import annotations

import pytest

from flask_redis_session.storage.record import BORN
from tests.support.webapp import Site, each, load_scripts, session

WRITES = {"hset", "hdel", "unlink", "del", "pexpireat", "pexpire", "zadd", "zrem", "set"}


@pytest.fixture
def site(server):
    """A site that has its scripts in the server, and its connection open."""
    site = Site(server)
    warm(site)
    return site


def warm(site):
    """Let the server and the clients learn whatever they have to learn once."""
    first, second = site.browsers("warm", 2)
    first.visit(lambda: session.clear_user_sessions())
    second.read()
    site.redis.flushdb()
    load_scripts(site.redis)


def cost_of(browser, view, **options):
    """Visit and return what it cost."""
    with browser.site.server.cost() as cost:
        browser.visit(view, **options)
    return cost


def writes(cost):
    """Return the names of the commands that wrote, those that scripts called included."""
    return WRITES & set(cost.commands)


@pytest.fixture
def browser(site):
    """A browser that is signed in, with a session of some keys that was touched just now."""
    browser = site.browser()
    browser.sign_in(23, a=1, b=2, cart=[1])
    return browser


class TestUntouched:
    """A request that never touches its session costs nothing."""

    @pytest.mark.parametrize("path", ["/", "/static/missing.css"])
    @pytest.mark.parametrize("status", [200, 404])
    def test_no_command(self, site, browser, path, status):
        """No command and no byte, though the cookie comes along: a page, a file, a 404."""
        site.age(browser.sid, 1000)

        with site.server.cost() as cost:
            if path != "/":
                browser.client.get(path)
            else:
                browser.visit(lambda: site.app.make_response(("", status)), status=status)

        assert (0, 0, 0, 0) == (cost.calls, cost.bytes_in, cost.bytes_out, cost.round_trips)

    def test_permanent(self, site, browser):
        """A permanent one is touched once per interval: one round trip, then none."""
        browser.visit(lambda: setattr(session, "permanent", True))

        first = cost_of(browser, lambda: None)
        second = cost_of(browser, lambda: None)

        assert ["evalsha"] == first.names
        assert 1 == first.round_trips
        assert (0, 0, 0) == (second.calls, second.bytes_in, second.bytes_out)

    def test_unknown_cookies(self, site):
        """A cookie that has not the form of one is not asked about, though the session is used."""
        browser = site.browser()
        browser.cookie = "x" * 500

        cost = cost_of(browser, lambda: dict(session))

        assert (0, 0) == (cost.calls, cost.bytes_in)

    def test_no_cookie(self, site):
        """Without a cookie a session is empty, and Redis need not be asked for that."""
        cost = cost_of(site.browser(), lambda: dict(session))

        assert (0, 0) == (cost.calls, cost.bytes_in)


class TestRead:
    """A request that only reads costs one command."""

    @pytest.mark.parametrize(
        "view",
        [
            lambda: session["a"],
            lambda: session.get("nothing"),
            lambda: (session["a"], session["b"], session.get("cart"), len(session)),
            lambda: dict(session),
            lambda: session.sid,
            lambda: (session["cart"], session.modified),
        ],
        ids=["one", "missing", "several", "all", "sid", "modified"],
    )
    def test_once(self, browser, view):
        """One HGETALL, one round trip, no write."""
        cost = cost_of(browser, view)

        assert ["hgetall"] == cost.names
        assert {"hgetall": 1} == cost.commands
        assert 1 == cost.round_trips == cost.reads

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_touch_interval(self, site, browser):
        """Within the touch interval a reader writes nothing; after it, one touch moves expiry."""
        site.later(50)

        assert set() == writes(cost_of(browser, lambda: session["a"]))

        site.later(20)
        cost = cost_of(browser, lambda: session["a"])

        assert ["hgetall", "evalsha", "evalsha"] == cost.names
        assert 2 == cost.round_trips
        assert {"hset", "pexpireat", "zadd"} <= set(cost.commands)
        assert {b"@seen"} == {sent.arguments[1] for sent in cost.scripted if sent.name == "hset"}

        assert set() == writes(cost_of(browser, lambda: session["a"]))


class TestWrite:
    def test_blind(self, browser):
        """To set keys that were never read costs one round trip and no load."""
        cost = cost_of(browser, lambda: session.update(a=5, new=6))

        assert ["evalsha"] == cost.names
        assert 1 == cost.round_trips == cost.reads
        assert {"hgetall", "hget"}.isdisjoint(cost.commands)
        (hset,) = (sent.arguments for sent in cost.scripted if sent.name == "hset")
        assert {b"@seen", b"a", b"new"} == set(hset[1::2])

    def test_first(self, site):
        """To begin a session costs one round trip."""
        cost = cost_of(site.browser(), lambda: session.update(a=5))

        assert ["evalsha"] == cost.names
        assert 1 == cost.round_trips

    def test_read_and_write(self, browser):
        """To read and write costs two."""
        cost = cost_of(browser, lambda: session.update(count=session.get("count", 0) + 1))

        assert ["hgetall", "evalsha"] == cost.names
        assert 2 == cost.round_trips == cost.reads

    def test_nested(self, browser):
        """So does a nested change, and it writes that key alone."""
        cost = cost_of(browser, lambda: session["cart"].append(2))

        assert 2 == cost.round_trips
        (hset,) = (sent.arguments for sent in cost.scripted if sent.name == "hset")
        assert {b"@seen", b"cart"} == set(hset[1::2])

    def test_read_and_same_value(self, browser):
        """To write what was read writes nothing."""
        cost = cost_of(browser, lambda: session.update(a=session["a"]))

        assert ["hgetall"] == cost.names
        assert set() == writes(cost)

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_index_moves_once_per_interval(self, site, browser):
        """The index follows once per interval, in the pipeline of the script."""
        site.later(61)

        first = cost_of(browser, lambda: session.update(a=session["a"] + 1))
        second = cost_of(browser, lambda: session.update(a=session["a"] + 1))

        assert ["hgetall", "evalsha", "evalsha"] == first.names
        assert 2 == first.round_trips
        assert ["hgetall", "evalsha"] == second.names

    def test_large(self, server):
        """Of 1,000 keys of 1 KB, to set one sends that one: at most 1.8 KB."""
        site = Site(server)
        warm(site)
        browser = site.browser()
        browser.visit(lambda: session.update({f"key{at}": "x" * 1000 for at in range(1000)}))

        cost = cost_of(browser, lambda: session.update(key500="y" * 1000))

        assert 1 == cost.round_trips
        assert cost.bytes_in <= 1800
        assert cost.bytes_out <= 300
        assert "y" * 1000 == browser.read()["key500"]

    def test_large_nested(self, server):
        """A nested change after a load of it all sends that one key, too."""
        site = Site(server, SESSION_LOAD="all")
        warm(site)
        browser = site.browser()
        browser.visit(lambda: session.update({f"key{at}": ["x" * 1000] for at in range(1000)}))

        cost = cost_of(browser, lambda: session["key500"].append("y"))

        assert 2 == cost.round_trips
        assert cost.bytes_in <= 1800


class TestSignIn:
    @pytest.mark.parametrize("before", [{}, {"a": 1}, {"user_id": 42}, {"user_id": 23}])
    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_at_most_3(self, site, before):
        """A sign-in costs at most 3 round trips, whatever the session was before."""
        browser = site.browser()
        if before:
            browser.set(**before)

        cost = cost_of(browser, lambda: session.update(user_id=23))

        assert cost.round_trips <= 3
        assert [browser.sid] == site.index(23)

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_after_clear(self, site):
        """So does one that clears the session before."""
        browser = site.browser()
        browser.sign_in(42, a=1)

        cost = cost_of(browser, each(lambda: session.clear(), lambda: session.update(user_id=23)))

        assert cost.round_trips <= 3

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_script_and_index_in_one_pipeline(self, site):
        """What is saved goes in one pipeline: the script and the index command."""
        cost = cost_of(site.browser(), lambda: session.update(user_id=23))

        assert ["evalsha", "evalsha"] == cost.names
        assert 1 == cost.round_trips == cost.reads

    def test_sign_out(self, site, browser):
        """A sign-out costs at most 3 as well."""
        assert cost_of(browser, lambda: session.pop("user_id")).round_trips <= 3
        assert cost_of(browser, lambda: session.clear()).round_trips <= 3


@pytest.mark.one_server("a cluster takes a round trip more per node")
class TestEnd:
    @pytest.mark.parametrize("count", [1, 3, 40])
    def test_some(self, site, count):
        """To end n sessions costs 2 round trips and one per thousand, and the load of one's own."""
        browser = site.browsers(23, count)[0]

        outside = Site(site.server)
        with site.server.cost() as cost:
            assert count == outside.interface.revoke_sessions(23)

        assert cost.round_trips <= 3

        browser = site.browsers(23, count)[0]
        cost = cost_of(browser, lambda: session.clear_user_sessions())

        assert cost.round_trips <= 1 + 3

    def test_2500(self, server):
        """2,500 sessions of one user end in 2 + 3 round trips."""
        site = Site(server)
        warm(site)
        browser = site.browser()
        browser.sign_in(23)
        held = site.hash(browser.sid)
        pipeline = site.redis.pipeline(transaction=False)
        names = [f"{at:022}" for at in range(2499)]
        for name in names:
            pipeline.hset(site.key(name), mapping=held)
        pipeline.zadd("session:user:23", dict.fromkeys(names, float(held[BORN])))
        pipeline.execute()

        with server.cost() as cost:
            ended = site.interface.revoke_sessions(23)

        assert 2500 == ended
        assert set() == site.names()
        assert cost.round_trips <= 2 + 3


class TestSignInOfLargeSessions:
    """An endpoint that reads a key and then signs in, once it is known."""

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    @pytest.mark.parametrize("user", [None, 42])
    def test_warm(self, server, user):
        """It takes at most three round trips, be it from nobody or from somebody else."""
        site = Site(server)

        def view():
            session.get("key1")
            session["user_id"] = 23

        trips = []
        for _ in range(3):
            browser = site.browser()
            browser.set(**{f"key{number}": "x" * 1000 for number in range(20)})
            if user is not None:
                browser.sign_in(user)
            with server.cost() as cost:
                browser.visit(view, path="/sign-in")
            trips.append(cost.round_trips)

        assert trips[-1] <= 3

    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_sign_out_of_a_permanent_session(self, server):
        """It loads nothing, and takes two: the session, and its place in the index."""
        site = Site(server)
        site.browsers(23, 1)[0].visit(lambda: session.clear())
        browser = site.browser()
        browser.visit(lambda: session.update(user_id=23) or setattr(session, "permanent", True))

        with server.cost() as cost:
            browser.visit(lambda: session.clear())

        assert "hgetall" not in cost.names
        assert 2 == cost.round_trips
