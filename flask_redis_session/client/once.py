"""Commands that are sent once only, because they may have been carried out if no reply comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.client import Pipeline
from redis.exceptions import ConnectionError as LostConnection

from .connection import Careful
from .library import library_of
from .retry import ReplyLost

#: What tells that a command went to a node that has its slot no more, and was not carried out.
MOVED = ("AskError", "MovedError", "TryAgainError")

#: What runs a script: its key comes after the number of keys.
SCRIPTED = {"EVAL", "EVALSHA"}


class OncePipeline(Pipeline):
    """A pipeline that is not sent again if its connection is lost."""

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> Any:
        # Before anything is sent, a connection that the server has closed can still be replaced.
        if connection.is_stale():
            connection.disconnect()
        connection.connect()
        execute: Any = super()._execute_pipeline
        try:
            return execute(connection, commands, raise_on_error)
        except LostConnection as error:
            if type(error) is LostConnection:
                raise ReplyLost(str(error)) from error
            raise


def server_for(client: Any, key: Any) -> Any:
    """Return the client of the one server that has a key.

    :param client: of redis-py or valkey-py, of the application's or made from a URL.
    """
    if not hasattr(client, "get_node_from_key"):
        return client
    connection = getattr(client, f"get_{library_of(client)}_connection")
    return connection(client.get_node_from_key(key))


def key_of(command: Sequence[Any]) -> Any:
    """Return the key that a command is about, or the first of them; ``b""`` if there is none."""
    at = 3 if command[0] in SCRIPTED else 1
    return command[at] if at < len(command) else b""


def by_server(client: Any, commands: Sequence[Sequence[Any]]) -> list[tuple[Any, list[int]]]:
    """Return the client of each server that carries out some commands, and the places of those."""
    servers: dict[int, tuple[Any, list[int]]] = {}
    for at, command in enumerate(commands):
        server = server_for(client, key_of(command))
        servers.setdefault(id(server), (server, []))[1].append(at)
    return [*servers.values()]


def is_ours(server: Any) -> bool:
    """Tell whether the client of one server was made from a URL."""
    pool = getattr(server, "connection_pool", None)
    connection = getattr(pool, "connection_class", None)
    return isinstance(connection, type) and issubclass(connection, Careful)


def sent_once(server: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands to one server in one piece; return replies and refusals.

    :param server: its client, which was made from a URL.
    :raises redis.exceptions.RedisError: if a reply is lost.
    """
    with OncePipeline(server.connection_pool, server.response_callbacks, False, None) as pipeline:
        sent: Any = pipeline
        for command in commands:
            sent.execute_command(*command, NEVER_DECODE=True)
        replies: list[Any] = sent.execute(raise_on_error=False)
    return replies
