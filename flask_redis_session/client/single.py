"""The client of one server: over the network, at a unix socket, or embedded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as LostConnection

from .connection import careful
from .fast import FastPool, FastRedis
from .options import check_connection, refuse


def single(connection: Any, options: dict[str, Any]) -> Callable[[], Any]:
    """Return what makes the client of one server.

    :param connection: the class of its connections, of redis-py's.
    :param options: of each connection.
    :raises SettingError: if a connection refuses an option.
    """
    check_connection(connection, options)
    make = careful(connection)
    return lambda: FastRedis.from_pool(FastPool(connection_class=make, **options))


def at_socket(path: str, options: dict[str, Any]) -> Callable[[], Any]:
    """Return what makes the client of a server at a unix socket.

    :param path: of the socket.
    :raises SettingError: as :func:`single`.
    """
    return single(UnixDomainSocketConnection, {**options, "path": path})


def embedded(directory: str | None, options: dict[str, Any]) -> Callable[[], Any]:
    """Return what starts or joins the embedded server and makes its client.

    :param directory: where its data are; ``None``: in a temporary one.
    :raises SettingError: if it cannot run here, or as :func:`single`.
    """
    try:
        from flask_redis_session import embedded as room  # noqa: PLC0415
    except ImportError:
        refuse("embedded:// needs Linux or macOS")
    room.server_binary()
    room.prepare(directory)
    make = single(room.EmbeddedConnection, {**options, "directory": directory})

    def start() -> Any:
        try:
            room.start_or_join(directory)
        except OSError as error:
            raise LostConnection(str(error)) from error
        return make()

    return start
