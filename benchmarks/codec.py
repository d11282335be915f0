"""What the exact types of `codec` cost: encode and decode against bare orjson.

Both sides take turns in one process; a figure is the median of the turns, in microseconds per call.
Bare orjson loses types (a tuple becomes a list, NaN becomes null); the difference buys that none
is lost. Run it as `python benchmarks/codec.py`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from timeit import Timer
from typing import Any
from uuid import UUID

import orjson
from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_redis_session.request.codec import decode, encode

TURNS = 21
SECONDS_PER_TURN = 0.01


def document(size: int) -> list[dict[str, Any]]:
    """Nested JSON of about ``size`` bytes with every JSON type in it."""
    found: list[dict[str, Any]] = []
    written = 0
    while written < size:
        number = len(found)
        found.append(
            {
                "id": number,
                "name": f"user {number}",
                "email": f"user{number}@example.org",
                "tags": ["a", "bb", "ccc"],
                "address": {"street": f"Street {number}", "at": [number / 7, number / 11]},
                "active": True,
                "note": None,
            }
        )
        written += len(orjson.dumps(found[-1])) + 1
    return found


PLAIN: dict[str, Any] = {
    "20 B string": "a text of 20 letters",
    "1 KB string": "x" * 1024,
    "flat dict, 10 keys": {f"key{n}": f"value {n}" if n % 2 else n for n in range(10)},
    "list, 1000 ints": list(range(1000)),
    "1000 dicts x 5 fields": {
        f"item-{n}": {"id": n, "name": f"name {n}", "price": n * 1.25, "on": True, "sku": "x" * 8}
        for n in range(1000)
    },
    "100 KB, nested": document(100_000),
}

AWARE = datetime(2030, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)))

TAGGED: dict[str, Any] = {
    "tuple, 3 ints": (1, 2, 3),
    "set, 10 strings": {f"element {n}" for n in range(10)},
    "bytes, 1 KB": bytes(range(256)) * 4,
    "int, 100 bits": 1 << 100,
    "float, infinite": float("inf"),
    "datetime, aware": AWARE,
    "date": date(2030, 1, 2),
    "timedelta": timedelta(days=1, seconds=2, microseconds=3),
    "UUID": UUID(int=1 << 120),
    "Decimal": Decimal("12345.6789"),
    "Markup": Markup("<b>bold</b>"),
    "flat dict + datetime": {**PLAIN["flat dict, 10 keys"], "at": AWARE},
    "100 KB + one datetime": [*PLAIN["100 KB, nested"], AWARE],
}


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """Time the calls in turns and return the median of each, in microseconds."""
    timers = [Timer(call) for call in calls]
    loops = []
    for timer in timers:
        number, seconds = timer.autorange()
        loops.append(max(1, round(number * SECONDS_PER_TURN / seconds)))
    turns = [
        [timer.timeit(number) / number * 1e6 for timer, number in zip(timers, loops, strict=True)]
        for _ in range(TURNS)
    ]
    return [median(times) for times in zip(*turns, strict=True)]


def main() -> None:
    print(f"Python {platform.python_version()}, orjson {orjson.__version__}, {platform.machine()}")
    print(f"median of {TURNS} turns, microseconds per call\n")
    titles = "bytes", "dumps", "encode", "ratio", "loads", "decode", "ratio"
    print(f"{'plain JSON':24}" + "".join(f"{title:>9}" for title in titles))
    for name, value in PLAIN.items():
        text = orjson.dumps(value)
        assert encode("key", value) == text
        dumps, encoded = in_turns(partial(orjson.dumps, value), partial(encode, "key", value))
        loads, decoded = in_turns(partial(orjson.loads, text), partial(decode, text))
        print(
            f"{name:24}{len(text):9}{dumps:9.2f}{encoded:9.2f}{encoded / dumps:9.2f}"
            f"{loads:9.2f}{decoded:9.2f}{decoded / loads:9.2f}"
        )
    print(f"\n{'other types':24}{'bytes':>9}{'':9}{'encode':>9}{'':18}{'decode':>9}")
    for name, value in TAGGED.items():
        text = encode("key", value)
        assert decode(text) == value
        encoded, decoded = in_turns(partial(encode, "key", value), partial(decode, text))
        print(f"{name:24}{len(text):9}{'':9}{encoded:9.2f}{'':18}{decoded:9.2f}")


if __name__ == "__main__":
    main()
