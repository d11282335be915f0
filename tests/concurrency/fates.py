"""What becomes of a command on its way: it arrives, it is cut off, or its reply is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis


def exchanged(connection: Any, send: Callable[[], Any], fate: str) -> Any:
    """Send a command and return its reply, unless its fate is another.

    :param connection: what ends where the fate is not *ok*.
    :param send: sends it.
    :param fate: *cut*: it does not arrive; *lost*: it is carried out, and no reply comes.
    :raises redis.ConnectionError: where it is cut or lost.
    """
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
