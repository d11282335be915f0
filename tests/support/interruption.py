"""What a signal handler raises, at a chosen moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any


class Soft(BaseException):
    """What ends something that takes too long."""


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
