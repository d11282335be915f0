"""Commands as bytes on the wire."""

from __future__ import annotations

import pytest
from redis import DataError
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer

from flask_redis_session.client.packer import Packer, packed


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


def test_views() -> None:
    """A view of bytes is taken as those."""
    assert packed((b"SET", b"a", b"b")) == packed((b"SET", bytearray(b"a"), memoryview(b"b")))


@pytest.mark.parametrize("word", [None, True, ["a"], object()])
def test_no_word(word: object) -> None:
    """What is neither bytes, text nor a number is refused."""
    with pytest.raises(DataError):
        packed(("SET", "key", word))
