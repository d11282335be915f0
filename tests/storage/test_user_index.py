"""The sorted set of a user."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_redis_session.client.commands import Commands
from flask_redis_session.storage.revocation import Revocation, Selection
from flask_redis_session.storage.session_hash import SessionHashes
from flask_redis_session.storage.token import new_token
from tests.support.clients import shared_client
from tests.support.webapp import Site, session, sids

USERS = [
    "23",
    "mira",
    "a:b",
    ":",
    "user:23",
    "a b",
    "ü",
    "鍵",
    "*",
    "[a]",
    "?",
    "\\",
    "\0",
    "\n",
    "{x}",
]


@pytest.fixture
def index(server):
    """The indexes below the prefix ``session:``."""
    return make_index(server)


def make_index(server):
    """Make an index that knows no absolute lifetime."""
    way = Commands(lambda: shared_client(server))
    return SessionHashes(way, "session:", absolute=None, touch_interval=60).index


def new_sid():
    """Return the sid of a session that there is not."""
    return new_token(permanent=False).sid


def fill(redis, user, count, *, idle=86400):
    """Store so many sessions of a user, as sign-ins would, but faster; return their sids."""
    now = redis.time()[0]
    added = [new_sid() for _ in range(count)]
    pipeline = redis.pipeline(transaction=False)
    for at, sid in enumerate(added):
        fields = {"@born": now - at, "@seen": now - at, "@idle": idle, "@user": user, "a": 1}
        pipeline.hset(f"session:{sid}", mapping=fields)
        pipeline.pexpire(f"session:{sid}", idle * 1000)
        pipeline.zadd(f"session:user:{user}", {sid: now - at})
    pipeline.pexpire(f"session:user:{user}", (idle + 60) * 1000)
    pipeline.execute()
    return added


def run(redis, command):
    """Send a command of the index, with its script if the server has lost it."""
    return Commands(lambda: redis).call(command)


def revoke(index, user, **conditions):
    """Revoke a user's sessions, page by page."""
    return Revocation(index._redis, index, None).of_user(user, Selection(**conditions))


class TestAdd:
    def test_add(self, index, redis):
        """A session is added by the time of the server; the set outlives it."""
        sid = new_sid()

        assert [] == run(redis, index.add("23", sid, 100))
        assert abs(redis.zscore("session:user:23", sid) - redis.time()[0]) < 5
        assert 240_000 < redis.pttl("session:user:23") <= 260_001

    def test_add_again(self, index, redis):
        """A session that is added again moves up, never down."""
        sid = new_sid()
        run(redis, index.add("23", sid, 100))
        redis.zadd("session:user:23", {sid: 5e9})

        assert [] == run(redis, index.add("23", sid, 100))
        assert 5e9 == redis.zscore("session:user:23", sid)

    def test_shorter_lifetime(self, index, redis):
        """A session with a shorter life does not shorten the life of the set."""
        run(redis, index.add("23", new_sid(), 1000))
        run(redis, index.add("23", new_sid(), 10))

        assert redis.pttl("session:user:23") > 1_000_000

    def test_touch(self, index, redis):
        """A touch moves a member up and prolongs the set."""
        sid = new_sid()
        run(redis, index.add("23", sid, 100))
        redis.zadd("session:user:23", {sid: 5})
        redis.pexpire("session:user:23", 50_000)

        run(redis, index.touch("23", sid, 100))

        assert redis.zscore("session:user:23", sid) > 1e9
        assert redis.pttl("session:user:23") > 100_000

    def test_touch_puts_back(self, index, redis):
        """A member that the index has lost is there again after a touch (guarantee 6)."""
        run(redis, index.add("23", new_sid(), 100))

        assert [] == run(redis, index.touch("23", new_sid(), 100))
        assert 2 == redis.zcard("session:user:23")

    def test_touch_of_an_evicted_index(self, index, redis):
        """An index that was evicted begins anew with a touch, and outlives its session."""
        sid = new_sid()

        run(redis, index.touch("23", sid, 100))

        assert [sid.encode()] == redis.zrange("session:user:23", 0, -1)
        assert 240_000 < redis.pttl("session:user:23") <= 260_001

    def test_sample(self, index, redis):
        """A sign-in to a large index is told of some members; a touch and a small one are not."""
        sids = [new_sid() for _ in range(101)]
        redis.zadd("session:user:23", {sid: at for at, sid in enumerate(sids)})

        assert [] == run(redis, index.touch("23", sids[0], 100))

        sample = run(redis, index.add("23", sids[0], 100))

        assert sids[1].encode() == sample[0]
        assert 200 == len(sample)

    def test_remove(self, index, redis):
        """A session that is removed is gone, and the set with the last of them."""
        first, second = new_sid(), new_sid()
        for sid in (first, second):
            run(redis, index.add("23", sid, 100))

        now = repr(redis.zscore("session:user:23", second)).encode()
        run(redis, index.remove("23", first, now))
        assert [second.encode()] == redis.zrange("session:user:23", 0, -1)
        run(redis, index.remove("23", second, now))
        assert [] == redis.keys()

    def test_remove_late(self, index, redis):
        """A session that was put there again after it had left stays."""
        sid = new_sid()
        run(redis, index.add("23", sid, 100))
        left = redis.zscore("session:user:23", sid) - 0.001

        run(redis, index.remove("23", sid, repr(left).encode()))

        assert [sid.encode()] == redis.zrange("session:user:23", 0, -1)


class TestUsers:
    @pytest.mark.parametrize("user", USERS)
    def test_any_text(self, valkey, user):
        """A user's id may be any text: it is neither cut nor taken for a pattern."""
        site = Site(valkey)
        browsers = site.browsers(user, 2)
        site.browsers("other", 1)
        for other in USERS:
            if other != user:
                site.browsers(other, 1)

        assert {each.sid for each in browsers} == set(sids(site.interface.list_sessions(user)))
        assert user == site.interface.list_sessions(user)[0].user_id
        assert 2 == site.interface.revoke_sessions(user)
        assert 1 == len(site.interface.list_sessions("other"))
        assert len(USERS) == len([name for name in site.names() if ":user:" in name])

    def test_looks_like_a_session(self, valkey):
        """A user whose id looks like a sid, or like a key, gets in nobody's way."""
        site = Site(valkey)
        (victim,) = site.browsers(23, 1)
        for user in (victim.sid, f"session:{victim.sid}", f"user:{victim.sid}"):
            site.browsers(user, 1)

            assert 1 == site.interface.revoke_sessions(user)

        assert {"user_id": 23} == victim.read()


class TestRevoke:
    @pytest.mark.parametrize("count", [0, 1, 2, 129, 2500])
    @pytest.mark.one_server("a cluster takes a round trip more per node")
    def test_round_trips(self, server, index, redis, count):
        """To end n sessions takes 2 round trips and one per thousand."""
        run(redis, index.add("other", new_sid(), 100))
        fill(redis, "warm", 1)
        list(revoke(index, "warm"))
        added = fill(redis, "23", count)
        before = redis.dbsize()

        with server.cost() as cost:
            ended = [sid for page in revoke(index, "23") for sid in page]

        assert set(added) == set(ended)
        assert count == len(ended)
        assert before - count - (count > 0) == redis.dbsize()
        assert cost.round_trips <= 2 + -(-count // 1000)

    def test_many_of_them(self, index, redis):
        """Among many, those that are spared stay, and stay in the index."""
        added = fill(redis, "23", 1500)
        kept = added[::3]

        ended = [sid for page in revoke(index, "23", keep=frozenset(kept)) for sid in page]

        assert set(added) - set(kept) == set(ended)
        assert set(kept) == {sid.decode() for sid in redis.zrange("session:user:23", 0, -1)}
        assert 501 == redis.dbsize()

    def test_before_among_many(self, index, redis):
        """Those seen before a time are found wherever they are in the index."""
        added = fill(redis, "23", 1200)
        limit = redis.hget(f"session:{added[700]}", "@seen")

        ended = [sid for page in revoke(index, "23", before=float(limit)) for sid in page]

        assert set(added[701:]) == set(ended)

    def test_seen_at_one_time(self, index, redis):
        """Of many that were seen at the same time, each is met once, be its neighbours spared."""
        added = fill(redis, "23", 5000)
        redis.zadd("session:user:23", dict.fromkeys(added, 1000))
        kept = frozenset(added[::2])

        ended = [sid for page in revoke(index, "23", keep=kept) for sid in page]

        assert sorted(set(added) - kept) == sorted(ended)

    def test_seen_on_the_way(self, index, redis):
        """A session that is seen while others are ended is met later, but met."""
        added = fill(redis, "23", 5000)
        pages = revoke(index, "23")

        ended = next(pages)
        seen = sorted(set(added) - set(ended))[::2]
        redis.zadd("session:user:23", dict.fromkeys(seen, 5e9), xx=True, gt=True)
        ended += [sid for page in pages for sid in page]

        assert sorted(added) == sorted(ended)
        assert [] == redis.keys()

    def test_dead_members(self, index, redis):
        """Dead members are removed on the way, and do not count as ended."""
        added = fill(redis, "23", 10)
        redis.delete(*(f"session:{sid}" for sid in added[:4]))

        ended = [sid for page in revoke(index, "23") for sid in page]

        assert set(added[4:]) == set(ended)
        assert [] == redis.keys()

    def test_members_of_another_type(self, index, redis):
        """A key of another type at a session's name is not ended, and leaves the index."""
        (sid,) = fill(redis, "23", 1)
        redis.delete(f"session:{sid}")
        redis.set(f"session:{sid}", "x")

        assert [] == [sid for page in revoke(index, "23") for sid in page]
        assert [f"session:{sid}".encode()] == redis.keys()


class TestSelection:
    """A session is selected if it meets every condition."""

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({}, True),
            ({"before": 21.0}, True),
            ({"before": 20.0}, False),
            ({"created_before": 11.0}, True),
            ({"created_before": 10.0}, False),
            ({"signed_in_before": 16.0}, True),
            ({"signed_in_before": 15.0}, False),
            ({"created_before": 11.0, "signed_in_before": 15.0}, False),
            ({"before": 21.0, "created_before": 10.0}, False),
            ({"only": frozenset(["a", "b"])}, True),
            ({"only": frozenset(["b"])}, False),
            ({"only": frozenset()}, False),
            ({"keep": frozenset(["b"])}, True),
            ({"keep": frozenset(["a"])}, False),
            ({"only": frozenset(["a"]), "keep": frozenset(["a"])}, False),
        ],
    )
    def test_selects(self, conditions, expected):
        """A session that was created at 10, signed in at 15 and last seen at 20."""
        assert expected == Selection(**conditions).selects("a", 20.0, 10.0, 15.0)

    def test_unknown_time(self):
        """A time that is not known meets every limit: damage must not keep a session alive."""
        assert Selection(before=1.0, created_before=1.0, signed_in_before=1.0).selects(
            "a", None, None, None
        )


class TestExpiry:
    """The index of a user expires no sooner than any of its members."""

    @pytest.mark.parametrize(
        "view",
        [lambda: session["a"], lambda: session.update(a=2), lambda: session.update(a=session["a"])],
        ids=["read", "blind", "read and set"],
    )
    def test_follows(self, valkey, view):
        """Whatever moves the expiry of a session after an interval moves its index along."""
        site = Site(valkey, SESSION_LIFETIME=1000)
        (browser,) = site.browsers(23, 1)
        browser.set(a=1)

        for _ in range(20):
            site.later(61)
            browser.visit(view)
            index, members = self.lives(site, 23)

            assert index >= members > 995_000
        assert site.redis.zscore("session:user:23", browser.sid) > site.redis.time()[0] - 30

    @pytest.mark.parametrize(
        "view", [lambda: session["a"], lambda: session.update(a=2)], ids=["read", "blind"]
    )
    def test_touch_lost(self, valkey, view):
        """It lives long enough also if it is touched late, or the touch is lost."""
        site = Site(valkey, SESSION_LIFETIME=1000)
        (browser,) = site.browsers(23, 1)
        browser.set(a=1)
        site.later(990)
        index, _ = self.lives(site, 23)

        browser.visit(view)
        _, members = self.lives(site, 23)

        assert index >= members > 995_000

    def lives(self, site, user_id):
        """Return how long the index and the longest of its members live, in milliseconds."""
        members = [site.redis.pttl(site.key(sid)) for sid in site.index(user_id)]
        return site.redis.pttl(f"session:user:{user_id}"), max(members)

    @pytest.mark.parametrize(("first", "second"), [(1000, 100), (100, 1000)])
    def test_changed_setting(self, valkey, first, second):
        """It does so too if the lifetime was set to another one since."""
        before = Site(valkey, SESSION_LIFETIME=first)
        after = Site(valkey, SESSION_LIFETIME=second)
        before.browsers(23, 2)
        (browser,) = before.browsers(23, 1)
        after.browsers(23, 1)
        moved = after.browser()
        moved.cookie = browser.cookie

        for view in (lambda: session.update(a=1), lambda: session.get("a")):
            moved.visit(view)
            index, members = self.lives(before, 23)

            assert index >= members

    def test_permanent(self, valkey):
        """A session that becomes permanent takes its index along."""
        site = Site(valkey)
        (browser,) = site.browsers(23, 1)

        browser.visit(lambda: setattr(session, "permanent", True))
        index, members = self.lives(site, 23)

        assert members > 86400 * 30 * 1000
        assert index >= members

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(
        steps=st.lists(
            st.tuples(
                st.integers(0, 2),
                st.sampled_from(["set", "read", "sign in", "permanent", "not permanent"]),
                st.sampled_from([23, 42, None]),
                st.sampled_from([0, 1, 20, 29, 31, 59, 61, 90]),
            ),
            max_size=12,
        )
    )
    def test_whatever_happens(self, valkey, steps):
        """No live session is outside its user's index, and none outlives it (guarantee 6)."""
        site = Site(valkey, SESSION_LIFETIME=100)
        longer = Site(valkey, SESSION_LIFETIME=1000, SESSION_TOUCH_INTERVAL=20)
        site.redis.flushall()
        browsers = [site.browser(), site.browser(), longer.browser()]
        for browser in browsers:
            browser.sign_in(23)
        for which, what, user_id, seconds in steps:
            views = {
                "set": lambda seconds=seconds: session.update(a=seconds),
                "read": lambda: dict(session),
                "sign in": lambda user_id=user_id: session.update(user_id=user_id),
                "permanent": lambda: setattr(session, "permanent", True),
                "not permanent": lambda: setattr(session, "permanent", False),
            }
            site.later(seconds)
            browsers[which].visit(views[what])

            for name in site.names():
                if ":user:" not in name and (user := site.redis.hget(name, "@user")):
                    index = f"session:user:{user.decode()}"
                    sid = name.removeprefix("session:")

                    assert None is not site.redis.zscore(index, sid)
                    assert site.redis.pttl(index) >= site.redis.pttl(name)
