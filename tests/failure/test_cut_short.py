"""Whatever cuts a request short, nobody is answered with the session of somebody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.failure.impatient import make_app, sign_in_all
from tests.support.interruption import interrupted
from tests.support.servers import SentinelSet

ROOT = Path(__file__).parents[2]
SEED = os.environ.get("CUT_SEED", "23")

pytestmark = pytest.mark.one_server("each test names what it runs on")


def answers(kind: str, way: str, port: int) -> dict[str, int]:
    """Run an application whose requests are cut short; return how many answers were what."""
    command = [sys.executable, "-m", "tests.failure.impatient", kind, way, str(port), SEED]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, timeout=100)

    assert 0 == run.returncode, run.stderr.decode()[-2000:]
    found: dict[str, int] = json.loads(run.stdout.splitlines()[-1])
    return found


def check(found: dict[str, int]) -> None:
    """Tell that some answers were right, some requests were cut short, and nothing was wrong."""
    assert 0 == found.get("wrong", 0), found
    assert found.get("right", 0) > 10, found
    assert found.get("cut", 0) + found.get("refused", 0) > 10, found


@pytest.mark.parametrize("way", ["signal", "threads", "greenlets"])
@pytest.mark.parametrize("kind", ["redis2", "redis3", "valkey", "url"])
def test_one_server(valkey: Any, kind: str, way: str) -> None:
    """Eight browsers read names, whole sessions and lists; each answer is the browser's own."""
    check(answers(kind, way, valkey.port))


@pytest.mark.parametrize("kind", ["cluster-redis2", "cluster-url"])
def test_cluster(cluster: Any, kind: str) -> None:
    """The same holds in a cluster, where each node has a pool of its own."""
    check(answers(kind, "threads", cluster.nodes[0].port))


@pytest.mark.parametrize("kind", ["sentinel-redis2", "sentinel-url"])
def test_sentinel(kind: str) -> None:
    """The same holds of the primary that a sentinel names."""
    with SentinelSet() as servers:
        check(answers(kind, "threads", servers.sentinels[0].port))


LIBRARIES = ("/redis/", "/valkey/")
PATHS = ["/some", "/all", "/devices"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["redis2", "redis3", "valkey", "url"])
def test_at_every_return(valkey: Any, kind: str, path: str) -> None:
    """Whichever function of the client is the last, the next requests get their own, or 503."""
    app = make_app(kind, valkey.port)
    cookies = sign_in_all(app)

    def get(path: str, at: int) -> Any:
        client = app.test_client(use_cookies=False)
        headers = {"Cookie": f"session={cookies[at]}"}
        return client.get(f"{path}?name=n{at}", headers=headers)

    for _ in range(3):
        get(path, 0)
    points = 0
    while interrupted(points + 1, lambda: get(path, 0), LIBRARIES):
        points += 1
        answers = [get(other, at) for at, other in enumerate(PATHS, start=1)]
        again = [get(other, at) for at, other in enumerate(PATHS, start=4)]

        for at, answer in enumerate(answers, start=1):
            assert answer.status_code == 503 or f"n{at}" == answer.text, (points, answer.text)
        assert ["n4", "n5", "n6"] == [answer.text for answer in again], points

    assert points > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["redis2", "redis3", "valkey", "url"])
def test_lost_script(valkey: Any, kind: str) -> None:
    """A refusal that belonged to the script of another does not make a session read as empty."""
    app = make_app(kind, valkey.port)
    cookies = sign_in_all(app)

    def get(path: str, at: int) -> Any:
        client = app.test_client(use_cookies=False)
        headers = {"Cookie": f"session={cookies[at]}"}
        return client.get(f"{path}?name=n{at}", headers=headers)

    for path in PATHS * 3:
        get(path, 0)
    points = 0

    def list_without_scripts() -> Any:
        valkey.ask("SCRIPT", "FLUSH")
        return get("/devices", 0)

    while interrupted(points + 1, list_without_scripts, LIBRARIES):
        points += 1
        answer = get("/some", 1)

        assert answer.status_code == 503 or "n1" == answer.text, points
        get("/all", 2)
        assert ["n3", "n4"] == [get(path, at).text for path, at in (("/some", 3), ("/all", 4))]

    assert points > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["redis2", "redis3", "valkey", "url"])
def test_other_key(valkey: Any, kind: str) -> None:
    """The browser's own next request does not find the value of one key under another."""
    app = make_app(kind, valkey.port)
    headers = {"Cookie": f"session={sign_in_all(app)[0]}"}

    def get(path: str) -> Any:
        return app.test_client(use_cookies=False).get(path, headers=headers)

    for path in ["/some", "/role"] * 4:
        get(path)
    points = 0
    while interrupted(points + 1, lambda: get("/some"), LIBRARIES):
        points += 1

        assert "guest" == get("/role").text, points
        get("/role")

    assert points > 5
