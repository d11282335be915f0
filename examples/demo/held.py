"""What Redis holds of a session, read over a connection that is not metered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

_LONG = 64


@dataclass(frozen=True)
class Snapshot:
    """The size of a session in bytes, and the names of its fields, at one moment."""

    size: int = 0
    names: frozenset[bytes] = frozenset()


class Observer:
    """Works on the documented layout: the hash of a session, the sorted set of a user.

    :param client: a client that nothing else uses, and that answers in bytes.
    """

    def __init__(self, client: Any, prefix: str = "session:") -> None:
        self._client = client
        self._prefix = prefix

    def session_key(self, sid: str) -> str:
        return f"{self._prefix}{sid}"

    def index_key(self, user_id: object) -> str:
        return f"{self._prefix}user:{user_id}"

    def snapshot(self, sid: str) -> Snapshot:
        """Return how large this session is as one JSON text, and which fields it has."""
        fields = self._client.hgetall(self.session_key(sid))
        values = [(name, value) for name, value in fields.items() if not name.startswith(b"@")]
        separators = len('"":') + len(",")
        size = sum(len(name) + len(value) + separators for name, value in values)
        return Snapshot(size + len("{}") if values else 0, frozenset(fields))

    def transcript(self, sid: str, user_id: object, limit: int = 24) -> list[Exchange]:
        """Return what redis-cli shows of this session.

        :param limit: how many fields to show at most.
        """
        session_key, index_key = self.session_key(sid), self.index_key(user_id)
        fields = sorted(self._client.hgetall(session_key).items())
        members = self._client.zrange(index_key, 0, -1, withscores=True)
        scores = ((member, repr(score).encode()) for member, score in members)
        return [
            Exchange(
                f"HGETALL {session_key}",
                tuple(_pairs(fields[:limit])),
                left_out=max(0, len(fields) - limit),
            ),
            Exchange(f"TTL {session_key}", (f"(integer) {self._client.ttl(session_key)}",)),
            Exchange(f"ZRANGE {index_key} 0 -1 WITHSCORES", tuple(_pairs(scores))),
        ]

    def set_times(self, sid: str, user_id: object, *, born: float, seen: float) -> None:
        """Write other times into a session and its user's index.

        :param born: when the session began and its user signed in, in epoch seconds.
        :param seen: when it was last used, in epoch seconds.
        """
        self._client.hset(
            self.session_key(sid), mapping={"@born": born, "@signed": born, "@seen": seen}
        )
        self._client.zadd(self.index_key(user_id), {sid: seen})

    def address(self) -> str:
        """Return the redis-cli command that reaches this server."""
        where = self._client.connection_pool.connection_kwargs
        if "host" in where:
            return f"redis-cli -h {where['host']} -p {where.get('port', 6379)}"
        path = where.get("path") or self._client.config_get("unixsocket")["unixsocket"]
        return f"redis-cli -s {path}"


@dataclass(frozen=True)
class Exchange:
    """One command and the lines of its answer."""

    command: str
    lines: tuple[str, ...]
    left_out: int = 0


def _pairs(pairs: Iterable[tuple[bytes, bytes]]) -> Iterable[str]:
    texts = [text for pair in pairs for text in pair]
    width = len(str(len(texts)))
    for number, text in enumerate(texts, 1):
        yield f"{number:>{width}}) {_quoted(text)}"


def _quoted(text: bytes) -> str:
    """Return a string as redis-cli prints it, cut off if it is long."""
    printed = "".join(map(_printed, text[:_LONG]))
    rest = len(text) - _LONG
    return f'"{printed}" … {rest:,} more bytes' if rest > 0 else f'"{printed}"'


def _printed(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def as_text(value: object) -> str:
    """Return a value as text, cut off if it is long."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
