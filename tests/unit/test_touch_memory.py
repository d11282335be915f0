"""What a process remembers of touches."""

from __future__ import annotations

import threading

from flask_redis_session.request.touch_memory import REMEMBERED, TouchMemory
from flask_redis_session.storage.token import new_token

INTERVAL = 3600.0


def test_forged_cookies_displace_nothing() -> None:
    """However many cookies that open nothing are asked about, one that is alive stays known."""
    memory, alive = TouchMemory(), new_token(permanent=True)
    memory.asks(alive)
    memory.found_alive(alive)
    for _ in range(REMEMBERED + 10):
        memory.asks(new_token(permanent=True))

    assert True is memory.standing(alive, INTERVAL)


def test_forgets_the_oldest() -> None:
    """With more living ones than it can hold, only the oldest is asked about again."""
    memory = TouchMemory()
    tokens = [new_token(permanent=True) for _ in range(REMEMBERED + 1)]
    for token in tokens:
        memory.found_alive(token)

    assert [None, True, True] == [memory.standing(tokens[at], INTERVAL) for at in (0, 1, -1)]


def test_late_touch() -> None:
    """A touch that comes late does not mark a cookie alive that a rotation has just ended."""
    memory, token = TouchMemory(), new_token(permanent=True)
    ended = threading.Event()
    memory.asks(token)

    def touch() -> None:
        assert ended.wait(5)
        memory.found_alive(token)

    thread = threading.Thread(target=touch)
    thread.start()
    memory.ended(token)
    ended.set()
    thread.join()

    assert False is memory.standing(token, INTERVAL)
