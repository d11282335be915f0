"""What lets a server fail."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from tests.support.servers import HOST, Link, Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    :param serves: what it serves all the same: *reads*, *lists* and *deletes*.
    """

    name: str
    strike: Callable[[Server], Any]
    serves: frozenset[str] = frozenset()


FAULTS = [
    Fault("refused", refused),
    Fault("killed", killed),
    Fault("hanging", hanging),
    Fault("loading", loading),
    Fault("out of memory", out_of_memory, frozenset({"reads", "lists", "deletes"})),
    Fault("read-only replica", read_only, frozenset({"reads", "lists"})),
    Fault("stale replica", stale),
    Fault("too few replicas", too_few_replicas, frozenset({"reads", "lists"})),
    Fault("wrong password", wrong_password),
    Fault("too many clients", too_many_clients),
    Fault("paused for writes", paused, frozenset({"reads"})),
]
