"""What comes over a connection in RESP3 is put together, wherever it was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_session.client.stream import DEEPEST, Garbled, Push, Refused, Stream

CHANGED = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n"
ALL = b">2\r\n$10\r\ninvalidate\r\n_\r\n"
HELLO = (
    b"%5\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    b"$7\r\nmodules\r\n*1\r\n%1\r\n$4\r\nname\r\n+json\r\n$1\r\nx\r\n,1.5\r\n"
)
FIELDS = b"*3\r\n$2\r\n\r\n\r\n_\r\n$-1\r\n"
TIME = b"*2\r\n$10\r\n1764000000\r\n$1\r\n5\r\n"
WHOLE = CHANGED + HELLO + FIELDS + ALL + TIME
READ: list[Any] = [
    [b"invalidate", [b"a", b""]],
    {
        b"server": b"redis",
        b"proto": 3,
        b"role": b"master",
        b"modules": [{b"name": b"json"}],
        b"x": b"1.5",
    },
    [b"\r\n", None, None],
    [b"invalidate", None],
    [b"1764000000", b"5"],
]


def test_whole() -> None:
    """Replies and pushes come in the order in which they were sent."""
    found = Stream().feed(WHOLE)

    assert READ == found
    assert [True, False, False, True, False] == [isinstance(each, Push) for each in found]


@pytest.mark.parametrize("at", range(len(WHOLE) + 1))
def test_split_anywhere(at: int) -> None:
    """Wherever a piece ends, the same is read."""
    stream = Stream()

    assert READ == stream.feed(WHOLE[:at]) + stream.feed(WHOLE[at:])
    assert 0 == stream.waiting


def test_byte_by_byte() -> None:
    """Pieces may be of one byte each; what is not complete waits."""
    stream = Stream()
    found = []
    for at in range(len(WHOLE)):
        found += stream.feed(WHOLE[at : at + 1])

    assert READ == found
    assert 0 == stream.waiting


def test_no_list() -> None:
    """A list that is not there has two forms, of which one is RESP2's."""
    assert [None, None] == Stream().feed(b"*-1\r\n_\r\n")


def test_refusal_keeps_no_text() -> None:
    """Of a refusal only the first word is kept: the rest may hold a password."""
    refused, odd = Stream().feed(b"-NOPERM of 'HELLO 3 AUTH a secret'\r\n-what secret\r\n")

    assert isinstance(refused, Refused)
    assert ("NOPERM", "") == (refused.word, odd.word)
    assert "secret" not in repr(vars(refused)) + repr(vars(odd))


@pytest.mark.parametrize(
    "piece",
    [
        b"HTTP/1.1 400\r\n",
        b"\r\n",
        b"$5\r\nabcdefg\r\n",
        b"$1_0\r\n",
        b"$ 1\r\na\r\n",
        b"$9999999999\r\n",
        b"*-2\r\n",
        b"*?\r\n",
        b"*99999999\r\n",
        b":x\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"_x\r\n",
        b"*1\r\n" * (DEEPEST + 1),
        b"*1\r\n" * 100_000,
        b"+" + b"x" * 70_000,
    ],
)
def test_garbled(piece: bytes) -> None:
    """What Redis does not send is refused, also if it is nested without an end."""
    with pytest.raises(Garbled):
        Stream().feed(piece)


def test_large_text_is_not_tried_again_and_again() -> None:
    """Until a long text is complete, only its length is looked at."""
    stream = Stream()
    stream.feed(b"*1\r\n$1000000\r\n")
    pieces = [stream.feed(b"x" * 1000) for _ in range(1000)]

    assert [] == [each for each in pieces if each]
    assert [[b"x" * 1_000_000]] == stream.feed(b"\r\n")


def test_parts_are_not_read_again_and_again() -> None:
    """Of a list that comes in many pieces, what is here is read once."""
    texts = b"$1\r\nx\r\n" * 2000
    stream = Stream()
    stream.feed(b"*2000\r\n")
    left = [(stream.feed(texts[at : at + 10]), stream.waiting)[1] for at in range(0, 13_990, 10)]

    assert max(left) < 10
    assert [[b"x"] * 2000] == stream.feed(texts[13_990:])


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes(data: bytes, at: int) -> None:
    """Any bytes are read or refused, and it makes no difference where they are cut."""

    def read(*pieces: bytes) -> Any:
        stream = Stream()
        try:
            found = [each for piece in pieces for each in stream.feed(piece)]
        except Garbled:
            return "garbled"
        return [each.word if isinstance(each, Refused) else each for each in found]

    if "garbled" not in (one := read(data), two := read(data[:at], data[at:])):
        assert one == two
    else:
        assert one == two == "garbled"
