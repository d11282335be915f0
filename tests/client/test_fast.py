"""Clients made from a URL, where many threads or a fork meet them."""

from __future__ import annotations

import os
import threading

import pytest
import redis
from redis.connection import ConnectionPool

from flask_redis_session.client.fast import _dict_of
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


def test_a_reply_that_is_a_dict_already():
    """By RESP3 a hash comes as one."""
    assert {b"a": b"1"} == _dict_of({b"a": b"1"}) == _dict_of([b"a", b"1"])
