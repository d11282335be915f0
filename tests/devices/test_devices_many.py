"""Somebody with very many sessions: 100,000, or as many as ``SESSIONS_OF_ONE_USER`` says.

``SESSIONS_OF_ONE_USER=1000000 pytest -s tests/devices/test_devices_many.py`` runs it with a million
and prints the figures; it takes some minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.devices.site import Person, fill, make_app, sids_in
from tests.support.webapp import names_in

if TYPE_CHECKING:
    from tests.support.servers import Server

MANY = int(os.environ.get("SESSIONS_OF_ONE_USER", "100000"))

#: How many sessions a command may be about.
LARGEST = 10_000


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


@dataclass
class Slow:
    """A command that took longer than 1 ms."""

    milliseconds: float
    name: str
    arguments: int

    def __str__(self) -> str:
        return f"{self.milliseconds:.1f} ms, {self.name}"


def _slow(server: Server) -> list[Slow]:
    """Return the commands that took long, the longest first."""
    entries: list[Any] = server.client().slowlog_get(10_000)
    slow = []
    for entry in entries:
        words = entry["command"].decode("utf-8", "replace").split()
        more = re.search(r"\((\d+) more arguments\)", " ".join(words[-4:]))
        count = len(words) + (int(more[1]) if more else 0)
        slow.append(Slow(entry["duration"] / 1000, words[0], count))
    return sorted(slow, key=lambda each: -each.milliseconds)


def _longest(slow: list[Slow]) -> str:
    return str(slow[0]) if slow else "none over 1 ms"


def _seconds(work: Any) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


@pytest.mark.timeout(900)
@pytest.mark.one_server("looks for the longest command of one server")
def test_pages_and_ends_them_all(crowd: Server) -> None:
    """The newest 50 are shown at once, so is any page; all are ended with no long command."""
    app = make_app(crowd)
    here = Person(app, 23)
    here.open()
    last = MANY // 50
    with crowd.cost() as cost:
        first = here.open().text
        oldest = here.open(f"/devices?page={last}").text
    took = [_seconds(here.open), _seconds(lambda: here.open(f"/devices?page={last}"))]
    newest = [f"{number:022}" for number in range(49)]

    assert [here.sid, *newest] == sids_in(first)[:50]
    assert 50 == len(sids_in(first))
    assert 50 == len(sids_in(oldest))
    assert 2 * 4 == cost.round_trips

    reading = _slow(crowd)
    token = here.token()
    ending = _seconds(lambda: here.post("end-all", devices_token=token))
    slow = _slow(crowd)

    print(
        f"\n{crowd!r}, {MANY:,} sessions of one user: page 1 in {took[0] * 1000:.0f} ms, page "
        f"{last:,} in {took[1] * 1000:.0f} ms (longest command: {_longest(reading)}); all ended "
        f"in {ending:.1f} s (longest command: {_longest(slow)})"
    )

    assert set() == names_in(crowd.client())
    assert all(each.arguments < LARGEST for each in slow)
    # Not the longest: on a busy machine the server itself may have to wait within a command.
    assert median([0.0, *(each.milliseconds for each in slow)]) < 100
