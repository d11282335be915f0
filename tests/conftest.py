"""Servers for the tests, and the rule that nothing may be skipped if all is required.

``--servers`` names the servers that tests of the ``server`` fixture run on: ``all`` or some of
``valkey9,redis7,redis62,redis82``, and of the clusters ``cluster,cluster-redis7``. If a test
names no server, the first of them is meant; with a cluster alone, all tests that ask for a server
run on it but those that are marked ``one_server``. Which client the applications use is chosen
too: see ``clients.py``. With ``REQUIRE_ALL=1`` in the environment a skip is a failure.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import clients
from tests.support.servers import (
    CLUSTERS,
    PROGRAMS,
    Certificates,
    Cluster,
    Missing,
    NotReady,
    SentinelSet,
    Server,
    Servers,
    programs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

DEFAULT_SERVERS = "valkey9,redis7"
REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in {"", "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this suite."""
    clients.add_options(parser)
    parser.addoption(
        "--servers",
        default=DEFAULT_SERVERS,
        help=f"all, or some of {','.join([*PROGRAMS, *CLUSTERS])} (default: {DEFAULT_SERVERS})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take the server and the client that are chosen."""
    first = _chosen(config)[0]
    programs.default = CLUSTERS.get(first, first)
    clients.choose(config)


def pytest_report_header() -> str:
    """Say which client the applications use."""
    return f"client: {clients.chosen()}"


def _chosen(config: pytest.Config) -> list[str]:
    option: str = config.getoption("--servers")
    names = list(PROGRAMS) if option == "all" else option.split(",")
    if unknown := set(names) - {*PROGRAMS, *CLUSTERS}:
        raise pytest.UsageError(f"--servers: no such server: {', '.join(sorted(unknown))}")
    return names


def _names_server(mark: pytest.Mark) -> bool:
    names = mark.args[0]
    return "server" in (names.replace(",", " ").split() if isinstance(names, str) else names)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``server`` on each server chosen, unless it names its own."""
    named = any(_names_server(mark) for mark in metafunc.definition.iter_markers("parametrize"))
    if "server" in metafunc.fixturenames and not named:
        metafunc.parametrize("server", _chosen(metafunc.config), indirect=True)


def _on_cluster(item: pytest.Item, config: pytest.Config) -> str | None:
    """Return the cluster that a test would run on, if it would."""
    chosen = _chosen(config)
    fixtures = getattr(item, "fixturenames", ())
    if "server" in fixtures:
        name = item.callspec.params["server"]  # type: ignore[attr-defined]
    elif "valkey" in fixtures or CLUSTERS.keys() >= set(chosen):
        name = chosen[0]
    else:
        name = None
    return name if name in CLUSTERS else None


def _fits_cluster(item: pytest.Item) -> bool:
    """Tell whether a test has something to say of a cluster."""
    asks = {"server", "valkey"} & {*getattr(item, "fixturenames", ())}
    return bool(asks) and item.get_closest_marker("one_server") is None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on a cluster, what is about one server or about none."""
    out = [item for item in items if _on_cluster(item, config) and not _fits_cluster(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in {*out}]


# --------------------------------------------------------------------------- skips


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test whose fixtures need a program that is not here."""
    try:
        return (yield)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test that itself needs a program that is not here."""
    try:
        return (yield)
    except Missing as missing:
        pytest.skip(str(missing))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\n(a skip counts as a failure: REQUIRE_ALL is set)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skipped test fail if all is required."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let a skipped file fail if all is required."""
    report = yield
    _refuse_skip(report)
    return report


# --------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this worker: ``servers.get("redis62")`` starts one at first use."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> Server | Cluster:
    """An empty server or cluster; the test runs once on each that ``--servers`` names."""
    return servers.get(request.param)


@pytest.fixture
def valkey(request: pytest.FixtureRequest, servers: Servers) -> Server | Cluster:
    """An empty server for a test to which it makes no difference: Valkey 9 by default."""
    return servers.get(_chosen(request.config)[0])


@pytest.fixture(scope="session")
def _fragile() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def fragile(_fragile: Server) -> Server:
    """An empty server that a test may stop and pause."""
    _fragile.revive()
    _fragile.flush()
    return _fragile


@pytest.fixture(params=clients.LIBRARIES)
def hasty_client(request: pytest.FixtureRequest, fragile: Server) -> Iterator[Any]:
    """A client of either library that waits for a server that runs, and not for one that hangs."""
    with clients.application_client(fragile, library=request.param) as client:
        pool = client.connection_pool

        class Hasty(pool.connection_class):  # type: ignore[misc,name-defined]
            def connect(self, *args: Any, **options: Any) -> None:
                self._hurry()
                super().connect(*args, **options)

            def send_packed_command(self, *args: Any, **options: Any) -> None:
                self._hurry()
                super().send_packed_command(*args, **options)

            def _hurry(self) -> None:
                self.socket_timeout = 0.1 if fragile.paused else 10
                if self._sock is not None:
                    self._sock.settimeout(self.socket_timeout)

        pool.connection_class = Hasty
        yield client


@pytest.fixture(params=[Server.kill, Server.pause], ids=["killed", "hanging"])
def fail(request: pytest.FixtureRequest, fragile: Server) -> Callable[[], None]:
    """What lets the server fail, in each of several ways."""
    return lambda: request.param(fragile)


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """An empty cluster of three primaries; a test that breaks nodes makes a :class:`Cluster`."""
    _cluster.revive()
    _cluster.flush()
    return _cluster


@pytest.fixture
def sentinels() -> Iterator[SentinelSet]:
    """A primary, its replica and three sentinels, which a test may break."""
    with ExitStack() as stack:
        try:
            sentinels = stack.enter_context(SentinelSet())
        except NotReady:
            # On a busy machine they may miss each other's greetings.
            sentinels = stack.enter_context(SentinelSet())
        yield sentinels


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a server's certificate and a client's, for ``Server("redis7", tls=...)``."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _logs_go_on() -> Iterator[None]:
    """Fail a test that leaves logging or a logger disabled: the next test would miss its lines."""
    yield
    names = [name for name in logging.root.manager.loggerDict if logging.getLogger(name).disabled]
    everything = logging.root.manager.disable
    for name in names:
        logging.getLogger(name).disabled = False
    logging.disable(logging.NOTSET)
    assert ([], logging.NOTSET) == (names, everything)
