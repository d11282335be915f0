from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_redis_session.devices.ago import ago

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("passed", "number", "unit"),
    [
        (timedelta(seconds=-90), 0, "minute"),
        (timedelta(0), 0, "minute"),
        (timedelta(seconds=59.9), 0, "minute"),
        (timedelta(seconds=60), 1, "minute"),
        (timedelta(minutes=3, seconds=30), 3, "minute"),
        (timedelta(minutes=59, seconds=59), 59, "minute"),
        (timedelta(hours=1), 1, "hour"),
        (timedelta(hours=23, minutes=59), 23, "hour"),
        (timedelta(days=1), 1, "day"),
        (timedelta(days=29), 29, "day"),
        (timedelta(days=30), 1, "month"),
        (timedelta(days=364), 12, "month"),
        (timedelta(days=365), 1, "year"),
        (timedelta(days=800), 2, "year"),
    ],
)
def test_ago(passed: timedelta, number: int, unit: str) -> None:
    """A time that has passed is told in the one unit that people would use, rounded down."""
    assert (number, unit) == ago(NOW - passed, NOW)
