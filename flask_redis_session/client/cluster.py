"""The client of a cluster, and how it finds out which node holds which slots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import REDIS_ALLOWED_KEYS, ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisClusterException
from redis.exceptions import TimeoutError as TooLate
from redis.retry import Retry

from .connection import careful
from .options import check_connection, refuse

#: For so many seconds after a refresh that succeeded, no other one is made. A request that a node
#: refuses asks for one, and it would cost the nodes that are well connections and commands.
PAUSE = 0.25

#: From 6 on, a cluster's client has a ``Retry`` in the place of a number.
_MAJOR = int(redis.__version__.partition(".")[0])

#: When the refresh that this thread makes asks no further node.
_deadline: ContextVar[float] = ContextVar("_deadline", default=inf)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Let connections refuse to begin anything after so many seconds."""
    before = _deadline.set(monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(before)


class Timely:
    """What is added to connections so that a whole refresh has one deadline.

    redis-py asks one node after the other and waits a whole timeout for each that hangs.
    """

    def _connect(self) -> Any:
        self._look_at_the_clock()
        return super()._connect()  # type: ignore[misc]

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send a command if there is time for a reply."""
        self._look_at_the_clock()
        super().send_packed_command(*args, **options)  # type: ignore[misc]

    @staticmethod
    def _look_at_the_clock() -> None:
        if monotonic() > _deadline.get():
            raise TooLate("no time is left to ask another node for the slots")


class SlotRefresh:
    """Refreshes the slots for one thread at a time, as redis-py does, but not again and again.

    redis-py lets each thread that waits for a refresh that fails make another one, one after the
    other. Before 7, it does so if the refresh succeeds as well.

    :param refresh: redis-py's ``NodesManager.initialize``.
    :param seconds: after so long no further node is asked.
    """

    def __init__(self, refresh: Callable[..., None], seconds: float = inf) -> None:
        self._refresh = refresh
        self._seconds = seconds
        self._lock = threading.RLock()
        # When the last one that succeeded began, and when the last one that failed was over.
        self._began_at = -inf
        self._failed_at = -inf
        self._failure = ""

    def __call__(self, *args: object, **options: object) -> None:
        """Refresh them.

        :raises redis.exceptions.RedisClusterException: if no node answers in time.
        """
        asked = monotonic()
        with self._lock:
            if asked < self._failed_at:
                raise RedisClusterException(self._failure)
            if monotonic() - self._began_at < PAUSE:
                # If a slot has moved since, its old node says where it is.
                return
            began_at = monotonic()
            try:
                with _within(self._seconds):
                    self._refresh(*args, **options)
            except RedisClusterException as failure:
                self._failed_at, self._failure = monotonic(), str(failure)
                raise
            self._began_at = began_at


def cluster(
    connection: Any, hosts: list[tuple[str, int]], options: dict[str, Any]
) -> Callable[[], Any]:
    """Return what makes the client; it asks a node for the slots at once.

    :param connection: the class of connections, of redis-py's: with TLS or without.
    :param hosts: nodes of the cluster; the others are found by them.
    :param options: of each connection.
    :raises SettingError: if a connection or redis-py's client refuses an option.
    """
    check_connection(connection, options)
    if options.pop("db"):
        refuse("a cluster has database 0 alone: leave the number out")
    del options["retry"], options["retry_on_error"]
    if dropped := set(options) - set(REDIS_ALLOWED_KEYS):
        refuse(f"redis-py's cluster client takes no {', '.join(sorted(dropped))}")
    options["connection_class"] = careful(_timely(connection))
    if _MAJOR < 6:
        options["cluster_error_retry_attempts"] = 1
    else:
        options["retry"] = Retry(NoBackoff(), 1)
    # The first node that hangs takes a whole timeout, and then there is time for a second one.
    seconds = 1.5 * max(options["socket_timeout"], options["socket_connect_timeout"])
    node: Any = ClusterNode
    (host, port), *others = hosts

    def make() -> Any:
        try:
            with _within(seconds):
                client = RedisCluster(
                    # Only with a URL does it take a class of connections.
                    url=f"redis://{f'[{host}]' if ':' in host else host}:{port}",
                    startup_nodes=[node(*other) for other in others],
                    **options,
                )
        except RedisClusterException as error:
            raise LostConnection(str(error)) from error
        manager: Any = client.nodes_manager
        manager.initialize = SlotRefresh(manager.initialize, seconds)
        return client

    return make


def _timely(connection: Any) -> Any:
    return type(f"Timely{connection.__name__}", (Timely, connection), {})
