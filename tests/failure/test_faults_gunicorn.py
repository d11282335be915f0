"""The application under gunicorn: parallel writes, and an outage as two workers see it."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.support import gauges
from tests.support.figures import figure
from tests.support.gunicorn import Gunicorn
from tests.support.servers import Server, wait_until


@pytest.fixture(scope="module")
def kept():
    """A server that keeps its data over a restart."""
    with Server("valkey9", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def at_once(visitors, paths):
    """Share out the paths among the visitors, who ask at the same time; return the statuses."""
    statuses = []

    def ask(at):
        for path in paths[at :: len(visitors)]:
            statuses.append(visitors[at].ask(path).status)  # noqa: PERF401

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(visitors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


@pytest.mark.timeout(300)
def test_parallel_writes(kept):
    """Of 4,000 parallel writes of different keys to one session none is lost or refused."""
    with Gunicorn(SESSION_REDIS_URL=f"{kept.url}?socket_timeout=10") as site:
        first = site.visitor()
        first.ask("/sign-in/23")
        visitors = [site.visitor(first.cookie) for _ in range(16)]
        # One half knows nothing of the session, the other half reads it before.
        paths = [f"/{'set' if n % 2 else 'add'}/k{n}" for n in range(4000)]

        began = time.monotonic()
        statuses = at_once(visitors, paths)
        seconds = time.monotonic() - began
        keys = json.loads(first.ask("/keys").body)

    assert [200] * 4000 == statuses
    assert {"user_id", *(f"k{n}" for n in range(4000))} == set(keys)
    figure("4,000 parallel writes to one session", f"0 lost, 0 not 200, in {seconds:.1f} s")


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_outage(kept, how):
    """Each worker logs an outage once and its end once, and goes on without a restart."""
    with Gunicorn(SESSION_REDIS_URL=kept.url) as site:
        visitors = [site.visitor() for _ in range(16)]
        for visitor in visitors:
            visitor.ask("/sign-in/23")
        cookies = [visitor.cookie for visitor in visitors]
        workers = set(gauges.workers(site.pid))

        if how == "killed":
            kept.kill()
        else:
            kept.pause()
        statuses = at_once(visitors, ["/read", "/set/a", "/add/b"] * 6)
        untouched = at_once(visitors, ["/pid"] * 64)
        kept.revive()
        # The others are as quick as one of them was.
        recovered = at_once(visitors, ["/read"] * 64)

        def logged():
            # A worker tells when it gets a request, and which gets one is the kernel's choice.
            at_once(visitors, ["/read"] * 16)
            return site.log.count("answers again") == site.log.count("Redis fails")

        wait_until(logged, "the end of it is logged")

        assert [503] * 18 == statuses
        assert [200] * 64 == untouched
        assert [200] * 64 == recovered
        assert cookies == [visitor.cookie for visitor in visitors]
        assert workers == set(gauges.workers(site.pid))
        # Of 18 requests a worker may get none, and then it has nothing to tell.
        assert 1 <= site.log.count("Redis fails") == site.log.count("answers again") <= 2
