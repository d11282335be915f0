"""What this process touched lately, so that it does not touch it again so soon."""

from __future__ import annotations

from time import monotonic

from .token import Token

#: How many touches are remembered.
REMEMBERED = 10_000
#: For how long nothing is touched after a touch failed, in seconds.
PAUSE = 5.0


class Touches:
    """The touches of sessions that were never loaded, which therefore cannot tell the time.

    :param interval: seconds between two touches of one session.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._at: dict[Token, float] = {}
        self._paused_until = 0.0

    def is_recent(self, token: Token) -> bool:
        """Tell whether a session was touched within the interval, or none can be at the moment.

        :param token: its cookie: another secret of the same session is another matter.
        """
        now = monotonic()
        if now < self._paused_until:
            return True
        at = self._at.get(token)
        return at is not None and now - at < self._interval

    def note(self, token: Token) -> None:
        """Note that a session is being touched.

        :param token: its cookie.
        """
        if len(self._at) >= REMEMBERED:
            # Whole and at once: other threads read it without a lock.
            self._at = {}
        self._at[token] = monotonic()

    def pause(self) -> None:
        """Touch nothing for a while: Redis does not answer."""
        self._paused_until = monotonic() + PAUSE
