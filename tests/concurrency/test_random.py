"""A crowd of threads in two processes that does whatever there is to do, at random."""

from __future__ import annotations

import os
import time

import pytest

from tests.concurrency.breakages import NOTICED
from tests.concurrency.random_run import RandomRun, seed_of_run, told
from tests.concurrency.verdict import violations
from tests.support.figures import figure, took

pytestmark = pytest.mark.one_server("one process judges by one server's clock")

SHORT = int(os.environ.get("RANDOM_OPERATIONS", "5000"))
LONG = int(os.environ.get("RANDOM_OPERATIONS", "100000"))
#: How often a crowd of a thousand operations may overlook something. Most breakages every crowd
#: notices, and those that need a fault at the right moment every second or third.
TRIES = 60


def judged(server, operations):
    """Let a crowd do so many operations, and check what came of it."""
    seed = seed_of_run()
    began = time.monotonic()
    run = RandomRun(server, seed)
    history = run.history(operations)
    seconds = took(began)
    wrong = [*violations(history), *run.tried(history)]

    assert len(history.events) >= operations
    assert not wrong, "\n".join([f"RANDOM_SEED={seed}: {len(wrong)} violations", *wrong[:5]])
    figure(f"random run on {server.name}, RANDOM_SEED={seed}", f"{seconds}; {told(history)}")


@pytest.mark.timeout(300)
def test_short(valkey):
    """Nothing is lost, comes back, opens too long or too short, or hides from its index."""
    judged(valkey, SHORT)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_long(server):
    """The same with 100,000 operations."""
    judged(server, LONG)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("breakage", NOTICED, ids=str)
def test_noticed(valkey, breakage):
    """What is broken on purpose is noticed: these tests can fail."""
    for seed in range(TRIES):
        if violations(RandomRun(valkey, seed, breakage.apply).history(1_000)):
            return

    pytest.fail(f"not noticed in {TRIES} runs")
