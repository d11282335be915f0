"""The script that increments and takes: whose reply it is, and what it leaves alone."""

from __future__ import annotations

import pytest

from flask_redis_session import StoreUnavailable
from flask_redis_session.storage.at_once import Increment, Take
from flask_redis_session.storage.record import Binding, Changes
from flask_redis_session.storage.token import new_token
from tests.storage.hashes import DAY, make_store, ours, users

DEEDS = [Increment(b"n", 1), Take(b"n")]


@pytest.fixture
def redis(server):
    """A client for a look at what is stored."""
    return server.client()


def stored(store, **fields):
    """Return the cookie of a session with these fields."""
    token = new_token(permanent=False)
    sets = {name.encode(): text.encode() for name, text in fields.items()}
    store.create(token, Changes(sets), DAY, Binding(None))
    return token


def done(store, token, deed):
    """Return what became of it, and the text that it replied."""
    committed = store.at_once(token, deed, DAY, None)
    return committed.what, committed.value


def test_an_increment_is_exact(store, redis):
    """A sum of more than 53 bits is told to the last digit."""
    token = stored(store, n=str(2**62))

    assert ("saved", b"%d" % (2**62 + 1)) == done(store, token, Increment(b"n", 1))
    assert {b"n": b"%d" % (2**62 + 1)} == users(redis, token)


@pytest.mark.parametrize("text", ["1.5", '"1"', " 1", "01", "{}", "true", str(2**63 - 1)])
def test_no_integer(store, redis, text):
    """What cannot be counted with is left as it is, and the session is not touched."""
    token = stored(store, n=text)
    before = redis.hgetall(store.key(token.sid))

    assert ("unfit", None) == done(store, token, Increment(b"n", 1))
    assert before == redis.hgetall(store.key(token.sid))


@pytest.mark.parametrize("deed", DEEDS)
def test_a_foreign_cookie_changes_nothing(store, redis, deed):
    """Who has not the session's secret reads and writes nothing."""
    token = stored(store, n="1")
    before = redis.hgetall(store.key(token.sid))

    assert ("unknown", None) == done(store, token.rotated(), deed)
    assert before == redis.hgetall(store.key(token.sid))


@pytest.mark.parametrize("deed", DEEDS)
def test_a_piece_of_a_session_is_none(store, redis, deed):
    """A hash without ``@born`` is left alone."""
    token = stored(store, n="1")
    redis.hdel(store.key(token.sid), "@born")
    before = redis.hgetall(store.key(token.sid))

    assert ("gone", None) == done(store, token, deed)
    assert before == redis.hgetall(store.key(token.sid))


def test_the_last_key(store, redis):
    """It says when the last key was taken, and leaves the session's own fields."""
    token = stored(store, n="1", m="2")
    first = store.at_once(token, Take(b"m"), DAY, None)
    last = store.at_once(token, Take(b"n"), DAY, None)

    assert (False, True) == (first.is_emptied, last.is_emptied)
    assert {} == users(redis, token)
    assert b"@born" in ours(redis, token)


def test_sent_twice(store):
    """A take that is sent twice takes for nobody, and an increment counts twice."""
    token = stored(store, n="1", m="2")

    assert [b"1", None] == [done(store, token, Take(b"n"))[1] for _ in range(2)]
    assert [b"3", b"4"] == [done(store, token, Increment(b"m", 1))[1] for _ in range(2)]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("whose", ["another session", "another secret", "no list"])
def test_the_reply_of_another(store, monkeypatch, deed, whose):
    """A reply that does not show the mark of the cookie is a broken connection."""
    token = stored(store, n="1")
    other = stored(store, n="5") if whose == "another session" else token.rotated()
    command = store.at_once
    replies = []
    call = store._redis.call
    monkeypatch.setattr(
        store._redis, "call", lambda sent: replies.append(call(sent)) or replies[-1]
    )
    command(other, deed, DAY, None)
    reply = b"1" if whose == "no list" else replies[0]
    monkeypatch.setattr(store._redis, "call", lambda sent: reply)

    with pytest.raises(StoreUnavailable):
        store.at_once(token, deed, DAY, None)


@pytest.mark.parametrize("deed", DEEDS)
def test_without_memory(fragile, deed):
    """An increment is refused as a whole, and a value can still be taken."""
    store, redis = make_store(fragile), fragile.client()
    token = stored(store, n="1")
    before = redis.hgetall(store.key(token.sid))
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    try:
        if isinstance(deed, Take):
            assert ("saved", b"1") == done(store, token, deed)
        else:
            with pytest.raises(StoreUnavailable):
                done(store, token, deed)
            assert before == redis.hgetall(store.key(token.sid))
    finally:
        redis.config_set("maxmemory", "0")
