"""Wait until a server is as a test needs it."""

from __future__ import annotations

import time
from collections.abc import Callable


class NotReady(Exception):
    """A server did not come up, or did not come to the state that was waited for."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Return as soon as the condition holds.

    A server that starts, dies or changes its role closes connections: a condition that asked over
    one of them does not hold yet.

    :raises NotReady: if it does not hold within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not _holds(condition):
        if time.monotonic() > deadline:
            raise NotReady(f"not within {seconds} seconds: {what}")
        time.sleep(0.01)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except ConnectionError:
        return False
