"""What each key of each session may hold at a time, by what was written there when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.concurrency.history import History, Life, Span, Write


class Values:
    """The values of a history.

    :param history: what was done and seen.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._writes: dict[tuple[str, str], list[Write]] = {}

    def wrong(self, life: Life, held: Mapping[str, Any], span: Span) -> Iterator[str]:
        """Check what a session was seen to hold."""
        for key in held.keys() - life.writes.keys():
            yield f"{life.sid} holds {key}={held[key]!r}, which nobody wrote there"
        for key in life.writes:
            value = held.get(key)
            if not self.may_be(life, key, value, span):
                writes = "".join(f"\n    {write}" for write in self.of_key(life, key))
                yield f"{life.sid} holds {key}={value!r}, and should not:{writes}"
        if held.get("theme") != held.get("shade"):
            yield f"{life.sid} holds half of what was written: {held}"
        signed = self._history.by_number.get(held.get("signed", 0))
        if signed is not None:
            user = held.get("user_id")
            if (None if signed.user is None else int(signed.user)) != user:
                yield f"{life.sid} is user {user}'s, and was signed by {signed}"

    def of_key(self, life: Life, key: str) -> list[Write]:
        """Return every change of one key."""
        if (life.sid, key) not in self._writes:
            self._writes[life.sid, key] = life.of_key(key)
        return self._writes[life.sid, key]

    def may_be(self, life: Life, key: str, value: Any, span: Span) -> bool:
        """Tell whether a key may have had a value at some time in a span."""
        writes = self.of_key(life, key)
        over = (w.span[0] for w in writes if w.is_certain and w.span[1] < span[0])
        # What was through before this had begun was surely replaced.
        since = max(over, default=0.0)
        return any(
            write.value == value and write.span[0] < span[1] and write.span[1] >= since
            for write in writes
        )

    def surely(self, life: Life, key: str, span: Span) -> Any:
        """Return the value that a key surely had all through a span; ``None``: there is none."""
        writes = [write for write in self.of_key(life, key) if write.span[0] < span[1]]
        if not writes:
            return None
        last = max(writes, key=lambda write: write.span[0])
        others = max((write.span[1] for write in writes if write is not last), default=0.0)
        if last.is_certain and others < last.span[0] and last.span[1] < span[0]:
            return last.value
        return None
