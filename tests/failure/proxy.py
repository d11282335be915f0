"""A TCP proxy before a server, with faults that are switched while it runs.

>>> with Proxy(server.port) as proxy:
...     proxy.drops = "replies"
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from tests.support.servers import HOST

if TYPE_CHECKING:
    from typing_extensions import Self

#: What goes to the server, and what comes from it.
Way = Literal["requests", "replies"]


class Proxy:
    """Passes on what clients send to a port of this machine, and what comes back.

    :param port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0), backlog=100)
        self._open: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        # The replies that are late, of the clients that got a stray line.
        self._strayed: dict[socket.socket, bytes] = {}
        self._cuts: dict[Way, tuple[int, int]] = {}
        #: Where it listens.
        self.port: int = self._listener.getsockname()[1]
        #: What is swallowed, so that a client waits for ever.
        self.drops: Way | None = None
        #: For how long each piece is held back on its way, in seconds.
        self.delays: dict[Way, float] = {}
        #: How many bytes of requests go on in one piece, and how long it takes over each.
        self.trickle: tuple[int, float] | None = None
        #: Whether the server gets each request once more after it has answered it; the second
        #: reply is swallowed.
        self.duplicates = False
        #: What comes before the replies to the next request, once. The last line of those follows
        #: only when the client sends another request on that connection.
        self.stray = b""
        #: How many bytes have been passed on.
        self.passed: dict[Way, int] = {"requests": 0, "replies": 0}
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """The address of the server by way of this proxy."""
        return f"redis://{HOST}:{self.port}/0"

    def cut(self, way: Way, after: int, times: int = 1) -> None:
        """Close the connection once so many more bytes have gone this way.

        :param times: on how many connections in a row, each counted from the cut before.
        """
        with self._lock:
            self._cuts[way] = (self.passed[way] + after, times)
            self._after = after

    def mend(self) -> None:
        """Undo every fault."""
        with self._lock:
            self._cuts.clear()
        self.drops, self.delays, self.trickle, self.duplicates = None, {}, None, False

    def lead_to(self, port: int) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._target = port

    def forget(self) -> None:
        """Swallow from now on what goes over the connections that are open, and tell nobody."""
        with self._lock:
            self._forgotten |= self._open

    def disconnect(self) -> None:
        """Close every connection that is open."""
        with self._lock:
            sockets = [*self._open]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection((HOST, self._target))
                again = socket.create_connection((HOST, self._target))
            except OSError:
                return
            with server, again:
                for each in (client, server, again):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                with suppress(OSError):
                    self._pass_on(client, server, again)
                with self._lock:
                    self._open -= {client, server}
                    self._forgotten -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket, again: socket.socket) -> None:
        pending = b""
        while True:
            readable, _, _ = select.select([client, server], [], [])
            if client in readable:
                chunk = client.recv(65536)
                if chunk and client in self._forgotten:
                    continue
                if not chunk or not self._pass(chunk, "requests", server):
                    return
                pending += chunk
                if late := self._strayed.pop(client, b""):
                    client.sendall(late)
                if self.stray:
                    self._strayed[client] = b""
                    line, self.stray = self.stray, b""
                    client.sendall(line)
            if server in readable:
                chunk = server.recv(65536)
                if not chunk:
                    return
                if self.duplicates and pending:
                    self._repeat(pending, again)
                pending = b""
                if client in self._strayed and not self._strayed[client]:
                    at = chunk.rstrip().rfind(b"\n") + 1
                    chunk, self._strayed[client] = chunk[:at], chunk[at:]
                if not self._pass(chunk, "replies", client):
                    return

    @staticmethod
    def _repeat(request: bytes, again: socket.socket) -> None:
        """Send a request once more and wait until the server has carried it out."""
        mark = b"$12\r\nduplicate-ok\r\n"
        again.sendall(request + b"*2\r\n$4\r\nECHO\r\n" + mark)
        received = b""
        while not received.endswith(mark):
            chunk = again.recv(65536)
            if not chunk:
                return
            received += chunk

    def _pass(self, chunk: bytes, way: Way, onward: socket.socket) -> bool:
        """Pass a piece on; tell whether the connection goes on."""
        if delay := self.delays.get(way):
            time.sleep(delay)
        if self.drops == way:
            return True
        with self._lock:
            limit, times = self._cuts.get(way, (0, 0))
            ends = times > 0 and self.passed[way] + len(chunk) >= limit
            if ends:
                chunk = chunk[: limit - self.passed[way]]
            self.passed[way] += len(chunk)
            if ends:
                self._cuts[way] = (self.passed[way] + self._after, times - 1)
        size, pause = self.trickle or (len(chunk) or 1, 0.0)
        for first in range(0, len(chunk), size):
            onward.sendall(chunk[first : first + size])
            time.sleep(pause)
        return not ends
