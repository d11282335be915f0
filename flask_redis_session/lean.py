"""A client of redis-py's with less between a command and its socket.

redis-py's own spends about as long on its pool and its metrics as the kernel and Redis on the
command. These classes only leave that out; connections, protocol, retries and errors are its own.
Tools that trace ``redis.Redis.execute_command`` do not see this client's commands: give
``SESSION_REDIS`` a client of your own where you want them traced.
"""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import Any

import redis
from redis.connection import ConnectionPool

from .server import HGETALL, HMGET

_pack: Any
try:
    from hiredis import pack_command as _pack
except ImportError:
    _pack = None

# Before 5.3 redis-py wanted to be told the command, and made no use of it.
_NAMED = () if tuple(map(int, redis.__version__.split(".")[:2])) >= (5, 3) else ("",)


#: Commands of one word, whose replies need no more than to be read, in bytes.
_PLAIN = {"EVALSHA", HGETALL, HMGET}

#: For how long a connection is not looked at again, in seconds. One that the server has closed
#: since fails at the next command, is made anew, and the command is sent once more.
FRESH = 1.0


class LeanPool(ConnectionPool):
    """A pool that hands out the connection that was used last, without a lock.

    To redis-py every connection counts as in use, so that ``disconnect()`` closes all of them.
    """

    def reset(self) -> None:
        # redis-py calls it when the pool is made, and after a fork.
        super().reset()
        self._idle: deque[Any] = deque()

    def get_connection(self, *_: Any, **__: Any) -> Any:
        if self.pid == os.getpid():
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return super().get_connection(*_NAMED)
            if monotonic() - since < FRESH:
                return connection
            try:
                # What is there to read is the end of the connection, or a reply of somebody else's.
                dirty = connection.can_read()
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                dirty = True
            if dirty:
                connection.disconnect()
            return connection
        return super().get_connection(*_NAMED)

    def release(self, connection: Any) -> None:
        if not _is_to_reconnect(connection):
            self._idle.append((connection, monotonic()))
        else:
            super().release(connection)


def _dict_of(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):
        return reply
    words = iter(reply)
    return dict(zip(words, words, strict=True))


def _is_to_reconnect(connection: Any) -> bool:
    # redis-py 7 and later ask a connection to, where a server announced that it will move.
    should = getattr(connection, "should_reconnect", None)
    return should is not None and bool(should())


class LeanRedis(redis.Redis):
    """A client that sends a command without redis-py's metrics."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        pool = self.connection_pool
        connection: Any = pool.get_connection()
        parse: Any = self.parse_response
        name = args[0]

        def exchange() -> Any:
            connection.send_packed_command(connection.pack_command(*args))
            return parse(connection, name, **options)

        def exchange_plainly() -> Any:
            packed = connection.pack_command(*args) if _pack is None else (_pack(args),)
            connection.send_packed_command(packed)
            reply = connection.read_response(disable_decoding=True)
            return _dict_of(reply) if name == HGETALL else reply

        def give_up(*_: Any) -> None:
            connection.disconnect()

        try:
            carry_out = exchange_plainly if name in _PLAIN else exchange
            return connection.retry.call_with_retry(carry_out, give_up)
        finally:
            pool.release(connection)
