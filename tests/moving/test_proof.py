from __future__ import annotations

import base64
import json
import logging
import pickle
import secrets
import string
import subprocess
import sys
import traceback
from copy import copy
from datetime import timedelta
from typing import Any

import flask
import pytest
import redis
from itsdangerous import Signer
from rich.pretty import pretty_repr

from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.moving.content import content_of
from flask_redis_session.moving.flask_session import decoded
from flask_redis_session.moving.old_cookie import OldCookie, OldKey, id_of
from flask_redis_session.request.draft import Terms
from flask_redis_session.request.user import PLAIN, UserKeys
from flask_redis_session.storage.record import Binding, field_of
from tests.failure.proxy import Proxy
from tests.moving.old import SECRET, NewSite, OldSite
from tests.support.servers import Server
from tests.support.webapp import session

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
]

TERMS = Terms(permanent=1000, passing=100)
LETTERS = string.ascii_letters + string.digits + "-_"


def everything(redis):
    """Return all that a server holds."""
    return {key: redis.dump(key) for key in redis.keys("*")}


def spellings(cookie):
    """Return other texts that Flask takes for the same signed cookie."""
    value, _, signature = cookie.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    same = [
        letter
        for letter in LETTERS
        if letter != signature[-1]
        and base64.urlsafe_b64decode(signature[:-1] + letter + "=") == raw
    ]
    return [f"{value}.{signature}=", *(f"{value}.{signature[:-1]}{letter}" for letter in same)]


def shown(error):
    """Return what the locals of every frame show, of an exception and of what it came from."""
    texts = [repr(error)]
    if error.__cause__ is not None:
        texts.append(shown(error.__cause__))
    if error.__context__ not in (None, error.__cause__):
        texts.append(shown(error.__context__))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "/tests/" not in frame.f_code.co_filename:
            texts += [
                pretty_repr(value)
                for name, value in frame.f_locals.items()
                # Every tracker has the environ, with the request's Cookie header.
                if name not in ("environ", "request")
            ]
    return "".join(texts)


class TestForged:
    # A busy machine takes minutes while coverage measures.
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("use_signer", [False, True])
    def test_fifty_thousand(self, valkey, use_signer):
        """Forged ids and cookies open nothing, and store nothing."""
        site = NewSite(valkey, SESSION_USE_SIGNER=use_signer)
        site.comes(OldSite().cookie(user_id=23)).read()
        real = OldSite().cookie(user_id=24)
        payload, at, _ = real.split(".")
        others = Signer("another key", salt="flask-session", key_derivation="hmac")

        def forged():
            for _ in range(10_000):
                yield secrets.token_urlsafe(32)
                yield others.sign(secrets.token_urlsafe(32)).decode()
                yield f"{payload}.{at}.{secrets.token_urlsafe(20)}"
                yield f"{payload[:-1]}A.{at}.{secrets.token_urlsafe(20)}"
                yield f"{secrets.token_urlsafe(9)}.{at}.{secrets.token_urlsafe(20)}"

        before = everything(site.redis)
        mover, opened = site.mover, 0
        for text in forged():
            for source in ("flask-session", "cookie"):
                if (source == "cookie") == (text.count(".") == 2):
                    cookie = OldCookie(source, text)
                    arrival = mover.carry(site.app, [cookie], TERMS, Binding(None))
                    opened += arrival.phase != "gone"

        assert 0 == opened
        assert before == everything(site.redis)

    @pytest.mark.parametrize(
        "text",
        [
            "user:23",
            "old:user:23",
            "old:" + "0" * 64,
            "../../etc/passwd",
            "short",
            "x" * 300,
            "x" * 43 + ".",
            "a.b.c.d",
            "..",
            '""',
            "\u00e4" * 43,
            "{}",
            "*",
        ],
    )
    def test_odd(self, valkey, text):
        """What does not have the form of an old cookie is asked of nobody."""
        site = NewSite(valkey)
        site.browser().sign_in(23)
        with valkey.cost() as cost:
            answer = site.send(f"session={text}", lambda: dict(session))

        assert ({}, 0) == (answer.value, cost.calls)

    def test_keys_of_ours(self, valkey, caplog):
        """The names of our own keys open nothing, and nobody is told to delete them."""
        site = NewSite(valkey)
        mine = site.browser()
        mine.sign_in(23)
        before = everything(site.redis)
        with caplog.at_level(logging.INFO):
            assert {} == site.comes(mine.sid).read()

        assert [] == caplog.records
        assert before == everything(site.redis)

    @pytest.mark.parametrize("kind", ["hash", "list", "set", "zset", "text", "number", "array"])
    def test_other_types(self, valkey, kind):
        """A key of another type, or whose text is no session, is no old session."""
        site, key = NewSite(valkey), f"session:{'k' * 43}"
        {
            "hash": lambda: site.redis.hset(key, "user_id", "23"),
            "list": lambda: site.redis.rpush(key, "x"),
            "set": lambda: site.redis.sadd(key, "x"),
            "zset": lambda: site.redis.zadd(key, {"x": 1}),
            "text": lambda: site.redis.set(key, '"user_id"'),
            "number": lambda: site.redis.set(key, "5"),
            "array": lambda: site.redis.set(key, "[1]"),
        }[kind]()

        assert {} == site.comes("k" * 43).read()
        assert ({key}, {}) == (site.names(), site.marks())

    def test_pickle(self, valkey, tmp_path, caplog):
        """A pickle is not read: that would execute it. The log says what to do."""
        mark = tmp_path / "executed"

        class Evil:
            def __reduce__(self):
                return (mark.write_text, ("x",))

        site = NewSite(valkey)
        site.redis.set(f"session:{'k' * 43}", pickle.dumps({"user_id": Evil()}))

        assert {} == site.comes("k" * 43).read()
        assert not mark.exists()
        assert "Flask-Session 0.8 reads what an older one wrote" in caplog.text

    def test_empty(self, valkey):
        """A session that holds nothing is not carried over."""
        site = NewSite(valkey)
        cookies = [
            OldSite(valkey).cookie(user_id=23),
            OldSite().visit(None, lambda: setattr(flask.session, "permanent", True)),
        ]
        site.redis.set(f"session:{cookies[0]}", b"\x81\xaa_permanent\xc3")

        assert [{}, {}] == [site.comes(cookie).read() for cookie in cookies]
        assert [] == site.sessions()


class TestSigned:
    def test_every_spelling_is_the_same(self, valkey):
        """A signed cookie verifies in many spellings; one session comes of all of them."""
        cookie = OldSite().cookie(user_id=23)
        site = NewSite(valkey)
        others = spellings(cookie)
        assert [23] * len(others) == [OldSite().read(each)["user_id"] for each in others]
        assert len(others) >= 2
        site.comes(cookie).read()
        site.age_marks(31)

        assert [{}] * len(others) == [site.comes(each).read() for each in others]
        assert 1 == len(site.sessions()) == len(site.marks())

    def test_fallbacks(self, valkey):
        """A cookie that was signed with an older key counts, as it did."""
        cookie = OldSite().cookie(user_id=23)

        for fallbacks, found in (([SECRET], {"user_id": 23}), (["other"], {})):
            site = NewSite(valkey, SECRET_KEY="the new key", SECRET_KEY_FALLBACKS=fallbacks)
            assert found == site.comes(cookie).read()

    def test_too_old(self, valkey):
        """A signed cookie is good for as long as it was: ``PERMANENT_SESSION_LIFETIME``."""
        site = NewSite(valkey, PERMANENT_SESSION_LIFETIME=timedelta(seconds=100))
        old = OldSite()
        serializer = old.serializer
        signer = serializer.make_signer(serializer.salt)
        found = []
        for age in (99, 102):
            signer.get_timestamp = lambda age=age: type(signer).get_timestamp(signer) - age
            cookie = signer.sign(serializer.dump_payload({"user_id": age})).decode()
            found.append(site.comes(cookie).read())

        assert [{"user_id": 99}, {}] == found

    def test_flask_session_signed(self, valkey):
        """If its cookies were signed, a bare id opens nothing, and no older key counts."""
        old = OldSite(valkey, SESSION_USE_SIGNER=True)
        cookie = old.cookie(user_id=23)
        bare = cookie.partition(".")[0]
        rotated = {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": [SECRET]}

        assert {} == NewSite(valkey, SESSION_USE_SIGNER=True, **rotated).comes(cookie).read()
        site = NewSite(valkey, SESSION_USE_SIGNER=True)
        assert {} == site.comes(bare).read()
        assert {} == site.comes(cookie[:-3] + "AAA").read()
        assert {"user_id": 23} == site.comes(cookie).read()

    def test_signed_by_another_program(self, valkey):
        """A payload that is no session, though signed with the key, is nothing."""
        old = OldSite()
        serializer = old.serializer
        site = NewSite(valkey)
        signer = serializer.make_signer(serializer.salt)
        payloads = [b"W10", b"bnVsbA", b"eyIgdSI6IHsifX0", b".eJw", b"AAAA", b"eyIgYiI6MX0"]

        for payload in payloads:
            assert {} == site.comes(signer.sign(payload).decode()).read()


def read(held, keys) -> Any:
    """Return what comes over of an old session."""
    return content_of(held, keys)


class TestContent:
    def test_of_whom(self):
        """The user is found as in any session."""
        keys = UserKeys(["missing", "user.sub"])

        assert "ann" == read({"user": {"sub": "ann"}}, keys).user
        assert None is read({"user": {}, "a": 1}, keys).user

    def test_user_that_is_none(self, caplog):
        """Without a readable user nothing is carried over: nothing could end it."""
        assert None is content_of({"user_id": [1]}, PLAIN)
        assert "not carried over" in caplog.text

    def test_what_cannot_be_stored(self, caplog):
        """A key that has no form here is left out, and the others come."""
        held = {"a": 1, 5: "x", "odd\ud800": 1, "deep": object(), "_permanent": True}
        content = read(held, PLAIN)
        stored = {b"a": b"1", field_of("odd\ud800"): b"1"}

        assert (stored, True) == (content.fields, content.permanent)
        assert 2 == len(caplog.records)

    @pytest.mark.parametrize(
        "text",
        [b"", b"\x80\x04.", b"\xc1", b"{", b"{}x", b"[" * 100_000, b"\xff", b"nan", b"\x81\x01"],
    )
    def test_damaged(self, text):
        """Whatever is stored, it reads as a dict or as nothing."""
        assert None is decoded(text)

    def test_secret_is_kept(self, valkey):
        """Neither the cookie nor what it proves is shown by a traceback."""
        cookie = OldCookie("cookie", text := OldSite().cookie(user_id=23))
        proof = cookie.proof(NewSite(valkey).app, is_signed=False)

        gives: list[Any] = [pickle.dumps, copy, vars, list, json.dumps]
        for each in (cookie, proof, OldKey(text.encode())):
            assert text[:20] not in repr(each)
            for give in gives:
                with pytest.raises(TypeError):
                    give(each)

    @pytest.mark.parametrize("use_signer", [False, True])
    @pytest.mark.parametrize("way", ["requests", "replies"])
    def test_no_id_in_a_traceback(self, valkey, use_signer, way):
        """Wherever Redis fails, no local of any frame has the id, nor has one of redis-py's."""
        old = OldSite(valkey, SESSION_USE_SIGNER=use_signer)
        with Proxy(valkey.port) as proxy:
            site = NewSite(valkey, SESSION_USE_SIGNER=use_signer, SESSION_REDIS_URL=proxy.url)
            failures = []
            site.app.register_error_handler(StoreUnavailable, lambda e: failures.append(e) or "")
            for after in range(0, 1500, 60):
                cookie = old.cookie(user_id=23)
                browser = site.comes(cookie)
                proxy.cut(way, after, times=9)
                browser.visit(lambda: dict(session))
                proxy.mend()
                for failure in failures:
                    assert cookie.partition(".")[0] not in shown(failure)
            site.close()

        assert len(failures) > 3

    def test_no_id_in_a_refusal(self, caplog):
        """A server that does not know a command repeats what it was told: nobody is shown that."""
        with Server("redis7", "--rename-command", "EVALSHA", "") as server:
            cookie = OldSite(server).cookie(user_id=23)
            site = NewSite(server)
            failures = []
            site.app.register_error_handler(StoreUnavailable, lambda e: failures.append(e) or "")
            site.comes(cookie).visit(lambda: dict(session))

        assert "unknown command" in caplog.text
        assert "unknown command" in str(failures[0].__cause__)
        assert cookie not in caplog.text + str(failures[0].__cause__) + shown(failures[0])

    def test_exception_before(self, valkey):
        """An exception that the application handles meanwhile keeps its frames."""
        site = NewSite(valkey, SESSION_REDIS_URL="redis://127.0.0.1:1")
        browsers: dict[str, Any] = {}

        def view():
            try:
                return browsers["nothing"]
            except KeyError as error:
                with pytest.raises(StoreUnavailable):
                    dict(session)
                return error.__traceback__ is not None

        assert site.comes("k" * 43).visit(view).value

    def test_keys_with_an_id(self):
        """A key is Flask-Session's if an id follows the prefix."""
        assert "k" * 43 == id_of(b"session:" + b"k" * 43, "session:")
        for name in (b"session:user:23", b"session:old:" + b"0" * 64, b"session:\xff" + b"k" * 20):
            assert None is id_of(name, "session:")


def test_costs_nothing_without_the_setting(valkey):
    """Without ``SESSION_IMPORT`` nothing of it is imported, and an old cookie costs nothing."""
    code = f"""
import sys, flask
from flask_redis_session import RedisSessionInterface
app = flask.Flask("app")
app.config["SESSION_REDIS_URL"] = "redis://127.0.0.1:{valkey.port}"
RedisSessionInterface().init_app(app)
app.add_url_rule("/", view_func=lambda: str(flask.session.get("a")))
browser = app.test_client()
browser.set_cookie("session", "k" * 43)
assert "None" == browser.get("/").text
print([name for name in sys.modules if "moving" in name or name == "msgspec"])
"""
    with valkey.cost() as cost:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ("[]\n", "") == (done.stdout, done.stderr)
    assert [] == [name for name in cost.names if "CLIENT" not in name and "HELLO" not in name]


def test_another_redis(valkey):
    """The old sessions may be in another Redis, under another prefix, with texts decoded."""
    with Server() as other:
        old = OldSite(other, SESSION_KEY_PREFIX="shop:")
        places = (
            redis.Redis(port=other.port, decode_responses=True),
            f"redis://127.0.0.1:{other.port}",
        )
        for place in places:
            site = NewSite(valkey, SESSION_IMPORT_REDIS=place, SESSION_IMPORT_PREFIX="shop:")
            site.redis.flushall()
            cookie = old.cookie(user_id=23)
            browser = site.comes(cookie)

            assert {"user_id": 23} == browser.read()
            assert not other.client().exists(f"shop:{cookie}")
            assert [browser.sid] == site.index(23)
        places[0].close()


@pytest.mark.parametrize("decodes", [True, False])
def test_decoded_responses(valkey, decodes):
    """It works with a client that decodes, too."""
    client = redis.Redis(port=valkey.port, decode_responses=decodes)
    site = NewSite(valkey, redis=client)

    assert {"user_id": 23} == site.comes(OldSite(valkey).cookie(user_id=23)).read()
    client.close()


@pytest.mark.parametrize(
    ("command", "comes_before"), [("get", False), ("get", True), ("hmget", True)]
)
def test_refused_command(valkey, command, comes_before):
    """If a script may not send a command, the old cookie is neither used up nor for nothing."""
    valkey.ask("ACL", "SETUSER", "half", "reset", "on", "nopass", "~*", "+@all")
    client = valkey.client(username="half", password="any")
    site = NewSite(valkey, redis=client, sources=("cookie",))
    cookie = OldSite().cookie(user_id=23)
    if comes_before:
        site.comes(cookie).read()
    valkey.ask("ACL", "SETUSER", "half", f"-{command}")
    answer = site.comes(cookie).visit(lambda: dict(session), status=503)
    valkey.ask("ACL", "SETUSER", "half", "+@all")

    assert [] == answer.cookies
    assert {"user_id": 23} == site.comes(cookie).read()
    client.close()
    valkey.ask("ACL", "DELUSER", "half")


@pytest.mark.parametrize("kind", ["cookie", "flask-session"])
def test_secret_key_that_was_taken_away(server, kind):
    """Without the key that signed them, no old cookie is believed."""
    signs = {"SESSION_USE_SIGNER": True} if kind == "flask-session" else {}
    old = OldSite(server if signs else None, **signs)
    site = NewSite(server, sources=[kind], **signs)
    cookie = old.cookie(user_id=23)
    site.app.secret_key = None

    assert {} == site.comes(cookie).read()
    assert [] == site.sessions()
