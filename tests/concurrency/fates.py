"""What becomes of a command: it is carried out, cut off or refused, or its reply is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis


def exchanged(connection: Any, send: Callable[[], Any], fate: str) -> Any:
    """Send a command and return its reply, unless its fate is another.

    :param connection: what ends if the fate is not *ok*.
    :param send: sends it.
    :param fate: *cut*: it does not arrive; *lost*: it is carried out, and no reply comes;
        *refused*: the server has no memory for it.
    :raises redis.ConnectionError: if it is cut or lost.
    :raises redis.ResponseError: if it is refused.
    """
    if fate == "refused":
        raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
    if fate == "cut":
        connection.disconnect()
        raise redis.ConnectionError("the connection ended before the command arrived")
    try:
        reply = send()
    except redis.ResponseError:
        if fate != "lost":
            raise
        reply = None
    if fate == "lost":
        connection.disconnect()
        raise redis.ConnectionError("the connection ended before the reply arrived")
    return reply
