"""How cost grows: with the keys of a session, the size of a value, a user's sessions, and all.

Run it as `python benchmarks/growth.py`, with `--quick` for small numbers only.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from statistics import median
from typing import Any

from contenders import BENCHMARKED, content, flask_session, floor, nested, ours, text
from crowd import memory_of_ending, of_one_user, of_redis, tables_of_crowds
from requests import Contender
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Server

KEYS = (1, 10, 100, 1000, 10_000)
#: Of each value where the number of keys grows, in bytes.
OF_A_VALUE = 100
VALUES = {
    "10 B": 10,
    "100 B": 100,
    "1 KB": 1000,
    "10 KB": 10_000,
    "100 KB": 100_000,
    "1 MB": 1_000_000,
    "10 MB": 10_000_000,
}
CROWDS = (1, 100, 10_000, 1_000_000)

#: Bytes that the requests of a point move at most, so that no point takes minutes.
MOVED = 2_000_000_000


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure everything that can grow."""
    found: dict[str, Any] = {}
    most = 10_000 if quick else max(CROWDS)
    with Server(BENCHMARKED) as server:
        found["keys"] = {
            f"{keys:,}": timed(content(keys + 1, OF_A_VALUE), OF_A_VALUE, server, quick=quick)
            for keys in KEYS
        }
        found["values"] = {
            name: timed(_with_value(size), size, server, quick=quick)
            for name, size in VALUES.items()
        }
    crowds = [count for count in CROWDS if count <= most]
    with Server(BENCHMARKED) as server:
        found["of_one_user"] = {f"{count:,}": of_one_user(count, server) for count in crowds}
    with Server(BENCHMARKED) as server:
        found["memory"] = {
            f"{count:,}": memory_of_ending(count, server) for count in (10_000, 100_000)
        }
    with Server(BENCHMARKED) as server:
        found["of_redis"] = {
            f"{count:,}": of_redis(count, server) for count in crowds if count >= 10_000
        }
    return found


def _with_value(size: int) -> dict[str, Any]:
    return {"key0": text(size), "key1": text(20), "last": nested(20)}


def timed(
    data: dict[str, Any], size: int, server: Server, *, quick: bool
) -> dict[str, dict[str, float]]:
    """Return the median of each request over the floor, in microseconds."""
    sides = [
        Contender(Browser(app))
        for app in (
            floor(data, size),
            flask_session(data, size, server.url),
            ours(data, size, server.url),
        )
    ]
    total = sum(len(str(value)) for value in data.values())
    rounds = max(5, min(20 if quick else 200, MOVED // (40 * total)))
    found = {}
    cases = ("untouched", "read_one", "set_one", "read_other")
    for case in cases if "key1" in data else cases[:3]:
        for side in sides:
            side.seed()
            for _ in range(min(rounds, 20)):
                side.request(case)
            side.times.clear()
        gc.collect()
        gc.disable()
        for _ in range(rounds):
            for side in sides:
                for _ in range(3):
                    side.request(case)
        gc.enable()
        base, *medians = (median(side.times) for side in sides)
        names = (side.name for side in sides[1:])
        found[case] = {name: each - base for name, each in zip(names, medians, strict=True)}
    server.ask("FLUSHDB")
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of growth."""
    keys = Table(
        f"Keys in a session, of {OF_A_VALUE} B each: µs over the floor, Flask-Session → ours",
        ["keys", "untouched", "read one", "set one"],
    )
    for name, cases in found["keys"].items():
        keys.rows.append([name, *(_both(cases[c]) for c in ("untouched", "read_one", "set_one"))])
    values = Table(
        "Size of one value beside two small ones: µs over the floor, Flask-Session → ours",
        ["size", "untouched", "read it", "set it", "read a small one"],
    )
    for name, cases in found["values"].items():
        values.rows.append([name, *map(_both, cases.values())])
    return [keys, values, *tables_of_crowds(found)]


def _both(case: dict[str, float]) -> str:
    return f"{figure(case['flask_session'])} → {figure(case['ours'])}"


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
