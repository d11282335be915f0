"""What commit.lua makes of a session hash, and of a cookie that does not open it."""

from __future__ import annotations

import pytest

from flask_redis_session.storage.commit import Lifetime
from flask_redis_session.storage.record import Binding, Changes, mark
from flask_redis_session.storage.token import new_token
from tests.storage.hashes import DAY, make_store, ours, users


class TestCommit:
    def test_sets_and_deletes(self, store, redis, token):
        """Changes are made, and the expiry moves with them."""
        redis.pexpire(f"s:{token.sid}", 50_000)

        committed = store.commit(token, Changes({b"b": b"2", b"@@c": b"3"}, [b"a"]), DAY)

        assert "saved" == committed.what
        assert {b"b": b"2", b"@@c": b"3"} == users(redis, token)
        assert redis.pttl(f"s:{token.sid}") > 86_000_000

    def test_gone(self, store, redis, token):
        """A session that is gone stays gone: no write brings it back (guarantee 1)."""
        redis.delete(f"s:{token.sid}")

        committed = store.commit(token, Changes({b"b": b"2"}), DAY)

        assert "gone" == committed.what
        assert [] == redis.keys()

    def test_without_birth(self, store, redis, token):
        """A hash without @born is no session, whatever else it holds."""
        redis.hdel(f"s:{token.sid}", "@born")
        before = redis.hgetall(f"s:{token.sid}")

        assert "gone" == store.commit(token, Changes({b"b": b"2"}), DAY).what
        assert before == redis.hgetall(f"s:{token.sid}")

    def test_another_secret(self, store, redis, token):
        """Without the secret, nothing is written (guarantee 1)."""
        before = redis.hgetall(f"s:{token.sid}")

        assert "unknown" == store.commit(token.rotated(), Changes({b"b": b"2"}), DAY).what
        assert before == redis.hgetall(f"s:{token.sid}")

    @pytest.mark.parametrize(
        "value", ["", "0", "1", "00", "0.0", " 0", "x", "nan", "-0", "s", "sAAAAAAAA"]
    )
    def test_secret_is_its_mark(self, store, redis, token, value):
        """Only a secret whose field is its mark opens anything."""
        redis.hset(f"s:{token.sid}", f"@secret:{token.proof}", value)

        assert "unknown" == store.commit(token, Changes({b"b": b"2"}), DAY).what
        assert "unknown" == store.load(token).standing

    def test_another_type(self, store, redis):
        """A key of another type at a session's name is left alone."""
        token = new_token(permanent=False)
        redis.set(f"s:{token.sid}", "x")

        assert "gone" == store.commit(token, Changes({b"b": b"2"}), DAY).what
        assert b"x" == redis.get(f"s:{token.sid}")

    @pytest.mark.parametrize("count", [999, 1000, 1001, 9000])
    def test_many(self, store, redis, token, count):
        """Some thousand fields are set, deleted and wiped in one commit like a few."""
        names = [b"%d" % at for at in range(count)]

        store.commit(token, Changes(dict.fromkeys(names, b"1")), DAY)

        assert count + 1 == len(users(redis, token))

        store.commit(token, Changes({b"b": b"2"}, names[:-1]), DAY)

        assert {b"a": b"1", b"b": b"2", names[-1]: b"1"} == users(redis, token)

    def test_wipe(self, store, redis, token):
        """A wipe leaves what is set with it, and our own fields."""
        names = {b"%d" % at: b"1" for at in range(2500)}
        store.commit(token, Changes({**names, b"@@x": b"1", b"@y": b"1"}), DAY)
        own = set(ours(redis, token))

        store.commit(token, Changes({b"b": b"2"}, wipe=True), DAY)

        assert {b"b": b"2"} == users(redis, token)
        assert own == set(ours(redis, token))

    @pytest.mark.parametrize("changes", [Changes(deletes=[b"a"]), Changes(wipe=True)])
    def test_emptied(self, store, redis, token, changes):
        """A session that loses its last key ends."""
        assert "ended" == store.commit(token, changes, DAY).what
        left = redis.hgetall(f"s:{token.sid}")
        assert ([f"@secret:{token.proof}".encode()] if changes.wipe else []) == [*left]

    @pytest.mark.parametrize("rotates", [True, False])
    def test_last_key_was_the_users(self, store, redis, token, rotates):
        """A session of somebody's that loses its last key leaves tombstones: that is a sign-out."""
        store.commit(token, Changes(), DAY, binding=Binding("23"))
        fresh = token.rotated() if rotates else None

        ended = store.commit(
            token, Changes(deletes=[b"a"]), DAY, fresh=fresh, binding=Binding(None)
        )

        assert "ended" == ended.what
        assert "rotated" == store.load(token).standing
        assert [f"@secret:{token.proof}".encode()] == [*redis.hgetall(f"s:{token.sid}")]
        assert 29_000 < redis.pttl(f"s:{token.sid}") <= 30_000

    def test_rotated_and_emptied(self, store, redis, token):
        """A rotation leaves its tombstone also if the session loses its last key by the commit."""
        ended = store.commit(token, Changes(deletes=[b"a"]), DAY, fresh=token.rotated())

        assert "ended" == ended.what
        assert "rotated" == store.load(token).standing

    def test_tombstones_of_a_sign_out(self, store, redis, token):
        """A wipe leaves each secret that was live or lately rotated, for 30 seconds."""
        fresh = token.rotated()
        store.commit(token, Changes(), DAY, fresh=fresh)

        assert "ended" == store.commit(fresh, Changes(wipe=True), DAY).what
        assert {"rotated"} == {store.load(each).standing for each in (token, fresh)}
        assert "rotated" == store.commit(fresh, Changes({b"b": b"2"}), DAY).what
        assert set() == {*redis.hgetall(f"s:{token.sid}")} - {
            f"@secret:{each.proof}".encode() for each in (token, fresh)
        }
        assert 29_000 < redis.pttl(f"s:{token.sid}") <= 30_000

    def test_rotations_are_bounded(self, store, redis, token):
        """The newest 32 tombstones are kept, however often a secret rotates."""
        tokens = [token]
        for _ in range(40):
            tokens.append(tokens[-1].rotated())
            store.commit(tokens[-2], Changes(), DAY, fresh=tokens[-1])

        kept = {name for name in redis.hgetall(f"s:{token.sid}") if name[:8] == b"@secret:"}
        assert {f"@secret:{each.proof}".encode() for each in tokens[-33:]} == kept

    def test_a_rotation_retires_every_live_secret(self, store, redis, token):
        """No second secret stays open, however it came to be there."""
        other, fresh = token.rotated(), token.rotated()
        redis.hset(f"s:{token.sid}", f"@secret:{other.proof}", mark(other.proof))

        store.commit(token, Changes(), DAY, fresh=fresh)

        assert ["rotated", "rotated", "live"] == [
            store.load(each).standing for each in (token, other, fresh)
        ]

    def test_not_emptied(self, store, redis, token):
        """To delete what is not there ends nothing."""
        assert "saved" == store.commit(token, Changes(deletes=[b"x"]), DAY).what
        assert {b"a": b"1"} == users(redis, token)

    def test_state_before(self, store, redis, token):
        """The reply tells the state that the commit met."""
        # It is rounded to a millisecond, and may lie a little in the future.
        redis.hincrbyfloat(f"s:{token.sid}", "@seen", -51)

        committed = store.commit(token, Changes({b"b": b"2"}), DAY)

        assert 50 <= float(committed.now) - float(committed.seen) < 60
        assert b"86400" == committed.idle
        assert None is committed.user


class TestLifetime:
    def test_caps(self, store, redis, token):
        """A commit lowers the idle lifetime, and does not raise it."""
        store.commit(token, Changes(), Lifetime(100))

        assert b"100" == ours(redis, token)[b"@idle"]

        store.commit(token, Changes(), DAY)

        assert b"100" == ours(redis, token)[b"@idle"]
        assert redis.pttl(f"s:{token.sid}") <= 100_000

    def test_fixed(self, store, redis, token):
        """A fixed lifetime replaces the one that there was, be it longer or shorter."""
        for idle in (100, 100_000, 30.25):
            store.commit(token, Changes(), Lifetime(idle, "set"))

            assert float(idle) == float(ours(redis, token)[b"@idle"])
            assert redis.pttl(f"s:{token.sid}") <= idle * 1000

    def test_absolute(self, server, redis, token):
        """The expiry is never later than birth and absolute lifetime allow."""
        redis.hincrbyfloat(f"s:{token.sid}", "@born", -60)

        make_store(server, absolute=100).commit(token, Changes(), DAY)

        assert 35_000 < redis.pttl(f"s:{token.sid}") <= 40_000

    def test_absolute_is_over(self, server, redis, token):
        """A commit after the absolute lifetime ends the session and writes nothing."""
        redis.hincrbyfloat(f"s:{token.sid}", "@born", -101)

        committed = make_store(server, absolute=100).commit(token, Changes({b"b": b"2"}), DAY)

        assert "gone" == committed.what
        assert [] == redis.keys()

    @pytest.mark.parametrize(
        ("expected", "seen", "idle"),
        [
            (False, 59, 86400),
            (True, 61, 86400),
            (True, -61, 86400),
            (False, 59, None),
            (False, 4, 10),
            (True, 6, 10),
            (True, 61, None),
        ],
    )
    def test_due(self, store, expected, seen, idle):
        """A touch is due after the interval, or after half of an idle lifetime that is shorter."""
        now = store.clock.now()

        assert expected == store.is_due(now - 100, now - seen, idle)

    def test_due_where_damaged(self, store):
        """If the times are damaged, a touch is due: it writes them anew."""
        assert store.is_due(None, 1.0, 60.0)
        assert store.is_due(1.0, None, 60.0)


class TestRotation:
    def test_swaps(self, store, redis, token):
        """The old secret becomes a tombstone, the fresh one opens the session."""
        fresh = token.rotated()

        assert "saved" == store.commit(token, Changes(), DAY, fresh=fresh).what
        assert "live" == store.load(fresh).standing
        assert "rotated" == store.load(token).standing
        assert {b"a": b"1"} == users(redis, token)

    def test_dead_secret(self, store, redis, token):
        """With a secret that was rotated away, nothing is written (guarantee 1)."""
        store.commit(token, Changes(), DAY, fresh=token.rotated())
        before = redis.hgetall(f"s:{token.sid}")

        assert "rotated" == store.commit(token, Changes({b"b": b"2"}), DAY).what
        assert before == redis.hgetall(f"s:{token.sid}")

    @pytest.mark.parametrize(
        ("expected", "seconds"),
        [("rotated", 25), ("unknown", 31), ("rotated", -29), ("unknown", -40)],
    )
    def test_tombstone(self, store, redis, token, expected, seconds):
        """A tombstone counts for 30 seconds, whichever way a clock was set."""
        store.commit(token, Changes(), DAY, fresh=token.rotated())
        redis.hincrbyfloat(f"s:{token.sid}", f"@secret:{token.proof}", -seconds)

        assert expected == store.load(token).standing
        assert expected == store.commit(token, Changes({b"b": b"2"}), DAY).what

    def test_old_tombstones_go(self, store, redis, token):
        """A rotation removes tombstones that nobody needs any more."""
        tokens = [token]
        for _ in range(4):
            tokens.append(token.rotated())
            store.commit(tokens[-2], Changes(), DAY, fresh=tokens[-1])
        for old in tokens[:2]:
            redis.hincrbyfloat(f"s:{token.sid}", f"@secret:{old.proof}", -31)

        fresh = token.rotated()
        store.commit(tokens[-1], Changes(), DAY, fresh=fresh)

        expected = {f"@secret:{kept.proof}".encode() for kept in [*tokens[2:], fresh]}

        assert expected == {name for name in ours(redis, token) if name[:8] == b"@secret:"}
