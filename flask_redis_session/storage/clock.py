"""The clock of Redis, as this process last heard it."""

from __future__ import annotations

import time


class Clock:
    """Tells the time of the server, so that a worker's own clock may be wrong or jump.

    Replies of scripts bring the server's time. From then on the monotonic clock carries it
    forward. Before the first reply it is the worker's time.
    """

    def __init__(self) -> None:
        # One tuple, always replaced as a whole, so that threads can read it without a lock.
        self._heard: tuple[float, float] | None = None

    def hear(self, now: float) -> None:
        """Take over the server's time.

        :param now: what a script replied, in epoch seconds.
        """
        self._heard = (now, time.monotonic())

    @property
    def is_heard(self) -> bool:
        """Whether the server has told its time yet."""
        return self._heard is not None

    def now(self) -> float:
        """Return the server's time in epoch seconds."""
        heard = self._heard
        if heard is None:
            return time.time()
        return heard[0] + time.monotonic() - heard[1]
