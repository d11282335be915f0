"""Free ports of this machine."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack, suppress

from .waiting import NotReady

HOST = "127.0.0.1"


#: What this process was given: who was given a port takes it only some time later.
_given: set[int] = set()


def free_port(*, bus: bool = False) -> int:
    """Find a port that nothing listens on; with ``bus``, the one 10,000 above is free too.

    It lies below the ports that the system gives to outgoing connections, so a server finds it
    free again at a restart.
    """
    draw = secrets.SystemRandom()
    for _ in range(1000):
        port = draw.randrange(10_000, 22_000)
        ports = {port, port + 10_000} if bus else {port}
        if ports & _given:
            continue
        with suppress(OSError), ExitStack() as stack:
            for each in ports:
                probe = stack.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, each))
            _given.update(ports)
            return port
    raise NotReady("no free port")
