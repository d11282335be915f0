"""What a session costs a request, in microseconds over Flask that stores nothing.

Flask's own cookie session, Flask-Session, this package, and its commands sent by hand take turns,
a few requests each, in one process. `python benchmarks/requests.py` takes some minutes, with
`--quick` less than one.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

from bare import bare
from contenders import BENCHMARKED, SIZES, content, cookie, flask_session, floor, ours
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Server

CASES = {
    "untouched": "untouched",
    "read_one": "read one",
    "read_ten": "read ten",
    "set_one": "set one",
    "read_and_set_one": "read and set one",
    "change_nested": "change a nested value",
    "set_to_same": "set one to what it was",
    "sign_in": "sign in",
    "sign_in_renewed": "sign in, id renewed",
    "new_visitor": "new anonymous visitor",
    "iterate_all": "iterate all",
}

#: Least ratio of Flask-Session's cost to ours, over the floor.
BARS = {
    ("3 × 20 B", "untouched"): 10,
    ("3 × 20 B", "read_one"): 1.7,
    ("3 × 20 B", "set_one"): 1.6,
    ("3 × 20 B", "read_and_set_one"): 1.0,
    ("100 × 1 KB", "untouched"): 15,
    ("100 × 1 KB", "read_one"): 2.3,
    ("100 × 1 KB", "set_one"): 2.3,
    ("1,000 × 1 KB", "untouched"): 50,
    ("1,000 × 1 KB", "read_one"): 7,
    ("1,000 × 1 KB", "set_one"): 6,
}
#: Greatest ratio of our cost to that of the same commands sent by hand, over the floor.
LAYER = 1.25

#: Requests of one contender at a stretch: enough to find its data in the processor's caches.
STRETCH = 5
WARM_UP = 30
#: Browsers drop a cookie beyond this.
COOKIE_LIMIT = 4093

#: Times of one case: contender -> lower quartile, median, upper quartile, in microseconds.
Times = dict[str, list[float]]


class Contender:
    """One application, and how its browser comes by a session.

    :param browser: of the application.
    :param seeder: of the application that fills its sessions, where that is another.
    """

    def __init__(self, browser: Browser, seeder: Browser | None = None) -> None:
        self.name = browser.name
        self.browser = browser
        self._seeder = seeder or browser
        self.times: list[float] = []

    def seed(self) -> None:
        """Hand the browser a filled session that nobody has signed in to."""
        self._seeder.cookie = None
        self._seeder.get("/seed")
        self.browser.cookie = self._seeder.cookie

    def prepare(self, case: str) -> None:
        """Come to where a request of this kind begins."""
        if case.startswith("sign_in"):
            self.seed()
        elif case == "new_visitor":
            self.browser.cookie = None

    def request(self, case: str) -> str:
        self.prepare(case)
        body, took = self.browser.get(f"/{case}")
        self.times.append(took)
        return body


def contenders(size: str, server: Server) -> list[Contender]:
    """Make the contenders for a session of this size, each with a client of its own."""
    keys, each = SIZES[size]
    data = content(keys, each)
    sides = [Contender(Browser(floor(data, each)))]
    if keys * each < COOKIE_LIMIT / 2:
        sides.append(Contender(Browser(cookie(data, each))))
    sides.append(Contender(Browser(flask_session(data, each, server.url))))
    our_app = ours(data, each, server.url)
    sides.append(Contender(Browser(our_app)))
    sides.append(Contender(Browser(bare(data, each, server.url)), Browser(our_app)))
    return sides


def measure(case: str, sides: list[Contender], server: Server, seconds: float) -> Times:
    """Let the contenders take turns for about so long."""
    commands = {}
    for side in sides:
        side.seed()
        bodies = {side.request(case) for _ in range(WARM_UP)}
        assert len(bodies) == 1, (side.name, case, bodies)
        side.prepare(case)
        with server.cost() as cost:
            side.browser.get(f"/{case}")
        commands[side.name] = [(each.name, len(each.arguments)) for each in cost.sent]
        side.times.clear()
    for name in {"bare", "own_client"} & set(commands):
        assert commands[name] == commands["ours"], (case, commands)

    gc.collect()
    gc.freeze()
    gc.disable()
    deadline = perf_counter() + seconds
    turn = 0
    while perf_counter() < deadline or turn < len(sides):
        # Who comes first moves on, so that nobody always follows the same one.
        first = turn % len(sides)
        for side in sides[first:] + sides[:first]:
            for _ in range(STRETCH):
                side.request(case)
        turn += 1
    gc.enable()
    gc.unfreeze()
    return {side.name: quantiles(side.times, n=4) for side in sides}


def run(*, quick: bool = False) -> dict[str, dict[str, Times]]:
    """Measure every case at every size."""
    found: dict[str, dict[str, Times]] = {}
    with Server(BENCHMARKED) as server:
        for size in SIZES:
            sides = contenders(size, server)
            found[size] = {}
            for case in CASES:
                found[size][case] = measure(case, sides, server, 0.8 if quick else 5)
                server.ask("FLUSHDB")
            print(f"measured: {size}", flush=True)
    return found


# --------------------------------------------------------------------------- what is shown


def over_floor(times: Times) -> dict[str, float]:
    """Return the median of each contender over that of the floor."""
    base = times["floor"][1]
    return {name: middle - base for name, (_, middle, _) in times.items()}


def is_by_hand(times: Times) -> bool:
    """Tell whether the case sends a command at all."""
    # Without one, the hand-written view differs from the floor by noise alone.
    return over_floor(times)["bare"] > 20


def judged(size: str, case: str, times: Times) -> Iterator[tuple[str, bool, str]]:
    """Return the bars of a case: what is asked, whether it is met, and what there is."""
    over = over_floor(times)
    if (size, case) in BARS:
        bar, ratio = BARS[size, case], over["flask_session"] / over["ours"]
        found, least = f"{ratio:.2f}", float(bar)
        if ratio < bar and is_by_hand(times):
            # What the same commands by hand do not reach on this machine is the round trip's.
            least = min(bar, over["flask_session"] / over["bare"])
            found += f" (by hand {least:.2f})"
        yield f"Flask-Session / ours ≥ {bar}, or what by hand reaches", ratio >= least, found
    if is_by_hand(times):
        layer = over["ours"] / over["bare"]
        yield f"ours / by hand ≤ {LAYER}", layer <= LAYER, f"{layer:.2f}"


def table(size: str, cases: dict[str, Times]) -> Table:
    """Return the table of one size."""
    head = ["request", "cookie", "Flask-Session", "ours", "by hand", "F-S / ours", "ours / hand"]
    made = Table(f"{size}: µs over Flask that stores nothing, median (quartiles)", [*head, "floor"])
    for case, times in cases.items():
        base, over = times["floor"][1], over_floor(times)

        def shown(name: str, times: Times = times, base: float = base) -> str:
            if name not in times:
                return "–"
            lower, middle, upper = (figure(time - base) for time in times[name])
            return f"{middle} ({lower}–{upper})"

        cells = [CASES[case], *map(shown, ("cookie", "flask_session", "ours"))]
        cells.append(shown("bare") if is_by_hand(times) else "–")
        cells.append(figure(over["flask_session"] / over["ours"]))
        cells.append(figure(over["ours"] / over["bare"]) if is_by_hand(times) else "–")
        made.rows.append([*cells, figure(base)])
    return made


def bars(found: dict[str, dict[str, Times]]) -> Table:
    """Return which bars are met."""
    made = Table("What it should reach", ["request", "bar", "found", ""])
    for size, cases in found.items():
        for case, times in cases.items():
            for asked, is_met, ratio in judged(size, case, times):
                if is_met and asked.startswith("ours") and (size, case) not in BARS:
                    continue
                made.rows.append(
                    [f"{size}, {CASES[case]}", asked, ratio, "met" if is_met else "**missed**"]
                )
    return made


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take less than a minute")
    found = run(quick=parser.parse_args(arguments).quick)
    for each in [*(table(size, cases) for size, cases in found.items()), bars(found)]:
        print(each.text())


if __name__ == "__main__":
    main()
