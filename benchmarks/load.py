"""A closed-loop load: so many connections, each sending its next request once it has its answer."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

from wsgi import HEADERS

HOST = "127.0.0.1"


@dataclass
class Load:
    """What a load found.

    :param seconds: how long it took.
    :param latencies: of each request, in milliseconds.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def request(path: str, cookie: str | None = None) -> bytes:
    """Return a GET request as a browser sends it."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{n}: {v}" for n, v in HEADERS.items())]
    if cookie is not None:
        lines.append(f"Cookie: session={cookie}")
    return "\r\n".join([*lines, "", ""]).encode()


def fetch(port: int, asked: bytes) -> tuple[str, str | None]:
    """Send one request; return the body of the answer and the session cookie that it sets."""
    connection = _Connection(port, iter([asked]))
    with connection.socket:
        connection.send()
        while not connection.receive():
            pass
    head, _, body = connection.answer.partition(b"\r\n\r\n")
    cookie = None
    for line in head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie" and value.startswith("session="):
            cookie = value.removeprefix("session=").partition(";")[0]
    return body.decode(), cookie


def load(port: int, requests: Iterable[bytes], connections: int = 16) -> Load:
    """Send the requests over so many connections and return when all are answered."""
    found = Load()
    pending = iter(requests)
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(port, pending)
            connection.socket.setblocking(True)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        begin = perf_counter()
        for key in list(selector.get_map().values()):
            if not key.data.send():
                _end(selector, key.data)
        while selector.get_map():
            for key, _ in selector.select():
                connection = key.data
                if not connection.receive():
                    continue
                found.latencies.append((perf_counter() - connection.sent_at) * 1000)
                if not connection.send():
                    _end(selector, connection)
        found.seconds = perf_counter() - begin
    return found


def _end(selector: selectors.BaseSelector, connection: _Connection) -> None:
    selector.unregister(connection.socket)
    connection.socket.close()


class _Connection:
    """One connection that stays open."""

    def __init__(self, port: int, pending: Iterator[bytes]) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent_at = 0.0
        self._pending = pending

    def send(self) -> bool:
        """Send the next request, if there is one."""
        asked = next(self._pending, None)
        if asked is None:
            return False
        self.answer = b""
        self.sent_at = perf_counter()
        self.socket.sendall(asked)
        return True

    def receive(self) -> bool:
        """Take what came, and tell whether the answer is complete."""
        came = self.socket.recv(65536)
        if not came:
            raise ConnectionError(f"closed after {self.answer[:200]!r}")
        self.answer += came
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"no success: {self.answer[:200]!r}")
        at = head.lower().index(b"content-length:")
        return len(body) >= int(head[at + len("content-length:") :].split(b"\r\n")[0])
