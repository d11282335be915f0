"""How commands are handed to a client: one by one, or in one piece.

Whatever a client's ``decode_responses`` says, a damaged text must reach us as bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .once import SCRIPTED


def one_by_one(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands, each after the reply to the one before; return the replies."""
    return [client.execute_command(*command, NEVER_DECODE=True) for command in commands]


def in_one_piece(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in one round trip to each node; return replies and refusals."""
    if hasattr(client, "exchange_all") and not client.is_traced:
        return client.exchange_all(commands)  # type: ignore[no-any-return]
    is_cluster = hasattr(client, "get_node_from_key")
    # with: if an exception cuts the end of execute() short, the pipeline still has its connection.
    # valkey-py would give it back whenever the garbage collector comes, also while this thread
    # has the lock of the pool, which then waits for itself.
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            options: dict[str, Any] = {"NEVER_DECODE": True}
            if is_cluster and command[0] in SCRIPTED:
                # Left to itself, redis-py asks a server for the keys of each script. A node
                # that is not the right one any more is put right as for any other command.
                options["target_nodes"] = [client.get_node_from_key(command[3])]
            pipeline.execute_command(*command, **options)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies
