"""What a session does at once, and not at the end of the request: increment and take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flask_redis_session.errors import StoreUnavailable, UnstorableValue
from flask_redis_session.storage.at_once import Deed, Increment, Take
from flask_redis_session.storage.commit import Committed
from flask_redis_session.storage.record import Changes, Record, field_of, key_of

from .carried import CarriedState
from .save import record_of
from .state import TORN

#: The integers that Redis counts with.
_LEAST, _MOST = -(2**63), 2**63 - 1

_OWNER = "it says whose session this is; assign it or pop() it."
_UNFIT = "it holds no integer of at most 64 bits, or would not after this; nothing was written."


class AtOnceState(CarriedState):
    """A session with operations that Redis carries out at once, one after another."""

    # The fields that this request took, and whether it took the last one.
    _taken: frozenset[bytes] = frozenset()
    _is_spent = False

    def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer at once, in one step of Redis's, and return what it is now.

        Parallel requests each count. It is not undone if the view fails afterwards. If nothing is
        stored yet, or this request assigned or deleted the key, it is stored at the end.

        :param key: the key; if it is not there, it counts as 0.
        :param by: what to add; it may be negative.
        :raises TypeError: if the key holds no integer, ``by`` is none, the sum has more than 64
            bits, or the key says whose session it is. Nothing is written.
        :raises StoreUnavailable: if Redis fails, or the session ended after something was read.
        """
        if not _is_integer(by):
            problem = f"increment() takes an int of at most 64 bits, not {by!r}."
            raise UnstorableValue(key, problem)
        self._refuse_owner(key)
        with self._lock:
            name = self._field_at_once(key)
            done = None if name is None else self._at_once(Increment(name, int(by)))
            if name is None or done is None or done.value is None:
                return self._increment_here(key, int(by))
            self._note(key, name, done.value)
            total = self._values[key] = int(done.value)
            return total

    def take(self, key: str, default: Any = None) -> Any:
        """Remove a key at once and return what it held; of parallel requests, one gets it.

        It is not undone if the view fails afterwards. If nothing is stored yet, or this request
        assigned or deleted the key, this is ``pop()``.

        :param key: the key.
        :param default: what to return if it is not there, or another request took it.
        :raises TypeError: if the key says whose session it is. Nothing is removed.
        :raises StoreUnavailable: if Redis fails, or the session ended after something was read.
        """
        self._refuse_owner(key)
        with self._lock:
            name = self._field_at_once(key)
            done = None if name is None else self._at_once(Take(name))
            if name is None or done is None:
                return self.pop(key, default)
            return self._taken_value(key, name, done, default)

    def _refuse_owner(self, key: str) -> None:
        if key in self._backend.user_keys.roots:
            raise UnstorableValue(key, _OWNER)

    def _field_at_once(self, key: object) -> bytes | None:
        """Return the field of a key; ``None`` if it is to be changed at the end of the request."""
        if self._wiped or key in self._assigned or key in self._deleted:
            return None
        return field_of(key) if isinstance(key, str) else None

    def _at_once(self, deed: Deed) -> Committed | None:
        """Do something to a field of the stored session; ``None``: there is no stored session."""
        if self._others or self._carry is not None:
            # Which of several cookies counts, and what an old one means, is for a load to say.
            self._is_stored()
        if self._failure is not None:
            raise self._failure
        if self._token is None or self._phase not in ("unproved", "live"):
            return None
        try:
            done = self._backend.at_once(self._token, deed, self._record)
        except StoreUnavailable as failure:
            # It must not pass for done, in a finished response neither.
            self._failure = failure
            raise
        if done.what not in ("saved", "unfit") and self._phase == "live":
            self._failure = StoreUnavailable(TORN)
            raise self._failure
        if done.what == "unfit":
            raise UnstorableValue(key_of(deed.field), _UNFIT)
        if done.what == "saved":
            known = {} if self._record is None else self._record.fields
            record = record_of(done, done.user)
            self._prove(replace(record, fields={**known, **record.fields}))
            return done
        self._prove(Record("rotated" if done.what == "rotated" else "gone"))
        # It reads as an empty session.
        self._loaded({}, None)
        return None

    def _increment_here(self, key: str, by: int) -> int:
        value = self.get(key, 0)
        if not _is_integer(value) or not _is_integer(value + by):
            raise UnstorableValue(key, _UNFIT)
        total: int = int(value) + by
        self[key] = total
        return total

    def _taken_value(self, key: str, name: bytes, done: Committed, default: Any) -> Any:
        """Return what was taken, and show the mapping without it."""
        known, read = self._fields.get(name), key in self._values
        value = self._values.get(key)
        self._note(key, name, None)
        self._taken |= {name}
        if done.is_emptied:
            self._is_spent = True
            self._mutated()
        if done.value is None:
            return default
        if read and known == done.value:
            # With what this request has changed inside it.
            return value
        found = self._values.pop(key) if self._decode(key, done.value) else default
        self._mutable.discard(key)
        return found

    def _note(self, key: str, name: bytes, text: bytes | None) -> None:
        """Take what was written at once for what was read; it is not to be written again."""
        self._values.pop(key, None)
        self._mutable.discard(key)
        self._asked.add(name)
        self._used.add(name)
        if text is None:
            self._fields.pop(name, None)
        else:
            self._fields[name] = text
        if key in self._backend.rules:
            self._note_base(key, text)

    def _loaded(self, fields: Mapping[bytes, bytes], asked: Iterable[bytes] | None) -> None:
        if self._taken:
            # What another request has put there since is not what this one took.
            fields = {name: text for name, text in fields.items() if name not in self._taken}
        super()._loaded(fields, asked)

    def _changes(self) -> Changes:
        changes = super()._changes()
        return replace(changes, spent=True) if self._is_spent else changes

    def _settle(self, changes: Changes) -> None:
        super()._settle(changes)
        self._is_spent = False

    def _end(self) -> None:
        super()._end()
        self._taken, self._is_spent = frozenset(), False


def _is_integer(value: object) -> bool:
    """Tell whether Redis can count with a value."""
    return isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST
