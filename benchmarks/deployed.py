"""What a session costs as people deploy it: over a network, and with a client of their own.

Flask-Session, this package by a URL and this package by a client take turns, in one process: on the
same machine as Redis, and again with a network in between. Run it as `python benchmarks deployed`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter, thread_time
from typing import Any

import redis

from contenders import BENCHMARKED, SIZES, content, flask_session, floor, ours, own_client
from distance import network
from flask_redis_session.client.commands import HGETALL, HMGET, Commands
from flask_redis_session.client.url import connect
from requests import CASES, Contender, Times, measure, over_floor
from tables import Table, figure
from tests.support.servers import Server
from wsgi import Browser

#: Seconds that a piece is on its way, in each direction.
DELAY = 0.0005
SHOWN_SIZES = ("3 × 20 B", "100 × 1 KB", "1,000 × 1 KB")
#: A setting that changes nothing, or only to what it was, costs what a read does.
SHOWN = [case for case in CASES if case not in ("read_ten", "set_to_same", "change_nested")]
PLACES = ("here", "there")
SIDES = ("flask_session", "ours", "own_client")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure every kind of request at both places."""
    found: dict[str, Any] = {"requests": {}}
    with Server(BENCHMARKED) as server, network(server.port, DELAY) as far:
        found["clients"] = _clients(server, 5 if quick else 40)
        found["ping"] = {"here": _ping(server.url), "there": _ping(far)}
        for size in SHOWN_SIZES:
            found["requests"][size] = {}
            for place, url in zip(PLACES, (server.url, far), strict=True):
                sides = contenders(size, url)
                found["requests"][size][place] = {
                    case: measure(case, sides, server, 0.5 if quick else 3) for case in SHOWN
                }
                server.ask("FLUSHDB")
            print(f"measured: {size}", flush=True)
    return found


def contenders(size: str, url: str) -> list[Contender]:
    """Make the contenders for a session of this size."""
    keys, each = SIZES[size]
    data = content(keys, each)
    apps = [make(data, each, url) for make in (flask_session, ours, own_client)]
    return [Contender(Browser(app)) for app in (floor(data, each), *apps)]


def _clients(server: Server, rounds: int) -> dict[str, list[float]]:
    """Return what a client takes of the processor: one command, two in a piece, its pool alone."""
    own, made = redis.Redis.from_url(server.url), connect(server.url)
    own.hset("hash", "key", "value")
    ways: dict[str, list[Callable[[], object]]] = {}
    for name, client in (("own_client", own), ("ours", made)):
        way, pool = Commands(lambda client=client: client), client.connection_pool
        ways[name] = [
            partial(way.call, (HGETALL, b"hash")),
            partial(way.together, [(HGETALL, b"hash"), (HMGET, b"hash", b"key")]),
            lambda pool=pool: pool.release(pool.get_connection()),
        ]
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for name, sends in ways.items():
            for at, send in enumerate(sends):
                begin = thread_time()
                for _ in range(50):
                    send()
                times.setdefault((name, at), []).append((thread_time() - begin) / 50 * 1e6)
    server.ask("FLUSHDB")
    return {name: [median(times[name, at]) for at in range(3)] for name in ways}


def _ping(url: str) -> float:
    """Return how long the shortest command takes, in microseconds."""
    client = redis.Redis.from_url(url)
    times = []
    for _ in range(500):
        begin = perf_counter()
        client.ping()
        times.append((perf_counter() - begin) * 1e6)
    client.close()
    return median(times)


def tables(found: dict[str, Any]) -> list[Table]:
    """Return a table for each size: what is measured at both places."""
    made = []
    here, there = (figure(found["ping"][place]) for place in PLACES)
    over = f"{there} µs over a network of {DELAY * 1000:g} ms each way"
    note = f"A PING takes {here} µs on the same machine and {over}."
    for size, places in found["requests"].items():
        table = Table(
            f"{size}, deployed: µs over Flask that stores nothing, median",
            [
                *("request", "Flask-Session", "ours", "own client", "F-S / ours", "F-S / own"),
                *("network: F-S", "ours", "own client", "F-S / ours", "F-S / own"),
            ],
            notes=[note],
        )
        for case in SHOWN:
            cells = [CASES[case]]
            for place in PLACES:
                cells += _cells(places[place][case])
            table.rows.append(cells)
        made.append(table)
    clients = Table(
        "What the client takes: µs of the application's processor",
        ["", "one command", "two in one piece", "its pool alone"],
    )
    for name, title in (("ours", "made from a URL"), ("own_client", "`redis.Redis`")):
        clients.rows.append([title, *map(figure, found["clients"][name])])
    return [*made, clients]


def _cells(times: Times) -> list[str]:
    over = over_floor(times)
    ratios = (over["flask_session"] / over[side] for side in SIDES[1:])
    return [*(figure(over[side]) for side in SIDES), *map(figure, ratios)]


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
