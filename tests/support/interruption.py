"""What a signal handler raises, at a chosen moment, and a process in which one may at any."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any


class Soft(BaseException):
    """What ends something that takes too long."""


def unmeasured() -> dict[str, str]:
    """Return this environment for a process in which an exception may come at any point.

    coverage takes a lock between two lines of such a process too. What is raised there leaves it
    locked, and the process then waits for ever. So coverage must not begin in it: it does if one of
    its variables is set.
    """
    begun = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {name: value for name, value in os.environ.items() if name not in begun}


def interrupted(
    after: int,
    action: Callable[[], object],
    within: Sequence[str],
    events: Sequence[str] = ("return",),
) -> bool:
    """Call something, raise when so many functions have returned; tell whether they did.

    That is where Python looks for signals.

    :param after: how many.
    :param action: what to call.
    :param within: parts of the names of the files that these functions are in.
    :param events: ``"return"``: functions of Python's; ``"c_return"``: those that these call.
    """
    left = after

    def watch(frame: Any, event: str, _: Any) -> None:
        nonlocal left
        if event in events and any(name in frame.f_code.co_filename for name in within):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise Soft

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        with suppress(Soft):
            action()
    finally:
        sys.setprofile(before)
    return left <= 0
