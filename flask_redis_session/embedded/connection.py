"""A connection to the embedded server."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from redis.connection import UnixDomainSocketConnection

from flask_redis_session.errors import SettingError

from .server import last_path, start_or_join


class EmbeddedConnection(UnixDomainSocketConnection):
    """A connection to the embedded server, which it starts again if that has ended.

    :param directory: as for :func:`start_or_join`.
    """

    def __init__(self, *, directory: str | None = None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.directory = directory

    # Not ``connect``: redis-py has several ways to connect again, and all of them end here.
    def _connect(self) -> socket.socket:
        self.path = last_path(self.directory)
        if self.path:
            # Permission is denied if a process that had more rights started the server.
            with suppress(FileNotFoundError, ConnectionRefusedError, PermissionError):
                return self._reach()
        try:
            self.path = start_or_join(self.directory, timeout=5.0)
        except SettingError as error:
            raise OSError(str(error)) from error
        return self._reach()

    def _reach(self) -> socket.socket:
        opened: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        return opened
