"""Commands as bytes on the wire.

hiredis packs a little faster, but if a signal handler raises while it turns a number into text, the
process crashes (hiredis 3.5).
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import DataError


def packed(args: tuple[Any, ...]) -> bytes:
    """Return a command in the form in which Redis reads it.

    :param args: its words: bytes, text or numbers.
    :raises redis.exceptions.DataError: if a word is something else.
    """
    pieces = [b"*%d\r\n" % len(args)]
    for word in args:
        if type(word) is not bytes:
            word = _bytes_of(word)  # noqa: PLW2901
        pieces.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(pieces)


def _bytes_of(word: Any) -> bytes:
    if isinstance(word, str):
        return word.encode()
    if isinstance(word, int) and not isinstance(word, bool):
        return b"%d" % word
    if isinstance(word, float):
        return repr(word).encode()
    if isinstance(word, bytes | bytearray | memoryview):
        return bytes(word)
    raise DataError(f"a command has a word of the type {type(word).__name__}")


class Packer:
    """Packs the commands of a connection of redis-py's, in the place of its own packer."""

    def __init__(self) -> None:
        #: How many commands were packed, less the replies that were read.
        self.awaited = 0

    def pack(self, *args: Any) -> list[bytes]:
        """Return a command; its first word may be several, as in ``CLUSTER SLOTS``."""
        name, *rest = args
        return self.pack_plainly((*_bytes_of(name).split(), *rest))

    def pack_plainly(self, args: tuple[Any, ...]) -> list[bytes]:
        """Return a command whose name is one word."""
        self.awaited += 1
        return [packed(args)]
