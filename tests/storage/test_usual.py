"""The short way through a commit: when it is taken, and that it does what the long way does."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_redis_session.storage import commit as commit_module
from flask_redis_session.storage.commit import Lifetime
from flask_redis_session.storage.record import Binding, Changes, mark, number
from flask_redis_session.storage.token import Token
from tests.concurrency.breakages import rewritten
from tests.storage.hashes import DAY, make_store
from tests.support.effort import effort
from tests.support.webapp import client_of, load_scripts

TOKEN = Token("A" * 22, "b" * 43)
PROVING = f"@secret:{TOKEN.proof}".encode()
KEY = f"s:{TOKEN.sid}"
#: What a usual commit comes to, whatever the server.
SHORT = ["time", "hmget", "hset", "pexpireat"]
#: Times, in seconds from now.
AGES = ["-5", "-50", "-200"]


def put(redis, **held):
    """Store a session; of a name without ``@`` before it, the value is the user's."""
    now = redis.time()[0]
    fields: dict[bytes, object] = {
        b"@born": f"{now}.001",
        b"@seen": f"{now}.001",
        b"@idle": "86400",
        b"a": "1",
    }
    fields[PROVING] = mark(TOKEN.proof)
    named = {(PROVING if name == "secret" else f"@{name}".encode()): held[name] for name in held}
    fields = {name: value for name, value in {**fields, **named}.items() if value is not None}
    redis.delete(KEY)
    redis.hset(KEY, mapping=fields)
    redis.pexpire(KEY, 50_000)


class TestIsTaken:
    """Four commands, where the long way takes more or others."""

    @pytest.mark.parametrize(
        ("held", "absolute", "changes"),
        [
            ({}, None, Changes({b"a": b"2"})),
            ({}, None, Changes({b"a": b"2", b"": b"3"})),
            ({}, None, Changes()),
            ({"user": "23", "signed": "1.5", "own": "1"}, None, Changes({b"a": b"2"})),
            ({}, 90_000.0, Changes({b"a": b"2"})),
            ({}, None, Changes({b"%d" % number: b"2" for number in range(490)})),
        ],
        ids=["one key", "two keys", "a touch", "signed in", "absolute lifetime", "many keys"],
    )
    def test_usual(self, server, redis, held, absolute, changes):
        """A commit that only sets keys of the user's."""
        load_scripts(redis)
        store = make_store(server, absolute=absolute)
        store.commit(TOKEN, Changes(), DAY)
        put(redis, **held)
        with server.cost() as cost:
            committed = store.commit(TOKEN, changes, DAY)

        assert ("saved", SHORT) == (committed.what, [sent.name for sent in cost.scripted])
        assert changes.sets.items() <= redis.hgetall(KEY).items()
        assert 86_390_000 < redis.pttl(KEY) <= 86_400_000

    def test_not_for_ours(self, server, redis):
        """A field of ours among those to set is looked at, as a sign-in is."""
        put(redis)
        store = make_store(server)

        committed = store.commit(TOKEN, Changes({b"a": b"2"}), DAY, binding=Binding("23"))

        assert committed.signed is not None
        assert committed.signed == redis.hget(KEY, "@signed")


times = st.sampled_from([None, "", "1", "1.", "inf", "-1.5", "1e3", "0x1.8", "9" * 40 + ".5"])
ages = st.sampled_from(AGES)
names = st.sampled_from([b"a", b"b", b"", b"@@a", b"@", b"@user", b"@agent", b"\xff"])


def timeless(value, began):
    """Return what tells whether the script has written a time, whenever that was."""
    return b"now" if began - 1 < (number(value) or 0) < began + 1000 else value


class Case(NamedTuple):
    """What is stored, and what a commit asks for.

    :param held: fields of ours. ``-50`` is the time 50 seconds ago.
    """

    held: dict[str, object]
    lifetime: Lifetime
    absolute: float | None
    sets: dict[bytes, bytes]


def case(lifetime, absolute=None, sets=MappingProxyType({b"a": b"2"}), **held):
    """Return a case of a session by whose idle lifetime the commit goes, as far as is not said."""
    given = {"born": "-5", "idle": str(lifetime.idle), "secret": mark(TOKEN.proof), **held}
    return Case(given, lifetime, absolute, {**sets})


cases = st.builds(
    Case,
    held=st.fixed_dictionaries(
        {
            "born": ages | times,
            "idle": st.sampled_from(["86400", "100", "100.5", "2678400"]) | times,
            "secret": st.sampled_from([mark(TOKEN.proof)] * 4 + [b"s", b"1", None]),
        },
        optional=dict.fromkeys(["seen", "user", "signed", "own"], ages | times),
    ),
    lifetime=st.builds(
        Lifetime,
        st.sampled_from([86400, 100, 100.5]),
        st.sampled_from(["lower", "lower", "lower", "set", "assign", "reset"]),
        st.sampled_from([2_678_400, 100]),
    ),
    absolute=st.sampled_from([None, None, 100.0, 150.0, 90_000.0]),
    sets=st.dictionaries(names, st.just(b"2"), max_size=3),
)


@effort(150)
@given(cases)
@example(case(Lifetime(100), 150.0, born="-50", signed="-5"))
@example(case(Lifetime(100), 250.0, signed="-200"))
@example(case(Lifetime(100), 150.0, born="-200"))
@example(case(Lifetime(100.5), sets={}, own="1"))
@example(case(Lifetime(100), sets={b"@user": b"42"}, user="23"))
@example(case(Lifetime(100), born="inf"))
def test_as_the_long_way(valkey, case):
    """Whatever is stored and asked for, both ways reply and leave the same."""
    redis, store = client_of(valkey), make_store(valkey, absolute=case.absolute)
    short = commit_module._COMMIT
    long = rewritten(short.text.replace("if is_usual then\n", "if false then\n"))

    assert long.text != short.text

    now = redis.time()[0]
    held = {"seen": f"{now - 50}.001", **case.held}
    for name, value in held.items():
        if value in AGES:
            held[name] = f"{now + int(value)}.001"
    found = []
    for script in (short, long):
        put(redis, **held)
        commit_module._COMMIT = script
        try:
            committed = store.commit(TOKEN, Changes({**case.sets}), case.lifetime)
        finally:
            commit_module._COMMIT = short
        left = redis.pttl(KEY)
        fields = {name: timeless(value, now) for name, value in redis.hgetall(KEY).items()}
        committed = committed._replace(now=b"", signed=timeless(committed.signed, now))
        found.append((committed, fields, left))
    (*one, one_left), (*other, other_left) = found

    assert one == other
    assert abs(one_left - other_left) < 1000
