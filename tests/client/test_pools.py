"""The idle connections of a client of the application's are closed, and its pool keeps its size."""

from __future__ import annotations

import importlib
import inspect
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from flask_redis_session.client.pools import close_idle
from tests.support.clients import LIBRARIES
from tests.support.interruption import interrupted
from tests.support.servers import HOST

pytestmark = pytest.mark.one_server("the pool of one server")

SIZE = 3
PACKAGES = ("/redis/", "/valkey/", "/flask_redis_session/")


@pytest.fixture(params=LIBRARIES)
def package(request: pytest.FixtureRequest) -> Any:
    """A library of clients."""
    return importlib.import_module(request.param)


@pytest.fixture(params=["ConnectionPool", "BlockingConnectionPool"])
def client(request: pytest.FixtureRequest, valkey: Any, package: Any) -> Any:
    """A client with so many connections at most, all of which are open and idle."""
    options = {"timeout": 1} if request.param == "BlockingConnectionPool" else {}
    kind = getattr(package, request.param)
    pool = kind(host=HOST, port=valkey.port, max_connections=SIZE, **options)
    client = getattr(package, type_of(package))(connection_pool=pool)
    use_all(client)
    yield client
    pool.disconnect()


def type_of(package: Any) -> str:
    """Return the name of a library's client."""
    return str(package.__name__.capitalize())


def use_all(client: Any) -> set[int]:
    """Use as many connections at once as there may be, and return their numbers."""
    pool = client.connection_pool
    taken = [_get(pool) for _ in range(SIZE)]
    found = set()
    for connection in taken:
        connection.send_command("CLIENT", "ID")
        found.add(connection.read_response())
    for connection in taken:
        pool.release(connection)
    return found


def _get(pool: Any) -> Any:
    needed = inspect.signature(pool.get_connection).parameters["command_name"].default
    return pool.get_connection(*(() if needed is None else ("PING",)))


def test_closed(client: Any) -> None:
    """Each idle one is closed."""
    before = use_all(client)
    close_idle(client)

    assert not before & use_all(client)


def test_in_use(client: Any) -> None:
    """One that somebody uses is left alone."""
    used = _get(client.connection_pool)
    used.send_command("CLIENT", "ID")
    close_idle(client)

    assert used.read_response() > 0
    client.connection_pool.release(used)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupted_anywhere(client: Any) -> None:
    """Whatever interrupts it, the pool can hand out as many connections as before."""
    after = 1
    while interrupted(after, lambda: close_idle(client), PACKAGES, ("return", "c_return")):
        after += 1
        # One that was half closed fails when it is used next, and this is what follows.
        close_idle(client)

        assert SIZE == len(use_all(client)), after

    assert after > 10


def test_at_once(client: Any) -> None:
    """Threads that go on using the client never have a connection closed under them."""
    wrong: list[BaseException] = []
    over = threading.Event()

    def use() -> None:
        try:
            while not over.is_set():
                client.ping()
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(SIZE - 1)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        close_idle(client)
    over.set()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_never_opened(valkey: Any, package: Any) -> None:
    """A place of a blocking pool that has no connection yet stays one."""
    pool = package.BlockingConnectionPool(host=HOST, port=valkey.port, max_connections=SIZE)
    client = getattr(package, type_of(package))(connection_pool=pool)
    client.ping()
    close_idle(client)

    assert SIZE == len(use_all(client))
    pool.disconnect()


def test_of_another_kind() -> None:
    """A pool of a kind that is not known is left alone."""
    close_idle(SimpleNamespace(connection_pool=object()))
