"""What threads wait for where the nodes of a cluster hang."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import RedisClusterException

from flask_redis_session.client.cluster import SlotRefresh
from flask_redis_session.client.url import connect
from tests.support.servers import Cluster, wait_until


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
