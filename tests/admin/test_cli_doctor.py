"""``flask sessions doctor``: what it finds, what it mends, and what it leaves alone."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from flask_redis_session.admin.doctor import IN_FLIGHT, Doctor
from flask_redis_session.admin.tracking import Tracking
from tests.admin.test_cli import KINDS, client_on
from tests.support.commandline import SHOP, make, on_a_terminal, run
from tests.support.keeping import KeepingSite
from tests.support.servers import Server
from tests.support.webapp import Site, session

SID = "A" * 22
LONG_AGO = IN_FLIGHT + 100


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def found(site, *options, status=0):
    """Return the kinds of what the doctor finds."""
    outcome = run(site.app, "doctor", "--json", *options, status=status).json

    assert outcome["found"] == len(outcome["findings"])
    assert outcome["mended"] == sum(finding["mended"] for finding in outcome["findings"])
    return Counter(finding["kind"] for finding in outcome["findings"])


def state(site):
    """Return whatever Redis holds, but for how long."""
    kinds = {
        b"hash": site.redis.hgetall,
        b"zset": lambda name: site.redis.zrange(name, 0, -1, withscores=True),
        b"string": site.redis.get,
    }
    return {name: kinds[site.redis.type(name)](name) for name in site.names()}


# Each of them breaks something about the only session of user 23.


def _die(site, sid):
    site.redis.delete(site.key(sid))


def _stray(site, sid):
    site.redis.zadd("session:user:24", {sid: site.redis.time()[0] - LONG_AGO})


def _stray_of_nobody(site, sid):
    visitor = site.browser()
    visitor.set(cart=1)
    _stray(site, visitor.sid)


def _no_sid(site, sid):
    site.redis.zadd("session:user:23", {"no sid": 1, b"\xff": 1})


def _leave_index(site, sid):
    site.redis.zrem("session:user:23", sid)


def _persist(site, sid):
    site.redis.persist(site.key(sid))


def _persist_index(site, sid):
    site.redis.persist("session:user:23")


def _hurry_index(site, sid):
    site.redis.expire("session:user:23", 600)


def _zombie(site, sid):
    site.redis.hset(site.key(SID), "cart", "[]")


def _no_secret(site, sid):
    make(site.redis, None, 1)
    (name,) = site.names() - {site.key(sid), "session:user:23"}
    for field in site.redis.hkeys(name):
        if field.startswith(b"@secret:"):
            site.redis.hset(name, field, "1764000000.000")


def _no_birth(site, sid):
    (other,) = make(site.redis, None, 1)
    site.redis.hset(site.key(other), "@born", "nan")


BREAKS = [
    (_die, {"dead-member": 1}),
    (_stray, {"stray-member": 1}),
    (_stray_of_nobody, {"stray-member": 1}),
    (_no_sid, {"dead-member": 2}),
    (_leave_index, {"unindexed": 1}),
    (_persist, {"no-expiry": 1}),
    (_persist_index, {"no-expiry": 1}),
    (_hurry_index, {"early-expiry": 1}),
    (_zombie, {"no-session": 1}),
    (_no_secret, {"no-session": 1}),
    (_no_birth, {"no-session": 1}),
]


@pytest.mark.parametrize(
    ("break_it", "kinds"), BREAKS, ids=[break_it.__name__[1:] for break_it, _ in BREAKS]
)
class TestBroken:
    """Whatever is broken."""

    @pytest.fixture
    def browser(self, site, break_it):
        """A browser whose session has been there for a while, and something broken beside it."""
        (browser,) = site.browsers(23, 1)
        site.later(LONG_AGO)
        break_it(site, browser.sid)
        return browser

    def test_found(self, site, browser, kinds):
        """It is found, and nothing changes."""
        before = state(site)

        assert kinds == found(site, status=1)
        assert before == state(site)

    def test_mended(self, site, browser, break_it, kinds):
        """It is mended, the next round finds nothing, and the session is as alive as before."""
        assert kinds == found(site, "--fix")
        assert {} == found(site)

        assert (break_it is not _die) == bool(browser.read())
        for name in site.names():
            assert site.redis.pttl(name) > 0
        assert ([] if break_it is _die else [browser.sid]) == site.index(23)
        if break_it is not _die:
            assert site.redis.pttl("session:user:23") >= site.redis.pttl(site.key(browser.sid))


class TestWell:
    """What is as it should be."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.one_server("names the kinds of servers itself")
    def test_kinds_of_clients(self, valkey, cluster, kind):
        """Nothing is found where nothing is wrong, whatever Redis is; and else it is mended."""
        server = cluster if "cluster" in kind else valkey
        with client_on(kind, valkey, cluster) as client:
            site = Site(server, redis=client, SESSION_ABSOLUTE_LIFETIME=3 * 86400)
            browsers = [*site.browsers("ü:*", 3), *site.browsers(24, 1)]
            browsers[0].visit(lambda: setattr(session, "permanent", True))
            browsers[1].visit(lambda: session.regenerate())
            site.browser().set(cart=1)

            assert {} == found(site)
            assert (
                "Looked at 5 sessions and 2 indexes under 'session:': nothing is wrong.\n"
                == run(site.app, "doctor").out
            )

            client.delete(f"session:{browsers[0].sid}")
            client.persist(f"session:{browsers[1].sid}")
            client.set("session:" + "x" * 43, "x")
            kinds = {"dead-member": 1, "no-expiry": 1, "other-layout": 1}
            assert kinds == found(site, "--fix", status=1)
            assert {"other-layout": 1} == found(site, "--fix", "--delete-others", "--yes")
            assert {} == found(site)

    def test_overdue(self, site):
        """A session without expiry ends at once where it should have ended by now."""
        browser, other = site.browsers(23, 2)
        site.redis.persist(site.key(browser.sid))
        site.age(browser.sid, 2 * 86400, user_id=23)

        assert {"no-expiry": 1} == found(site, "--fix")
        assert {} == browser.read()
        assert [other.sid] == site.index(23)

    @pytest.mark.parametrize("damaged", ["damaged", "0", "9" * 32])
    def test_expiry_is_that_of_the_session(self, valkey, damaged):
        """A session without expiry gets the one that it should have."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=7200)
        idle, busy = site.browsers(23, 2)
        site.age(idle.sid, 80_000)
        site.age(busy.sid, 3600, "@signed")
        site.redis.hset(site.key(busy.sid), "@idle", damaged)
        site.redis.persist(site.key(idle.sid))
        site.redis.persist(site.key(busy.sid))
        found(site, "--fix")

        assert 6300 < site.redis.ttl(site.key(idle.sid)) <= 6400
        assert 3500 < site.redis.ttl(site.key(busy.sid)) <= 3600

    def test_adds_by_when_it_was_seen(self, site):
        """A session that is put into its index is there by when it was last seen."""
        browser, _ = site.browsers(23, 2)
        site.later(LONG_AGO)
        site.redis.zrem("session:user:23", browser.sid)
        found(site, "--fix")
        seen = float(site.hash(browser.sid)[b"@seen"])

        assert seen == site.redis.zscore("session:user:23", browser.sid)

    def test_index_of_another_type(self, site):
        """If something else is at the name of an index, the rest is mended."""
        site.browsers(23, 1)
        gone, *_ = site.browsers(24, 1)
        site.later(LONG_AGO)
        site.redis.delete("session:user:23", site.key(gone.sid))
        site.redis.set("session:user:23", "x")
        kinds = {"other-layout": 1, "unindexed": 1, "dead-member": 1}

        assert kinds == found(site, "--fix", status=1)
        assert {"other-layout": 1, "unindexed": 1} == found(site, status=1)

    def test_large_session(self, site):
        """A very large session is no trouble."""
        browser = site.browser()
        browser.visit(lambda: session.update({f"key{n}": n for n in range(2000)}))

        assert {} == found(site, "--fix")
        assert 2000 == len(browser.read())

    def test_many(self, site):
        """More than a page is gone through; of each kind a few are shown, and all as JSON."""
        made = make(site.redis, 23, 3000)
        site.redis.delete(*map(site.key, made[:1500]))
        lines = run(site.app, "doctor", status=1).lines

        assert "members of an index without a session: 1,500" == lines[0]
        assert "    and 1,490 more; --json shows all" in lines
        assert {"dead-member": 1500} == found(site, "--fix")
        assert 1500 == len(site.index(23))


class TestInFlight:
    """What a request may be in the middle of is not broken."""

    def test_created_a_moment_ago(self, site):
        """A session that was just created may be on its way into its index."""
        browser, other = site.browsers(23, 2)
        site.redis.zrem("session:user:23", browser.sid)

        assert {} == found(site, "--fix")
        assert [other.sid] == site.index(23)

    def test_signing_in(self, site):
        """A member whose session is nobody's yet may be signing in."""
        visitor = site.browser()
        visitor.set(cart=1)
        site.redis.zadd("session:user:23", {visitor.sid: site.redis.time()[0]})

        assert {} == found(site, "--fix")
        assert [visitor.sid] == site.index(23)

    def test_signs_in_meanwhile(self, site, monkeypatch):
        """A session that signs in between the look and the mending stays in the index."""
        visitor = site.browser()
        visitor.set(cart=1)
        _stray(site, visitor.sid)
        look = Doctor._look_at_members

        def sign_in_after(doctor, members):
            looks = look(doctor, members)
            visitor.sign_in(24)
            return looks

        monkeypatch.setattr(Doctor, "_look_at_members", sign_in_after)

        assert {} == found(site, "--fix")
        assert [visitor.sid] == site.index(24)

    def test_ends_meanwhile(self, site, monkeypatch):
        """A session that ends between the look and the mending is not put into the index."""
        browser, other = site.browsers(23, 2)
        site.later(LONG_AGO)
        site.redis.zrem("session:user:23", browser.sid)
        add = Doctor._add

        def end_before(doctor, sid, look):
            site.redis.delete(site.key(sid))
            return add(doctor, sid, look)

        monkeypatch.setattr(Doctor, "_add", end_before)
        found(site, "--fix")

        assert [other.sid] == site.index(23)

    def test_moves_meanwhile(self, site, monkeypatch):
        """A session that becomes another user's between two looks is missing nowhere."""
        browser, _ = site.browsers(23, 2)
        site.later(LONG_AGO)
        site.redis.zrem("session:user:23", browser.sid)
        missing = Doctor._missing

        def sign_in_after(doctor, owned):
            sids = missing(doctor, owned)
            if sids:
                browser.sign_in(24)
            return sids

        monkeypatch.setattr(Doctor, "_missing", sign_in_after)

        assert {} == found(site, "--fix")
        assert [browser.sid] == site.index(24)

    def test_busy(self, site):
        """While people sign in, out and over, mending breaks nothing."""
        stop = threading.Event()
        failures = []

        def come_and_go(at):
            try:
                while not stop.is_set():
                    browser = site.browser()
                    browser.set(cart=1)
                    browser.sign_in(at)
                    browser.sign_in(f"{at}b")
                    if {"cart", "user_id"} != browser.read().keys():
                        failures.append(browser.sid)
                    if browser.sid not in site.index(f"{at}b"):
                        failures.append(browser.sid)
                    browser.visit(lambda: session.pop("user_id"))
                    browser.visit(lambda: session.clear())
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        people = [threading.Thread(target=come_and_go, args=(at,)) for at in range(3)]
        for person in people:
            person.start()
        rounds = [found(site, "--fix") for _ in range(30)]
        stop.set()
        for person in people:
            person.join()

        assert [] == failures
        # A session may end between a page of its index and the look at it.
        assert set() == set().union(*rounds) - {"dead-member"}
        assert {} == found(site, "--fix") - Counter("dead-member")


class TestOthers:
    """Keys that are not this application's, or not this library's."""

    @pytest.fixture
    def others(self, site):
        """Store what others might have; return their keys."""
        Site(site.server, prefix="other:").browsers(23, 1)
        Site(site.server, prefix="sessionx").browsers(23, 1)
        site.redis.set("x", "x")
        return site.names()

    def test_other_prefixes(self, site, others):
        """Under another prefix nothing is so much as looked at."""
        site.redis.persist("other:user:23")
        site.browsers(23, 1)
        with site.server.cost() as cost:
            found(site, "--fix", "--delete-others", "--yes")

        assert others <= site.names()
        assert [] == [
            sent
            for sent in cost.sent
            for name in sent.arguments
            if name.startswith((b"other:", b"sessionx"))
        ]

    def test_found(self, site, others):
        """Keys of another layout under the prefix are found, but not mended with the rest."""
        site.redis.set("session:" + "x" * 43, "x")
        site.redis.lpush("session:" + "x" * 22, "x")
        site.redis.zadd(b"session:user:\xff", {"x": 1})
        outcome = run(site.app, "doctor", "--fix", status=1)

        assert "keys of another layout: 3, mended 0" == outcome.lines[0]
        assert "--delete-others" in outcome.out
        assert "xxxxx" not in outcome.out
        assert len(others) + 3 == site.redis.dbsize()

    def test_nested_prefix(self, site):
        """An application whose prefix begins with this one's is of another layout, and stays."""
        nested = Site(site.server, prefix="session:b:")
        nested.browsers(23, 1)
        before = state(nested)

        assert {"other-layout": 2} == found(site, "--fix", status=1)
        assert before == state(nested)

    def test_deleted(self, site, others):
        """They are deleted if that is asked for."""
        site.redis.set("session:" + "x" * 43, "x")
        site.redis.set("session:user:5", "x")
        (browser,) = site.browsers(23, 1)

        assert "Error: --delete-others needs --fix." in (
            run(site.app, "doctor", "--delete-others", status=2).error
        )
        refused = run(site.app, "doctor", "--fix", "--delete-others", status=1)
        assert "add --yes" in refused.error
        assert {"other-layout": 2} == found(site, "--fix", "--delete-others", "--yes")
        assert others | {site.key(browser.sid), "session:user:23"} == site.names()


def test_for_people(site):
    """It says in words what it found and what helps."""
    (browser,) = site.browsers(23, 1)
    _stray(site, browser.sid)
    found_only = run(site.app, "doctor", status=1).lines
    mended = run(site.app, "doctor", "--fix").lines

    assert [
        "members of an index whose session is somebody else's: 1",
        f"    session:user:24  {browser.sid}  of user '23'",
        "Looked at 1 session and 2 indexes under 'session:': 1 found.",
        "'flask sessions doctor --fix' mends this.",
    ] == found_only
    assert "members of an index whose session is somebody else's: 1, mended 1" == mended[0]
    assert "Looked at 1 session and 2 indexes under 'session:': 1 found, all mended." == mended[-1]


def test_redis_fails_on_the_way(monkeypatch):
    """If Redis fails on the way, it says so and exits with 3."""
    with Server() as server:
        site = Site(server)
        site.browsers(23, 1)
        index = Doctor._index

        def kill_before(doctor, user):
            server.kill()
            return index(doctor, user)

        monkeypatch.setattr(Doctor, "_index", kill_before)
        outcome = run(site.app, "doctor", status=3)

    assert outcome.error.startswith("Error: Redis failed: ")


@pytest.mark.parametrize("answer", ["y", "n"])
def test_asks_on_a_terminal(valkey, tmp_path, answer):
    """Before it deletes what is not this library's it asks, and shows with a bar how far it is."""
    redis = valkey.client()
    redis.set("session:" + "x" * 43, "x")
    redis.zadd("session:user:23", {"A" * 22: 1})
    (tmp_path / "shop.py").write_text(SHOP % valkey.url)
    status, screen = on_a_terminal(
        tmp_path, "doctor", "--fix", "--delete-others", keys=f"{answer}\n"
    )

    assert "Delete every key under 'session:' that does not have this library's layout?" in screen
    assert (status, redis.dbsize()) == ((0, 0) if answer == "y" else (1, 2))


@pytest.mark.one_server("SESSION_KEEP is refused in a cluster")
class TestTracking:
    """With SESSION_KEEP it says what the server tracks."""

    def test_says(self, server):
        """How many connections listen, and how many keys are tracked; without it, nothing."""
        site = KeepingSite(server)
        before = run(site.app, "doctor").lines
        site.visitor()
        during = run(site.app, "doctor").lines
        after = run(site.app, "doctor", "--json").json

        assert "SESSION_KEEP: 0 connections listen, Redis tracks 0 keys." in before
        assert "+client|tracking" in before[-1]
        assert "SESSION_KEEP: 1 connections listen, Redis tracks 1 keys." == during[-1], during
        assert {"listeners": 1, "keys": 1, "hint": ""} == after["tracking"]
        assert "tracking" not in run(Site(server).app, "doctor", "--json").json

    def test_full(self):
        """If the table may be full, it says what to raise."""
        assert "tracking-table-max-keys" in Tracking(3, 1_000_000).hint
        assert "" == Tracking(3, 999_999).hint
