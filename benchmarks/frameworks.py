"""What a session of 3 × 20 B costs in other frameworks, each over its own floor.

Each is a process of its own; they take turns, some requests each. What is not installed is left
out; `pip install -c constraints.txt -e ".[benchmarks]"` installs all. Run it as
`python benchmarks frameworks`.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from contenders import BENCHMARKED
from requests import CASES, STRETCH, WARM_UP
from tables import Table, figure
from tests.support.servers import Server

ELSEWHERE = Path(__file__).with_name("elsewhere.py")
#: A module -> the name of the package that it is of, and of what else makes it.
PACKAGES = {
    "flask_redis_session": "flask-redis-session",
    "flask_session": "Flask-Session",
    "django": "Django",
    "pyramid_session_redis": "pyramid_session_redis",
    "starsessions": "starsessions",
    "litestar": "litestar",
}
SHOWN = ("read_one", "set_one", "read_and_set_one", "new_visitor", "sign_in")
#: How often Redis's work on a hundred requests is measured; the median counts.
ROUNDS = 10


class Framework:
    """A process with the two applications of a framework.

    :param module: that must be there.
    :param server: where the sessions are.
    """

    def __init__(self, module: str, server: Server) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [sys.executable, str(ELSEWHERE), module, server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, side: str, case: str, count: int) -> list[float]:
        """Let it send requests; return how many microseconds of its processor each took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([side, case, count]), file=self._process.stdin, flush=True)
        times: list[float] = json.loads(self._process.stdout.readline())
        return times

    def end(self) -> None:
        self._process.communicate()


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure the requests of each framework that is installed."""
    found: dict[str, Any] = {}
    with Server(BENCHMARKED) as server:
        frameworks = [Framework(module, server) for module in PACKAGES if find_spec(module)]
        try:
            for case in SHOWN:
                for name, cost in measure(case, frameworks, server, 0.6 if quick else 3).items():
                    found.setdefault(name, {"version": version(PACKAGES[name])})[case] = cost
        finally:
            for each in frameworks:
                each.end()
    return found


def measure(
    case: str, frameworks: list[Framework], server: Server, seconds: float
) -> dict[str, dict[str, Any]]:
    """Let the frameworks take turns for about so long each; return what a request costs."""
    costs: dict[str, dict[str, Any]] = {}
    for each in frameworks:
        for side in ("floor", "sessions"):
            each.ask(side, "seed", 1)
            each.ask(side, case, WARM_UP)
        costs[each.module] = {"commands": _commands(each, case, server)}
    times: dict[tuple[str, str], list[float]] = {}
    deadline = perf_counter() + seconds * len(frameworks)
    gc.collect()
    while perf_counter() < deadline:
        for each in frameworks:
            for side in ("floor", "sessions"):
                times.setdefault((each.module, side), []).extend(each.ask(side, case, STRETCH))
    worked: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for each in frameworks:
            worked.setdefault(each.module, []).append(_redis(each, case, server))
    for each in frameworks:
        base = median(times[each.module, "floor"])
        costs[each.module] |= {
            "floor": base,
            "over": median(times[each.module, "sessions"]) - base,
            "redis": median(worked[each.module]),
        }
    server.ask("FLUSHDB")
    return costs


def _commands(framework: Framework, case: str, server: Server) -> list[str]:
    """Return the commands of one request."""
    with server.cost() as cost:
        framework.ask("sessions", case, 1)
    sent = [each.name.upper() for each in cost.sent]
    if case == "sign_in":
        with server.cost() as cost:
            # What made the session.
            framework.ask("sessions", "seed", 1)
        sent = sent[len(cost.sent) :]
    return sent


def _redis(framework: Framework, case: str, server: Server, count: int = 100) -> float:
    """Return how long Redis's process worked on a request, in microseconds."""
    if case == "sign_in":
        # Each begins with a session of its own, whose making must not count.
        making = _processor(framework, "seed", server, count)
        return _processor(framework, case, server, count) - making
    return _processor(framework, case, server, count)


def _processor(framework: Framework, case: str, server: Server, count: int) -> float:
    before = processor_time(server)
    framework.ask("sessions", case, count)
    return (processor_time(server) - before) / count * 1e6


def processor_time(server: Server) -> float:
    """Return how long Redis's process has worked, in seconds."""
    info = server.ask("INFO", "cpu").decode()
    pairs = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return float(pairs["used_cpu_user"]) + float(pairs["used_cpu_sys"])


def tables(found: dict[str, Any]) -> list[Table]:
    """Return what a request costs: the time over the floor, Redis's, and the commands."""
    times = Table(
        "3 × 20 B in other frameworks: µs of the application's processor over the floor, median",
        ["", *(CASES[case] for case in SHOWN), "floor"],
    )
    redis = Table(
        "What that costs Redis: µs of its processor, and the commands",
        ["", *(CASES[case] for case in SHOWN)],
    )
    for module, costs in found.items():
        name = f"{PACKAGES[module]} {costs['version']}"
        over = [figure(costs[case]["over"]) for case in SHOWN]
        times.rows.append([name, *over, figure(costs["read_one"]["floor"])])
        cells = [f"{figure(c['redis'])}: {' '.join(c['commands'])}" for c in map(costs.get, SHOWN)]
        redis.rows.append([name, *cells])
    return [times, redis]


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
