"""What a refusal does to the connection that it came by, and what is sent once only."""

from __future__ import annotations

import inspect
import threading

import pytest
import redis
import valkey as valkey_library

from flask_redis_session import StoreUnavailable, WrongType
from flask_redis_session.client.commands import Commands
from flask_redis_session.client.fast import FastPool
from flask_redis_session.client.once import sent_once
from flask_redis_session.client.script import Script
from flask_redis_session.client.url import connect
from tests.failure.proxy import Proxy
from tests.support.clients import LIBRARIES, application_client
from tests.support.gauges import connections
from tests.support.servers import HOST, Server, wait_until
from tests.support.webapp import _VALUES, _VIEW, Site, session

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
    return max(way.together([("STRLEN", name)] * 2))


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
    before = way.call(("CLIENT", "ID"))
    for _ in range(3):
        with pytest.raises(WrongType):
            way.call(("HGETALL", b"text"))
        with pytest.raises(redis.exceptions.NoScriptError):
            way._client.execute_command("EVALSHA", "0" * 40, 1, b"text")

    assert before == way.call(("CLIENT", "ID"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_connections_in_use_stay(valkey, proxy, library):
    """A refusal closes no connection of the application's client while somebody uses it."""
    with application_client(valkey, library=library, port=proxy.port) as client:
        way = Commands(lambda: client)
        pool = client.connection_pool
        needed = inspect.signature(pool.get_connection).parameters["command_name"].default
        used = pool.get_connection(*(() if needed is None else ("GET",)))
        assert 5 == way.call(("STRLEN", b"bob"))
        used.send_command("STRLEN", "alice")
        wait_until(used.can_read, "the reply is there")
        proxy.stray = STRAY
        with pytest.raises(StoreUnavailable):
            way.call(("STRLEN", b"bob"))

        assert 7 == used.read_response()
        pool.release(used)


class TestAnotherServer:
    """A name leads to a new primary, and the old one becomes its replica."""

    @pytest.fixture(params=["valkey9", "redis62"])
    def pair(self, request):
        """A primary, and a replica of it that is in step."""
        with Server(request.param) as old:
            with Server(request.param, "--replicaof", HOST, str(old.port)) as new:
                up = b"master_link_status:up"
                wait_until(lambda: up in new.ask("INFO", "replication"), "the replica is in step")
                yield old, new

    @pytest.mark.parametrize("client", ["url", *LIBRARIES])
    def test_found(self, pair, client):
        """One request at most is refused, though several connections are open to the old one."""
        old, new = pair
        with Proxy(old.port) as proxy:
            if client == "url":
                site = Site(old, SESSION_REDIS_URL=f"{proxy.url}?socket_timeout=30")
            else:
                site = Site(old, redis=application_client(old, library=client, port=proxy.port))
            browsers = site.browsers(23, 6)
            _at_once(old, browsers)
            proxy.lead_to(new.port)
            new.ask("REPLICAOF", "NO", "ONE")
            old.ask("REPLICAOF", HOST, new.port)
            statuses = [_status(browser) for browser in browsers for _ in range(2)]

            assert statuses.count(503) <= 1
            assert [200] * 6 == statuses[-6:]
            assert {"a": 5, "user_id": 23} == browsers[-1].read()

    def test_cut_off_replica(self, pair):
        """So is it if the old one refuses to read, because its own primary is away."""
        old, new = pair
        with Proxy(old.port) as proxy:
            site = Site(old, SESSION_REDIS_URL=f"{proxy.url}?socket_timeout=30")
            browsers = site.browsers(23, 6)
            _at_once(old, browsers)
            proxy.lead_to(new.port)
            new.ask("REPLICAOF", "NO", "ONE")
            old.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
            old.ask("REPLICAOF", HOST, 1)
            statuses = [_status(browser) for browser in browsers]

            assert statuses.count(503) <= 1


def _at_once(server, browsers):
    """Let each browser have a connection of its own."""
    threads = [threading.Thread(target=browser.read) for browser in browsers]
    server.pause()
    for thread in threads:
        thread.start()
    # The proxy opens two for each.
    wait_until(lambda: len(connections(server.port)) >= 2 * len(browsers), "all are under way")
    server.resume()
    for thread in threads:
        thread.join()


def _status(browser):
    """Let a browser write, and return the status."""
    environ = {_VIEW: lambda: session.update(a=5), _VALUES: []}
    return browser.client.open("/", environ_overrides=environ).status_code


class TestOnce:
    """What may have been carried out is not sent again."""

    @pytest.fixture(params=["url", "sentinels"])
    def way(self, request, proxy, monkeypatch):
        """The way to a proxy, with a connection that is open."""
        if request.param == "sentinels":
            address = (HOST, proxy.port)
            monkeypatch.setattr(redis.sentinel.Sentinel, "discover_master", lambda *_: address)
            url = "redis+sentinel://sentinel.invalid/primary"
        else:
            url = proxy.url
        way = Commands(lambda: connect(url))
        way.call(("GET", b"alice"))
        return way

    def test_lost_reply(self, way, proxy, valkey):
        """A lost reply is a failure, though the command was carried out, and that once."""
        proxy.cut("replies", 1)
        with pytest.raises(StoreUnavailable):
            way.once([("INCR", b"count"), ("INCR", b"other")])

        assert (b"1", b"1") == (valkey.ask("GET", "count"), valkey.ask("GET", "other"))
        assert [2, 2] == way.once([("INCR", b"count"), ("INCR", b"other")])

    def test_closed_before(self, way, proxy, valkey):
        """A connection that was closed before is replaced, because nothing was sent on it."""
        proxy.disconnect()
        pool = way._client.connection_pool
        wait_until(lambda: _stale(pool), "the client could notice")

        assert [1] == way.once([("INCR", b"count")])

    def test_lost_script(self, way, valkey):
        """A script that the server has lost was not carried out, and is brought along."""
        script = Script("return redis.call('INCR', KEYS[1])")
        valkey.ask("SCRIPT", "FLUSH")

        assert [1, 2, 3] == way.once([script.on(b"count")] * 3)

    def test_nothing(self, way):
        """To send nothing asks nobody."""
        assert [] == way.once([])


def test_once_in_a_cluster(cluster, in_cluster):
    """So it is in a cluster, where a command also follows its key to another node."""
    proxy, key = in_cluster
    way = Commands(lambda: connect(f"redis+cluster://{HOST}:{cluster.nodes[1].port}"))
    counts = [f"count{at}".encode() for at in range(12)]
    count = next(name for name in counts if cluster.node_of(name) is cluster.node_of(key))
    assert [1] * 12 == way.once([("INCR", name) for name in counts])
    proxy.cut("replies", 1)
    with pytest.raises(StoreUnavailable):
        way.once([("INCR", count)])

    assert b"2" == cluster.ask("GET", count)
    manager = way._client.nodes_manager
    other = next(name for name in counts if cluster.node_of(name) is not cluster.node_of(key))
    wrong = way._client.get_node_from_key(other)
    manager.slots_cache[way._client.keyslot(count)] = [wrong]
    assert [3] == way.once([("INCR", count)])


def _stale(pool):
    connection = pool.get_connection() if isinstance(pool, FastPool) else None
    if connection is None:
        idle = pool._available_connections
        return all(each.is_stale() for each in idle)
    try:
        return connection._sock is None or connection.is_stale()
    finally:
        pool.release(connection)


def test_a_refusal_at_the_connection(valkey, monkeypatch):
    """A refusal that is a kind of lost connection stays what it is: nothing was carried out."""

    def refuse(*arguments):
        raise redis.BusyLoadingError("LOADING")

    monkeypatch.setattr(redis.client.Pipeline, "_execute_pipeline", refuse)
    with pytest.raises(redis.BusyLoadingError):
        sent_once(connect(valkey.url), [("PING",)])
