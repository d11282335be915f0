"""Clients made from a URL, where many threads or a fork meet them."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest
import redis
from redis import _parsers
from redis.connection import Connection, ConnectionPool

from flask_redis_session.client.connection import careful
from flask_redis_session.client.fast import FastPool, FastRedis, _dict_of
from flask_redis_session.client.pieces import in_one_piece
from flask_redis_session.client.script import Script
from flask_redis_session.client.url import connect
from tests.support.gauges import connections
from tests.support.servers import SentinelSet, wait_until
from tests.support.webapp import _VALUES, _VIEW, Site, session

pytestmark = pytest.mark.one_server("connections to one server")


def test_a_fork_hides_the_connections_before_it_from_all_threads(valkey):
    """A thread that finds the pool taken over by the child gets none of the parent's connections.

    Two processes on one connection would take each other's replies for their own.
    """
    pool = connect(valkey.url).connection_pool
    inherited = pool.get_connection()
    pool.release(inherited)
    reset, got = ConnectionPool.reset, []

    def resetting(pool):
        reset(pool)
        # At the first moment at which the pool says that it is this process's.
        thread = threading.Thread(target=lambda: got.append(pool.get_connection()))
        thread.start()
        thread.join(10)

    child = os.fork()
    if child == 0:
        ConnectionPool.reset = resetting  # type: ignore[method-assign]
        pool.get_connection()
        os._exit(0 if got and inherited not in got else 1)
    _, status = os.waitpid(child, 0)

    assert 0 == status


@pytest.mark.parametrize("over", ["one server", "sentinels"])
def test_as_many_connections_as_requests(over, valkey):
    """Each of 150 commands at once has a connection, as the requests of a gevent worker need."""
    if over == "one server":
        _commands_at_once(valkey, valkey.url, 150)
    else:
        with SentinelSet(down_after=60_000) as sentinels:
            _commands_at_once(sentinels.primary, sentinels.url, 150)


def _commands_at_once(server, url, count):
    client = connect(url, timeout=30)
    client.set("key", "value")
    replies = []

    def ask():
        try:
            replies.append(client.get("key"))
        except redis.RedisError as error:
            replies.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    server.pause()
    for thread in threads:
        thread.start()
    try:
        wait_until(
            lambda: len(connections(server.port)) + len(replies) >= count, "all are under way"
        )
    finally:
        server.resume()
        for thread in threads:
            thread.join()

    assert [b"value"] * count == replies


def test_more_requests_than_max_connections(valkey):
    """What is over a limit in the URL gets 503 at once, and all is well afterwards."""
    site = Site(valkey, SESSION_REDIS_URL=f"{valkey.url}?max_connections=2&socket_timeout=30")
    browsers = site.browsers(23, 3)
    statuses = []

    def ask(browser):
        environ = {_VIEW: lambda: session["user_id"], _VALUES: []}
        statuses.append(browser.client.open("/", environ_overrides=environ).status_code)

    threads = [threading.Thread(target=ask, args=(browser,)) for browser in browsers]
    valkey.pause()
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: statuses, "one is refused")
        browsers[0].visit()
    finally:
        valkey.resume()
        for thread in threads:
            thread.join()

    assert [503, 200, 200] == statuses
    assert [23] * 3 == [browser.read()["user_id"] for browser in browsers]
    site.close()


def test_one_connection_for_many_commands(valkey):
    """A connection serves command after command, plain or in a pipeline, from the first on."""
    client = connect(valkey.url)
    pipeline = client.pipeline(transaction=False)
    found = {client.execute_command("CLIENT", "ID") for _ in range(3)}
    client.execute_command("hmget", "key", "a")
    found |= {*pipeline.client_id().client_id().execute()}
    found.add(client.execute_command("CLIENT", "ID"))
    client.close()

    assert 1 == len(found)


#: Each way to read replies: the parser, the protocol.
PARSERS = [("_HiredisParser", 2), ("_HiredisParser", 3), ("_RESP2Parser", 2), ("_RESP3Parser", 3)]
MARKED = Script("return {KEYS[1], ARGV[1], 5, false}")


def made(valkey, parser, protocol):
    """Return a client as a URL makes it, whose connections read replies in this way."""
    if parser == "_HiredisParser":
        pytest.importorskip("hiredis")
    pool = FastPool(
        connection_class=careful(Connection),
        parser_class=getattr(_parsers, parser),
        protocol=protocol,
        **valkey.address,
    )
    return FastRedis.from_pool(pool)


@pytest.mark.parametrize(("parser", "protocol"), PARSERS)
def test_in_one_piece_as_in_a_pipeline(valkey, parser, protocol):
    """Replies and refusals are those of redis-py's pipeline, and each is at its command's place."""
    client = made(valkey, parser, protocol)
    valkey.ask("SET", "text", "no hash")
    valkey.ask("SCRIPT", "LOAD", MARKED.text)
    large = b"\xff" * 200_000
    commands = [
        ("HSET", "hash", "a", large, "b", "\N{SNOWMAN}"),
        ("hgetall", "hash"),
        ("hgetall", "text"),
        ("hgetall", "nothing"),
        ("hmget", "hash", "b", "none", "a"),
        MARKED.on(b"key", large),
        ("EVALSHA", "0" * 40, 0),
        ("ZADD", "set", 1.5, "m", 2, "n"),
        ("ZSCORE", "set", "m"),
        ("zrevrange", "set", 0, -1),
        ("ZCARD", "text"),
        ("ZCOUNT", "set", "-inf", 2),
        ("ZSCAN", "set", 0),
        ("PTTL", "set"),
        ("TYPE", "hash"),
        ("HSTRLEN", "hash", "a"),
        ("TIME",),
        ("NONSENSE",),
        ("UNLINK", "set"),
    ]
    found = in_one_piece(client, commands)
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, NEVER_DECODE=True)
    valkey.ask("DEL", "hash")
    expected = pipeline.execute(raise_on_error=False)

    def comparable(replies):
        time = commands.index(("TIME",))
        return [(type(reply), str(reply) if at != time else "") for at, reply in enumerate(replies)]

    assert comparable(expected) == comparable(found)
    assert [large, "\N{SNOWMAN}".encode()] == [found[1][b"a"], found[1][b"b"]]
    assert [b"key", large, 5, None] == found[5]
    assert [2, 6, 10, 17] == [at for at, reply in enumerate(found) if isinstance(reply, Exception)]


@pytest.mark.parametrize(("parser", "protocol"), PARSERS)
@pytest.mark.parametrize(
    ("refused", "keeps"), [(("hgetall", "text"), True), (("HGET", "text"), False)]
)
def test_a_refusal_in_the_middle(valkey, parser, protocol, refused, keeps):
    """What comes after it is read; the connection stays unless the refusal is one of no use."""
    client = made(valkey, parser, protocol)
    valkey.ask("SET", "text", "no hash")
    before = client.execute_command("CLIENT", "ID")
    first, refusal, last = client.exchange_all([("CLIENT", "ID"), refused, ("CLIENT", "ID")])

    assert before == first == last
    assert isinstance(refusal, redis.ResponseError)
    assert keeps == (before == client.execute_command("CLIENT", "ID"))


def test_a_word_that_cannot_be_sent(valkey):
    """Nothing is sent if one of the commands cannot be, and the next ones get their own replies."""
    client = connect(valkey.url)
    with pytest.raises(redis.DataError):
        client.exchange_all([("HSET", "key", "a", "b"), ("HSET", "key", "a", None)])

    assert [[None]] == client.exchange_all([("hmget", "key", "a")])


def test_an_end_in_the_middle(valkey):
    """A connection that ends between two replies is made anew, and all is sent once more."""
    client = connect(valkey.url)
    me = client.execute_command("CLIENT", "ID")
    found = client.exchange_all(
        [("INCR", "count"), ("CLIENT", "KILL", "ID", me, "SKIPME", "no"), ("INCR", "count")]
    )

    assert [2, 3] == [found[0], found[2]]


def test_a_connection_of_before_a_fork_is_given_back(valkey):
    """A child never hands out a connection that it has from its parent."""
    client = connect(valkey.url)
    pool = client.connection_pool
    connection = pool.get_connection()
    connection.pid -= 1
    pool.release(connection)

    assert connection is not pool.get_connection()
    connection.disconnect()
    client.close()


@pytest.mark.skipif(
    not hasattr(Connection, "mark_for_reconnect"), reason="redis-py asks for it from 7 on"
)
def test_a_connection_whose_server_moves(valkey):
    """One that redis-py wants to make anew is closed when it is given back."""
    client = connect(valkey.url)
    pool = client.connection_pool
    before = client.execute_command("CLIENT", "ID")
    connection = pool.get_connection()
    # As redis-py does when the server tells that it will move.
    connection.mark_for_reconnect()
    pool.release(connection)
    was_closed = connection.is_closed()

    assert was_closed
    assert before != client.execute_command("CLIENT", "ID")
    assert connection is pool.get_connection()
    assert not connection.should_reconnect()
    connection.disconnect()


def test_a_failure_while_others_take_what_is_idle(valkey):
    """Who closes the idle connections stops when other threads have taken all of them."""
    client = connect(valkey.url)
    pool = client.connection_pool
    failed, *others = [pool.get_connection() for _ in range(3)]
    for connection in others:
        connection.connect()
        pool.release(connection)
    taken: list[Any] = []

    def take(frame, event, function):
        # The moment between the count of the idle ones and the first of them.
        if event == "c_call" and function.__name__ == "popleft" and not taken:
            taken.extend(pool.get_connection() for _ in others)

    before = sys.getprofile()
    sys.setprofile(take)
    try:
        pool.release(failed)
    finally:
        sys.setprofile(before)

    assert others == taken[::-1]
    assert [False, False] == [connection.is_closed() for connection in taken]
    assert failed is pool.get_connection()
    for connection in taken:
        connection.disconnect()


def test_a_reply_that_is_a_dict_already():
    """By RESP3 a hash comes as one."""
    assert {b"a": b"1"} == _dict_of({b"a": b"1"}) == _dict_of([b"a", b"1"])
