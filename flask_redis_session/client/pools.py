"""The connections of a client that nobody uses at the moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from queue import Empty
from typing import Any

from .library import library_of


def close_idle(client: Any) -> None:
    """Close the connections that nobody uses; what others use is left alone.

    :param client: one of redis-py or valkey-py, of a single server or of a cluster.
    """
    for pool in _pools(client):
        close = getattr(pool, "close_idle", None)
        if close is not None:
            close()
        elif hasattr(pool, "_available_connections"):
            # Taken out while they are closed, so that nobody is handed one of them.
            _close(pool._available_connections)  # noqa: SLF001 (no public way leaves out the others)
        else:
            _close_queued(pool)


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


def _close(idle: list[Any]) -> None:
    closed = []
    with suppress(IndexError):
        while True:
            connection = idle.pop()
            connection.disconnect()
            closed.append(connection)
    idle.extend(closed)


def _close_queued(pool: Any) -> None:
    """Close what a blocking pool has in its queue, where ``None`` stands for a new connection."""
    queue, taken = getattr(pool, "pool", None), []
    if queue is None:
        return
    with suppress(Empty):
        while True:
            taken.append(queue.get_nowait())
    for connection in taken:
        if connection is not None:
            connection.disconnect()
        queue.put_nowait(connection)
