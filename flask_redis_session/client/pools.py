"""The connections of a client that nobody uses at the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty
from typing import Any

from .library import library_of

_NOTHING = object()


def close_idle(client: Any) -> None:
    """Close the connections that nobody uses; what others use is left alone.

    :param client: one of redis-py or valkey-py, of a single server or of a cluster.
    """
    for pool in _pools(client):
        close = getattr(pool, "close_idle", None)
        if close is not None:
            close()
        elif hasattr(pool, "_available_connections"):
            idle = pool._available_connections  # noqa: SLF001 (no public way leaves out the others)
            _close(idle.pop, idle.extend)
        elif queue := getattr(pool, "pool", None):
            # A blocking pool has them in a queue, in which ``None`` stands for a new connection.
            _close(queue.get_nowait, lambda taken: [*map(queue.put_nowait, taken)])


def _pools(client: Any) -> Iterator[Any]:
    if hasattr(client, "get_nodes"):
        name = f"{library_of(client)}_connection"
        nodes = [getattr(node, name) for node in client.get_nodes()]
        clients = [each for each in nodes if each is not None]
    else:
        clients = [client]
    for each in clients:
        pool = getattr(each, "connection_pool", None)
        if pool is not None:
            yield pool


def _close(take: Callable[[], Any], give_back: Callable[[list[Any]], object]) -> None:
    """Close connections; while that lasts they are taken out, so that nobody is handed one."""
    taken: list[Any] = []
    try:
        with suppress(IndexError, Empty):
            # In one step: no signal handler can raise after one was taken and before it is noted.
            taken.extend(iter(take, _NOTHING))
        for connection in taken:
            if connection is not None:
                connection.disconnect()
    finally:
        give_back(taken)
