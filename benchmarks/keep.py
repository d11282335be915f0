"""What a warm GET costs with SESSION_KEEP: `python benchmarks/keep.py`, or with `--quick`.

The same contenders as in requests.py take turns, and beside ours the same with SESSION_KEEP. Then
eight threads of one process read and work: who waits there waits for the interpreter.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from statistics import quantiles
from time import monotonic, perf_counter, sleep
from typing import Any

from contenders import BENCHMARKED, SIZES, content, cookie, flask_session, floor, ours
from requests import COOKIE_LIMIT, Contender, Times, measure, over_floor
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Server

#: Room for the sessions of each size.
ROOM = 2**25
CASE = "read_one"

#: Least ratio of Flask-Session's cost to a warm GET's, over the floor.
BARS = {"3 × 20 B": 5, "1,000 × 1 KB": 25}
#: Most microseconds over the floor, and the greatest ratio to Flask's own signed cookie.
MOST = 35
OF_COOKIE = 0.6

THREADS = 8
#: For how long each request of a thread works, in seconds.
WORK = 0.0005


def sides_of(size: str, server: Server) -> list[Contender]:
    """Make the contenders for a session of this size."""
    keys, each = SIZES[size]
    data = content(keys, each)
    browsers = [Browser(floor(data, each))]
    if keys * each < COOKIE_LIMIT / 2:
        browsers.append(Browser(cookie(data, each)))
    browsers.append(Browser(flask_session(data, each, server.url)))
    browsers.append(Browser(ours(data, each, server.url)))
    kept = Browser(ours(data, each, server.url, SESSION_KEEP=ROOM))
    kept.name = "kept"
    return [*map(Contender, [*browsers, kept])]


def warm(side: Contender) -> None:
    """Let the line of a contender be open before it is measured."""
    side.seed()
    for _ in range(20):
        side.request(CASE)
        sleep(0.01)


def run(*, quick: bool) -> dict[str, Times]:
    """Measure a read at every size."""
    found = {}
    for size in SIZES:
        with Server(BENCHMARKED) as server:
            sides = sides_of(size, server)
            warm(sides[-1])
            found[size] = measure(CASE, sides, server, 1.5 if quick else 10)
    return found


def table(found: dict[str, Times]) -> Table:
    """Return the figures."""
    names = {"cookie": "cookie", "flask_session": "Flask-Session", "ours": "ours", "kept": "kept"}
    head = ["session", *names.values(), "F-S / kept", "kept / cookie", "floor"]
    made = Table("Read one key: µs over Flask that stores nothing, median", head)
    for size, times in found.items():
        over = over_floor(times)
        cells = [figure(over[name]) if name in over else "–" for name in names]
        cells.append(figure(over["flask_session"] / over["kept"]))
        cells.append(figure(over["kept"] / over["cookie"]) if "cookie" in over else "–")
        made.rows.append([size, *cells, figure(times["floor"][1])])
    return made


def bars(found: dict[str, Times]) -> Table:
    """Return which bars are met."""
    made = Table("What it should reach", ["session", "bar", "found", ""])
    for size, times in found.items():
        over = over_floor(times)
        asked = [(f"kept ≤ {MOST} µs over the floor", over["kept"], over["kept"] <= MOST)]
        if size in BARS:
            ratio = over["flask_session"] / over["kept"]
            asked.append((f"Flask-Session / kept ≥ {BARS[size]}", ratio, ratio >= BARS[size]))
        if "cookie" in over:
            ratio = over["kept"] / over["cookie"]
            asked.append((f"kept / cookie ≤ {OF_COOKIE}", ratio, ratio <= OF_COOKIE))
        for bar, value, is_met in asked:
            made.rows.append([size, bar, figure(value), "met" if is_met else "**missed**"])
    return made


# --------------------------------------------------------------------------- eight threads


def _work() -> None:
    until = perf_counter() + WORK
    while perf_counter() < until:
        pass


def crowd(side: Contender, seconds: float) -> list[float]:
    """Let threads read and work; return what each read took, in milliseconds."""
    warm(side)
    times: list[float] = []
    until = monotonic() + seconds

    def visit() -> None:
        browser = Browser(side.browser.app)
        browser.cookie = side.browser.cookie
        while monotonic() < until:
            times.append(browser.get(f"/{CASE}")[1] / 1000)
            _work()

    threads = [threading.Thread(target=visit) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return times


def threads_table(*, quick: bool) -> Table:
    """Return how long a read takes in each of eight threads that also work."""
    made = Table(
        f"{THREADS} threads that read and work for {WORK * 1000:g} ms: ms of a read",
        ["", "reads a second", "median", "p95", "p99"],
    )
    with Server(BENCHMARKED) as server:
        for side in sides_of("3 × 20 B", server):
            seconds = 1.0 if quick else 6.0
            times = crowd(side, seconds)
            cuts = quantiles(times, n=100)
            cells: list[Any] = [len(times) / seconds, cuts[49], cuts[94], cuts[98]]
            made.rows.append([side.name, *map(figure, cells)])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take less than half a minute")
    quick = parser.parse_args().quick
    found = run(quick=quick)
    for each in (table(found), bars(found), threads_table(quick=quick)):
        print(each.text())


if __name__ == "__main__":
    main()
