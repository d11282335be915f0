"""How long ago something was, in one unit: "3 hours ago"."""

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
    """How long ago something was.

    :param number: how many units; 0 if it is less than a minute ago.
    :param unit: ``minute``, ``hour``, ``day``, ``month`` or ``year``.
    """

    number: int
    unit: str


def ago(when: datetime, now: datetime) -> Ago:
    """Return how long ago a time was; a time in the future counts as now.

    :param when: the time.
    :param now: the present.
    """
    seconds = (now - when).total_seconds()
    for size, unit in _UNITS:
        if seconds >= size:
            return Ago(int(seconds // size), unit)
    return Ago(0, "minute")
