"""What it costs a request that somebody listens to what its session did, and that nobody does.

Run it as `python benchmarks/listening.py [CHECKOUT]`. With another checkout of this package, that
one takes its turns too: nobody listens there either. Each side is a process of its own, and they
take turns. What is shown is the median of the turns and the least, in microseconds of one request
that reads and writes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Server

ROOT = Path(__file__).resolve().parent.parent
TURNS = 15
REQUESTS = 1500

SIDE = """
import logging, sys, time
from flask import Flask, session
from flask_redis_session import RedisSessionInterface

url, listens, requests = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = Flask("bench")
app.config["SESSION_REDIS_URL"] = url
RedisSessionInterface().init_app(app)

@app.get("/")
def page():
    session["n"] = session.get("n", 0) + 1
    return "page"

if listens == "signal":
    from flask_redis_session.signals import session_saved
    session_saved.connect(lambda app, **_: None, weak=False)
elif listens == "log":
    log = logging.getLogger("flask_redis_session")
    log.setLevel(logging.DEBUG)
    log.addHandler(logging.NullHandler())
    log.propagate = False

cookie = app.test_client().get("/").headers["Set-Cookie"].partition(";")[0]
environ = app.test_request_context(headers={"Cookie": cookie}).request.environ

def ask():
    for _ in app({**environ}, lambda *_: None):
        pass

for _ in range(200):
    ask()
began = time.perf_counter()
for _ in range(requests):
    ask()
print((time.perf_counter() - began) / requests * 1e6)
"""


def turn(url: str, checkout: Path, listens: str) -> float:
    """Return what a request costs, in microseconds."""
    done = subprocess.run(
        [sys.executable, "-c", SIDE, url, listens, str(REQUESTS)],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    sides = {"nobody listens": (ROOT, ""), "the signal": (ROOT, "signal"), "the log": (ROOT, "log")}
    if len(sys.argv) > 1:
        sides["the other checkout"] = (Path(sys.argv[1]).resolve(), "")
    found: dict[str, list[float]] = {name: [] for name in sides}
    with Server() as server:
        for number in range(TURNS):
            # Whoever comes first in a turn is another one each time.
            names = [*sides]
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(turn(server.url, *sides[name]))
    for name, each in found.items():
        print(f"{name:20} {median(each):8.1f} µs   least {min(each):8.1f}")


if __name__ == "__main__":
    main()
