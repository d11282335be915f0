"""A client of redis-py's with less between a command and its socket.

redis-py's own spends about as long on its pool and its metrics as the kernel and Redis on the
command. These classes only leave that out; connections, protocol, retries and errors are its own.
Tools that trace commands replace ``redis.Redis.execute_command``: if one has, commands go that way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from inspect import unwrap
from time import monotonic
from types import FunctionType
from typing import Any
from weakref import WeakSet

import redis
from redis.client import Pipeline
from redis.connection import ConnectionPool

from .commands import HGETALL, HMGET

#: Commands of one word, whose replies need no more than to be read, in bytes.
_PLAIN = {"EVALSHA", HGETALL, HMGET}

#: For how long a connection is not looked at again, in seconds. One that the server has closed
#: since fails at the next command, is made anew, and the command is sent once more.
FRESH = 1.0


class FastPool(ConnectionPool):
    """A pool that hands out the connection that was used last, without a lock.

    A new one connects with its first command, so that whatever interrupts that closes it. To
    redis-py every connection counts as in use, so that ``disconnect()`` closes all of them.

    :param options: redis-py's. The class of its connections is a careful one.
    """

    def reset(self) -> None:
        # redis-py calls it when the pool is made, and after a fork. What comes last in there is
        # the pid, by which other threads know that all else is done: the connections that were
        # made before the fork must be out of their reach by then.
        self._idle: deque[Any] = deque()
        super().reset()
        # One that an exception took from the pool, as a signal handler can raise, ends by itself.
        self._in_use_connections: Any = WeakSet()

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return self._made()
        is_old = monotonic() - since >= FRESH
        if connection.doubted() or (is_old and connection.is_stale()):
            connection.disconnect()
        return connection

    def _made(self) -> Any:
        with self._lock:
            self._created_connections = len(self._in_use_connections)
            connection = self.make_connection()
            self._in_use_connections.add(connection)
        return connection

    def release(self, connection: Any) -> None:
        if connection.pid != self.pid:
            # It was made before a fork, and is the parent's.
            return
        if connection.is_closed():
            self._close_idle()
        if connection.doubt == "server":
            # The name of the server may lead to another one now.
            self.disconnect(inuse_connections=False)
        if connection.doubted():
            connection.disconnect()
        if _is_to_reconnect(connection):
            connection.disconnect()
        self._idle.append((connection, monotonic()))

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or let each of them be closed before its next use.

        :param inuse_connections: whether those are closed at once that others use.
        """
        if inuse_connections:
            super().disconnect()
            return
        with self._lock:
            connections = [*self._in_use_connections]
        for connection in connections:
            connection.doubt = "reply"

    def close_idle(self) -> None:
        """Let each connection that nobody uses be closed before its next use."""
        for connection, _ in [*self._idle]:
            connection.doubt = "reply"

    def _close_idle(self) -> None:
        """Close what is idle once a connection failed: what was cut off from one is from others.

        Each would take a request until its timeout if a firewall forgot them and tells nobody.
        """
        for _ in range(len(self._idle)):
            try:
                connection, since = self._idle.popleft()
            except IndexError:
                return
            if connection.is_closed():
                # Another failure has been here.
                self._idle.appendleft((connection, since))
                return
            connection.disconnect()
            self._idle.append((connection, since))


def _is_to_reconnect(connection: Any) -> bool:
    # redis-py 7 and later ask a connection to, if a server announced that it will move.
    should = getattr(connection, "should_reconnect", None)
    return should is not None and bool(should())


def _dict_of(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):
        return reply
    words = iter(reply)
    return dict(zip(words, words, strict=True))


def _own(method: Any) -> Any:
    """Return redis-py's own function, of which a tracer has made this method; ``None``: unknown."""
    function = unwrap(method)
    is_own = type(function) is FunctionType and function.__module__ == redis.Redis.__module__
    return function if is_own else None


#: What sends a command, and several, if nothing traces it. A tracer may have come first.
_UNTRACED = _own(redis.Redis.execute_command)
_UNTRACED_PIPELINE = _own(Pipeline.execute)


class FastRedis(redis.Redis):
    """A client that sends commands without redis-py's metrics, unless a tool traces commands."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if redis.Redis.execute_command is not _UNTRACED:
            # By each command, because a tracer may come at any time, and go.
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        parse: Any = self.parse_response
        name = args[0]

        def exchange(connection: Any) -> Any:
            connection.send_packed_command(connection.pack_command(*args))
            return parse(connection, name, **options)

        def exchange_plainly(connection: Any) -> Any:
            connection.send_packed_command(connection.packer.pack_plainly(args))
            return _plain_reply(connection, name)

        return self._carried_out(exchange_plainly if name in _PLAIN else exchange)

    @property
    def is_traced(self) -> bool:
        """Whether a tool sees what this client sends in pipelines, so that it must send those."""
        return (
            Pipeline.execute is not _UNTRACED_PIPELINE
            or redis.Redis.execute_command is not _UNTRACED
            or "pipeline" in vars(self)
        )

    def exchange_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one piece, as a pipeline would; return replies and refusals.

        :param commands: the name of each is one word. Texts in the replies are bytes.
        :raises redis.exceptions.RedisError: if a reply is lost.
        """
        parse: Any = self.parse_response

        def answer(connection: Any, name: str) -> Any:
            try:
                if name in _PLAIN:
                    return _plain_reply(connection, name)
                return parse(connection, name, NEVER_DECODE=True)
            except redis.ResponseError as refusal:
                # The replies behind it are on their way.
                return refusal

        def exchange(connection: Any) -> list[Any]:
            connection.send_packed_command(connection.packer.pack_plainly(*commands))
            return [answer(connection, command[0]) for command in commands]

        replies: list[Any] = self._carried_out(exchange)
        return replies

    def _carried_out(self, exchange: Callable[[Any], Any]) -> Any:
        """Return what comes of an exchange over a connection, which is closed if that failed."""
        pool = self.connection_pool
        connection: Any = pool.get_connection()

        def carry_out() -> Any:
            return exchange(connection)

        def give_up(*_: Any) -> None:
            connection.disconnect()

        is_clean = False
        try:
            reply = connection.retry.call_with_retry(carry_out, give_up)
            is_clean = True
            return reply
        except redis.ResponseError:
            is_clean = True
            raise
        finally:
            if not is_clean:
                # Its reply may still come, and the next command would take it for its own, with
                # another session in it.
                connection.disconnect()
            pool.release(connection)


def _plain_reply(connection: Any, name: str) -> Any:
    reply = connection.read_response(disable_decoding=True)
    return _dict_of(reply) if name == HGETALL else reply
