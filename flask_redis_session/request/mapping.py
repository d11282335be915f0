"""A mapping that knows which of its keys a request changed."""

from __future__ import annotations

import logging
from collections.abc import (
    Container,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from copy import deepcopy
from itertools import islice
from threading import RLock
from typing import TYPE_CHECKING, Any

from flask_redis_session.errors import UnreadableValue, UnstorableValue
from flask_redis_session.storage.record import Changes, field_of, key_of

from .codec import FROZEN, decode, encode, is_same
from .loading import MOST_FIELDS

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("flask_redis_session")


class TrackedMapping(MutableMapping[str, Any]):
    """A dict-like view of the user's fields of a hash, loaded when a key is first read.

    A value is decoded when it is first read. At the end the assigned values are encoded, and so
    are those that were read and can change in place. Only what then differs from the stored text
    is a change.

    Threads may share it, as they may share a dict: a view may hand its session to several.
    """

    def __init__(self) -> None:
        # Held while several of the attributes below are changed or read together.
        self._lock = RLock()
        # What is stored, as far as it was loaded.
        self._fields: dict[bytes, bytes] = {}
        self._asked: set[bytes] = set()
        self._complete = False
        # Whether all of it was decoded, what was assigned included.
        self._decoded = False
        self._used: set[bytes] = set()
        # What the request made of it.
        self._values: dict[str, Any] = {}
        self._mutable: set[str] = set()
        self._assigned: dict[str, None] = {}
        self._deleted: set[str] = set()
        self._damaged: set[str] = set()
        self._wiped = False

    def _fetch(self, key: str | None) -> None:
        """Load what is stored under a key, or under every key if it is ``None``."""
        raise NotImplementedError

    def _mutated(self) -> None:
        """Note that a key was assigned or deleted."""

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            return self._read(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise UnstorableValue(key, "keys must be strings; convert it with str().")
        with self._lock:
            self._values[key] = value
            self._assigned[key] = None
            self._deleted.discard(key)
        self._mutated()

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._forget(key)
        self._mutated()

    def __iter__(self) -> Iterator[str]:
        return iter([*self._all()])

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        # Not by len(): a key that was read already spares loading all the others.
        return bool(self._values or self._all())

    def clear(self) -> None:
        """Remove every key, also those that were never loaded."""
        with self._lock:
            self._fields = {}
            self._complete = True
            self._values = {}
            self._mutable = set()
            self._assigned = {}
            self._deleted = set()
            self._wiped = True
        self._mutated()

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last item, as a dict does.

        :raises KeyError: if there is none.
        """
        values = self._all()
        if not values:
            raise KeyError("popitem(): the session is empty")
        key = next(reversed(values))
        return key, self.pop(key)

    def values(self) -> ValuesView[Any]:
        return _Values(self)

    def items(self) -> ItemsView[str, Any]:
        return _Items(self)

    def copy(self) -> dict[str, Any]:
        """Return a shallow copy, as a plain dict."""
        return {**self._all()}

    def __copy__(self) -> dict[str, Any]:
        # Not a second session with the parts of this one.
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return deepcopy(self.copy(), memo)

    def __or__(self, other: object) -> dict[str, Any]:
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> dict[str, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]  # | makes a dict, |= does not
        self.update(other)
        return self

    def _all(self) -> dict[str, Any]:
        """Return everything that can be read, decoded."""
        if not (self._complete and self._decoded):
            with self._lock:
                if not self._complete:
                    self._fetch(None)
                if not self._decoded:  # pragma: no branch - another thread decoded it meanwhile
                    # More names than a plan asks for by name say the same as all of them.
                    self._used.update(islice(self._fields, MOST_FIELDS + 1))
                    self._decode_all()
                    self._decoded = True
        return self._values

    def _decode_all(self) -> None:
        """Decode what is not decoded yet, with few calls, as there may be thousands of keys."""
        values, deleted = self._values, self._deleted
        mutable: set[str] = set()
        # As in a dict, what is new comes last.
        ordered: dict[str, Any] = {}
        for name, stored in self._fields.items():
            key = name.decode() if name.isalnum() else key_of(name)
            if key is None or key in deleted:
                continue
            if key in values:
                ordered[key] = values[key]
                continue
            try:
                ordered[key] = value = decode(stored)
            except UnreadableValue as error:
                self._note_damage(key, error)
                continue
            if type(value) not in FROZEN:
                mutable.add(key)
        self._values = {**ordered, **values} if values else ordered
        self._mutable |= mutable

    def _read(self, key: Any) -> Any:
        if not isinstance(key, str) or key in self._deleted:
            raise KeyError(key)
        with self._lock:
            if key in self._values:  # pragma: no cover - another thread read it meanwhile
                return self._values[key]
            stored = self._stored(key)
            if stored is None or not self._decode(key, stored):
                raise KeyError(key)
            return self._values[key]

    def _decode(self, key: str, stored: bytes) -> bool:
        """Decode what is stored under a key; return whether it can be read."""
        try:
            value = decode(stored)
        except UnreadableValue as error:
            self._note_damage(key, error)
            return False
        self._values[key] = value
        if type(value) not in FROZEN:
            self._mutable.add(key)
        return True

    def _note_damage(self, key: str, error: Exception) -> None:
        """Log, once in a request, that what is stored under a key counts as absent."""
        if key not in self._damaged:
            self._damaged.add(key)
            log_damage(key, error)

    def _stored(self, key: str) -> bytes | None:
        """Return the stored text of a key, loading it if it is not known yet."""
        name = field_of(key)
        self._used.add(name)
        if not self._complete and name not in self._asked:
            self._fetch(key)
        return self._fields.get(name)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)
            self._mutable.discard(key)
            self._assigned.pop(key, None)
            self._deleted.add(key)

    def _loaded(self, fields: Mapping[bytes, bytes], asked: Iterable[bytes] | None) -> None:
        """Take over what was loaded.

        :param fields: the fields that there are.
        :param asked: the fields that were asked for; ``None``: all.
        """
        if self._wiped:
            # What clear() removed is not to be seen again, nor compared with.
            return
        # Keep the text that was loaded first: changes are detected against it.
        self._fields = {**fields, **self._fields}
        if asked is None:
            self._complete = True
        else:
            self._asked.update(asked)

    def _changes(self) -> Changes:
        """Return what is to be written.

        :raises UnstorableValue: if a value has no form in Redis.
        """
        with self._lock:
            deletes = [*map(field_of, self._deleted)]
            if self._complete:
                deletes = [name for name in deletes if name in self._fields]
            return Changes(self._encoded(self._suspects()), deletes, self._wiped)

    def _suspects(self) -> list[str]:
        """Return the keys whose values may differ from what is stored."""
        return [*self._assigned, *(key for key in self._mutable if key not in self._assigned)]

    def _encoded(self, keys: Iterable[str]) -> dict[bytes, bytes]:
        """Encode those of some keys whose values differ from what is stored."""
        encoded: dict[bytes, bytes] = {}
        for key in keys:
            text = encode(key, self._values[key])
            name = field_of(key)
            if not is_same(self._fields.get(name), text):
                encoded[name] = text
        return encoded

    def _has_nested_changes(self) -> bool:
        with self._lock:
            return bool(self._encoded(key for key in self._mutable if key not in self._assigned))

    def _dropped(self) -> set[bytes]:
        """Return the fields that this request deleted, or that cannot be read."""
        return {field_of(key) for key in (*self._deleted, *self._damaged)}

    def _settle(self, changes: Changes) -> None:
        """Take changes that have been written for what is stored."""
        if changes.wipe:
            self._fields = {}
        for name in changes.deletes:
            self._fields.pop(name, None)
        self._fields.update(changes.sets)
        self._asked.update(changes.sets, changes.deletes)
        for key in self._assigned:
            if type(self._values[key]) not in FROZEN:
                self._mutable.add(key)
        self._assigned = {}
        self._deleted = set()
        self._wiped = False

    def _keep_only(self, names: Container[bytes]) -> None:
        """Show nothing but these fields: another session begins with them."""
        kept = {key: value for key, value in self._values.items() if field_of(key) in names}
        self._fields, self._values, self._complete = {}, kept, True
        self._mutable &= kept.keys()


class _Values(ValuesView[Any]):
    """The values of a mapping; to iterate takes them as they are at once."""

    _mapping: TrackedMapping

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.copy().values())


class _Items(ItemsView[str, Any]):
    """The items of a mapping; to iterate takes them as they are at once."""

    _mapping: TrackedMapping

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._mapping.copy().items())


def log_damage(key: str, error: Exception) -> None:
    """Log that what is stored under a key counts as absent.

    :param key: the session key.
    :param error: why it cannot be read.
    """
    # No traceback: the damage is in Redis, and the text around it may be private.
    log.error("A session's key %r cannot be read and counts as absent: %s", key, error)
