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


class TouchInterval:
    """How much time lies between two touches of a session.

    :param seconds: as in ``SESSION_TOUCH_INTERVAL``.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def of(self, idle: float | None) -> float:
        """Return how many seconds it is for a session.

        :param idle: its idle lifetime in seconds; ``None``: it is not known.
        """
        # A session whose idle lifetime is shorter than the interval must not die in use.
        return self._seconds if idle is None else min(self._seconds, idle / 2)

    def has_ended(
        self, born: float | None, seen: float | None, idle: float | None, now: float
    ) -> bool:
        """Tell whether an interval, counted from the creation, ended since the last commit.

        Every commit moves ``@seen``, but only one per interval has to move the index.

        :param born: when the session was created, in epoch seconds.
        :param seen: when it was last seen, in epoch seconds.
        :param idle: its idle lifetime in seconds.
        :param now: epoch seconds.
        """
        interval = self.of(idle)
        if born is None or seen is None or interval <= 0:
            return True
        return (now - born) // interval != (seen - born) // interval
