"""A shelf keeps at most so many bytes, and of what it keeps nothing shows."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict
from math import inf

from flask_redis_session.storage.shelf import LARGEST, Kept, Shelf, size_of


def kept(size: int = 0, fields: int = 1) -> Kept:
    """Return something to keep, which has so many bytes in each field."""
    texts = {b"field%d" % number: b"x" * size for number in range(fields)}
    return Kept(texts, None, 0.0, 0.0)


def test_take() -> None:
    """What was put is there until it is dropped."""
    shelf, one = Shelf(100_000), kept()
    shelf.put("a", one)

    assert one is shelf.take("a")
    assert None is shelf.take("b")
    assert (1, one.size) == (len(shelf), shelf.size)

    shelf.drop("a")
    shelf.drop("a")

    assert None is shelf.take("a")
    assert (0, 0) == (len(shelf), shelf.size)


def test_put_again() -> None:
    """What is put again takes the place of what was, and its size."""
    shelf, two = Shelf(100_000), kept(500)
    shelf.put("a", kept())
    shelf.put("a", two)

    assert two is shelf.take("a")
    assert (1, two.size) == (len(shelf), shelf.size)


def test_least_recently_used_goes_first() -> None:
    """What was not taken for longest makes room."""
    room = 10 * kept(100).size
    shelf = Shelf(room)
    for number in range(10):
        shelf.put(str(number), kept(100))
    shelf.take("0")
    shelf.put("10", kept(100))

    assert None is shelf.take("1")
    assert [str(n) for n in (0, *range(2, 11)) if shelf.take(str(n))] == [
        str(n) for n in (0, *range(2, 11))
    ]
    assert shelf.size <= room


def test_nothing_over_an_eighth() -> None:
    """One session that is too large is not kept, nor is what was kept of it."""
    shelf = Shelf(LARGEST * kept(100).size)
    shelf.put("a", kept(100))

    assert shelf.take("a")

    shelf.put("a", kept(101))

    assert None is shelf.take("a")
    assert 0 == shelf.size


def test_clear() -> None:
    """Nothing is there any more."""
    shelf = Shelf(100_000)
    shelf.put("a", kept())
    shelf.clear()

    assert None is shelf.take("a")
    assert (0, 0) == (len(shelf), shelf.size)


def test_dropped_while_it_is_taken() -> None:
    """What another thread drops in between was not there."""

    class Racing(OrderedDict[str, Kept]):
        def move_to_end(self, key: str, last: bool = True) -> None:
            del self[key]
            super().move_to_end(key, last)

    shelf = Shelf(2**20)
    shelf._kept = Racing(a=kept())

    assert None is shelf.take("a")


def test_repr() -> None:
    """Neither shows what a session holds."""
    shelf = Shelf(100_000)
    shelf.put("a", Kept({b"@secret:a": b"private"}, None, 0.0, 0.0))

    assert "private" not in repr(shelf) + repr(shelf.take("a"))


def test_names_that_are_asked_for_count() -> None:
    """A visitor may choose them: what is not there takes room, too."""
    some = kept()
    names = frozenset(b"name%d" % number for number in range(1000))

    assert Kept(some.fields, names, inf, inf).size > some.size + sum(map(len, names))


def test_size() -> None:
    """What it takes is counted about as Python does, and not too low."""
    counted = {}
    for fields, size in ((10, 20), (1, 2000), (200, 30)):
        tracemalloc.start()
        shelf = Shelf(2**30)
        for number in range(200):
            texts = {b"field %d" % at: bytes([65 + at % 26]) * size for at in range(fields)}
            shelf.put(f"{number:022}", Kept(texts, frozenset(texts), 1.0 + number, 2.0 + number))
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        counted[fields] = shelf.size / taken

    assert all(0.8 <= ratio <= 1.6 for ratio in counted.values()), counted
    assert 50 + 150 + 700 == size_of({b"x" * 20: b"y" * 30})
