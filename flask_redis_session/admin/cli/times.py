"""Points in time, as they are written on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")

FORMS = (
    "Write how long ago, as 45s, 30m, 12h, 7d or 2w, or a time with its zone, as "
    "2026-01-01T00:00Z or 2026-01-01T00:00+01:00."
)


def when(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | datetime | None:
    """Read an option that takes a point in time; a callback for click.

    :raises click.BadParameter: if it is not one; the message shows the accepted forms.
    """
    if value is None:
        return None
    try:
        at = parse_when(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is not a time. {FORMS}") from None
    if isinstance(at, datetime) and at.utcoffset() is None:
        raise click.BadParameter(f"{value!r} does not say its zone. {FORMS}")
    return at


def parse_when(text: str) -> timedelta | datetime:
    """Read a point in time.

    :param text: how long ago, as ``7d``, or ISO 8601.
    :raises ValueError: if it is neither.
    :raises OverflowError: if it is too long ago for a ``datetime``.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    # Python 3.10 does not read "Z".
    return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
