"""Bytes -> a value of any type, for a fuzzer that knows bytes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from markupsafe import Markup


@dataclass
class Pair:
    """A type that an application registers."""

    left: Any
    right: Any


class Structure:
    """Reads a value out of bytes; where they end, what is missing is zero.

    :param data: any bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._left = data

    def value(self, depth: int = 0) -> Any:
        """Return the next value.

        :param depth: how deep it is in another.
        """
        kinds = [*_LEAVES, *_BRANCHES] if depth < 12 else _LEAVES
        return kinds[self.number(1) % len(kinds)](self, depth + 1)

    def number(self, size: int) -> int:
        """Return an unsigned number of so many bytes."""
        return int.from_bytes(self.bytes(size).ljust(size, b"\0"), "big")

    def bytes(self, size: int) -> bytes:
        """Return so many bytes, or as many as there are."""
        part, self._left = self._left[:size], self._left[size:]
        return part

    def text(self) -> str:
        """Return a text, mostly one that has a UTF-8 form."""
        errors = "surrogateescape" if self.number(1) == 255 else "replace"
        return self.bytes(self.number(1) % 24).decode("utf-8", errors)

    def hashable(self) -> Any:
        """Return a value that can be in a set."""
        found = self.value(99)
        return found if not isinstance(found, Decimal) or not found.is_snan() else None


def _datetime(source: Structure, _: int) -> datetime:
    at = datetime(1, 1, 1) + timedelta(microseconds=source.number(8) % (315537897599 * 10**6))  # noqa: DTZ001
    kind, offset = source.number(1), source.number(5) % (86_399 * 2_000_000) - 86_399 * 1_000_000
    zone = [None, timezone.utc, timezone(timedelta(microseconds=offset))][kind % 3]
    return at.replace(tzinfo=zone, fold=kind // 128)


def _decimal(source: Structure, _: int) -> Decimal:
    try:
        return Decimal(source.text())
    except InvalidOperation:
        return Decimal((source.number(1) % 2, (source.number(1) % 10,), source.number(4) - 2**31))


_LEAVES: list[Callable[[Structure, int], Any]] = [
    lambda source, _: source.text(),
    lambda source, _: source.number(1) - 128,
    lambda source, _: source.number(9) - 2**63,
    lambda source, _: -source.number(40),
    lambda source, _: float(source.number(8)) * 10.0 ** (source.number(1) - 128),
    lambda source, _: [float("nan"), float("inf"), -0.0, 5e-324][source.number(1) % 4],
    lambda source, _: [None, True, False][source.number(1) % 3],
    lambda source, _: source.bytes(source.number(1) % 32),
    _datetime,
    lambda source, _: date.fromordinal(source.number(3) % 3652058 + 1),
    lambda source, _: timedelta(microseconds=source.number(8) - 2**63),
    lambda source, _: UUID(bytes=source.bytes(16).ljust(16, b"\0")),
    _decimal,
    lambda source, _: Markup(source.text()),  # noqa: S704 (it is shown to nobody)
]
_BRANCHES: list[Callable[[Structure, int], Any]] = [
    lambda source, depth: [source.value(depth) for _ in range(source.number(1) % 5)],
    lambda source, depth: tuple(source.value(depth) for _ in range(source.number(1) % 4)),
    lambda source, _: {source.hashable() for _ in range(source.number(1) % 5)},
    lambda source, depth: {source.text(): source.value(depth) for _ in range(source.number(1) % 4)},
    lambda source, depth: {" " + source.text()[:2]: source.value(depth)},
    lambda source, depth: [source.value(depth)] * 2,
    lambda source, depth: {
        source.hashable(): source.value(depth) for _ in range(source.number(1) % 4)
    },
    lambda source, depth: Pair(source.value(depth), source.value(depth)),
    lambda source, _: [frozenset(), 1j, object(), bytearray(), {1j: 2}][source.number(1) % 5],
]


def form(value: Any) -> Any:
    """Return what tells two values apart that ``==`` takes for equal, and joins NaN with NaN."""
    kind = type(value)
    if kind is dict:
        return kind, [(form(name), form(item)) for name, item in value.items()]
    if kind in {list, tuple}:
        return kind, [form(item) for item in value]
    if kind is set:
        return kind, sorted(repr(form(item)) for item in value)
    if kind is Pair:
        return kind, form(value.left), form(value.right)
    # An int may have more digits than Python writes.
    return kind, hex(value) if kind is int else repr(value)
