"""What comes over a connection in RESP3, piece by piece: replies, and what Redis pushes."""

from __future__ import annotations

import re
from typing import Any

#: How deep lists and maps lie in one another at most. Those that Redis sends here are two deep.
DEEPEST = 8
#: How long a line may be that is no text of its own, and how many parts a list may have.
LONGEST_LINE = 64 * 1024
MOST_PARTS = 2**20

_END = b"\r\n"
_WORD = re.compile(rb"[A-Z]{1,20}")
_TEXT = ord("$")
#: What opens a list, and how many values each of its parts has.
_LISTS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}
_PUSH, _MAP = ord(">"), ord("%")


class Garbled(Exception):
    """What came is not what Redis sends."""


class Push(list[Any]):
    """What Redis says without being asked."""


class Refused:
    """A refusal. Its text may hold what was sent, so that only its first word is kept.

    :param line: the text.
    """

    def __init__(self, line: bytes) -> None:
        found = _WORD.match(line)
        #: Such as ``NOPERM``; ``""`` if it begins otherwise.
        self.word = found[0].decode() if found else ""


class _Short(Exception):
    """There is more to come before this can be read.

    :param needed: how many bytes there must be at least.
    """

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


class Stream:
    """Puts together what comes in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        # With fewer bytes it need not be tried again.
        self._needed = 1
        # The list of which some parts are still to come, how many it has, and those that are here.
        self._kind = self._count = 0
        self._parts: list[Any] | None = None

    @property
    def waiting(self) -> int:
        """How many bytes of what is not complete are here."""
        return len(self._rest)

    def feed(self, piece: bytes) -> list[Any]:
        """Take a piece, and return what is complete with it; texts are bytes.

        :param piece: what was received.
        :raises Garbled: if it cannot be read. No later piece can be read then.
        """
        data = self._rest + piece if self._rest else piece
        found: list[Any] = []
        at = 0
        try:
            while len(data) - at >= self._needed:
                at = self._step(data, at, found)
                self._needed = 1
        except _Short as short:
            self._needed = short.needed - at
        except (TypeError, ValueError, IndexError) as error:
            raise Garbled from error
        self._rest = data[at:] if at else data
        return found

    def _step(self, data: bytes, at: int, found: list[Any]) -> int:
        """Read a value, or a part of a list: what was read is not read again with the next piece.

        :returns: where the next one begins.
        """
        if self._parts is None:
            kind, line, after = _line(data, at)
            if kind not in _LISTS or line == b"-1":
                value, at = _value(data, at, 0)
                found.append(value)
                return at
            self._kind, self._count = kind, _count(line, MOST_PARTS) * _LISTS[kind]
            self._parts, at = [], after
        else:
            value, at = _value(data, at, 1)
            self._parts.append(value)
        if len(self._parts) == self._count:
            found.append(_whole(self._kind, self._parts))
            self._parts = None
        return at


def _line(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the kind of a value, the rest of its first line, and where the next line begins."""
    end = data.find(_END, at, at + LONGEST_LINE)
    if end < 0:
        if len(data) - at >= LONGEST_LINE:
            raise Garbled
        raise _Short(len(data) + 1)
    return data[at], data[at + 1 : end], end + 2


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at a place, and where the next one does."""
    kind, line, at = _line(data, at)
    if kind == _TEXT:
        return _text(data, line, at)
    if kind in _LISTS:
        return _list(data, kind, line, at, depth)
    if kind in b"+,(#":
        return line, at
    if kind == ord(":"):
        return int(line), at
    if kind == ord("-"):
        return Refused(line), at
    if kind == ord("_") and not line:
        return None, at
    raise Garbled


def _count(line: bytes, most: int) -> int:
    # int() takes more than Redis writes: spaces, underscores, a sign.
    if not line.isdigit() or len(line) > 10 or (count := int(line)) > most:
        raise Garbled
    return count


def _text(data: bytes, line: bytes, at: int) -> tuple[bytes | None, int]:
    if line == b"-1":
        return None, at
    end = at + _count(line, 2**29)
    if len(data) < end + 2:
        raise _Short(end + 2)
    if data[end : end + 2] != _END:
        raise Garbled
    return data[at:end], end + 2


def _list(data: bytes, kind: int, line: bytes, at: int, depth: int) -> tuple[Any, int]:
    if line == b"-1":
        return None, at
    if depth == DEEPEST:
        raise Garbled
    parts: list[Any] = []
    for _ in range(_count(line, MOST_PARTS) * _LISTS[kind]):
        value, at = _value(data, at, depth + 1)
        parts.append(value)
    return _whole(kind, parts), at


def _whole(kind: int, parts: list[Any]) -> Any:
    if kind == _MAP:
        words = iter(parts)
        return dict(zip(words, words, strict=True))
    return Push(parts) if kind == _PUSH else parts
