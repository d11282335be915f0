"""How hard the property-based tests try.

They try the same examples every time. ``HOSTILE=20`` makes it twenty times as many, and others each
time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

#: By how much the number of examples is multiplied.
EFFORT = int(os.environ.get("HOSTILE", "1"))


def effort(examples: int) -> settings:
    """Return settings for so many examples, or as many times more as the environment says.

    :param examples: how many ``make test`` tries.
    """
    return settings(
        max_examples=examples * EFFORT,
        derandomize=EFFORT == 1,
        # The machine may be busy with other tests, and one fixture serves all examples.
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


unhurried = effort(100)
