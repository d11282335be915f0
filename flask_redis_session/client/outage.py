"""What the log says of an outage: one line when it begins, one when it is over."""

from __future__ import annotations

import logging
import threading
from time import monotonic

log = logging.getLogger("flask_redis_session")

#: An outage is over when nothing has failed for so many seconds and a command succeeds.
SETTLED = 1.0


class Outage:
    """Knows whether Redis fails, and logs only the beginning and the end of that.

    Redis may serve some commands and refuse others: a replica refuses writes, a full server new
    connections. A success between two such failures ends nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed_at = 0.0
        #: Whether one has begun and is not over.
        self.lasts = False

    def failed(self, error: Exception) -> None:
        """Note that a command failed.

        :param error: the client's. Its text is logged; the ``repr`` of redis-py's from 7.4 on
            does not hold it.
        """
        with self._lock:
            begins = not self.lasts
            self.lasts, self._failed_at = True, monotonic()
        if begins:
            name = type(error).__name__
            log.error("Redis fails; requests that need a session get 503: %s: %s", name, error)

    def answered(self) -> None:
        """Note that a command succeeded."""
        with self._lock:
            if not self.lasts or monotonic() - self._failed_at < SETTLED:
                return
            self.lasts = False
        log.warning("Redis answers again.")
