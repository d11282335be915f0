"""What this process touched lately, so that it does not touch it again so soon."""

from __future__ import annotations

from time import monotonic

from flask_redis_session.storage.token import Token

#: How many touches are remembered.
REMEMBERED = 10_000
#: For how long nothing is touched after a touch failed, in seconds.
PAUSE = 5.0


class TouchMemory:
    """The touches of sessions that were never loaded, which therefore cannot tell the time."""

    def __init__(self) -> None:
        self._notes: dict[Token, tuple[float, bool]] = {}
        self._paused_until = 0.0

    def standing(self, token: Token, interval: float) -> bool | None:
        """Tell whether a session was alive within the interval; ``None``: touch it to know.

        :param token: its cookie: another secret of the same session is another matter.
        :param interval: seconds between two touches of it.
        """
        now = monotonic()
        if now < self._paused_until:
            return False
        at, alive = self._notes.get(token, (0.0, False))
        return alive if at and now - at < interval else None

    def note(self, token: Token, *, alive: bool) -> None:
        """Note that a session was touched.

        :param token: its cookie.
        :param alive: whether the cookie opens it.
        """
        if len(self._notes) >= REMEMBERED:
            # Whole and at once: other threads read it without a lock.
            self._notes = {}
        self._notes[token] = (monotonic(), alive)

    def pause(self) -> None:
        """Touch nothing for a while: Redis does not answer."""
        self._paused_until = monotonic() + PAUSE
