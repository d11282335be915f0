"""The suite with every pair of a server, a client library, a parser, a protocol and a decoding.

``make matrix`` runs it whole, ``make matrix MATRIX_ARGS=--quick`` only what goes through a client
of the application's, ``make matrix ALL=1`` with every combination instead of every pair.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from tests.support.servers import PROGRAMS
from tests.tooling.environment import FAST_PARSERS, ROOT, Environment

#: The libraries, each with the versions that are supported: the newest of these is taken.
CLIENTS = ("redis-5.2", "redis-6", "redis-7", "redis-8", "valkey-6")
NEWEST = "8"

#: The tests that go through a client of the application's, and soon end.
QUICK = (
    "tests/admin/test_admin.py",
    "tests/client/test_commands.py",
    "tests/failure/test_failure.py",
    "tests/request/test_applications.py",
    "tests/request/test_changes.py",
    "tests/request/test_permanent.py",
    "tests/request/test_loading.py",
    "tests/request/test_refused.py",
    "tests/request/test_round_trips.py",
    "tests/request/test_save.py",
    "tests/request/test_user_binding.py",
    "tests/request/test_user_sessions.py",
    "tests/storage/test_commit.py",
    "tests/storage/test_damage.py",
    "tests/storage/test_user_index.py",
    "tests/storage/test_replay.py",
    "tests/storage/test_session_hash.py",
)

_COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


#: A value for each factor.
Combination = dict[str, Any]


def factors(servers: list[str], clients: list[str]) -> dict[str, list[Any]]:
    """Return what a combination consists of, and the values of each."""
    return {
        "server": servers,
        "client": clients,
        "fast": [True, False],
        "protocol": [3, 2],
        "decode": [True, False],
    }


def possible_servers() -> list[str]:
    """Return the servers that can be on this machine: Redis 6.2 is a wheel for one Python only."""
    has_redis62 = sys.version_info[:2] == (3, 11) and platform.machine() == "x86_64"
    return [name for name in PROGRAMS if has_redis62 or name != "redis62"]


# --------------------------------------------------------------------------- which combinations


def every(factors: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return every combination.

    :param factors: the values of each factor.
    """
    return [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]


def tuples_in(combination: Combination, length: int = 2) -> set[tuple[tuple[str, Any], ...]]:
    """Return the pairs of values, or the triples, that a combination holds together."""
    return set(combinations(combination.items(), length))


def covering(factors: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return few combinations that together hold every two values of different factors.

    Each is one that holds the most pairs which none before it holds, and of those one that holds
    the most such triples.
    """
    candidates = every(factors)
    pairs = set().union(*map(tuples_in, candidates))
    triples = set().union(*(tuples_in(each, 3) for each in candidates))
    chosen: list[Combination] = []
    while pairs:
        best = max(
            candidates,
            key=lambda each: (len(pairs & tuples_in(each)), len(triples & tuples_in(each, 3))),
        )
        pairs -= tuples_in(best)
        triples -= tuples_in(best, 3)
        chosen.append(best)
    return chosen


# --------------------------------------------------------------------------- one combination


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    passed: int
    failed: int
    skipped: int
    #: Whether pytest found nothing wrong.
    good: bool

    @classmethod
    def read(cls, output: str, code: int) -> Outcome:
        """Read the last line that pytest printed, and its exit code."""
        *_, last = ["", *output.splitlines()]
        counts = {kind.rstrip("s"): int(count) for count, kind in _COUNTED.findall(last)}
        failed = counts.get("failed", 0) + counts.get("error", 0)
        return cls(counts.get("passed", 0), failed, counts.get("skipped", 0), code == 0)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def library_of(combination: Combination) -> str:
    """Return ``redis`` or ``valkey``."""
    library: str = combination["client"].partition("-")[0]
    return library


def environment_of(combination: Combination, folder: Path) -> Environment:
    """Return the environment that a combination runs in; valkey-py's has the newest redis-py."""
    library, _, version = combination["client"].partition("-")
    redis = version if library == "redis" else NEWEST
    return Environment(folder, redis, fast=combination["fast"])


def described(combination: Combination) -> str:
    """Return a combination as it stands in the table."""
    parser = FAST_PARSERS[library_of(combination)] if combination["fast"] else "python"
    decoded = "decoded" if combination["decode"] else "bytes"
    return (
        f"{combination['server']:8} {combination['client']:9} {parser:9} "
        f"RESP{combination['protocol']} {decoded:7}"
    )


def run(combination: Combination, folder: Path, log: Path, arguments: list[str]) -> Outcome:
    """Run the tests with a combination.

    :param folder: where the environments are.
    :param log: where what pytest prints goes.
    :param arguments: further ones for pytest.
    """
    command = [str(environment_of(combination, folder).python), "-m", "pytest", "--color=no"]
    command += ["-p", "no:cacheprovider", "--servers", combination["server"]]
    command += ["--client", library_of(combination), "--protocol", str(combination["protocol"])]
    command += ["--decode-responses"] if combination["decode"] else []
    command += arguments
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    return Outcome.read(log.read_text(), done.returncode)


# --------------------------------------------------------------------------- all of them


def numbered(chosen: list[Combination], options: argparse.Namespace) -> dict[int, Combination]:
    """Return the combinations that this call is for, by their numbers."""
    only = {int(number) for number in options.only.split(",") if number}
    part, parts = map(int, options.part.split("/"))
    return {
        number: each
        for number, each in enumerate(chosen, 1)
        if (not only or number in only) and (number - part) % parts == 0
    }


def run_all(chosen: dict[int, Combination], folder: Path, arguments: list[str]) -> int:
    """Run the tests with each combination, print a line for each, and return the exit code."""
    outcomes = []
    for number, each in chosen.items():
        log = folder / f"{number}.log"
        began = time.monotonic()
        outcome = run(each, folder, log, arguments)
        outcomes.append(outcome)
        seconds = time.monotonic() - began
        print(f"{number:3}  {described(each)}  {outcome} in {seconds:.0f} s", flush=True)
        if not outcome.good:
            print(log.read_text()[-20_000:])
    passed, failed, skipped = (
        sum(getattr(each, kind) for each in outcomes) for kind in ("passed", "failed", "skipped")
    )
    good = all(each.good for each in outcomes)
    print(Outcome(passed, failed, skipped, good))
    return 0 if good else 1


def main() -> int:
    """Do what the command line says and return the exit code."""
    options = command_line().parse_args()
    combine = every if options.all else covering
    values = factors(options.servers.split(","), options.clients.split(","))
    chosen = numbered(combine(values), options)
    if options.list:
        print(*(f"{number:3}  {described(each)}" for number, each in chosen.items()), sep="\n")
        return 0

    began = time.monotonic()
    environments = {
        each.folder: each for each in (environment_of(c, options.folder) for c in chosen.values())
    }
    for environment in environments.values():
        environment.make()
    seconds = time.monotonic() - began
    print(f"{len(environments)} environments in {seconds:.0f} s; {len(chosen)} combinations")

    files = [*QUICK] if options.quick else []
    return run_all(chosen, options.folder, ["-n", options.workers, *files, *options.pytest])


def command_line() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser("make matrix MATRIX_ARGS=…", description=__doc__)
    parser.add_argument(
        "--servers", default=",".join(possible_servers()), help="some of %(default)s"
    )
    parser.add_argument("--clients", default=",".join(CLIENTS), help="some of %(default)s")
    parser.add_argument("--all", action="store_true", help="every combination, not every pair")
    parser.add_argument("--only", default="", help="only the combinations with these numbers: 3,7")
    parser.add_argument("--part", default="1/1", help="only the second quarter of them: 2/4")
    parser.add_argument("--list", action="store_true", help="list the combinations and run none")
    parser.add_argument("--quick", action="store_true", help="only the tests of clients")
    parser.add_argument(
        "--workers", default=os.environ.get("WORKERS", "2"), help="tests that run at once"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix", help="for what it makes")
    parser.add_argument("pytest", nargs="*", help="given to pytest, after a --")
    return parser


if __name__ == "__main__":
    sys.exit(main())
