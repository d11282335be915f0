"""The refresh of a cluster's slots, which the threads that wait for it share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from redis.exceptions import RedisClusterException


class SlotRefresh:
    """Refreshes the slots for one thread at a time, as redis-py does.

    Where nodes hang, a refresh takes a timeout for each of them, and redis-py lets each thread that
    waits for one that fails make another of its own, one after the other. Before 7, it does so for
    one that succeeds as well.

    :param refresh: redis-py's ``NodesManager.initialize``.
    """

    def __init__(self, refresh: Callable[..., None]) -> None:
        self._refresh = refresh
        self._lock = threading.RLock()
        # When the last one that succeeded began, and when the last one that failed was over.
        self._began_at = 0.0
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
            if asked < self._began_at:
                # It is as new as one of its own would be.
                return
            began_at = monotonic()
            try:
                self._refresh(*args, **options)
            except RedisClusterException as failure:
                self._failed_at, self._failure = monotonic(), str(failure)
                raise
            self._began_at = began_at
