"""Somebody with very many sessions: 100,000, or as many as ``SESSIONS_OF_ONE_USER`` says.

``SESSIONS_OF_ONE_USER=1000000 pytest -s tests/test_devices_many.py`` runs it with a million and
prints the figures; it takes some minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from devicesite import Person, fill, make_app, sids_in

if TYPE_CHECKING:
    from servers import Server

MANY = int(os.environ.get("SESSIONS_OF_ONE_USER", "100000"))

#: No command may hold Redis longer than this, in milliseconds.
LONGEST = 200


@pytest.fixture
def crowd(server: Server) -> Iterator[Server]:
    """A server on which user 23 has very many sessions."""
    client = server.client()
    fill(server, 23, MANY)
    client.config_set("slowlog-log-slower-than", 1000)
    client.config_set("slowlog-max-len", 10_000)
    client.slowlog_reset()
    yield server
    client.config_set("slowlog-log-slower-than", 10_000)
    client.flushall()


def _longest(server: Server) -> tuple[float, str]:
    """Return the longest command since the beginning, in milliseconds, and its name."""
    slow: list[Any] = server.client().slowlog_get(10_000)
    entries = [(entry["duration"] / 1000, entry["command"].split()[0].decode()) for entry in slow]
    return max(entries, default=(0.0, "none over 1 ms"))


def _seconds(work: Any) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


@pytest.mark.timeout(900)
def test_pages_and_ends_them_all(crowd: Server) -> None:
    """The newest 50 are shown at once, so is any page; all are ended with no long command."""
    app = make_app(crowd)
    here = Person(app, 23)
    here.open()
    with crowd.cost() as cost:
        first = here.open().text
    took = [_seconds(here.open)]
    last = MANY // 50
    took.append(_seconds(lambda: here.open(f"/devices?page={last}")))
    newest = [f"{number:022}" for number in range(49)]

    assert [here.sid, *newest] == sids_in(first)[:50]
    assert 50 == len(sids_in(first))
    assert 3 == cost.round_trips
    assert 50 == len(sids_in(here.open(f"/devices?page={last}").text))
    assert max(took) < 1

    reading = _longest(crowd)
    token = here.token()
    ending = _seconds(lambda: here.post("end-all", devices_token=token))
    longest = _longest(crowd)

    print(
        f"\n{crowd!r}, {MANY:,} sessions of one user: page 1 in {took[0] * 1000:.0f} ms, page "
        f"{last:,} in {took[1] * 1000:.0f} ms (longest command: {reading[0]:.1f} ms, "
        f"{reading[1]}); all ended in {ending:.1f} s (longest command: {longest[0]:.1f} ms, "
        f"{longest[1]})"
    )

    assert 0 == crowd.client().dbsize()
    assert longest[0] < LONGEST
