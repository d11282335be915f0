"""Why a value can't be stored, and where inside it the cause is."""

from __future__ import annotations

# Of lists, dicts, tuples, sets and registered types. Each may take two levels of JSON, and orjson
# writes 254.
MAX_DEPTH = 100


class Refused(Exception):
    """A part of a value can't be stored; on the way out, each level adds where it is.

    :param reason: what is wrong and what to do about it, as said of "the value".
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.place: list[str] = []

    def problem(self) -> str:
        """Say where the part is and what is wrong with it."""
        place = "".join(self.place[:-9:-1]) + "..." * (len(self.place) > 8)
        return f"the value at {place} {self.reason}" if place else f"the value {self.reason}"


class TooDeep(Refused):
    """A part has more levels around it than can be stored."""

    def __init__(self) -> None:
        super().__init__(f"is more than {MAX_DEPTH} levels deep, or contains itself: flatten it")
