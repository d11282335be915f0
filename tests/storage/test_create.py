"""What create.lua makes of a fresh sid, and of one that is not."""

from __future__ import annotations

import pytest

from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.storage.commit import Lifetime, create_command
from flask_redis_session.storage.record import Binding, Changes
from flask_redis_session.storage.token import new_token
from tests.storage.hashes import DAY, make_store, ours, users
from tests.support.webapp import load_scripts

NOBODY, SOMEBODY = Binding(None), Binding("23")


@pytest.fixture
def fresh():
    """The cookie of a session that is not stored yet."""
    return new_token(permanent=False)


@pytest.mark.parametrize("binding", [NOBODY, SOMEBODY], ids=["nobody's", "somebody's"])
@pytest.mark.parametrize("rule", ["set", "assign"])
def test_reply(store, redis, fresh, binding, rule):
    """The reply says what is stored, by the server's clock, and that nothing was before."""
    committed = store.create(fresh, Changes({b"a": b"1"}), Lifetime(100.5, rule), binding)
    held, now = ours(redis, fresh), redis.time()[0]

    assert "saved" == committed.what
    assert abs(float(committed.now) - now) < 5
    assert abs(float(committed.born) - float(committed.now)) < 0.001
    assert (committed.born, committed.born) == (held[b"@born"], held[b"@seen"])
    assert (None, None, b"100.5") == (committed.seen, committed.user, committed.idle)
    assert committed.signed == held.get(b"@signed")
    assert (binding.user is not None) == (b"@signed" in held)
    assert committed.own == held.get(b"@own") == (b"1" if rule == "assign" else None)


def test_sign_in_of_unknown_time(store, redis, fresh):
    """Nobody knows when the user of an imported session signed in."""
    committed = store.create(fresh, Changes({b"a": b"1"}), DAY, Binding("23", signs_in=False))

    assert committed.signed is None
    assert b"@signed" not in ours(redis, fresh)
    assert b"23" == ours(redis, fresh)[b"@user"]


@pytest.mark.parametrize(("idle", "absolute"), [(100.25, None), (500, 100.25), (100.25, 500)])
def test_expiry(server, redis, fresh, idle, absolute):
    """It ends with the idle or the absolute lifetime, whichever is over first."""
    store = make_store(server, absolute=absolute)

    store.create(fresh, Changes({b"a": b"1"}), Lifetime(idle, "set"), NOBODY)

    assert 95_000 < redis.pttl(store.key(fresh.sid)) <= 100_250


@pytest.mark.parametrize("count", [497, 498, 499, 500, 501, 9000])
def test_many(store, redis, fresh, count):
    """Some thousand fields are set like a few."""
    content = {b"%d" % number: b"%d" % number for number in range(count)}

    store.create(fresh, Changes(content), DAY, NOBODY)

    assert content == users(redis, fresh)


@pytest.mark.parametrize(("binding", "more"), [(NOBODY, []), (SOMEBODY, ["hset"])])
def test_commands(server, redis, fresh, binding, more):
    """It looks at no field: a fresh sid has nothing to prove."""
    load_scripts(redis)
    key = f"s:{fresh.sid}".encode()
    command = create_command(key, {b"a": b"1"}, DAY, absolute=None, token=fresh, binding=binding)
    server.ask("PING")
    with server.cost() as cost:
        server.ask(*command)

    assert ["time", "hlen", "hset", *more, "pexpireat"] == [sent.name for sent in cost.scripted]


class TestTaken:
    """A key that is there is left as it is."""

    def test_sent_twice(self, store, redis, fresh):
        """A creation that comes again after the session has gone on is told of that."""
        store.create(fresh, Changes({b"a": b"1", b"b": b"1"}), DAY, SOMEBODY)
        store.commit(fresh, Changes({b"a": b"2"}, [b"b"]), Lifetime(500, "assign"))
        before, expiry = redis.hgetall(store.key(fresh.sid)), redis.pttl(store.key(fresh.sid))

        again = store.create(fresh, Changes({b"a": b"1", b"b": b"1"}), DAY, SOMEBODY)

        assert before == redis.hgetall(store.key(fresh.sid))
        assert expiry >= redis.pttl(store.key(fresh.sid)) > expiry - 5000
        assert ("saved", before[b"@born"], "23") == (again.what, again.born, again.user)
        assert (b"500", b"1", before[b"@signed"]) == (again.idle, again.own, again.signed)

    @pytest.mark.parametrize(
        "end",
        [
            lambda store, token: store.commit(token, Changes(wipe=True), DAY),
            lambda store, token: store.commit(token, Changes(), DAY, fresh=token.rotated()),
        ],
        ids=["ended", "rotated"],
    )
    def test_sent_again_too_late(self, store, redis, fresh, end):
        """One that comes again after its session ended or rotated writes nothing."""
        content = Changes({b"a": b"1"})
        store.create(fresh, content, DAY, NOBODY)
        end(store, fresh)
        before = redis.hgetall(store.key(fresh.sid))

        assert before
        assert "unknown" == store.create(fresh, content, DAY, NOBODY).what
        assert before == redis.hgetall(store.key(fresh.sid))

    @pytest.mark.parametrize("held", [{"x": "1"}, {"@born": "x", "x": "1"}])
    def test_no_session(self, store, redis, fresh, held):
        """A hash that is no session is not made one."""
        redis.hset(store.key(fresh.sid), mapping=held)
        before = redis.hgetall(store.key(fresh.sid))

        assert "unknown" == store.create(fresh, Changes({b"a": b"1"}), DAY, NOBODY).what
        assert before == redis.hgetall(store.key(fresh.sid))

    def test_another_type(self, store, redis, fresh):
        """Nor is a key of another type."""
        redis.set(store.key(fresh.sid), "x")

        assert "gone" == store.create(fresh, Changes({b"a": b"1"}), DAY, NOBODY).what
        assert b"x" == redis.get(store.key(fresh.sid))


@pytest.mark.parametrize("count", [1, 9000])
def test_without_memory(fragile, fresh, count):
    """Without memory it is refused as a whole, however many fields it has."""
    store, redis = make_store(fragile), fragile.client()
    content = Changes({b"%d" % number: b"1" for number in range(count)})
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            store.create(fresh, content, DAY, NOBODY)
        assert 0 == redis.exists(store.key(fresh.sid))
    finally:
        redis.config_set("maxmemory", "0")
