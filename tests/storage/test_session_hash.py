"""The session hash, below any web framework."""

from __future__ import annotations

from time import time as real_time

import pytest

from flask_redis_session.storage.commit import Lifetime
from flask_redis_session.storage.record import Binding, Changes, mark
from flask_redis_session.storage.token import new_token
from tests.storage.hashes import DAY, make_store, ours, users
from tests.support.webapp import load_scripts


class TestCreate:
    def test_fields(self, store, redis):
        """A new hash holds its times, the digest of its secret, and the keys; and it expires."""
        token = new_token(permanent=False)

        committed = store.create(
            token, Changes({b"a": b"1"}), Lifetime(100.5, "set"), Binding(None)
        )

        assert "saved" == committed.what
        assert {b"a": b"1"} == users(redis, token)
        assert {b"@born", b"@seen", b"@idle", b"@secret:" + token.proof.encode()} == set(
            ours(redis, token)
        )
        assert b"100.5" == ours(redis, token)[b"@idle"]
        assert mark(token.proof) == ours(redis, token)[b"@secret:" + token.proof.encode()]
        assert ours(redis, token)[b"@born"] == ours(redis, token)[b"@seen"]
        assert 80_000 < redis.pttl(f"s:{token.sid}") <= 100_500

    def test_user(self, store, redis):
        """A hash that is somebody's says whose, and from where they signed in."""
        token = new_token(permanent=False)

        store.create(token, Changes(), DAY, Binding("23", "Firefox", "::1"))

        assert [b"23", b"Firefox", b"::1"] == redis.hmget(
            f"s:{token.sid}", "@user", "@agent", "@ip"
        )
        assert [token.sid.encode()] == redis.zrange("s:user:23", 0, -1)

    def test_in_one_step(self, server, store, redis):
        """Hash and expiry come into being together: there is no hash without an expiry."""
        load_scripts(redis)
        with server.cost() as cost:
            store.create(new_token(permanent=False), Changes({b"a": b"1"}), DAY, Binding(None))

        assert ["evalsha"] == cost.names
        assert {"hset", "pexpireat"} <= {sent.name for sent in cost.scripted}

    def test_taken(self, store, redis, token):
        """A session that exists is never taken over by a new one of the same name."""
        before = redis.hgetall(f"s:{token.sid}")

        committed = store.create(token.rotated(), Changes({b"b": b"2"}), DAY, Binding(None))

        assert "unknown" == committed.what
        assert before == redis.hgetall(f"s:{token.sid}")


class TestLoad:
    def test_all(self, store, token):
        """A load brings the hash as it is."""
        record = store.load(token)

        assert "live" == record.standing
        assert b"1" == record.fields[b"a"]
        assert None is not record.born

    def test_some(self, store, token):
        """A load of some fields brings those, and what tells whether the cookie opens them."""
        store.commit(token, Changes({b"b": b"2"}), DAY)

        record = store.load(token, [b"b", b"c"])

        assert "live" == record.standing
        assert b"2" == record.fields[b"b"]
        assert {b"a", b"c"}.isdisjoint(record.fields)
        assert None is not record.seen

    @pytest.mark.parametrize("fields", [None, [b"a"]])
    def test_nothing_without_the_secret(self, store, token, fields):
        """Without the secret nothing is loaded, not even the times."""
        record = store.load(token.rotated(), fields)

        assert "unknown" == record.standing
        assert {} == record.fields

    @pytest.mark.parametrize("fields", [None, [b"a"]])
    def test_gone(self, store, fields):
        """What is not there is gone."""
        assert "gone" == store.load(new_token(permanent=False), fields).standing

    @pytest.mark.parametrize("fields", [None, [b"a"]])
    def test_another_type(self, store, redis, fields):
        """A key of another type is no session."""
        token = new_token(permanent=False)
        redis.set(f"s:{token.sid}", "x")

        assert "gone" == store.load(token, fields).standing

    def test_absolute(self, server, redis, token):
        """What has outlived its absolute lifetime is gone."""
        redis.hincrbyfloat(f"s:{token.sid}", "@born", -100)

        assert "live" == make_store(server, absolute=120).load(token).standing
        assert "gone" == make_store(server, absolute=100).load(token).standing


class TestFreshWorker:
    """A worker that has heard no server yet, and whose own clock is wrong."""

    @pytest.fixture
    def late(self, monkeypatch):
        """Let this process's clock be so many seconds ahead."""
        return lambda ahead: monkeypatch.setattr(
            "flask_redis_session.storage.clock.time.time", lambda: real_time() + ahead
        )

    def test_tombstone(self, server, store, token, late):
        """A secret that was just rotated away is known as such."""
        fresh = token.rotated()
        store.commit(token, Changes(), DAY, fresh=fresh)
        late(40)

        assert "rotated" == make_store(server).load(token).standing

    def test_absolute_lifetime(self, server, store, token, late):
        """A session that is not over is not over."""
        late(9 * 3600)

        assert "live" == make_store(server, absolute=8 * 3600).load(token).standing

    @pytest.mark.one_server("takes another way to the server")
    def test_one_question(self, server, store, token):
        """The time is asked for once, and not where nothing depends on it."""
        make_store(server, absolute=8 * 3600).load(token)
        for absolute, questions in ((None, 0), (8 * 3600, 1)):
            fresh = make_store(server, absolute=absolute)
            fresh._redis.call(("PING",))
            with server.cost() as cost:
                for _ in range(3):
                    fresh.load(token)
            assert 3 + questions == cost.round_trips
