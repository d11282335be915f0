"""What came of each request of a soak, held against when Redis was away."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_redis_session.client.fast import FRESH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.load.line import Got

#: After so many things that are wrong nothing more is written down.
ENOUGH = 50

#: Requests that do without their session, and are served at any time.
UNTOUCHED = {"untouched", "missing"}


@dataclass
class Outage:
    """A time in which Redis may be away.

    :param began: when it was about to be stopped.
    :param ended: when it answered again.
    """

    began: float
    ended: float = float("inf")


class Journal:
    """What came of all requests, and what of it may not be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: How many requests of each kind got each status.
        self.answers: Counter[tuple[str, int]] = Counter()
        #: How many requests ended without an answer.
        self.cut = 0
        #: What may not be, in words.
        self.wrong: list[str] = []
        self.outages: list[Outage] = []
        #: When all connections to Redis were closed.
        self.cuts: list[float] = []
        #: How many acknowledged writes were looked for afterwards, and were there.
        self.found = 0
        #: How often the cookie of an ended session was tried, and opened nothing.
        self.stayed_dead = 0
        #: When a session was begun for no more than a look.
        self.passing: deque[float] = deque(maxlen=100_000)
        #: When one that lives for longer may have been left without anybody who has its cookie.
        self.staying: deque[float] = deque(maxlen=100_000)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Let requests be refused that are under way while the block runs."""
        outage = Outage(time.monotonic())
        self.outages.append(outage)
        yield
        outage.ended = time.monotonic()

    def accuse(self, text: str) -> None:
        """Note what may not be."""
        with self._lock:
            if len(self.wrong) < ENOUGH:
                self.wrong.append(text)

    def note(self, kind: str, got: Got, *, expected: int = 200) -> bool:
        """Note an answer; tell whether it is the one that a request gets from a Redis that works.

        :param kind: of the request.
        :param got: the answer.
        :param expected: its status if Redis works.
        """
        with self._lock:
            self.answers[kind, got.status] += 1
        if got.status == expected:
            return True
        if got.status != 503:
            self.accuse(f"{kind}: {got.status} {got.body[:200]!r}")
        elif not got.headers.get("Retry-After"):
            self.accuse(f"{kind}: 503 without Retry-After")
        elif got.cookie not in (None, got.sent):
            self.accuse(f"{kind}: 503 with the cookie {got.cookie!r}")
        elif kind in UNTOUCHED:
            self.accuse(f"{kind}: 503")
        elif not self._may_fail(got):
            took = got.ended - got.began
            self.accuse(f"{kind}: 503 after {took:.3f} s, asked {self._since(got.began)}")
        return False

    def is_calm(self, got: Got) -> bool:
        """Tell whether no connection to Redis was lost while a request was under way."""
        return not self._meets_outage(got) and not any(
            got.began - 2 * FRESH <= at <= got.ended for at in self.cuts
        )

    def _meets_outage(self, got: Got) -> bool:
        return any(each.began <= got.ended and got.began <= each.ended for each in self.outages)

    def _may_fail(self, got: Got) -> bool:
        if self._meets_outage(got):
            return True
        # A lost connection is made anew once: a request may meet one of an outage, and a cut.
        lately = any(0 <= got.began - each.ended <= 2 * FRESH for each in self.outages)
        return lately and any(got.began <= at <= got.ended for at in self.cuts)

    def _since(self, moment: float) -> str:
        ended = [moment - each.ended for each in self.outages if each.ended <= moment]
        return f"{min(ended):.3f} s after an outage" if ended else "before the first outage"

    def note_cut(self) -> None:
        """Note a request whose connection ended without an answer."""
        with self._lock:
            self.cut += 1

    def note_found(self, writes: int) -> None:
        """Note acknowledged writes that were there."""
        with self._lock:
            self.found += writes

    def note_dead(self) -> None:
        """Note a dead cookie that opened nothing."""
        with self._lock:
            self.stayed_dead += 1

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(self.answers.values())

    @property
    def refused(self) -> int:
        """How many were answered with 503."""
        return sum(count for (_, status), count in self.answers.items() if status == 503)

    def kinds(self) -> str:
        """Return how many requests of each kind got which status, for a figure."""
        lines = []
        for kind in sorted({kind for kind, _ in self.answers}):
            counts = {status: n for (each, status), n in self.answers.items() if each == kind}
            told = ", ".join(f"{status}: {n:,}" for status, n in sorted(counts.items()))
            lines.append(f"{kind} ({told})")
        return "; ".join(lines)
