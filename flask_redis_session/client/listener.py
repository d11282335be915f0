"""Keeps a line open on which Redis says what has changed, and drops it if it may be the wrong one.

No request waits for it: it is opened in a thread of its own, and nothing is kept until then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from os import getpid
from time import monotonic
from typing import Any
from weakref import ref

from .dialling import FAILURES, HungUp, RefusedTracking, dial, peer_of
from .line import Line, Told

log = logging.getLogger("flask_redis_session")

#: For how long no line is opened after one was lost, in seconds: twice as long each time.
PAUSE = 1.0
#: The refusals that stay until somebody grants a right; others, such as BUSY, pass.
_FOR_GOOD = {"NOPERM", "NOAUTH", "ERR"}
#: After how many ends in place of an answer it counts as a refusal: a proxy may say nothing else.
_HANG_UPS = 3
LONGEST_PAUSE = 60.0

_REFUSED = (
    "SESSION_KEEP has no effect: Redis, or a proxy before it, refuses %s. Grant the user CLIENT "
    "TRACKING and TIME, or unset SESSION_KEEP."
)


class Listener:
    """The line of one application in this process.

    :param told: makes what is told of changes, for each line anew.
    :param stale: seconds after which what was heard is not believed, as in ``SESSION_KEEP_STALE``.
    """

    def __init__(self, told: Callable[[], Told], stale: float) -> None:
        self._told = told
        self._stale = stale
        self._pool: Any = None
        self._connection: Any = None
        self._line: Line | None = None
        # Which server the other connections reached last.
        self._peer: Any = None
        self._dial_at = 0.0
        self._pause = PAUSE
        # By process: that of a child of a fork says nothing of the parent's.
        self._dials: dict[int, object] = {}
        self._is_warned = False
        self._hang_ups = 0
        _note(self)

    def attach(self, client: Any) -> Any:
        """Use the connections of a client, and watch which server they reach; return it.

        :param client: a client that was made from a URL, and has not been used.
        """
        pool = client.connection_pool
        self._pool, self._connection = pool, pool.connection_class
        pool.connection_class = type(
            pool.connection_class.__name__,
            (_Reaching, pool.connection_class),
            {"reached": staticmethod(self._reached)},
        )
        return client

    @property
    def line(self) -> Line | None:
        """The line of this process, if one is open."""
        line = self._line
        if line is None or line.pid != getpid():
            return None
        if line.named is not None and line.named != self._pool.master_address:
            line.lose()
        if line.is_lost:
            self._leave(line)
            return None
        return line

    def listen(self) -> None:
        """Open a line if there is none and it is time to; nobody waits for that."""
        if monotonic() < self._dial_at or self._pool is None:
            return
        mine = object()
        if self._dials.setdefault(getpid(), mine) is mine:
            self._dial_at = monotonic() + PAUSE
            try:
                threading.Thread(target=self._dial, daemon=True).start()
            except RuntimeError:
                # None can be started while the interpreter ends.
                del self._dials[getpid()]

    def lose(self) -> None:
        """Drop everything: the data may come from another server now."""
        line = self._line
        if line is not None:
            line.lose()

    def forget(self, keys: Collection[bytes]) -> None:
        """Drop what is kept of keys.

        :param keys: the keys, to which this process writes.
        """
        line = self.line
        if line is not None:
            line.forget(keys)

    def _reached(self, peer: Any) -> None:
        # First to note it, then to look: a line that is being opened does it the other way round.
        self._peer = peer
        line = self._line
        if line is not None and line.peer != peer:
            line.lose()

    def _dial(self) -> None:
        try:
            line = dial(self._pool, self._connection, self._told(), self._stale, self._look)
            left, self._line = self._line, line
            self._hang_ups = 0
            if self._peer not in (None, line.peer):
                line.lose()
            if left is not None:
                left.close()
        except RefusedTracking as refusal:
            self._warn(refusal.command, refusal.word)
        except HungUp as end:
            self._hang_ups += 1
            if self._hang_ups == _HANG_UPS:
                self._warn(end.command, "")
            else:
                self._wait()
        except FAILURES:
            self._wait()
        finally:
            self._dials.pop(getpid(), None)

    def _look(self) -> None:
        """Ask Sentinels, if there are any, whether they still name the server of the line."""
        if hasattr(self._pool, "look"):
            # In a thread of its own. What they say is looked at before each use of the line.
            self._pool.look(self._stale / 3)

    def _leave(self, line: Line) -> None:
        if self._line is line:
            self._line = None
            if line.refusal in _FOR_GOOD:
                self._warn("a command", line.refusal)
            else:
                self._wait(PAUSE if line.has_lasted else None)
        line.close()

    def _wait(self, pause: float | None = None) -> None:
        self._pause = min(LONGEST_PAUSE, 2 * self._pause if pause is None else pause)
        self._dial_at = monotonic() + self._pause

    def _warn(self, command: str, word: str) -> None:
        self._wait(LONGEST_PAUSE)
        if not self._is_warned:
            self._is_warned = True
            log.warning(_REFUSED, f"{command} ({word})" if word else command)


#: Every listener of this process; always replaced as a whole.
_LISTENERS: tuple[ref[Listener], ...] = ()


_NOTING = threading.Lock()


def _note(listener: Listener) -> None:
    global _LISTENERS  # noqa: PLW0603 - a process has one list of them
    with _NOTING:
        _LISTENERS = (*(each for each in _LISTENERS if each() is not None), ref(listener))


def forget(keys: Collection[bytes]) -> None:
    """Drop what this process keeps of keys, whichever application it is for.

    :param keys: the keys, to which this process writes.
    """
    for each in _LISTENERS:
        listener = each()
        if listener is not None:
            listener.forget(keys)


class _Reaching:
    """What is added to a class of connections: it says which server it reaches."""

    reached: Callable[[Any], None]
    _sock: Any

    def on_connect(self, *args: Any, **options: Any) -> None:
        self._tell()
        super().on_connect(*args, **options)  # type: ignore[misc]

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        self._tell()
        super().on_connect_check_health(*args, **options)  # type: ignore[misc]

    def _tell(self) -> None:
        with suppress(AttributeError):
            self.reached(peer_of(self._sock))
