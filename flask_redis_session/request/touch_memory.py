"""What this process touched lately, so that it does not touch it again so soon."""

from __future__ import annotations

import threading
from time import monotonic

from flask_redis_session.storage.token import Token

#: How many touches of each kind are remembered: of cookies that open something, and of others.
REMEMBERED = 10_000
#: For how long nothing is touched after a touch failed, in seconds.
PAUSE = 5.0


class TouchMemory:
    """The touches of sessions that were never loaded, which therefore cannot tell the time.

    It knows each cookie by the digest of its secret: another secret of the same session is another
    matter. What it learned of cookies that open nothing does not displace what it knows of others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # When each was touched, the oldest first.
        self._alive: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._paused_until = 0.0

    def standing(self, token: Token, interval: float) -> bool | None:
        """Tell whether a cookie opened its session within the interval; ``None``: touch it to know.

        :param token: the cookie.
        :param interval: seconds between two touches of a session.
        """
        now, name = monotonic(), token.proof
        if now < self._paused_until or name in self._ended:
            return False
        if now - self._alive.get(name, -interval) < interval:
            return True
        return False if now - self._asked.get(name, -interval) < interval else None

    def asks(self, token: Token) -> None:
        """Note that a session is being touched.

        :param token: its cookie.
        """
        with self._lock:
            _note(self._asked, token.proof)

    def found_alive(self, token: Token) -> None:
        """Note that a touch found its session alive.

        A request of this process may have ended it meanwhile: that counts.

        :param token: its cookie.
        """
        with self._lock:
            if token.proof not in self._ended:
                _note(self._alive, token.proof)
                self._asked.pop(token.proof, None)

    def ended(self, token: Token) -> None:
        """Note that a cookie opens nothing any more.

        :param token: the cookie.
        """
        with self._lock:
            self._alive.pop(token.proof, None)
            _note(self._ended, token.proof)

    def pause(self) -> None:
        """Touch nothing for a while: Redis does not answer."""
        self._paused_until = monotonic() + PAUSE


def _note(notes: dict[str, float], name: str) -> None:
    notes.pop(name, None)
    if len(notes) >= REMEMBERED:
        del notes[next(iter(notes))]
    notes[name] = monotonic()
