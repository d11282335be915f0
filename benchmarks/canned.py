"""What a request takes of the processor in Python alone: `python benchmarks/canned.py`.

Each contender meets a real Redis once. What that replies is then played again, so that neither
Redis nor the kernel blurs what Python takes. It is processor time of one thread: the figures hold
on a busy machine too, and a difference of two microseconds shows. What is not in them: the two
system calls of each round trip, and that a request in real life finds the processor's caches cold.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from statistics import quantiles
from time import thread_time_ns
from typing import Any

import redis.connection

import bare
import contenders
from requests import CASES, Contender
from requests import contenders as contenders_of
from tables import Table, figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_redis_session.storage import token
from tests.support.servers import Server

SIZE = "3 × 20 B"
SHOWN = [case for case in CASES if case not in ("read_ten", "set_to_same", "read_and_set_one")]
SIDES = {"flask_session": "Flask-Session", "ours": "ours", "bare": "by hand"}

#: Requests at a stretch, of which the fastest fifth counts, and how often each side has its turn.
STRETCH = 200
TURNS = 60
WARM_UP = 40


class Played:
    """A socket whose replies are played again once they are known.

    :param socket: the socket of a connection to Redis.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.replies: list[bytes] = []
        self.is_recorded = self.is_played = False
        self._next = 0

    def rewind(self) -> None:
        self._next = 0

    def sendall(self, data: bytes) -> None:
        if not self.is_played:
            self._socket.sendall(data)

    def recv_into(self, buffer: Any, *sizes: int) -> int:
        if self.is_played:
            reply = self.replies[self._next % len(self.replies)]
            self._next += 1
            buffer[: len(reply)] = reply
            return len(reply)
        count: int = self._socket.recv_into(buffer, *sizes)
        if self.is_recorded:
            self.replies.append(bytes(buffer[:count]))
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Stage:
    """All sockets, and what must be the same in each request for its replies to fit."""

    def __init__(self) -> None:
        self.sockets: list[Played] = []
        self.is_fixed = False
        # There is no public way to a connection's socket before it is used.
        connect = redis.connection.Connection._connect  # noqa: SLF001
        random = token.token_urlsafe

        def connected(connection: Any) -> Played:
            self.sockets.append(Played(connect(connection)))
            return self.sockets[-1]

        def secret(size: int) -> str:
            return random(size) if not self.is_fixed else "A" * (22 if size == 16 else 43)

        redis.connection.Connection._connect = connected  # type: ignore[method-assign]  # noqa: SLF001
        token.token_urlsafe = bare.token_urlsafe = secret  # type: ignore[assignment,attr-defined]
        for module in (contenders, bare):
            module.cycle = _first  # type: ignore[attr-defined]

    def set(self, *, recorded: bool = False, played: bool = False) -> None:
        for each in self.sockets:
            each.is_recorded, each.is_played = recorded, played
            each.rewind()

    def record(self, side: Contender, case: str) -> Turn:
        """Let a contender meet Redis once, and return what its next requests are to find."""
        self.is_fixed = False
        side.seed()
        for _ in range(WARM_UP):
            side.request(case)
        side.prepare(case)
        cookie = side.browser.cookie
        self.is_fixed = True
        for each in self.sockets:
            each.replies = []
        self.set(recorded=True)
        side.browser.get(f"/{case}")
        self.set()
        return Turn(side, case, cookie, [(each, each.replies) for each in self.sockets])


class Turn:
    """Requests of one kind that one contender answers from what Redis replied before."""

    def __init__(
        self,
        side: Contender,
        case: str,
        cookie: str | None,
        heard: list[tuple[Played, list[bytes]]],
    ) -> None:
        self.name = side.name
        self._browser = side.browser
        self._path = f"/{case}"
        self._cookie = cookie
        self._heard = heard

    def take(self) -> float:
        """Return what a request takes, in microseconds."""
        for socket, replies in self._heard:
            socket.replies = replies
            socket.rewind()
        times = [*self._requests()]
        return quantiles(times, n=5)[0] / 1000

    def _requests(self) -> Iterator[int]:
        for _ in range(STRETCH):
            self._browser.cookie = self._cookie
            begin = thread_time_ns()
            self._browser.get(self._path)
            yield thread_time_ns() - begin


def _first(values: Iterable[Any]) -> Iterator[Any]:
    return repeat(next(iter(values)))


def run(turns: int = TURNS) -> dict[str, dict[str, float]]:
    """Measure every kind of request: contender -> microseconds over the floor."""
    stage = Stage()
    found: dict[str, dict[str, float]] = {}
    with Server(contenders.BENCHMARKED) as server:
        sides = [side for side in contenders_of(SIZE, server) if side.name in ("floor", *SIDES)]
        for case in SHOWN:
            recorded = [stage.record(side, case) for side in sides]
            gc.collect()
            gc.disable()
            stage.set(played=True)
            times = defaultdict(list)
            for _ in range(turns):
                for turn in recorded:
                    times[turn.name].append(turn.take())
            stage.set()
            gc.enable()
            server.ask("FLUSHDB")
            least = {name: quantiles(taken, n=5)[0] for name, taken in times.items()}
            found[case] = {name: least[name] - least["floor"] for name in SIDES}
    return found


def table(found: dict[str, dict[str, float]]) -> Table:
    """Return the figures."""
    made = Table(
        f"{SIZE}: µs of Python over Flask that stores nothing", ["request", *SIDES.values()]
    )
    for case, times in found.items():
        made.rows.append([CASES[case], *(figure(times[name]) for name in SIDES)])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take a tenth of the time")
    print(table(run(TURNS // 10 if parser.parse_args().quick else TURNS)).text())


if __name__ == "__main__":
    main()
