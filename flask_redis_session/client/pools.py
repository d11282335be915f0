"""The connections of a client that nobody uses at the moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
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
            # Under the lock of the pool, nobody is handed one of them meanwhile.
            with getattr(pool, "_lock", None) or nullcontext():
                _close(pool._available_connections)  # noqa: SLF001 (no public way leaves out the others)
        else:
            # A blocking pool has them in a queue, in which ``None`` stands for a new connection.
            queue = getattr(pool, "pool", None)
            with getattr(queue, "mutex", None) or nullcontext():
                _close(getattr(queue, "queue", ()))


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


def _close(idle: Iterable[Any]) -> None:
    # They stay where they are: whatever interrupts this, the pool loses none.
    for connection in [*idle]:
        if connection is not None:
            connection.disconnect()
