"""The refresh of a cluster's slots, whose failure is shared by all threads that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from redis.exceptions import RedisClusterException


class Refresh:
    """Refreshes the slots for one thread at a time, as redis-py does.

    Where the nodes hang, each refresh takes a timeout for each of them, and redis-py lets all the
    threads that wait for one make another of their own, one after the other.

    :param refresh: redis-py's ``NodesManager.initialize``.
    """

    def __init__(self, refresh: Callable[..., None]) -> None:
        self._refresh = refresh
        self._lock = threading.RLock()
        self._failed_at = 0.0
        self._failure = ""

    def __call__(self, *args: object, **options: object) -> None:
        """Refresh them.

        :raises redis.exceptions.RedisClusterException: where no node answers.
        """
        asked = monotonic()
        with self._lock:
            if asked < self._failed_at:
                raise RedisClusterException(self._failure)
            try:
                self._refresh(*args, **options)
            except RedisClusterException as failure:
                self._failed_at, self._failure = monotonic(), str(failure)
                raise
