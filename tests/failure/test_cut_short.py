"""Whatever cuts a request short, nobody is answered with the session of somebody else."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.failure.impatient import PAGES, REQUESTS, Fired, Person, make_app, sign_in_all
from tests.support.interruption import interrupted, unmeasured
from tests.support.servers import SentinelSet

ROOT = Path(__file__).parents[2]
SEED = os.environ.get("CUT_SEED", "23")

pytestmark = pytest.mark.one_server("each test names what it runs on")


CLIENTS = ["redis2", "redis3", "valkey", "url"]
WAYS = ["signal", "threads", "greenlets"]
#: Requests of each of the runs that take minutes.
MANY = 5000


def check(kind: str, way: str, port: int, requests: int = REQUESTS) -> None:
    """Run an application whose requests are cut short; none of its answers is wrong."""
    command = [sys.executable, "-m", "tests.failure.impatient", kind, way, str(port), SEED]
    environ = {**unmeasured(), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*command, str(requests)], cwd=ROOT, env=environ, capture_output=True, timeout=300
    )

    assert 0 == run.returncode, run.stderr.decode()[-2000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    assert 0 == found.get("wrong", 0), found
    assert found.get("right", 0) > 10, found
    assert found.get("cut", 0) + found.get("refused", 0) > 10, found


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSet]:
    """A primary, its replica and three sentinels."""
    with SentinelSet() as sentinels:
        yield sentinels


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_one_server(valkey: Any, kind: str, way: str) -> None:
    """Eight browsers read, write, count, list and revoke; each answer is the browser's own."""
    check(kind, way, valkey.port)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_cluster(cluster: Any, kind: str, way: str) -> None:
    """The same holds in a cluster, where each node has a pool of its own."""
    check(f"cluster-{kind}", way, cluster.nodes[0].port)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_sentinel(sentinels: SentinelSet, kind: str, way: str) -> None:
    """The same holds of the primary that a sentinel names."""
    check(f"sentinel-{kind}", way, sentinels.sentinels[0].port)


@pytest.fixture
def ports(valkey: Any, cluster: Any, sentinels: SentinelSet) -> dict[str, int]:
    """Where each kind of server listens, by what the names of its clients begin with."""
    sentinel, *_ = sentinels.sentinels
    return {"": valkey.port, "cluster-": cluster.nodes[0].port, "sentinel-": sentinel.port}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("where", ["", "cluster-", "sentinel-"])
def test_for_long(ports: dict[str, int], where: str, kind: str, way: str) -> None:
    """The same holds of many more requests, on each kind of server."""
    check(where + kind, way, ports[where], MANY)


LIBRARIES = ("/redis/", "/valkey/")
EVERYWHERE = (*LIBRARIES, "/flask_redis_session/")
#: Where Python looks for signals, and where a call of the system's is cut short by one.
ANYWHERE = ("call", "return", "c_call", "c_return")
PATHS = ["/some", "/all", "/devices"]


def go_through(
    people: Sequence[Person],
    path: str,
    within: Sequence[str],
    events: Sequence[str] = ("return",),
    *,
    step: int = 1,
) -> None:
    """Cut a request short at each point or each so many; others get what is theirs next, or 503."""
    cut = Fired()
    cut.yes = True
    first, *others = people
    for _ in range(3):
        assert "right" == first.visit(path)
    points, after = 0, 1
    while interrupted(after, lambda: first.visit(path, nullcontext(cut)), within, events):
        points += 1
        after += step
        next_to = [person.visit(page) for person, page in zip(others, PAGES, strict=False)]
        again = [person.visit(page) for person, page in zip(others[3:], PATHS, strict=False)]

        assert {"right", "refused"} >= {*next_to}, (after, [each.wrong for each in others])
        assert {"right"} == {*again}, (after, again, [each.wrong for each in others])
        assert "wrong" != first.visit("/some"), (after, first.wrong)
    assert points > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_at_every_return(valkey: Any, kind: str, path: str) -> None:
    """Whichever function of the client is the last, the next requests get their own, or 503."""
    go_through(sign_in_all(make_app(kind, valkey.port)), path, LIBRARIES)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["/write", "/count", "/others"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_every_return_of_a_write(valkey: Any, kind: str, path: str) -> None:
    """The same holds if the request that is cut short writes, counts or revokes."""
    go_through(sign_in_all(make_app(kind, valkey.port)), path, LIBRARIES)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["redis2", "valkey"])
def test_no_pipeline_keeps_a_connection(valkey: Any, kind: str) -> None:
    """None gives one back when the garbage collector comes, which may have the lock of the pool."""
    people = sign_in_all(make_app(kind, valkey.port))
    gc.collect()
    gc.disable()
    try:
        go_through(people, "/others", LIBRARIES)
        kept = [each for each in gc.get_objects() if type(each).__name__ == "Pipeline"]

        assert [] == [each for each in kept if each.connection is not None]
    finally:
        gc.enable()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("where", ["", "cluster-", "sentinel-"])
def test_at_calls(ports: dict[str, int], where: str, kind: str, path: str) -> None:
    """Nor does it matter at which call of the client's or of this package's a request ends."""
    people = sign_in_all(make_app(where + kind, ports[where]))
    go_through(people, path, EVERYWHERE, ANYWHERE, step=7)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", CLIENTS)
def test_lost_script(valkey: Any, kind: str) -> None:
    """A refusal that belonged to the script of another does not make a session read as empty."""
    first, *others = sign_in_all(make_app(kind, valkey.port))
    for path in PATHS * 3:
        first.visit(path)
    points = 0

    def list_without_scripts() -> Any:
        valkey.ask("SCRIPT", "FLUSH")
        return first.visit("/devices")

    while interrupted(points + 1, list_without_scripts, LIBRARIES):
        points += 1

        assert others[0].visit("/some") in ("right", "refused"), points
        others[1].visit("/all")
        assert ["right", "right"] == [others[2].visit("/some"), others[3].visit("/all")]

    assert points > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", CLIENTS)
def test_other_key(valkey: Any, kind: str) -> None:
    """The browser's own next request does not find the value of one key under another."""
    person, *_ = sign_in_all(make_app(kind, valkey.port))
    for path in ["/some", "/role"] * 4:
        person.visit(path)
    points = 0
    while interrupted(points + 1, lambda: person.visit("/some"), LIBRARIES):
        points += 1

        assert "right" == person.visit("/role"), points
        person.visit("/role")

    assert points > 5
