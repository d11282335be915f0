"""Connections that are closed before their next use if a reply may still be on its way to them."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from redis.exceptions import RedisError, ResponseError

from .packer import Packer
from .refusal import is_doubtful, is_elsewhere

#: Why a connection is not used again: a reply may still be on its way to it (*reply*), or its
#: server is not the right one any more (*server*).
Doubt = Literal["", "reply", "server"]


class Careful:
    """What :func:`careful` adds to a class of redis-py's connections.

    A connection is in doubt after a refusal that this package does not expect, and if an exception
    came between a command and its reply. It is closed when it is used next, not at once: of a
    pipeline, all replies are read. redis-py's pools call :meth:`connect` whenever they hand a
    connection out.
    """

    def __init__(self, **options: Any) -> None:
        self.packer = Packer()
        super().__init__(**{"command_packer": self.packer, **options})
        self.doubt: Doubt = ""

    def doubted(self) -> Doubt:
        """Return why the connection is not to be used again, if so."""
        return self.doubt or ("reply" if self.packer.awaited else "")

    def is_closed(self) -> bool:
        """Tell whether it is not connected."""
        return getattr(self, "_sock", None) is None

    def is_stale(self) -> bool:
        """Tell whether there is something to read before anything was asked.

        It is the end of the connection, or a reply of somebody else's.
        """
        if self.is_closed():
            # It would connect to tell.
            return False
        try:
            return bool(self.can_read())  # type: ignore[attr-defined]
        except (RedisError, OSError):
            return True

    def connect(self, *args: Any, **options: Any) -> None:
        """Connect if it is closed, and anew if it is in doubt."""
        # If it is closed, the command that it is opened for was packed already.
        if self.doubted() and not self.is_closed():
            self.disconnect()
        super().connect(*args, **options)  # type: ignore[misc]

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Close it; nothing is in doubt any more."""
        super().disconnect(*args, **options)  # type: ignore[misc]
        self.doubt, self.packer.awaited = "", 0

    def on_connect(self, *args: Any, **options: Any) -> None:
        """Greet the server; if it refuses a part of that, redis-py knows what to do."""
        super().on_connect(*args, **options)  # type: ignore[misc]
        self.doubt = ""

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Greet the server, by the name that redis-py has for it from 6 on."""
        super().on_connect_check_health(*args, **options)  # type: ignore[misc]
        self.doubt = ""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply, and note whether it leaves the connection in doubt."""
        try:
            reply = super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            self.packer.awaited -= 1
            if is_doubtful(error):
                self.doubt = "server" if is_elsewhere(error) else self.doubt or "reply"
            raise
        self.packer.awaited -= 1
        return reply


@cache
def careful(connection: Any) -> Any:
    """Return a class of connections that are careful.

    :param connection: a class of redis-py's connections.
    """
    return type(f"Careful{connection.__name__}", (Careful, connection), {})
