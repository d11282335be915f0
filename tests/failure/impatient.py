"""An application whose requests are cut short by exceptions, and what its browsers were answered.

``python -m tests.failure.impatient CLIENT WAY PORT SEED [REQUESTS]`` runs in a process of its own,
because signals, threads and greenlets need one each. It prints how many answers were right, wrong
and cut, and the first of those that were wrong.

CLIENT    ``redis2``, ``redis3`` or ``valkey``: a client of the application's; ``url``; and with
          ``cluster-`` or ``sentinel-`` before it, the same there.
WAY       ``signal``, ``threads`` or ``greenlets``: what raises.
REQUESTS  how many, before it is asked whether enough of them were cut short.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[2] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import ctypes
import faulthandler
import json
import logging
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from time import monotonic, sleep
from typing import Any

import flask

from flask_redis_session import RedisSessionInterface, session
from tests.support.interruption import Soft

HOST = "127.0.0.1"
BROWSERS = 8
REQUESTS = 400
# Rounds of so many requests, until some were cut short.
MOST_ROUNDS = 8
SERVICE = "sessions"
#: How far the counts of two browsers are apart.
APART = 10**6


class Limit(Exception):
    """What ends something that takes too long, of the kind that applications catch."""


KINDS: tuple[type[BaseException], ...] = (Soft, Limit)


def make_app(kind: str, port: int) -> flask.Flask:
    """Return an application with a client of this kind, whose pages tell the browser its own."""
    app = flask.Flask("impatient")
    where, _, client = kind.rpartition("-")
    if client == "url":
        scheme = f"redis+{where}" if where else "redis"
        path = f"/{SERVICE}" if where == "sentinel" else ""
        app.config["SESSION_REDIS_URL"] = f"{scheme}://{HOST}:{port}{path}"
        RedisSessionInterface().init_app(app)
    else:
        app.session_interface = RedisSessionInterface(own_client(where, client, port))
    interface: Any = app.session_interface

    @app.get("/sign-in/<int:at>")
    def sign_in(at: int) -> str:
        name = f"n{at}"
        session.update(user_id=name, name=name, role="guest", big=name * 3000)
        session.update(ticket=name, note=0, count=at * APART)
        return name

    @app.get("/some")
    def some() -> str:
        return str(session.get("name"))

    @app.get("/role")
    def role() -> str:
        return str(session.get("role"))

    @app.get("/all")
    def everything() -> str:
        return str(dict(session).get("big", "")[:2])

    @app.get("/devices")
    def devices() -> str:
        found = interface.list_sessions(flask.request.args["name"])
        return ",".join({info.user_id for info in found})

    @app.get("/write")
    def write() -> str:
        session["note"] = int(flask.request.args["note"])
        return flask.request.args["name"]

    @app.get("/replace")
    def replace() -> str:
        before = session.get("note")
        session["note"] = int(flask.request.args["note"])
        return str(before)

    @app.get("/count")
    def count() -> str:
        return str(session.increment("count"))

    @app.get("/take")
    def take() -> str:
        found = session.take("ticket", "")
        session["ticket"] = flask.request.args["name"]
        return str(found)

    @app.get("/again")
    def again() -> str:
        session["user_id"] = flask.request.args["name"]
        return flask.request.args["name"]

    @app.get("/others")
    def others() -> str:
        return str(interface.revoke_sessions(flask.request.args["name"], keep=session.sid))

    return app


def own_client(where: str, client: str, port: int) -> Any:
    """Return a client as an application makes one, with the library's defaults."""
    library = client.rstrip("23")
    package: Any = import_module(library)
    options: dict[str, Any] = {"max_connections": 2**31}
    if client != library:
        options["protocol"] = int(client[-1])
    pack_in_python(library)
    if where == "cluster":
        return getattr(package, f"{library.capitalize()}Cluster")(host=HOST, port=port, **options)
    if where == "sentinel":
        sentinel = import_module(f"{library}.sentinel").Sentinel([(HOST, port)])
        return sentinel.master_for(SERVICE, **options)
    return getattr(package, library.capitalize())(host=HOST, port=port, **options)


def pack_in_python(library: str) -> None:
    """Let a library pack commands in Python, and read replies as before.

    The packers of hiredis and libvalkey crash the process if a signal handler raises in them. A
    cluster's client makes connections by itself, so it does not do to tell each of its pools.
    """
    connection: Any = import_module(f"{library}.connection")
    for name in ("HIREDIS_AVAILABLE", "LIBVALKEY_AVAILABLE"):
        if hasattr(connection, name):
            setattr(connection, name, False)


class Fired:
    """Whether a request was cut short."""

    yes = False


Cut = Callable[[float, type[BaseException]], AbstractContextManager[Fired]]


@contextmanager
def by_signal(seconds: float, kind: type[BaseException]) -> Iterator[Fired]:
    """Let a signal handler raise after so many seconds."""
    fired = Fired()

    def handler(*_: object) -> None:
        fired.yes = True
        raise kind

    signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            yield fired
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def by_greenlet(seconds: float, kind: type[BaseException]) -> Iterator[Fired]:
    """Let gevent raise after so many seconds, at the next switch."""
    from gevent import Timeout

    fired = Fired()
    with Timeout(seconds, kind) as timeout:
        yield fired
        fired.yes = not timeout.pending


class Watch:
    """Raises in a thread that takes too long, as some servers do."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, type[BaseException], Fired]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            sleep(0.0002)
            with self._lock:
                for thread, (due, kind, fired) in [*self._due.items()]:
                    if monotonic() >= due:
                        del self._due[thread]
                        fired.yes = True
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread), ctypes.py_object(kind)
                        )

    @contextmanager
    def __call__(self, seconds: float, kind: type[BaseException]) -> Iterator[Fired]:
        """Let it raise in this thread after so many seconds."""
        me, fired = threading.get_ident(), Fired()
        with self._lock:
            self._due[me] = (monotonic() + seconds, kind, fired)
        try:
            yield fired
        finally:
            with self._lock:
                self._due.pop(me, None)


class Person:
    """A browser, and what it knows of its own session.

    :param app: the application that it visits.
    :param at: its number.
    :param cookie: what it was given.
    """

    def __init__(self, app: flask.Flask, at: int, cookie: str) -> None:
        self.app = app
        self.at = at
        self.name = f"n{at}"
        self._cookie = cookie
        self._sent = 0
        # What is certain, because a request that was not cut short was answered.
        self._note = self._others = 0
        self._count = at * APART
        # What may be, because of requests of which nobody knows what became.
        self._more_others = 0
        self._ticket_may_be_away = False
        self.wrong: list[str] = []

    def visit(self, path: str, cut: AbstractContextManager[Fired] | None = None) -> str:
        """Ask for a page, and tell what came of it: *right*, *wrong*, *cut* or *refused*.

        :param path: one of ``PAGES``.
        :param cut: what may cut the request short.
        """
        self._sent += 1
        headers = {} if path == "/again" else {"Cookie": f"session={self._cookie}"}
        least = self._others
        if path == "/again":
            # If an exception cuts the save, Flask saves once more, with its error page.
            self._more_others += 2
        if path == "/others":
            self._others = 0
        client = self.app.test_client(use_cookies=False)
        fired = Fired()
        try:
            with cut or nullcontext(fired) as fired:
                url = f"{path}?name={self.name}&note={self._sent}"
                response = client.get(url, headers=headers)
                status, text = response.status_code, response.text
        except BaseException:  # noqa: BLE001 - it may come anywhere, also between two handlers
            status, text = 0, ""
        if status == 200 and self._is_own(path, text, least):
            return "right"
        self._ticket_may_be_away |= path == "/take"
        if status == 503:
            return "refused"
        if status == 0 or (status == 500 and fired.yes):
            return "cut"
        self.wrong.append(f"{self.name} got {status} {text[:200]!r} from {path}")
        return "wrong"

    def _is_own(self, path: str, text: str, least: int) -> bool:
        """Tell whether an answer is this browser's, and note what follows from it."""
        if path == "/role":
            return text == "guest"
        if path == "/count":
            before, self._count = self._count, int(text)
            return before < self._count < (self.at + 1) * APART
        if path == "/write":
            self._note = self._sent
            return text == self.name
        if path == "/replace":
            before, self._note = self._note, self._sent
            return text.isdecimal() and before <= int(text) < self._sent
        if path == "/take":
            may_be_away, self._ticket_may_be_away = self._ticket_may_be_away, False
            return text == self.name or (may_be_away and text == "")
        if path == "/again":
            self._others += 1
            return text == self.name
        if path == "/others":
            most, self._more_others = self._more_others, 0
            return least <= int(text) <= most
        return text == self.name


#: The pages, and how often each of them is asked for.
PAGES = {
    "/some": 4,
    "/all": 4,
    "/devices": 3,
    "/role": 1,
    "/write": 2,
    "/replace": 2,
    "/count": 2,
    "/take": 2,
    "/again": 1,
    "/others": 1,
}


def visit_any(person: Person, chance: random.Random, cut: Cut) -> str:
    """Ask for some page; the request may be cut short. Tell what came of it."""
    path, *_ = chance.choices([*PAGES], [*PAGES.values()])
    # From a tenth on, so that some are cut short, to ten times, as requests at once take longer.
    seconds = person.app.config["typical"] * 10 ** chance.uniform(-1, 1)
    return person.visit(path, cut(seconds, chance.choice(KINDS)))


def sign_in_all(app: flask.Flask) -> list[Person]:
    """Sign in every browser."""
    people = []
    interface: Any = app.session_interface
    for at in range(BROWSERS):
        # Of a run before, on the same server.
        interface.revoke_sessions(f"n{at}")
        client: Any = app.test_client()
        client.get(f"/sign-in/{at}")
        people.append(Person(app, at, client.get_cookie("session").value))
    return people


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


def main(kind: str, way: str, port: str, seed: str, requests: str = str(REQUESTS)) -> None:
    """Send the requests and print what came of them."""
    logging.disable(logging.CRITICAL)
    # Whoever waits for ever is to be seen.
    faulthandler.dump_traceback_later(250 if int(requests) > REQUESTS else 50, exit=True)
    app = make_app(kind, int(port))
    people = sign_in_all(app)
    app.config["typical"] = 1.0
    chance = random.Random(seed)
    began = monotonic()
    cut: Cut = {"signal": by_signal, "greenlets": by_greenlet}.get(way) or Watch()
    for _ in range(40):
        visit_any(chance.choice(people), chance, cut)
    app.config["typical"] = (monotonic() - began) / 40
    outcomes: Counter[str] = Counter()
    workers = 1 if way == "signal" else 4

    def visits(number: int, count: int) -> None:
        mine = random.Random(f"{seed} {number} {sum(outcomes.values())}")
        for _ in range(count):
            # If it was due just when the request had ended, what came of it is not known.
            with suppress(*KINDS):
                # Nobody else sends requests of these browsers: what they know stays true.
                outcomes[visit_any(mine.choice(people[number::workers]), mine, cut)] += 1

    for _ in range(MOST_ROUNDS):
        at_once(workers, lambda number: visits(number, int(requests) // workers))
        if outcomes["cut"] + outcomes["refused"] >= int(requests) // 20:
            break
        # The machine had other work while the times were taken, and has less now.
        app.config["typical"] /= 2
    told = [told for person in people for told in person.wrong]
    print(json.dumps({**outcomes, "told": told[:3]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
