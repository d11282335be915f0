"""The client of the primary that Sentinels name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.connection import SSLConnection
from redis.exceptions import RedisError
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from .connection import careful
from .options import check_connection, credentials
from .retry import RetryLost

#: Seconds after which a client that is busy asks a sentinel again who the primary is.
ASK_AGAIN = 1.0


class WatchfulPool(SentinelConnectionPool):
    """A pool that asks again who the primary is; redis-py asks for a new connection only.

    A primary that is cut off, or was replaced and does not know it yet, goes on answering. If a
    sentinel names another one, redis-py closes the idle connections at once, and each of the others
    when it is released.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._asked_at = monotonic()
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    def get_connection(self, *args: Any, **options: Any) -> Any:
        self.look()
        return super().get_connection(*args, **options)

    def look(self, every: float = ASK_AGAIN) -> None:
        """Ask again who the primary is, if it is time to; nobody waits for the answer.

        :param every: how often it is time to, in seconds.
        """
        if monotonic() - self._asked_at >= every:
            self._asked_at = monotonic()
            # In a thread of its own, because no request is to wait for sentinels that hang. None
            # can be started while the interpreter ends.
            with suppress(RuntimeError):
                threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        with suppress(RedisError, OSError):
            self.get_master_address()  # type: ignore[no-untyped-call]


def sentinel(
    connection: Any, hosts: list[tuple[str, int]], service: str, options: dict[str, Any]
) -> Callable[[], Any]:
    """Return what makes the client.

    :param connection: the class of connections, of redis-py's: with TLS or without.
    :param hosts: of the sentinels.
    :param service: by which name they know the primary.
    :param options: of each connection, and those of the sentinels.
    :raises SettingError: if a connection refuses an option.
    """
    own = credentials("", options, "sentinel_")
    check_connection(connection, options)
    tls = connection is SSLConnection
    own |= {name: options[name] for name in options if name.startswith(("socket_", "ssl_"))}
    own |= {"retry": RetryLost(), "ssl": tls}
    for name in ("socket_timeout", "socket_connect_timeout"):
        own[name] /= len(hosts)
    managed = careful(SentinelManagedSSLConnection if tls else SentinelManagedConnection)
    make: Any = Sentinel
    return lambda: make(hosts, sentinel_kwargs=own, **options).master_for(
        service, connection_pool_class=WatchfulPool, connection_class=managed
    )
