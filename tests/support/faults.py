"""What lets Redis fail, a load that keeps an account, and an application under gunicorn.

Figures go to the file that ``FIGURES`` in the environment names, a line each.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import redis

from flask_redis_session import RedisSessionInterface
from tests.support import servers
from tests.support.servers import HOST, Link, NotReady, Server, free_port, wait_until
from tests.support.webapp import Browser, Site, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

ROOT = Path(__file__).parents[2]

#: How long what "does not take long" may take on a machine that is busy, in seconds.
SOON = 5.0


def figure(name: str, value: object) -> None:
    """Keep a figure for docs/reliability.md."""
    line = f"{name}: {value}\n"
    print(line, end="")
    if path := os.environ.get("FIGURES"):
        with Path(path).open("a") as file:
            file.write(line)


def took(began: float) -> str:
    """Return how long it took since then, for a figure."""
    seconds = time.monotonic() - began
    return f"{seconds * 1000:.0f} ms" if seconds < 2 else f"{seconds:.1f} s"


# --------------------------------------------------------------------------- faults


@contextmanager
def refused(server: Server) -> Iterator[None]:
    """Nothing listens any more."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def killed(server: Server) -> Iterator[None]:
    """The process is gone from one moment to the next."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """The process is there and does nothing."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def loading(server: Server) -> Iterator[None]:
    """It was restarted, and reads its data while it refuses everything else."""
    with Link(server) as link:
        # Not compressed, or the server would look at clients only every other second.
        link.ask("CONFIG", "SET", "rdbcompression", "no")
        for number in range(300):
            link.ask("SET", f"filler:{number}", "x" * 2000)
        # In one piece, which is the kind that is read with a look at clients now and then.
        link.ask("BGREWRITEAOF")
        wait_until(
            lambda: b"aof_rewrite_in_progress:0" in link.ask("INFO", "persistence"), "it is saved"
        )
    arguments = server.arguments
    server.stop()
    # Slowed down, so that there is a while of it to be seen.
    delay = ["--key-load-delay", "60000", "--loading-process-events-interval-bytes", "1024"]
    server.arguments = (*arguments, *delay)
    server.start(wait=False)

    def loads() -> bool:
        try:
            server.ask("GET", "x")
        except redis.ResponseError as error:
            return str(error).startswith("LOADING")
        except OSError:
            pass
        return False

    wait_until(loads, f"{server!r} loads")
    try:
        yield
    finally:
        server.arguments = arguments
        server.ask("CONFIG", "SET", "key-load-delay", 0)
        server.wait_ready(60)


@contextmanager
def _set(server: Server, **settings: str) -> Iterator[None]:
    names = {name: name.replace("_", "-") for name in settings}
    before = {name: server.ask("CONFIG", "GET", word)[1].decode() for name, word in names.items()}
    for name, value in settings.items():
        server.ask("CONFIG", "SET", names[name], value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.ask("CONFIG", "SET", names[name], value)


@contextmanager
def out_of_memory(server: Server) -> Iterator[None]:
    """It has reached maxmemory, and may not evict (noeviction)."""
    with _set(server, maxmemory="1"):
        yield


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    """It became a replica, whose primary does not answer."""
    server.ask("REPLICAOF", HOST, 1)
    try:
        yield
    finally:
        server.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def stale(server: Server) -> Iterator[None]:
    """It became a replica that does not answer either without its primary (MASTERDOWN)."""
    with _set(server, replica_serve_stale_data="no"), read_only(server):
        yield


@contextmanager
def too_few_replicas(server: Server) -> Iterator[None]:
    """It takes no write without a replica (NOREPLICAS)."""
    with _set(server, min_replicas_to_write="1"):
        yield


@contextmanager
def wrong_password(server: Server) -> Iterator[None]:
    """Its password was changed, and the connections of the old one closed."""
    with Link(server) as link:
        link.ask("CONFIG", "SET", "requirepass", "another")
        link.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try:
            yield
        finally:
            link.ask("CONFIG", "SET", "requirepass", "")


@contextmanager
def too_many_clients(server: Server) -> Iterator[None]:
    """It takes no further connection (maxclients)."""
    with Link(server) as link:
        before = link.ask("CONFIG", "GET", "maxclients")[1]
        link.ask("CONFIG", "SET", "maxclients", 1)
        link.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try:
            yield
        finally:
            link.ask("CONFIG", "SET", "maxclients", before)


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """It lets writes wait (CLIENT PAUSE), as one does that is about to hand over."""
    server.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        yield
    finally:
        server.ask("CLIENT", "UNPAUSE")


@dataclass(frozen=True)
class Fault:
    """A way to fail.

    :param name: for people.
    :param strike: lets a server fail, and mends it at the end.
    :param serves: what it serves all the same: *reads*, and *deletes*.
    """

    name: str
    strike: Callable[[Server], Any]
    serves: frozenset[str] = frozenset()


FAULTS = [
    Fault("refused", refused),
    Fault("killed", killed),
    Fault("hanging", hanging),
    Fault("loading", loading),
    Fault("out of memory", out_of_memory, frozenset({"reads", "deletes"})),
    Fault("read-only replica", read_only, frozenset({"reads"})),
    Fault("stale replica", stale),
    Fault("too few replicas", too_few_replicas, frozenset({"reads"})),
    Fault("wrong password", wrong_password),
    Fault("too many clients", too_many_clients),
    Fault("paused for writes", paused, frozenset({"reads"})),
]


# --------------------------------------------------------------------------- a load with accounts


@dataclass
class Account:
    """One browser's writes, numbered from 1."""

    browser: AnyBrowser
    sent: int = 0
    #: What was answered with 200, and when.
    acknowledged: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    #: What came of a request that was neither served nor refused as announced.
    wrong: list[object] = field(default_factory=list)

    def write(self) -> None:
        """Send one write, and note what came of it."""
        self.sent += 1
        number = self.sent

        def view() -> None:
            if number % 2:
                session.get("first")
            session.update({f"k{number}": number, "first": number, "second": [number]})

        cookie = self.browser.cookie
        answer = self.browser.visit_any(view)
        if answer.status == 200:
            self.acknowledged[number] = time.monotonic()
        elif answer.status == 503 and answer.headers.get("Retry-After"):
            self.refused += 1
        else:
            self.wrong.append(answer.status)
        if cookie != self.browser.cookie:
            self.wrong.append(answer.cookies)

    def lost(self, *, until: float = float("inf")) -> list[int]:
        """Return the writes acknowledged until then that are not there; check the rest."""
        held = self.browser.read()
        numbers = {value for key, value in held.items() if key.startswith("k")}

        assert numbers <= set(range(self.sent + 1))
        if held:
            # One script writes all three of a request.
            assert held["first"] in numbers
            assert [held["first"]] == held["second"]
        return [n for n, at in self.acknowledged.items() if at <= until and n not in numbers]


class AnyBrowser(Browser):
    """A browser that takes whatever status it gets."""

    def visit_any(self, view: Callable[[], Any]) -> Any:
        """Send a request that this view answers, whatever comes of it."""
        from tests.support.webapp import _VALUES, _VIEW, Answer

        values: list[Any] = []
        environ = {_VIEW: view, _VALUES: values}
        response = self.client.open("/", environ_overrides=environ)
        return Answer(response, values[-1] if values else None)


class Load:
    """Browsers that write without a pause, each from a thread of its own.

    >>> with Load(site, 4) as load:
    ...     load.run(1)
    """

    def __init__(self, site: Site, browsers: int, *, user_id: object = None) -> None:
        self.accounts = [Account(AnyBrowser(site)) for _ in range(browsers)]
        for at, account in enumerate(self.accounts):
            user = {"user_id": f"user{at}" if user_id is None else user_id}
            account.browser.set(first=0, second=[0], k0=0, **user)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(account,)) for account in self.accounts
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each browser end the request that it is at."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _write(self, account: Account) -> None:
        while not self._stop.is_set():
            try:
                account.write()
            except Exception as error:  # noqa: BLE001
                account.wrong.append(error)
                return
            time.sleep(0.002)

    def run(self, seconds: float) -> None:
        """Let them write for a while."""
        time.sleep(seconds)

    def served(self, what: str, *, seconds: float = 60) -> None:
        """Return once every browser was served again."""
        now = time.monotonic()
        wait_until(lambda: self._each_since(now), what, seconds)

    def _each_since(self, moment: float) -> bool:
        return all(
            max(account.acknowledged.values(), default=0) > moment for account in self.accounts
        )

    @property
    def times(self) -> list[float]:
        """When something was acknowledged, in order."""
        return sorted(at for account in self.accounts for at in account.acknowledged.values())

    @property
    def gap(self) -> float:
        """For how long at most a browser went without being served, in seconds."""
        gaps = [0.0]
        for account in self.accounts:
            times = sorted(account.acknowledged.values())
            gaps += [after - before for before, after in pairwise(times)]
        return max(gaps)

    @property
    def refused(self) -> int:
        """How many requests got 503."""
        return sum(account.refused for account in self.accounts)

    @property
    def wrong(self) -> list[object]:
        """What came of requests that were neither served nor refused as announced."""
        return [each for account in self.accounts for each in account.wrong]

    def lost(self, *, until: float = float("inf")) -> int:
        """Return how many writes that were acknowledged until then are not there."""
        return sum(len(account.lost(until=until)) for account in self.accounts)


# --------------------------------------------------------------------------- gunicorn


def shop() -> flask.Flask:
    """Make the application that gunicorn serves."""
    app = flask.Flask("shop")
    app.config.update(json.loads(os.environ["SHOP"]))
    RedisSessionInterface().init_app(app)

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.get("/read")
    def read() -> Any:
        return dict(session)

    @app.get("/keys")
    def keys() -> Any:
        return sorted(session)

    @app.get("/sign-in/<user_id>")
    def sign_in(user_id: str) -> str:
        session["user_id"] = user_id
        return "signed in"

    @app.get("/set/<key>")
    def set_key(key: str) -> str:
        session[key] = key
        return "set"

    @app.get("/add/<key>")
    def add(key: str) -> str:
        session[key] = session.get("user_id")
        return "added"

    return app


@dataclass(frozen=True)
class Got:
    """What a visitor got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float


class Visitor:
    """A browser that speaks HTTP, over one connection at a time."""

    def __init__(self, port: int, cookie: str | None = None) -> None:
        self.cookie = cookie
        self._connection = http.client.HTTPConnection(HOST, port, timeout=30)

    def ask(self, path: str) -> Got:
        """Send a request."""
        headers = {} if self.cookie is None else {"Cookie": f"session={self.cookie}"}
        began = time.monotonic()
        for again in (True, False):
            try:
                self._connection.request("GET", path, headers=headers)
                return self._took(began)
            except ConnectionError:  # noqa: PERF203
                # A worker closes connections that were idle for a while.
                self._connection.close()
                if not again:
                    raise
        raise NotReady("no answer")

    def _took(self, began: float) -> Got:
        response = self._connection.getresponse()
        body = response.read()
        seconds = time.monotonic() - began
        if cookie := response.headers.get("Set-Cookie"):
            self.cookie = cookie.split(";")[0].partition("=")[2] or None
        return Got(response.status, response.headers, body, seconds)

    def close(self) -> None:
        self._connection.close()


class Gunicorn:
    """The application under gunicorn, as a site would run it.

    :param options: further ones of gunicorn's command line; they win over those set here.
    :param application: what it serves, as gunicorn names it.
    :param config: of the application, as JSON has it.
    """

    def __init__(
        self,
        *options: str,
        workers: int = 2,
        threads: int = 4,
        application: str = "tests.support.faults:shop()",
        **config: Any,
    ) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="frs-gunicorn-")
        self._log = Path(self._folder.name) / "log"
        self._command = [
            *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{self.port}"),
            *("--workers", str(workers), "--threads", str(threads), "--keep-alive", "30"),
            *("--worker-tmp-dir", self._folder.name, "--no-control-socket"),
            *("--chdir", str(ROOT), "--log-level", "warning"),
            *(*options, application),
        ]
        self._config = config
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._visitors: list[Visitor] = []
        self._last_log: str | None = None

    def __enter__(self) -> Self:
        # With an arena per thread, glibc keeps more and more of what was freed, for a long time.
        environment = os.environ | {"SHOP": json.dumps(self._config), "MALLOC_ARENA_MAX": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        servers._reaper.tell("process", self._process.pid)
        try:
            wait_until(lambda: len(self.pids()) == self._workers, "gunicorn serves", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for visitor in self._visitors:
            visitor.close()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        servers._reaper.tell("ended", self._process.pid)
        self._last_log = self._log.read_text()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The process that starts the workers."""
        assert self._process is not None
        return self._process.pid

    def reload(self) -> None:
        """Let it replace all workers."""
        os.kill(self.pid, signal.SIGHUP)

    @property
    def log(self) -> str:
        """What the workers logged, also after the end."""
        return self._last_log if self._last_log is not None else self._log.read_text()

    def visitor(self, cookie: str | None = None) -> Visitor:
        """Return a browser, whose connection is closed at the end."""
        visitor = Visitor(self.port, cookie)
        self._visitors.append(visitor)
        return visitor

    def pids(self) -> set[int]:
        """Return the workers that answer a handful of requests."""
        if self._process is not None and self._process.poll() is not None:
            raise NotReady(f"gunicorn ended at its start:\n{self.log}")
        found = set()
        for _ in range(6 * self._workers):
            visitor = Visitor(self.port)
            with suppress(OSError):
                found.add(int(visitor.ask("/pid").body))
            visitor.close()
        return found
