"""A mapping that knows which of its keys a request changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .codec import decode, encode, is_frozen
from .errors import UnreadableValue, UnstorableValue
from .record import Changes, field_of, key_of

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("flask_redis_session")


class TrackedMapping(MutableMapping[str, Any]):
    """A dict-like view of the user's fields of a hash, loaded when a key is first read.

    A value is decoded when it is first read. What was assigned is encoded when the changes
    are asked for, and so is what was read and can change in place; only what then differs
    from the stored text is a change.
    """

    def __init__(self) -> None:
        # What is stored, as far as it was loaded.
        self._fields: dict[bytes, bytes] = {}
        self._asked: set[bytes] = set()
        self._complete = False
        self._used: set[bytes] = set()
        # What the request made of it.
        self._values: dict[str, Any] = {}
        self._mutable: set[str] = set()
        self._assigned: dict[str, None] = {}
        self._deleted: set[str] = set()
        self._damaged: set[str] = set()
        self._wiped = False

    def _fetch(self, key: str | None) -> None:
        """Load what is stored under a key, or under every key where it is ``None``."""
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
        yield from self._keys()

    def __len__(self) -> int:
        return len(self._keys())

    def __bool__(self) -> bool:
        # Not by len(): a key that was read already spares loading all the others.
        return bool(self._values) or any(True for _ in self)

    def clear(self) -> None:
        """Remove every key, also those that were never loaded."""
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

        :raises KeyError: where there is none.
        """
        *_, key = (None, *self)
        if key is None:
            raise KeyError("popitem(): the session is empty")
        return key, self.pop(key)

    def copy(self) -> dict[str, Any]:
        """Return a shallow copy, as a plain dict."""
        return dict(self)

    def __or__(self, other: object) -> dict[str, Any]:
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> dict[str, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]  # | makes a dict, |= does not
        self.update(other)
        return self

    def _keys(self) -> list[str]:
        """Return the keys of everything that can be read, and so decode it."""
        if not self._complete:
            self._fetch(None)
        self._used.update(self._fields)
        values, deleted, decodes = self._values, self._deleted, self._decode
        keys: list[str] = []
        for name, stored in self._fields.items():
            key = key_of(name)
            if key is not None and key not in deleted and (key in values or decodes(key, stored)):
                keys.append(key)
        if self._assigned:
            keys += [key for key in self._assigned if _field(key) not in self._fields]
        return keys

    def _read(self, key: Any) -> Any:
        if not isinstance(key, str) or key in self._deleted:
            raise KeyError(key)
        stored = self._stored(key)
        if stored is None or not self._decode(key, stored):
            raise KeyError(key)
        return self._values[key]

    def _decode(self, key: str, stored: bytes) -> bool:
        """Decode what is stored under a key; return whether it can be read."""
        try:
            value = decode(stored)
        except UnreadableValue as error:
            if key in self._damaged:
                return False
            self._damaged.add(key)
            # No traceback: the damage is in Redis, and the text around it may be private.
            log.error(  # noqa: TRY400
                "A session's key %r cannot be read and counts as absent: %s", key, error
            )
            return False
        self._values[key] = value
        if not is_frozen(value):
            self._mutable.add(key)
        return True

    def _stored(self, key: str) -> bytes | None:
        """Return the stored text of a key, loading it where it is not known yet."""
        name = _field(key)
        if name is None:
            return None
        self._used.add(name)
        if not self._complete and name not in self._asked:
            self._fetch(key)
        return self._fields.get(name)

    def _forget(self, key: str) -> None:
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
        # What a value was decoded from stays what it is compared with.
        self._fields = {**fields, **self._fields}
        if asked is None:
            self._complete = True
        else:
            self._asked.update(asked)

    def _changes(self) -> Changes:
        """Return what is to be written.

        :raises UnstorableValue: where a value has no form in Redis.
        """
        deletes = [name for key in self._deleted if (name := _field(key)) is not None]
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
            name = _field(key)
            if name is None:
                raise UnstorableValue(key, "the key holds a lone surrogate; remove it.")
            if not _is_same(self._fields.get(name), text):
                encoded[name] = text
        return encoded

    def _has_nested_changes(self) -> bool:
        return bool(self._encoded(key for key in self._mutable if key not in self._assigned))

    def _known(self) -> dict[bytes, bytes]:
        """Return the content as far as it is known, encoded: for a session of its own."""
        kept = {
            name: stored
            for name, stored in self._fields.items()
            if (key := key_of(name)) is not None
            and key not in self._deleted
            and key not in self._damaged
        }
        return {**kept, **self._encoded(self._suspects())}

    def _settle(self, changes: Changes) -> None:
        """Take changes that have been written for what is stored."""
        if changes.wipe:
            self._fields = {}
        for name in changes.deletes:
            self._fields.pop(name, None)
        self._fields.update(changes.sets)
        self._asked.update(changes.sets, changes.deletes)
        for key in self._assigned:
            if not is_frozen(self._values[key]):
                self._mutable.add(key)
        self._assigned = {}
        self._deleted = set()
        self._wiped = False


def _field(key: str) -> bytes | None:
    """Return the field of a key, or ``None`` where it has no UTF-8 form and so cannot be stored."""
    try:
        return field_of(key)
    except UnicodeEncodeError:
        return None


def _is_same(stored: bytes | None, text: bytes) -> bool:
    if stored is None or stored == text:
        return stored is not None
    try:
        # Another program may have written the same value with other white space.
        return encode("", decode(stored)) == text
    except (UnreadableValue, UnstorableValue):
        return False
