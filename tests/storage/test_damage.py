"""Whatever is in Redis: never a 500, nobody let in, and what cannot be read is absent."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from flask_redis_session.storage.token import digest
from tests.support.clients import application_client
from tests.support.webapp import Site, each, session

DAMAGED = {
    "empty": b"",
    "space": b" ",
    "text": b"hello",
    "open": b'{"a": 1',
    "two values": b"1 2",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a': 1}",
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "bad UTF-8": b'"\xff\xfe"',
    "bad UTF-8 alone": b"\x80",
    "cut UTF-8": '"ü"'.encode()[:-2] + b'"',
    "lone surrogate": b'"\\ud800"',
    "NUL": b"\0",
    "deep": b"[" * 200 + b"]" * 200,
    "very deep": b"[" * 100_000 + b"]" * 100_000,
    "deep and open": b"[" * 100_000,
    "deep dict": b'{"a":' * 500 + b"1" + b"}" * 500,
    "deep tags": b'{" t":[' * 150 + b"]}" * 150,
    "pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94.",
    "unknown tag": b'{" zz": 1}',
    "bad date": b'{" d": "2030-13-45"}',
    "bad timedelta": b'{" td": [1e9, 0, 0]}',
    "huge timedelta": b'{" td": [99999999999, 0, 0]}',
    "bad base64": b'{" b": "!"}',
    "bad decimal": b'{" n": "one"}',
    "set of lists": b'{" s": [[1]]}',
    "tag of another type": b'{" t": 5}',
}
ODD = {
    "huge integer": (b"9" * 5000, None),
    "huge float": (b"1e400", None),
    "small float": (b"1e-400", 0.0),
    "twice": (b'{"a": 1, "a": 2}', {"a": 2}),
    "white space": (b' { "a" :\n1 } ', {"a": 1}),
}


@pytest.fixture(params=[False, True], ids=["bytes", "decode_responses"])
def site(request, valkey):
    """A site, with replies decoded by the client or not."""
    with application_client(valkey, decode_responses=request.param) as client:
        yield Site(valkey, redis=client)


@pytest.fixture
def browser(site):
    """A browser that is signed in."""
    browser = site.browser()
    browser.sign_in(23, a=1, b=2)
    return browser


class TestValues:
    @pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
    def test_absent(self, site, browser, text, caplog):
        """A damaged value is absent, also while iterating, and logged once without the value."""
        site.redis.hset(site.key(browser.sid), "bad", text)

        def view():
            with pytest.raises(KeyError):
                session["bad"]
            with pytest.raises(KeyError):
                del session["bad"]
            assert {"user_id": 23, "a": 1, "b": 2} == dict(session)
            assert ["user_id", "a", "b"] == sorted(session, key=["user_id", "a", "b"].index)
            assert session == {"user_id": 23, "a": 1, "b": 2}
            return "bad" in session, session.get("bad"), session.pop("bad", 5), len(session)

        with caplog.at_level(logging.WARNING):
            answer = browser.visit(view)
        records = [record for record in caplog.records if "'bad'" in record.getMessage()]

        assert (False, None, 5, 3) == answer.value
        assert 1 == len(records)
        assert "flask_redis_session" == records[0].name
        assert None is records[0].exc_info
        assert len(records[0].getMessage()) < 200
        assert text == site.hash(browser.sid)[b"bad"]

    @pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
    def test_written_anew(self, site, browser, text):
        """A damaged value is replaced by a new one, and takes no other key along."""
        site.redis.hset(site.key(browser.sid), "bad", text)

        browser.visit(each(lambda: dict(session), lambda: session.update(b=3)))
        browser.visit(lambda: session.setdefault("bad", [1]).append(2))

        assert {"user_id": 23, "a": 1, "b": 3, "bad": [1, 2]} == browser.read()

    @pytest.mark.parametrize(("text", "value"), ODD.values(), ids=ODD)
    def test_odd(self, site, browser, text, value):
        """Odd numbers and spellings do no harm: they are read, or absent, and can be saved."""
        site.redis.hset(site.key(browser.sid), "odd", text)

        answer = browser.visit(
            each(lambda: session.update(b=3), lambda: dict(session), lambda: session.get("odd"))
        )

        assert 3 == browser.read()["b"]
        if value is not None:
            assert value == answer.value

    def test_cleared(self, site, browser):
        """clear() removes damaged values too."""
        site.redis.hset(site.key(browser.sid), "bad", b"\xff")

        browser.visit(each(lambda: session.clear(), lambda: session.update(c=1)))

        assert {b"c"} == {name for name in site.hash(browser.sid) if name[:1] != b"@"}

    @pytest.mark.parametrize(
        "name", [b"\xff", b"@@\xff", b"@", b"@unknown", b"@secret:", b"\xed\xa0\x80"]
    )
    def test_names(self, site, browser, name):
        """A field whose name is no key's is no key, and survives a change of others."""
        site.redis.hset(site.key(browser.sid), name, "1")

        assert {"user_id": 23, "a": 1, "b": 2} == browser.read()

        browser.set(a=2)

        assert b"1" == site.hash(browser.sid)[name]

    def test_damaged_user(self, site, browser):
        """A session whose user cannot be read is nobody's in the view, and may be signed in."""
        site.redis.hset(site.key(browser.sid), "user_id", b"\xff")

        assert None is browser.visit(lambda: session.get("user_id")).value
        assert [] == browser.visit(lambda: session.user_sessions()).value

        browser.sign_in(42)

        assert 42 == browser.read()["user_id"]
        assert ([], [browser.sid]) == (site.index(23), site.index(42))


NUMBERS = [
    "",
    "x",
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e400",
    "0x10",
    "9" * 400,
    b"\xff",
    " 1",
    "1e308",
    "0",
]


class TestOurFields:
    @pytest.mark.parametrize("value", NUMBERS)
    @pytest.mark.parametrize("field", ["@born", "@seen", "@idle"])
    @pytest.mark.parametrize("absolute", [None, 3600])
    def test_numbers(self, valkey, value, field, absolute):
        """Damaged times are no 500: the session is read or gone, as a whole."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=absolute)
        browser = site.browser()
        browser.sign_in(23, a=1)
        site.redis.hset(site.key(browser.sid), field, value)
        content = {"user_id": 23, "a": 1}

        def everything():
            return dict(session), session.created_at, session.last_seen_at, session.expires_at

        twin = browser.twin()

        assert browser.visit(everything).value[0] in ({}, content)

        site.redis.hset(site.key(browser.sid), field, value)
        blind = twin.set(b=2)
        after = twin.read()

        assert after in ({"b": 2}, {**content, "b": 2})
        assert ({"b": 2} == after) == (blind.cookie is not None)
        for info in site.interface.list_sessions(23):
            assert browser.sid == info.sid
        site.interface.revoke_sessions(23)

        assert [] == site.interface.list_sessions(23)

    @pytest.mark.parametrize("value", ["0", "0.0004", "9" * 11, "9" * 17, "9" * 32])
    @pytest.mark.parametrize("is_own", [False, True])
    def test_idle(self, site, browser, value, is_own):
        """A lifetime that no session can have is put right: nothing ends, and nothing fails."""
        if is_own:
            browser.visit(lambda: setattr(session, "lifetime", timedelta(hours=1)))
        key = site.key(browser.sid)
        for view in (
            lambda: dict(session),
            lambda: (session.lifetime, session.expires_at),
            lambda: session.increment("n"),
            lambda: session.update(c=3),
        ):
            site.redis.hset(key, "@idle", value)
            browser.visit(view)

        assert {"user_id": 23, "a": 1, "b": 2, "c": 3, "n": 1} == browser.read()
        assert b"86400" == site.hash(browser.sid)[b"@idle"]
        assert 86_000_000 < site.redis.pttl(key) <= 86_400_000

    @pytest.mark.parametrize("value", ["", "x", "\0"])
    def test_without_birth(self, site, browser, value):
        """A hash without a birth is gone for a reader and a writer alike."""
        site.redis.hset(site.key(browser.sid), "@born", value)

        assert {} == browser.read()

        browser.set(c=1)

        assert {"c": 1} == browser.read()

    @pytest.mark.parametrize(
        "value", ["", "1", "x", "nan", "0.0", "00", b"\xff", "-0", "0x0", "1e-9"]
    )
    @pytest.mark.parametrize(
        "view", [lambda: dict(session), lambda: session.update(c=1), lambda: session.clear()]
    )
    def test_secret(self, site, browser, value, view):
        """A secret whose field is anything but its mark lets nobody in."""
        site.redis.hset(site.key(browser.sid), f"@secret:{digest(browser.secret)}", value)
        before = site.hash(browser.sid)
        sid = browser.sid

        assert browser.visit(view).value in (None, {})
        assert before == site.hash(sid)

    def test_empty_secret(self, site, browser):
        """A field for the empty secret opens nothing."""
        site.redis.hset(site.key(browser.sid), "@secret:", "0")

        answer = site.send(f"session={browser.sid}.", lambda: dict(session))

        assert {} == answer.value

    @pytest.mark.parametrize("value", ["", "42", b"\xff", "x" * 10_000])
    def test_user(self, site, browser, value):
        """With a damaged @user the session opens, and a list of the user's leaves it out."""
        site.redis.hset(site.key(browser.sid), "@user", value)

        assert 23 == browser.read()["user_id"]

        browser.set(a=5)
        site.interface.list_sessions(23)
        site.interface.revoke_sessions(23)
        browser.visit(lambda: session.pop("user_id"))

        assert {"a": 5, "b": 2} == browser.read()

    @pytest.mark.parametrize("value", ["", b"\xff", "x" * 10_000])
    def test_device(self, site, browser, value):
        """A damaged user agent or address is shown with replacements."""
        site.redis.hset(site.key(browser.sid), mapping={"@agent": value, "@ip": value})

        (info,) = site.interface.list_sessions(23)

        assert isinstance(info.user_agent, str)


TYPES = {
    "string": lambda redis, key: redis.set(key, "x"),
    "list": lambda redis, key: redis.lpush(key, "x"),
    "set": lambda redis, key: redis.sadd(key, "x"),
    "stream": lambda redis, key: redis.xadd(key, {"a": 1}),
}


class TestOtherTypes:
    """A key of another type, where a session or an index should be."""

    @pytest.mark.parametrize("kind", TYPES)
    @pytest.mark.parametrize(
        "view",
        [
            lambda: dict(session),
            lambda: session.update(c=1),
            each(lambda: session.get("a"), lambda: session.update(c=1)),
            lambda: session.update(user_id=23),
            lambda: session.clear(),
            lambda: session.regenerate(),
        ],
        ids=["read", "blind set", "read and set", "sign in", "clear", "regenerate"],
    )
    def test_session(self, site, browser, kind, view):
        """At a session's name it counts as no session, and is left as it is."""
        sid = browser.sid
        site.redis.delete(site.key(sid))
        TYPES[kind](site.redis, site.key(sid))
        before = site.redis.dump(site.key(sid))

        browser.visit(view)

        assert before == site.redis.dump(site.key(sid))
        assert browser.cookie is None or browser.sid != sid or {} == browser.read()

    @pytest.mark.parametrize("kind", [*TYPES, "hash"])
    def test_index(self, site, kind, caplog):
        """At an index's name nothing is stored, and the log says which key is in the way."""
        browser = site.browser()
        browser.set(a=1)
        make = TYPES.get(kind, lambda redis, key: redis.hset(key, "a", 1))
        make(site.redis, "session:user:23")
        before = site.redis.dump("session:user:23")

        answer = browser.visit(lambda: session.update(user_id=23), status=503)

        assert [] == answer.cookies
        assert before == site.redis.dump("session:user:23")
        assert "session:user:23" in caplog.text
        for name in site.names() - {"session:user:23"}:
            assert not site.redis.hexists(name, "@user")

    @pytest.mark.parametrize("kind", TYPES)
    @pytest.mark.parametrize(
        "view", [lambda: session.user_sessions(23), lambda: session.clear_user_sessions(23)]
    )
    def test_index_asked_for(self, site, kind, view):
        """To list and to end sessions by such a key fails loudly."""
        TYPES[kind](site.redis, "session:user:23")

        site.browser().visit(view, status=503)
