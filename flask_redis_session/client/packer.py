"""Commands as bytes on the wire.

hiredis packs a little faster, but if a signal handler raises while it turns a number into text, the
process crashes (hiredis 3.5).
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import DataError

#: A word of so many bytes goes to the socket as it is: a copy would cost more than another call.
LARGE = 128 * 1024


def packed(*commands: tuple[Any, ...]) -> list[bytes]:
    """Return commands in the form in which Redis reads them, in as few pieces as is sensible.

    :param commands: their words: bytes, text or numbers.
    :raises redis.exceptions.DataError: if a word is something else.
    """
    pieces: list[bytes] = []
    small: list[bytes] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for word in command:
            if type(word) is str:
                word = word.encode()  # noqa: PLW2901
            elif type(word) is not bytes:
                word = _bytes_of(word)  # noqa: PLW2901
            size = len(word)
            if size < LARGE:
                small.append(b"$%d\r\n%b\r\n" % (size, word))
            else:
                small.append(b"$%d\r\n" % size)
                pieces += (b"".join(small), word)
                small = [b"\r\n"]
    pieces.append(b"".join(small))
    return pieces


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

    def pack_plainly(self, *commands: tuple[Any, ...]) -> list[bytes]:
        """Return commands, the name of each of which is one word."""
        self.awaited += len(commands)
        return packed(*commands)
