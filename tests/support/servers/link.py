"""A bare connection to a server."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

from .ports import HOST

if TYPE_CHECKING:
    from typing_extensions import Self

    from .server import Server


class Link:
    """A bare connection to a server that knows how many bytes go each way.

    It says nothing on its own but the password, and that before it is handed over.
    """

    def __init__(self, server: Server, timeout: float = 10) -> None:
        plain = socket.create_connection((HOST, server.port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket = plain
        if server.tls is not None:
            context = ssl.create_default_context(cafile=server.tls.authority)
            context.load_cert_chain(*server.tls.client)
            self.socket = context.wrap_socket(plain, server_hostname=HOST)
        self._reader = self.socket.makefile("rb")
        host, port = self.socket.getsockname()[:2]
        #: How the server names this connection.
        self.name = f"{host}:{port}"
        #: Bytes sent and received.
        self.sent = self.received = 0
        if server.password is not None:
            self.ask("AUTH", server.password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, *words: str | bytes | int) -> Any:
        """Send one command and return its answer: bytes, int, None or a list of such.

        :raises redis.ResponseError: if the answer is an error.
        """
        self.send(*words)
        return self._answer()

    def send(self, *words: str | bytes | int) -> None:
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(encoded)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        self.socket.sendall(request)
        self.sent += len(request)

    def _answer(self) -> Any:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        self.received += len(line)
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise redis.ResponseError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self._answer() for _ in range(size)]
        body = self._reader.read(size + 2)
        self.received += len(body)
        return body[:-2]

    def quit(self) -> None:
        """Let the server close the connection: unlike a close from here, that is no read event."""
        with suppress(OSError):
            self.send("QUIT")
            while self.socket.recv(65536):
                pass
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()
