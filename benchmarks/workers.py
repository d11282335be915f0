"""Requests per second and latencies under gunicorn, and writes that get lost there.

Two workers of four threads serve Flask that stores nothing, Flask-Session and this package; a
closed-loop load goes to each in turn, several rounds. The load and Redis share the processor
with the workers. Run it as `python benchmarks/workers.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from flask import Flask

from contenders import BENCHMARKED, SIZES, content, flask_session, floor, ours
from load import HOST, Load, fetch, load, request
from tables import Table, figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Server, free_port, wait_until

WORKERS, THREADS, CONNECTIONS = 2, 4, 16
MIXES = {"untouched": "untouched", "read_one": "read one", "set_one": "set one"}
#: The sizes that are served, and the requests of a round.
REQUESTS = {"3 × 20 B": 2000, "1,000 × 1 KB": 400}
SIDES = ("floor", "flask_session", "ours")
TITLES = {"floor": "nothing stored", "flask_session": "Flask-Session", "ours": "ours"}

#: Parallel writes of different keys to one session.
WRITES = 4000


def served(side: str, size: str, url: str) -> Flask:
    """Return an application; gunicorn calls this in each worker."""
    keys, each = SIZES[size]
    data = content(keys, each)
    if side == "floor":
        return floor(data, each)
    return (flask_session if side == "flask_session" else ours)(data, each, url)


@contextmanager
def gunicorn(side: str, size: str, url: str) -> Iterator[int]:
    """Serve an application while the block runs, on the port that this returns."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--log-level", "error"),
        *("--workers", str(WORKERS), "--threads", str(THREADS), "--keep-alive", "60"),
        *("--chdir", str(Path(__file__).parent), f"workers:served({side!r}, {size!r}, {url!r})"),
    ]
    process = subprocess.Popen(command)

    def answers() -> bool:
        assert process.poll() is None, "gunicorn ended at its start"
        with suppress(OSError):
            return fetch(port, request("/untouched"))[0] == "0"
        return False

    try:
        wait_until(answers, "gunicorn answers")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Put every side under load, in turn, and count lost writes."""
    found: dict[str, Any] = {"load": {}, "lost": {}}
    with Server(BENCHMARKED) as server:
        for size, requests in REQUESTS.items():
            count = 200 if quick else requests
            with ExitStack() as stack:
                ports = {
                    side: stack.enter_context(gunicorn(side, size, server.url)) for side in SIDES
                }
                found["load"][size] = {
                    mix: loaded(mix, ports, rounds=2 if quick else 7, count=count) for mix in MIXES
                }
                if not found["lost"]:
                    for side in SIDES[1:]:
                        found["lost"][side] = lost(ports[side], WRITES // 10 if quick else WRITES)
            server.ask("FLUSHDB")
    return found


def loaded(mix: str, ports: dict[str, int], rounds: int, count: int) -> dict[str, Any]:
    """Load each side in turn with requests of one kind, of one session per connection."""
    asked = {
        side: [request(f"/{mix}", fetch(port, request("/seed"))[1]) for _ in range(CONNECTIONS)]
        for side, port in ports.items()
    }
    loads: dict[str, list[Load]] = {side: [] for side in ports}
    for turn in range(rounds + 1):
        for side, port in ports.items():
            done = load(port, islice(cycle(asked[side]), count), CONNECTIONS)
            # The first round warms up.
            if turn:
                loads[side].append(done)
    return {side: _summary(each) for side, each in loads.items()}


def _summary(loads: list[Load]) -> dict[str, float]:
    rates = [each.per_second for each in loads]
    latencies = [latency for each in loads for latency in each.latencies]
    percentiles = quantiles(latencies, n=100)
    return {
        "per_second": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "p50": percentiles[49],
        "p99": percentiles[98],
    }


def lost(port: int, writes: int) -> dict[str, int]:
    """Write different keys to one session in parallel; return how many are not there then."""
    cookie = fetch(port, request("/seed"))[1]
    load(port, (request(f"/put/{number}", cookie) for number in range(writes)), CONNECTIONS)
    kept = int(fetch(port, request("/count", cookie))[0])
    return {"written": writes, "lost": writes - kept}


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of the load."""
    made = []
    for size, mixes in found["load"].items():
        table = Table(
            f"{size}, {WORKERS} workers × {THREADS} threads, {CONNECTIONS} connections",
            ["request", "requests/s", "(slowest–fastest round)", "p50 ms", "p99 ms"],
        )
        for mix, sides in mixes.items():
            for side, got in sides.items():
                table.rows.append(
                    [
                        f"{MIXES[mix]}: {TITLES[side]}",
                        figure(got["per_second"]),
                        f"{figure(got['slowest'])}–{figure(got['fastest'])}",
                        figure(got["p50"]),
                        figure(got["p99"]),
                    ]
                )
        made.append(table)
    losses = Table("Parallel writes of different keys to one session", ["", "written", "lost"])
    for side, counts in found["lost"].items():
        losses.rows.append([TITLES[side], f"{counts['written']:,}", f"{counts['lost']:,}"])
    return [*made, losses]


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
