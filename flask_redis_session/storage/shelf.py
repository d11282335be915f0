"""The sessions that a process keeps, as Redis held them: at most so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

#: One session may take so much of the room: a part of it.
LARGEST = 8

#: What Python takes for each field, each name of one that is not there, and each session, beside
#: their texts, in bytes.
_FIELD = 150
_NAME = 120
_SESSION = 700


class Kept:
    """A session hash, or the part of one that was asked for. Nothing of it is decoded.

    :param fields: the fields that there are.
    :param asked: the fields that were asked for; ``None``: all.
    :param until: when it is too old, by this process's monotonic clock.
    :param over: when it ends, or is due to be touched, in epoch seconds of the server's.
    """

    __slots__ = ("asked", "fields", "over", "size", "until")

    def __init__(
        self,
        fields: Mapping[bytes, bytes],
        asked: frozenset[bytes] | None,
        until: float,
        over: float,
    ) -> None:
        self.fields = fields
        self.asked = asked
        self.until = until
        self.over = over
        # Which names are asked for a visitor may choose, such as one for each page.
        missing = (name for name in asked or () if name not in fields)
        self.size = size_of(fields) + sum(len(name) + _NAME for name in missing)

    def __repr__(self) -> str:
        # Tracebacks and debuggers show it. They must not show what a session holds.
        return f"<Kept {len(self.fields)} fields>"


class Shelf:
    """Sessions by their sid. The least recently used goes first.

    To take is safe at any time; who changes it holds a lock.

    :param room: how many bytes it may take.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        #: How many bytes it takes.
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def largest(self) -> int:
        """How many bytes one session may take."""
        return self._room // LARGEST

    def take(self, sid: str) -> Kept | None:
        """Return what is kept of a session, which counts as used now.

        :param sid: the session.
        """
        kept = self._kept.get(sid)
        if kept is not None:
            try:
                self._kept.move_to_end(sid)
            except KeyError:
                # Another thread dropped it meanwhile.
                return None
        return kept

    def put(self, sid: str, kept: Kept) -> None:
        """Keep a session, if there may be room for it.

        :param sid: the session.
        :param kept: what to keep, in the place of what was.
        """
        self.drop(sid)
        if kept.size > self.largest:
            return
        self._kept[sid] = kept
        self.size += kept.size
        while self.size > self._room:
            self.size -= self._kept.popitem(last=False)[1].size

    def drop(self, sid: str) -> None:
        """Keep a session no longer.

        :param sid: the session.
        """
        kept = self._kept.pop(sid, None)
        if kept is not None:
            self.size -= kept.size

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.size = 0


def size_of(fields: Mapping[bytes, bytes]) -> int:
    """Return about how many bytes a session takes in this process.

    :param fields: what is kept of it.
    """
    texts = sum(map(len, fields)) + sum(map(len, fields.values()))
    return texts + _FIELD * len(fields) + _SESSION
