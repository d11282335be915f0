"""What threads wait for if the nodes of a cluster hang."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException

from flask_redis_session import StoreUnavailable
from flask_redis_session.client.cluster import SlotRefresh
from flask_redis_session.client.commands import Commands
from flask_redis_session.client.url import connect
from tests.support.figures import figure
from tests.support.servers import HOST, Cluster, free_port, wait_until


def refreshed_at_once(count, refresh):
    """Let so many threads ask for a refresh, all before the first is over; return the outcomes."""
    begun, over = threading.Event(), threading.Event()
    tries: list[Any] = []

    def first(*_):
        tries.append(None)
        begun.set()
        over.wait(10)
        return refresh()

    shared = SlotRefresh(first)
    waiting = shared._lock
    with ThreadPoolExecutor(count) as threads:
        outcomes = [threads.submit(shared)]
        begun.wait(10)
        outcomes += [threads.submit(shared) for _ in range(count - 1)]
        wait_until(lambda: _waiting(count - 1), "all wait")
        assert not waiting.acquire(blocking=False)
        over.set()
        return [outcome.exception() for outcome in outcomes], len(tries)


def _waiting(count):
    frames = [frame.f_code for frame in sys._current_frames().values()]
    return frames.count(SlotRefresh.__call__.__code__) == count


def test_failure_is_shared():
    """Who waited while a refresh failed makes none of its own."""

    def refresh():
        raise RedisClusterException("no node answers")

    failures, tries = refreshed_at_once(8, refresh)

    assert ["no node answers"] * 8 == [str(failure) for failure in failures]
    assert 1 == tries


def test_success_is_shared():
    """Who waited while a refresh went well makes none: a slot that moved since is told of later."""
    failures, tries = refreshed_at_once(8, lambda: None)

    assert [None] * 8 == failures
    assert 1 == tries


def test_not_again_at_once(monkeypatch):
    """After a refresh that succeeded none is made for a moment, whoever asks; then one is."""
    tries: list[Any] = []
    shared = SlotRefresh(lambda: tries.append(None))
    for _ in range(100):
        shared()
    soon = len(tries)
    monkeypatch.setattr("flask_redis_session.client.cluster.PAUSE", 0)
    shared()

    assert (1, 2) == (soon, len(tries))


def test_after_a_failure():
    """Who asks after a failure makes a refresh."""
    tries: list[Any] = []

    def refresh():
        tries.append(None)
        if len(tries) == 1:
            raise RedisClusterException("no node answers")

    shared = SlotRefresh(refresh)
    with pytest.raises(RedisClusterException):
        shared()
    shared()

    assert 2 == len(tries)


def test_client_of_a_url():
    """The client of a redis+cluster URL shares its refreshes."""
    with Cluster() as cluster:
        client = connect(cluster.url)

        assert isinstance(client.nodes_manager.initialize, SlotRefresh)
        client.nodes_manager.initialize()
        assert client.set("key", "value")
        client.close()


@pytest.fixture
def deaf():
    """The ports of 24 nodes that take connections and never say a word."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(24)]
        yield [listener.getsockname()[1] for listener in listeners]


def test_all_nodes_hang_at_first(deaf):
    """With 24 nodes that hang, a client is refused after the time of two."""
    url = "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in deaf)
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        connect(url)
    seconds = time.monotonic() - began
    figure("cluster, 24 nodes hang", f"no client after {seconds:.2f} s")

    # One after another they would take 8 seconds.
    assert seconds < 4


def test_all_nodes_hang(cluster, deaf):
    """So is a refresh of a client that knew the slots."""
    client = connect(cluster.url)
    manager = client.nodes_manager
    nodes = [ClusterNode(HOST, port) for port in deaf]
    manager.startup_nodes = {node.name: node for node in nodes}
    began = time.monotonic()
    with pytest.raises(RedisClusterException):
        manager.initialize()
    seconds = time.monotonic() - began
    figure("cluster, 24 nodes hang", f"no slots after {seconds:.2f} s")
    client.close()

    # One after another they would take 8 seconds.
    assert seconds < 4


def test_refused_nodes_cost_no_time(cluster):
    """Nodes that are down are passed over until one answers, however many there are."""
    down = ",".join(f"{HOST}:{free_port()}" for _ in range(24))
    client = connect(f"redis+cluster://{down},{HOST}:{cluster.nodes[0].port}")

    assert client.set("key", "value")
    client.close()


def test_one_node_away():
    """Requests for a node that is away leave the others alone, but for a few refreshes."""
    with Cluster() as cluster:
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        gone, *others = cluster.nodes
        key = next(name for at in range(99) if cluster.node_of(name := f"key{at}") is gone).encode()
        way = Commands(lambda: connect(cluster.url))
        way.call(("SET", key, 1))
        gone.kill()
        before = [_traffic(node) for node in others]
        refused = _refused(way, key, threads=4, seconds=2)
        after = [_traffic(node) for node in others]
        spent = [sum(pair) - sum(before) for pair, before in zip(after, before, strict=True)]
        figure("cluster, a node away", f"{refused} refused, {sum(spent)} connections and CLUSTERs")
        way._client.close()

    assert refused > 20
    assert sum(spent) < 60


def _traffic(node):
    """Return how many connections and CLUSTER commands a node has had."""
    stats = node.ask("INFO", "commandstats").decode()
    slots = re.findall(r"cmdstat_cluster\|slots:calls=([0-9]+)", stats)
    info = node.ask("INFO", "stats").decode()
    received = re.findall(r"total_connections_received:([0-9]+)", info)
    return sum(map(int, received)), sum(map(int, slots))


def _refused(way, key, *, threads, seconds):
    """Ask for a key again and again from several threads; return how often that was refused."""
    refused: list[None] = []
    until = time.monotonic() + seconds

    def ask():
        while time.monotonic() < until:
            with pytest.raises(StoreUnavailable):
                way.call(("GET", key))
            refused.append(None)

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(ask)
    return len(refused)
