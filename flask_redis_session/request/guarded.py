"""A mapping that knows what a request read of the keys that are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flask_redis_session.storage.record import Changes, field_of

from .backend import SessionBackend
from .owner import OwnedMapping


class GuardedMapping(OwnedMapping):
    """A mapping whose changes say what they are based on, for the keys that have a rule.

    What counts is what the request read, not what was loaded for it: the outcome must not depend
    on what ``SESSION_LOAD`` brings along.

    :param backend: where it comes from; it says which keys have a rule.
    """

    def __init__(self, backend: SessionBackend) -> None:
        super().__init__(backend)
        # What was read of those keys, as Redis held it; None: it was not there.
        self._bases: dict[bytes, bytes | None] = {}
        # What was last said to be written.
        self._wanted: Mapping[bytes, bytes] = {}

    def clear(self) -> None:
        super().clear()
        # It removes also what others add meanwhile: there is nothing to merge with.
        self._bases = {}

    def _stored(self, key: str) -> bytes | None:
        text = super()._stored(key)
        if key in self._backend.rules:
            self._note_base(key, text)
        return text

    def _decode_all(self) -> None:
        for key in self._backend.rules:
            if key not in self._values and key not in self._deleted:
                self._note_base(key, self._fields.get(field_of(key)))
        super()._decode_all()

    def _note_base(self, key: str, text: bytes | None) -> None:
        self._bases[field_of(key)] = text

    def _changes(self) -> Changes:
        changes = super()._changes()
        if not self._bases or changes.wipe:
            return changes
        self._wanted = changes.sets
        written = {*changes.sets, *changes.deletes}
        guards = {name: text for name, text in self._bases.items() if name in written}
        return replace(changes, guards=guards)

    def _settle(self, changes: Changes) -> None:
        super()._settle(changes)
        for key in self._backend.rules if self._bases else ():
            name = field_of(key)
            if name not in self._bases or not (name in changes.sets or name in changes.deletes):
                continue
            text = self._bases[name] = changes.sets.get(name)
            if text != self._wanted.get(name):
                # It was merged: what the request goes on with is what is stored.
                self._values.pop(key, None)
                self._mutable.discard(key)
                if text is not None:
                    self._decode(key, text)
