"""The way to Redis: EVALSHA, with EVAL if the server has lost the script."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
import redis

from flask_redis_session import StoreUnavailable, WrongType
from flask_redis_session.client.commands import Commands
from tests.support.clients import application_client, shared_client
from tests.support.servers import wait_until
from tests.support.webapp import Site, session


@pytest.fixture
def site(server):
    """A site that has its scripts in the server."""
    site = Site(server)
    site.browsers("warm", 2)[0].visit(lambda: session.clear_user_sessions())
    return site


@pytest.fixture
def browser(site):
    """A browser that is signed in."""
    browser = site.browser()
    browser.sign_in(23, a=1, b=2, cart=[1])
    return browser


@pytest.mark.parametrize(
    "view",
    [
        lambda: session.update(a=5),
        lambda: session.update(user_id=42),
        lambda: session.pop("user_id"),
        lambda: session.clear(),
        lambda: session.clear_user_sessions(),
    ],
    ids=["set", "sign in", "sign out", "clear", "end all"],
)
def test_lost(site, browser, view):
    """A request that finds the scripts lost brings them along and is served like any other."""
    twin = site.browser()
    twin.sign_in(24, a=1, b=2, cart=[1])
    twin.visit(view)
    expected = twin.read()
    site.redis.script_flush()

    with site.server.cost() as cost:
        browser.visit(view)

    assert "eval" in cost.names
    assert expected in (browser.read(), {**browser.read(), "user_id": 24})


def test_recovers(site, browser):
    """The next request uses EVALSHA again."""
    site.redis.script_flush()

    browser.set(a=5)
    with site.server.cost() as cost:
        browser.set(a=6)

    assert ["evalsha"] == cost.names
    assert {"user_id": 23, "a": 6, "b": 2, "cart": [1]} == browser.read()


@pytest.mark.one_server("a cluster sends a script to each node that lacks it")
def test_many(site):
    """Many sessions are ended though the scripts are lost; each script is sent once."""
    site.browsers(23, 50)
    site.redis.script_flush()

    with site.server.cost() as cost:
        assert 50 == site.interface.revoke_sessions(23)

    texts = [sent.arguments[0] for sent in cost.sent if sent.name == "eval"]
    assert 3 == len(texts)
    assert [b"ZRANGE" in texts[0], b"UNLINK" in texts[1], b"ZREM" in texts[2]] == [True] * 3


def test_no_script_exists(browser):
    """No round trip asks whether the server has a script."""
    with browser.site.server.cost() as cost:
        browser.set(a=5)

    assert not [name for name in cost.commands if name.startswith("script")]


def test_served_without_scripts(server):
    """A server that has never seen the scripts is served from the first request on."""
    browser = Site(server).browser()

    browser.sign_in(23)
    browser.set(a=1)

    assert {"user_id": 23, "a": 1} == browser.read()


@pytest.mark.parametrize("decode_responses", [False, True])
def test_bytes(server, decode_responses):
    """Replies are bytes, whatever the client makes of them otherwise."""
    client = application_client(server, decode_responses=decode_responses)
    way = Commands(lambda: client)
    way.call(("HSET", b"h", "a", b"\xff"))

    assert {b"a": b"\xff"} == way.call(("HGETALL", b"h"))
    assert [[b"\xff"], b"\xff"] == way.together([("HMGET", b"h", "a"), ("HGET", b"h", "a")])
    assert [[b"\xff"], b"\xff"] == way.together([("HMGET", b"h", "a"), ("HGET", b"h", "a")])
    client.close()


def test_nothing_to_send(server):
    """To send nothing asks nobody."""
    with server.cost() as cost:
        assert [] == Commands(lambda: shared_client(server)).together([])

    assert 0 == cost.calls


@pytest.mark.parametrize("send", ["call", "together", "once"])
def test_wrong_type(server, send, caplog):
    """A key of another type is named, in the error and in the log."""
    way = Commands(lambda: shared_client(server))
    way.call(("SET", b"x", "1"))
    command = ("HGETALL", b"x")

    with caplog.at_level(logging.ERROR), pytest.raises(WrongType) as caught:
        way.call(command) if send == "call" else getattr(way, send)([command, ("PING",)])

    assert "x" == caught.value.key
    assert "'x'" in caplog.text


@pytest.mark.parametrize("send", ["call", "together", "once"])
def test_refusal(server, send):
    """Any other refusal is a store that is not available, with the client's error as its cause."""
    way = Commands(lambda: shared_client(server))
    way.call(("HSET", b"h", "a", "x"))
    command = ("HINCRBY", b"h", "a", 1)

    with pytest.raises(StoreUnavailable) as caught:
        way.call(command) if send == "call" else getattr(way, send)([command, ("PING",)])

    assert "not an integer" in str(caught.value.__cause__)


def test_one_wait_for_all(monkeypatch):
    """Who waited while another thread tried in vain to connect does not try once more."""
    tries, waiting = [], threading.Event()

    def connect():
        tries.append(threading.current_thread())
        waiting.wait(10)
        raise redis.ConnectionError("hangs")

    server = Commands(connect)
    failures = []

    def call():
        try:
            server.call(("PING",))
        except StoreUnavailable as failure:
            failures.append(failure)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: _waiting(server, threads), "all wait")
    waiting.set()
    for thread in threads:
        thread.join(10)

    assert 8 == len(failures)
    assert 1 == len(tries)


def _waiting(server, threads):
    """Tell whether each thread is where it asks for the lock or holds it."""
    frames = sys._current_frames()
    names = [frames[thread.ident].f_code.co_name for thread in threads if thread.ident in frames]
    return names.count("_open") == len(threads) - 1


def test_lost_after_a_refusal(site, browser):
    """A save whose script had been lost stands, though the touch of its index is refused."""
    site.redis.set("session:user:23", "no index")
    site.redis.script_flush()

    browser.visit(lambda: (setattr(session, "permanent", True), session.update(a=5)))

    assert {"user_id": 23, "a": 5, "b": 2, "cart": [1]} == browser.read()


def test_save_that_ended_its_session(server):
    """A save is not sent again if only the script of the index had been lost."""
    site = Site(server)
    browser = site.browser()
    browser.sign_in(23, permanent=True)
    site.redis.script_flush()
    browser.twin().visit(lambda: session.update(b=1))

    answer = browser.visit(lambda: (session.get("b"), session.clear()))

    assert "" == answer.cookie.value
    assert set() == site.names()
