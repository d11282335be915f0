"""Commands as bytes on the wire."""

from __future__ import annotations

import pytest
from redis import DataError
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer

from flask_redis_session.client.packer import LARGE, Packer, packed


@pytest.mark.parametrize(
    "words",
    [
        ("GET", b"key"),
        ("hmget", b"key", "a", "b"),
        ("SET", "key", 5, -1, 0, 2**70),
        ("ZADD", "key", 1.5, "\N{SNOWMAN}", b"\xff", ""),
        ("CLUSTER SLOTS",),
        (b"CLUSTER SLOTS",),
    ],
)
def test_as_redis_py(words: tuple[object, ...]) -> None:
    """The bytes are those of redis-py's own packer."""
    theirs = PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode).pack(*words)

    assert b"".join(theirs) == b"".join(Packer().pack(*words))


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1])
def test_several(size: int) -> None:
    """Several commands are the bytes of each, wherever a large word is; that one is not copied."""
    large = b"x" * size
    commands = [("SET", "a", large), ("SET", large, "b", large, "c"), ("GET", "key"), (large,)]
    pieces = packed(*commands)

    assert b"".join(pieces) == b"".join(b"".join(packed(command)) for command in commands)
    assert b"".join(packed(("SET", "a", large))) == b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n" + (
        b"$%d\r\n%b\r\n" % (size, large)
    )
    assert (4 if size >= LARGE else 0) == sum(piece is large for piece in pieces)
    assert (9 if size >= LARGE else 1) == len(pieces)


def test_views() -> None:
    """A view of bytes is taken as those."""
    assert packed((b"SET", b"a", b"b")) == packed((b"SET", bytearray(b"a"), memoryview(b"b")))


@pytest.mark.parametrize("word", [None, True, ["a"], object()])
def test_no_word(word: object) -> None:
    """What is neither bytes, text nor a number is refused."""
    with pytest.raises(DataError):
        packed(("SET", "key", word))
