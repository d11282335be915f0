"""What a refusal does to the connection that it came by, and what is sent once only."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import redis
import valkey as valkey_library

from clients import LIBRARIES, application_client
from flask_redis_session import StoreUnavailable, WrongType
from flask_redis_session.client.commands import Commands, Script
from flask_redis_session.client.refusal import is_doubtful, is_elsewhere
from flask_redis_session.client.url import connect
from gauges import connections
from proxy import Proxy
from servers import HOST, Cluster, SentinelSet, Server, wait_until
from webapp import Site, session

pytestmark = pytest.mark.one_server("connections to one server")

STRAY = b"-ERR upstream failure\r\n"



@pytest.fixture
def proxy(valkey):
    """A proxy before a server on which alice and bob have a text each."""
    for name in ("alice", "bob"):
        valkey.ask("SET", name, f"{name}'s")
    with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture(params=["url", "redis", "valkey"])
def way(request, proxy):
    """The way to that proxy, by each kind of client."""
    if request.param == "url":
        yield Commands(lambda: connect(proxy.url))
        return
    library = {"redis": redis.Redis, "valkey": valkey_library.Valkey}[request.param]
    with library(HOST, proxy.port) as client:
        yield Commands(lambda: client)


def single(way, name):
    """Ask for a length by itself."""
    return way.call(("STRLEN", name))


def ordered(way, name):
    """Ask for a length twice, in a pipeline that keeps its order."""
    return max(way.in_order([("STRLEN", name)] * 2))


def pipelined(way, name):
    """Ask for a length twice, in a pipeline."""
    return max(way.together([("STRLEN", name)] * 2))


def once(way, name):
    """Ask for a length twice, in what is not sent again."""
    return max(way.once([("STRLEN", name)] * 2))


@pytest.mark.parametrize("ask", [single, ordered, pipelined, once])
def test_stray_line(way, proxy, ask):
    """After a refusal that a proxy adds, each reply belongs to its command again."""
    assert 7 == ask(way, b"alice")
    proxy.stray = STRAY
    with pytest.raises(StoreUnavailable):
        ask(way, b"alice")

    assert [5, 7] == [ask(way, b"bob"), ask(way, b"alice")]


@pytest.fixture
def in_cluster(cluster):
    """A proxy that a cluster names in the place of one of its nodes, and a key of that node."""
    node = cluster.nodes[0]
    key = next(name for at in range(100) if cluster.node_of(name := f"key{at}") is node).encode()
    cluster.ask("SET", key, "its own")
    with Proxy(node.port) as proxy:
        node.ask("CONFIG", "SET", "cluster-announce-port", proxy.port)
        others = [each for each in cluster.nodes if each is not node]
        wait_until(
            lambda: all(str(proxy.port) in str(each.ask("CLUSTER", "NODES")) for each in others),
            "the others know the proxy",
        )
        yield proxy, key
        node.ask("CONFIG", "SET", "cluster-announce-port", 0)
        wait_until(
            lambda: all(str(node.port) in str(each.ask("CLUSTER", "NODES")) for each in others),
            "the others know the node",
        )


@pytest.mark.parametrize("ask", [single, pipelined, once])
def test_stray_line_in_a_cluster(cluster, in_cluster, ask):
    """So does the client of a cluster's URL."""
    proxy, key = in_cluster
    way = Commands(lambda: connect(f"redis+cluster://{HOST}:{cluster.nodes[1].port}"))
    assert 7 == ask(way, key)
    proxy.stray = STRAY
    with pytest.raises(StoreUnavailable):
        ask(way, key)

    assert [0, 7] == [ask(way, _sibling(cluster, key)), ask(way, key)]


def _sibling(cluster, key):
    """Return another key of the same node."""
    names = (f"other{at}".encode() for at in range(100))
    return next(name for name in names if cluster.node_of(name) is cluster.node_of(key))


@pytest.mark.parametrize("ask", [single, ordered, pipelined, once])
def test_stray_line_with_sentinels(proxy, ask, monkeypatch):
    """So does the client of the sentinels' URL."""
    monkeypatch.setattr(redis.sentinel.Sentinel, "discover_master", lambda *_: (HOST, proxy.port))
    way = Commands(lambda: connect("redis+sentinel://sentinel.invalid/primary"))
    assert 7 == ask(way, b"alice")
    proxy.stray = STRAY
    with pytest.raises(StoreUnavailable):
        ask(way, b"alice")

    assert [5, 7] == [ask(way, b"bob"), ask(way, b"alice")]


def test_expected_refusals_keep_the_connection(valkey):
    """A lost script and a key of another type cost no connection."""
    way = Commands(lambda: connect(valkey.url))
    way.call(("SET", b"text", 1))
    before = connections(valkey.port)
    for _ in range(3):
        with pytest.raises(WrongType):
            way.call(("HGETALL", b"text"))
        with pytest.raises(redis.exceptions.NoScriptError):
            way._client.execute_command("EVALSHA", "0" * 40, 1, b"text")

    assert before == connections(valkey.port)


@pytest.mark.parametrize("library", LIBRARIES)
def test_connections_in_use_stay(proxy, library):
    """A refusal closes no connection of the application's client while somebody uses it."""
    with application_client(_At(proxy), library=library) as client:
        way = Commands(lambda: client)
        pool = client.connection_pool
        used = pool.get_connection(*(() if library == "redis" else ("GET",)))
        used.send_command("STRLEN", "alice")
        wait_until(used.can_read, "the reply is there")
        proxy.stray = STRAY
        with pytest.raises(StoreUnavailable):
            way.call(("STRLEN", b"bob"))

        assert 7 == used.read_response()
        pool.release(used)


class _At:
    """The address of a proxy, as a client of the tests takes it."""

    def __init__(self, proxy):
        self.address = {"host": HOST, "port": proxy.port}
