"""Dead members of an index: how many there are at most, and what a list does about them."""

from __future__ import annotations

from typing import Any

import pytest

from flask_redis_session.storage.token import new_sid
from tests.support.faults import too_few_replicas
from tests.support.webapp import Site, sids

pytestmark = pytest.mark.one_server("counts members")


def bury(site: Site, user: int, count: int) -> None:
    """Put members without a session into a user's index, older than all others."""
    pipeline = site.redis.pipeline(transaction=False)
    for number in range(count):
        pipeline.zadd(f"session:user:{user}", {new_sid(): number + 1})
    pipeline.execute()


def size(site: Site, user: int) -> int:
    """Return how many members an index has."""
    return int(site.redis.zcard(f"session:user:{user}"))


def test_comes_down(server: Any) -> None:
    """Of somebody who goes on signing in, a large index of dead members comes down."""
    site = Site(server)
    living = site.browsers(23, 20)
    bury(site, 23, 3000)
    for _ in range(60):
        living += site.browsers(23, 1)

    assert size(site, 23) <= 3 * len(living) + 100
    assert {browser.sid for browser in living} <= {*site.index(23)}


def test_stays_down(server: Any) -> None:
    """A monitor that signs in again and again, and never out, keeps a small index."""
    site = Site(server)
    for _ in range(250):
        browser = site.browser()
        browser.sign_in(23)
        site.expire(browser.sid)

    assert size(site, 23) <= 100 + 3


def test_dead_in_front(server: Any) -> None:
    """A short list behind many dead members finds the living in few steps, and clears them."""
    site = Site(server)
    living = site.browsers(23, 3)
    pipeline = site.redis.pipeline(transaction=False)
    for _ in range(2000):
        pipeline.zadd("session:user:23", {new_sid(): 4e9})
    pipeline.execute()
    with server.cost() as cost:
        found = site.interface.list_sessions(23, limit=2)

    assert [browser.sid for browser in living[:0:-1]] == sids(found)
    assert cost.round_trips <= 21
    assert 3 == size(site, 23)


def test_large_steps(server: Any) -> None:
    """Going past 20,000 dead members takes a few steps, whatever the limit, and clears them."""
    site = Site(server)
    living = site.browsers(23, 3)
    site.interface.list_sessions(23)
    for _ in range(20):
        site.redis.zadd("session:user:23", {new_sid(): 4e9 for _ in range(1000)})
    with server.cost() as cost:
        found = site.interface.list_sessions(23, limit=2)

    assert [browser.sid for browser in living[:0:-1]] == sids(found)
    # Three for each 2,000, and some more at the beginning and the end.
    assert cost.round_trips <= 45
    assert 3 == size(site, 23)


@pytest.mark.parametrize("limit", [1, None])
def test_no_writes(fragile: Any, limit: int | None) -> None:
    """If Redis takes no writes, the living are listed and the dead stay where they are."""
    site = Site(fragile)
    (living,) = site.browsers(23, 1)
    site.interface.list_sessions(23)
    site.redis.zadd("session:user:23", {new_sid(): 4e9 for _ in range(1200)})
    with too_few_replicas(fragile):
        found = site.interface.list_sessions(23, limit=limit)

    assert [living.sid] == sids(found)
    assert 1201 == size(site, 23)
