"""An application whose requests are cut short by exceptions, and what its browsers were answered.

``python -m tests.failure.impatient CLIENT WAY PORT SEED`` runs in a process of its own, because
signals, threads and greenlets need one each. It prints how many answers were right, wrong and cut.

CLIENT  ``redis2``, ``redis3`` or ``valkey``: a client of the application's; ``url``; and with
        ``cluster`` or ``sentinel`` before it, the same there.
WAY     ``signal``, ``threads`` or ``greenlets``: what raises.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[2] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import ctypes
import json
import logging
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from time import monotonic, sleep
from typing import Any

import flask

from flask_redis_session import RedisSessionInterface
from flask_redis_session.client.packer import Packer
from tests.support.interruption import Soft

HOST = "127.0.0.1"
BROWSERS = 8
REQUESTS = 400
# Rounds of so many requests, until some were cut short.
MOST_ROUNDS = 8
SERVICE = "sessions"


def make_app(kind: str, port: int) -> flask.Flask:
    """Return an application with a client of this kind, whose page tells the browser's own name."""
    app = flask.Flask("impatient")
    where, _, client = kind.rpartition("-")
    if client == "url":
        scheme = f"redis+{where}" if where else "redis"
        path = f"/{SERVICE}" if where == "sentinel" else ""
        app.config["SESSION_REDIS_URL"] = f"{scheme}://{HOST}:{port}{path}"
        RedisSessionInterface().init_app(app)
    else:
        app.session_interface = RedisSessionInterface(own_client(where, client, port))

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        flask.session.update(user_id=name, name=name, role="guest", big=name * 3000)
        return name

    @app.get("/some")
    def some() -> str:
        return str(flask.session["name"])

    @app.get("/role")
    def role() -> str:
        return str(flask.session["role"])

    @app.get("/all")
    def everything() -> str:
        return str(dict(flask.session)["big"][:2])

    @app.get("/devices")
    def devices() -> str:
        interface: Any = app.session_interface
        owner = flask.request.args["name"]
        return str(interface.list_sessions(owner)[0].user_id)

    return app


def own_client(where: str, client: str, port: int) -> Any:
    """Return a client as an application makes one, with the library's defaults."""
    library = client.rstrip("23")
    package: Any = import_module(library)
    options: dict[str, Any] = {"max_connections": 2**31}
    if client != library:
        options["protocol"] = int(client[-1])
    if where == "cluster":
        return getattr(package, f"{library.capitalize()}Cluster")(host=HOST, port=port, **options)
    if where == "sentinel":
        sentinel = import_module(f"{library}.sentinel").Sentinel([(HOST, port)])
        return sentinel.master_for(SERVICE, **options)
    made = getattr(package, library.capitalize())(host=HOST, port=port, **options)
    # The packer of hiredis crashes the process if a signal handler raises in it.
    made.connection_pool.connection_kwargs["command_packer"] = Packer()
    return made


Cut = Callable[[float], Any]


@contextmanager
def by_signal(seconds: float) -> Iterator[None]:
    """Let a signal handler raise after so many seconds."""

    def handler(*_: object) -> None:
        raise Soft

    signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def by_greenlet(seconds: float) -> Iterator[None]:
    """Let gevent raise after so many seconds, at the next switch."""
    from gevent import Timeout

    with Timeout(seconds, Soft):
        yield


class Watch:
    """Raises in a thread that takes too long, as some servers do."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            sleep(0.0002)
            with self._lock:
                for thread, due in [*self._due.items()]:
                    if monotonic() >= due:
                        del self._due[thread]
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread), ctypes.py_object(Soft)
                        )

    @contextmanager
    def __call__(self, seconds: float) -> Iterator[None]:
        """Let it raise in this thread after so many seconds."""
        me = threading.get_ident()
        with self._lock:
            self._due[me] = monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                self._due.pop(me, None)


def visit(app: flask.Flask, chance: random.Random, cut: Cut, cookies: list[str]) -> str:
    """Send a request that may be cut short, and tell what came of it."""
    at = chance.randrange(BROWSERS)
    path = chance.choice([f"/some?name=n{at}", f"/all?name=n{at}", f"/devices?name=n{at}"])
    # From a tenth on, so that some are cut short, to ten times, as requests at once take longer.
    seconds = app.config["typical"] * 10 ** chance.uniform(-1, 1)
    client = app.test_client(use_cookies=False)
    try:
        with cut(seconds):
            response = client.get(path, headers={"Cookie": f"session={cookies[at]}"})
            status, text = response.status_code, response.text
    except BaseException:  # noqa: BLE001 - it may come anywhere, also between two handlers
        return "cut"
    if status != 200:
        return "refused"
    return "right" if text == f"n{at}" else "wrong"


def sign_in_all(app: flask.Flask) -> list[str]:
    """Sign in every browser, and return their cookies."""
    cookies = []
    for at in range(BROWSERS):
        client: Any = app.test_client()
        client.get(f"/sign-in/n{at}")
        cookies.append(client.get_cookie("session").value)
    return cookies


def at_once(workers: int, work: Callable[[int], None]) -> None:
    """Let so many threads work; one works in this thread, which gets the signals."""
    if workers == 1:
        work(0)
        return
    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(kind: str, way: str, port: str, seed: str) -> None:
    """Send the requests and print what came of them."""
    logging.disable(logging.CRITICAL)
    app = make_app(kind, int(port))
    cookies = sign_in_all(app)
    app.config["typical"] = 1.0
    chance = random.Random(seed)
    began = monotonic()
    cut: Cut = {"signal": by_signal, "greenlets": by_greenlet}.get(way) or Watch()
    for _ in range(40):
        visit(app, chance, cut, cookies)
    app.config["typical"] = (monotonic() - began) / 40
    outcomes: Counter[str] = Counter()

    def visits(number: int, count: int) -> None:
        mine = random.Random(f"{seed} {number}")
        for _ in range(count):
            # If it was due just when the request had ended, what came of it is not known.
            with suppress(Soft):
                outcomes[visit(app, mine, cut, cookies)] += 1

    workers = 1 if way == "signal" else 4
    for _ in range(MOST_ROUNDS):
        at_once(workers, lambda number: visits(number, REQUESTS // workers))
        if outcomes["cut"] + outcomes["refused"] >= REQUESTS // 20:
            break
        # The machine had other work while the times were taken, and has less now.
        app.config["typical"] /= 2
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
