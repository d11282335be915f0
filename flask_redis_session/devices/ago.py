"""How long ago something was, in the one unit that people would use."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

_UNITS = (
    (365 * 86_400, "year"),
    (30 * 86_400, "month"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
)


class Ago(NamedTuple):
    """A time that has passed.

    :param number: how many; 0 where it was less than a minute.
    :param unit: of what: ``minute``, ``hour``, ``day``, ``month`` or ``year``.
    """

    number: int
    unit: str


def ago(when: datetime, now: datetime) -> Ago:
    """Return how long ago a time was; one in the future is now.

    :param when: the time.
    :param now: the present.
    """
    seconds = (now - when).total_seconds()
    for size, unit in _UNITS:
        if seconds >= size:
            return Ago(int(seconds // size), unit)
    return Ago(0, "minute")
