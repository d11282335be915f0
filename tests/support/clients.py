"""The client that the applications under test use, of the kind that the command line chooses.

``--client valkey --protocol 3 --decode-responses`` runs the suite with clients of that kind. A test
that is about one kind names it; the tests' own look at what is stored stays redis-py's. What a URL
makes is the library's own affair, and so it is here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.support.servers import HOST, Cluster, SentinelSet, Server

if TYPE_CHECKING:
    import pytest

LIBRARIES = ("redis", "valkey")


@dataclass(frozen=True)
class Kind:
    """A kind of client.

    :param library: the package that it is of.
    :param protocol: which RESP it speaks; ``None``: the library's own choice.
    :param decode_responses: whether it turns replies into text.
    """

    library: str = "redis"
    protocol: int | None = None
    decode_responses: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What a client is told so that it is of this kind."""
        options: dict[str, Any] = {"decode_responses": self.decode_responses}
        if self.protocol is not None:
            options["protocol"] = self.protocol
        return options

    def __str__(self) -> str:
        package: Any = importlib.import_module(self.library)
        version = package.__version__
        protocol = "the library's RESP" if self.protocol is None else f"RESP{self.protocol}"
        decoded = "decoded" if self.decode_responses else "bytes"
        return f"{self.library}-py {version}, {parser(self.library)}, {protocol}, {decoded}"


def parser(library: str) -> str:
    """Return which parser of replies a library found: ``hiredis``, ``libvalkey`` or ``python``."""
    fast = {"redis": "hiredis", "valkey": "libvalkey"}[library]
    found = getattr(importlib.import_module(f"{library}.utils"), f"{fast.upper()}_AVAILABLE")
    return fast if found else "python"


_kind = Kind()


def add_options(options: pytest.Parser) -> None:
    """Add the options of the command line that choose the kind."""
    options.addoption("--client", choices=LIBRARIES, default="redis", help="whose client is used")
    options.addoption("--protocol", type=int, choices=(2, 3), help="the RESP that it speaks")
    options.addoption("--decode-responses", action="store_true", help="let it decode replies")


def choose(config: pytest.Config) -> None:
    """Take the kind that the command line chooses, for this process."""
    global _kind  # noqa: PLW0603 - one process has one command line
    _kind = Kind(
        config.getoption("--client"),
        config.getoption("--protocol"),
        config.getoption("--decode-responses"),
    )


def chosen() -> Kind:
    """Return the kind that was chosen."""
    return _kind


def application_client(
    server: Server | Cluster | SentinelSet, *, library: str | None = None, **options: Any
) -> Any:
    """Make a client for an application, without retries.

    :param server: what it is a client of.
    :param library: whose class it is, where that is what is tested.
    :param options: further ones of that class; they win over those of the chosen kind.
    """
    package: Any = importlib.import_module(library or _kind.library)
    options = _kind.options | options
    if isinstance(server, Cluster):
        nodes = [package.cluster.ClusterNode(HOST, node.port) for node in server.nodes]
        return _class_of(package, "{}Cluster")(startup_nodes=nodes, **options)
    options = {"retry": _no_retry(package), "socket_timeout": 10} | options
    if isinstance(server, SentinelSet):
        sentinel = importlib.import_module(f"{package.__name__}.sentinel")
        hosts = [(HOST, each.port) for each in server.sentinels]
        return sentinel.Sentinel(hosts, socket_timeout=1).master_for(server.service, **options)
    return _class_of(package, "{}")(**(server.address | options))


def _class_of(package: Any, name: str) -> Any:
    return getattr(package, name.format(package.__name__.capitalize()))


def _no_retry(package: Any) -> Any:
    retry = importlib.import_module(f"{package.__name__}.retry")
    backoff = importlib.import_module(f"{package.__name__}.backoff")
    return retry.Retry(backoff.NoBackoff(), 0)


@cache
def shared_client(server: Server | Cluster) -> Any:
    """Return the client that all applications on this server share, with its connection open."""
    client = application_client(server)
    client.ping()
    return client
