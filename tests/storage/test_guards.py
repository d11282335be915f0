"""Guards of a commit: what fields must hold for it to write anything."""

from __future__ import annotations

import pytest

from flask_redis_session.storage.record import Binding, Changes
from tests.storage.hashes import DAY

TEXTS = [b"1", b"\xff\x00\r\n", b"x" * 100_000]


class TestHolds:
    """A guard that holds changes nothing."""

    @pytest.mark.parametrize("text", TEXTS, ids=["short", "bytes", "long"])
    def test_a_text(self, store, redis, token, text):
        """The field holds what was read."""
        redis.hset(f"s:{token.sid}", "a", text)

        assert "saved" == store.commit(token, Changes({b"a": b"2"}, guards={b"a": text}), DAY).what
        assert b"2" == redis.hget(f"s:{token.sid}", "a")

    def test_absence(self, store, redis, token):
        """The field is not there, as it was not."""
        changes = Changes({b"b": b"2"}, guards={b"b": None})

        assert "saved" == store.commit(token, changes, DAY).what
        assert b"2" == redis.hget(f"s:{token.sid}", "b")

    @pytest.mark.parametrize(
        "changes",
        [
            Changes({b"z": b"9", b"a": b"1"}, guards={b"a": b"0"}),
            Changes({b"z": b"9"}, [b"b"], guards={b"b": b"0"}),
        ],
        ids=["set", "deleted"],
    )
    def test_what_is_to_be(self, store, redis, token, changes):
        """The field holds what the commit leaves there: it was sent twice, or others did it."""
        assert "saved" == store.commit(token, changes, DAY).what
        assert b"9" == redis.hget(f"s:{token.sid}", "z")

    def test_with_all_the_rest(self, store, redis, token):
        """Deletions, changes and a sign-in stay what they are beside several guards."""
        changes = Changes(
            {b"b": b"2", b"@@c": b"3"}, [b"a"], guards={b"a": b"1", b"b": None, b"@@c": None}
        )
        fresh = token.rotated()

        committed = store.commit(token, changes, DAY, fresh=fresh, binding=Binding("23"))

        assert "saved" == committed.what
        held = redis.hgetall(f"s:{token.sid}")
        assert (b"2", b"3", b"23") == (held[b"b"], held[b"@@c"], held[b"@user"])
        assert b"a" not in held
        assert "saved" == store.commit(token, changes, DAY, fresh=fresh).what


class TestConflict:
    """One that does not hold stops the whole commit."""

    @pytest.mark.parametrize(
        ("guards", "found"),
        [
            ({b"a": b"0"}, {b"a": b"1"}),
            ({b"a": None}, {b"a": b"1"}),
            ({b"b": b"1"}, {b"b": None}),
            ({b"a": b"1", b"b": b"1"}, {b"a": b"1", b"b": None}),
            ({b"b": None, b"a": b""}, {b"b": None, b"a": b"1"}),
        ],
    )
    def test_nothing_is_written(self, store, redis, token, guards, found):
        """Nothing is written, neither before nor after; the reply tells what is stored."""
        before = redis.hgetall(f"s:{token.sid}")
        changes = Changes({b"z": b"9", b"a": b"2", b"b": b"2"}, [b"y"], guards=guards)
        fresh, binding = token.rotated(), Binding("23")

        for commit in ({}, {"fresh": fresh, "binding": binding}):
            committed = store.commit(token, changes, DAY, **commit)

            assert ("conflict", found) == (committed.what, committed.stored)
        assert before == redis.hgetall(f"s:{token.sid}")

    def test_a_dead_cookie_is_told_nothing(self, store, redis, token):
        """What is stored is for who proves the cookie."""
        changes = Changes({b"a": b"2"}, guards={b"a": b"0"})
        store.commit(token, Changes(), DAY, fresh=token.rotated())

        committed = store.commit(token, changes, DAY)

        assert ("rotated", {}) == (committed.what, committed.stored)
        redis.delete(f"s:{token.sid}")
        assert "gone" == store.commit(token, changes, DAY).what

    def test_too_many_to_unpack(self, store, redis, token):
        """However many guards there are."""
        names = {f"n{number}".encode(): None for number in range(9000)}
        changes = Changes(dict.fromkeys(names, b"2"), guards={**names})
        store.commit(token, Changes({b"n0": b"1"}), DAY)
        committed = store.commit(token, changes, DAY)

        assert "conflict" == committed.what
        assert {**names, b"n0": b"1"} == committed.stored
