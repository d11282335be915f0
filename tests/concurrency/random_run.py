"""Many random operations by threads of several processes at once, and what they came to.

>>> run = RandomRun(server, seed=7)
>>> history = run.history(5_000)
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis

from tests.concurrency.history import Event, History, Look, contents, shared
from tests.concurrency.interleaving import Violation
from tests.concurrency.situations import Snapshot
from tests.concurrency.stage import Probe
from tests.concurrency.throng import Place, work
from tests.concurrency.verdict import violations
from tests.support.servers import Server

PROCESSES = 2
THREADS = 8
BROWSERS = 24
#: How many operations all do together from one stop to the next.
ROUND = 2_000
#: How long one may wait for all the others, in seconds.
PATIENCE = 600.0
#: Seconds between two looks at what Redis holds.
PAUSE = 0.01


_SPAWN = multiprocessing.get_context("spawn")


def seed_of_run() -> int:
    """Return the seed: ``RANDOM_SEED`` of the environment, or another each time."""
    named = os.environ.get("RANDOM_SEED")
    return int(named) if named else random.SystemRandom().randrange(1_000_000)


class Problem(AssertionError):
    """A thread of the crowd failed."""


class RandomRun:
    """A crowd of threads in several processes, on one server.

    :param server: the server; it is emptied.
    :param seed: from which every thread draws what it does.
    :param break_it: breaks the library in each process on purpose.
    """

    def __init__(
        self, server: Server, seed: int, break_it: Callable[[], object] | None = None
    ) -> None:
        self._server = server
        self._seed = seed
        self._break_it = break_it
        self._plain = redis.Redis(unix_socket_path=str(server.socket_path), socket_timeout=30)
        # Kept here: a process takes a while to start, and asks for them then.
        self._jars = [_SPAWN.Array("c", 100) for _ in range(BROWSERS)]
        self._looks: list[Look] = []
        self._looking = threading.Lock()

    def history(self, operations: int) -> History:
        """Let the crowd do so many operations, and return what was done and seen.

        :raises Problem: if a thread failed.
        """
        self._server.flush()
        rounds = max(1, round(operations / ROUND))
        barrier = _SPAWN.Barrier(PROCESSES * THREADS + 1, timeout=PATIENCE)
        started = self._start(barrier, rounds, -(-operations // rounds // (PROCESSES * THREADS)))
        try:
            self._watch(barrier, rounds, [process for process, _ in started])
            events = self._reports([pipe for _, pipe in started])
            for process, _ in started:
                process.join(30)
        finally:
            for process, _ in started:
                # If one failed, the others must not disturb what comes after.
                process.terminate()
        if barrier.broken:
            raise Problem(f"somebody did not come to a stop within {PATIENCE} s")
        return History(events, self._looks)

    def _start(self, barrier: Any, rounds: int, operations: int) -> list[tuple[Any, Any]]:
        """Start the processes; return each with the pipe that its report will come by."""
        started = []
        for number in range(PROCESSES):
            pipe, end = _SPAWN.Pipe(duplex=False)
            place = Place(
                socket=str(self._server.socket_path),
                seed=self._seed,
                process=number,
                threads=THREADS,
                rounds=rounds,
                operations=operations,
                jars=self._jars,
                barrier=barrier,
            )
            process = _SPAWN.Process(target=work, args=(place, end, self._break_it), daemon=True)
            process.start()
            end.close()
            started.append((process, pipe))
        return started

    def tried(self, history: History) -> list[str]:
        """Try out cookies in requests, after the run; return what was wrong.

        Each cookie of a session that is still there, and some of those of others.

        :param history: what was done.
        """
        held = Snapshot.take(self._plain)
        cookies = {event.cookie for event in history.events if event.cookie is not None}
        # A permanent session may expire at any moment.
        steady = sorted(
            (each for each in cookies if history.life(each.sid).fades == float("inf")),
            key=lambda each: each.cookie,
        )
        others = [cookie for cookie in steady if cookie.sid not in held.hashes]
        draws = random.Random(self._seed)
        probe = Probe(self._plain)
        wrong = []
        for cookie in [
            *(cookie for cookie in steady if cookie.sid in held.hashes),
            *draws.sample(others, min(len(others), 200)),
        ]:
            there = contents(held.hashes.get(cookie.sid, {}))
            try:
                probe.check(cookie, there, held.opens(cookie))
            except Violation as violation:
                wrong.append(str(violation))
        return wrong

    def _watch(self, barrier: Any, rounds: int, processes: list[Any]) -> None:
        over = threading.Event()

        def keep_looking() -> None:
            while not over.wait(PAUSE):
                self._look(is_still=False)
                if any(process.exitcode for process in processes):
                    barrier.abort()

        watcher = threading.Thread(target=keep_looking)
        watcher.start()
        try:
            for _ in range(rounds):
                barrier.wait()
                self._look(is_still=True)
                barrier.wait()
        except threading.BrokenBarrierError:
            pass
        finally:
            over.set()
            watcher.join()

    def _look(self, *, is_still: bool) -> None:
        with self._looking:
            began = time.monotonic()
            held = Snapshot.take(self._plain)
            span = began, time.monotonic()
            before = self._looks[-1].held if self._looks else None
            self._looks.append(Look(span, shared(held, before), is_still))

    @staticmethod
    def _reports(pipes: list[Any]) -> list[Event]:
        events: list[Event] = []
        for pipe in pipes:
            try:
                problems, found = pickle.loads(pipe.recv_bytes())  # noqa: S301 - it is our own
            except EOFError:
                raise Problem("a process ended without a report") from None
            if problems:
                raise Problem("\n".join(problems))
            events += found
        return events


def told(history: History) -> str:
    """Return how many operations of each kind there were, and how they were refused."""
    kinds = Counter(event.kind for event in history.events)
    refused = Counter(event.refused for event in history.events if event.refused)
    faults = Counter(event.fault for event in history.events if event.fault)
    still = sum(look.is_still for look in history.looks)
    ends = Counter(reason for event in history.events for _, reason, _ in event.ends)
    lines = [
        f"{len(history.events)} operations: " + _counts(kinds),
        f"refused: {_counts(refused)}; faults: {_counts(faults)}; ended: {_counts(ends)}",
        f"{len(history.lives)} sessions; {len(history.looks)} looks, {still} at a standstill",
    ]
    return "\n".join(lines)


def _counts(counter: Counter[Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


if __name__ == "__main__":
    with Server(sys.argv[1]) as server:
        began = time.monotonic()
        run = RandomRun(server, seed=int(sys.argv[3]))
        history = run.history(int(sys.argv[2]))
        print(f"seed {sys.argv[3]}: {time.monotonic() - began:.1f} s")
        print(told(history))
        began = time.monotonic()
        for violation in [*violations(history), *run.tried(history)][:20]:
            print(violation)
        print(f"checked in {time.monotonic() - began:.1f} s")
