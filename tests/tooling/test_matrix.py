"""The matrix: which combinations it runs, in which environments, and what it tells of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pytest

from tests.support.clients import LIBRARIES, parser
from tests.support.servers import PROGRAMS
from tests.tooling.environment import FAST_PARSERS, ROOT
from tests.tooling.matrix import CLIENTS, QUICK, Outcome, covering, every, factors, tuples_in

FACTORS = factors(list(PROGRAMS), list(CLIENTS))
#: An environment without them cannot make one with them.
HAS_FAST_PARSERS = {parser(name) for name in LIBRARIES} == set(FAST_PARSERS.values())


def bound(factors: Mapping[str, Sequence[Any]]) -> int:
    """Return how many combinations it takes at least: the two longest factors multiplied."""
    *_, second, first = sorted(map(len, factors.values()))
    return first * second


def pairs_of(combinations):
    """Return the pairs of values that some combinations hold."""
    return set().union(*map(tuples_in, combinations))


def matrix(*arguments):
    """Call the command and return what it did."""
    command = [sys.executable, "-m", "tests.tooling.matrix", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


class TestPairs:
    """Few combinations hold every pair."""

    def test_of_the_matrix(self):
        """Those of the matrix do, with as few as there can be."""
        assert pairs_of(every(FACTORS)) == pairs_of(covering(FACTORS))
        assert bound(FACTORS) == len(covering(FACTORS)) == 20

    @pytest.mark.parametrize("sizes", [(1, 1), (2, 2, 2), (1, 3, 2), (4, 4, 4, 3), (2,) * 7])
    def test_of_others(self, sizes):
        """Those of any factors do."""
        sized = {str(number): range(size) for number, size in enumerate(sizes)}

        assert pairs_of(every(sized)) == pairs_of(covering(sized))

    def test_all_options(self):
        """The three options of a client are there in every combination."""
        options = ("fast", "protocol", "decode")

        assert 8 == len({tuple(each[name] for name in options) for each in covering(FACTORS)})


def test_parts():
    """The parts are the whole, each combination in one of them."""
    whole = matrix("--list").stdout.splitlines()
    parts = [matrix("--list", "--part", f"{n}/3").stdout.splitlines() for n in (1, 2, 3)]

    assert sorted(whole) == sorted(line for part in parts for line in part)


def test_quick_files():
    """The tests that it runs in short are there."""
    assert [] == [name for name in QUICK if not (ROOT / name).exists()]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("= 3 passed, 1 skipped in 1.0s =", Outcome(3, 0, 1, good=False)),
        ("1 failed, 2 passed, 1 xfailed, 2 errors in 1.0s", Outcome(2, 3, 0, good=False)),
        ("ERROR: usage", Outcome(0, 0, 0, good=False)),
    ],
)
def test_counts(last, expected):
    """What pytest counted is read from its last line; a run that fails is never good."""
    assert expected == Outcome.read(f"tests\n{last}\n", 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fast", {False, HAS_FAST_PARSERS})
def test_run(tmp_path, fast):
    """A combination runs in an environment of its own, and its failure is the command's."""
    redis = "8" if version("redis").startswith("8.") else version("redis")
    chosen = [
        "--folder",
        tmp_path,
        "--workers",
        0,
        "--clients",
        f"redis-{redis}",
        "--servers",
        "valkey9",
    ]
    number = next(
        line.split()[0]
        for line in matrix(*chosen, "--list").stdout.splitlines()
        if ("hiredis" in line) is fast
    )

    good = matrix(*chosen, "--only", number, "--", "tests/devices/test_devices_ago.py")
    bad = matrix(*chosen, "--only", number, "--", "tests/test_nowhere.py")

    assert 0 == good.returncode, good.stdout + good.stderr
    assert " passed, 0 failed, 0 skipped" in good.stdout.splitlines()[-1]
    assert 1 == bad.returncode
    assert "0 passed, 0 failed, 0 skipped" == bad.stdout.splitlines()[-1]
