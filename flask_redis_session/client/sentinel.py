"""The client of the primary that Sentinels name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.connection import SSLConnection
from redis.sentinel import (
    Sentinel,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from .connection import careful
from .options import check_connection, credentials
from .retry import RetryLost


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
        service, connection_class=managed
    )
