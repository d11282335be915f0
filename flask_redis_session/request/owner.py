"""A mapping that knows whose session it is."""

from __future__ import annotations

from collections.abc import Collection

from flask_redis_session.errors import UnstorableValue
from flask_redis_session.storage.record import Changes

from .backend import SessionBackend
from .mapping import TrackedMapping
from .user import UserKey


class OwnedMapping(TrackedMapping):
    """A mapping some of whose keys say whose session it is.

    :param backend: where it comes from; it says which keys these are.
    """

    def __init__(self, backend: SessionBackend) -> None:
        super().__init__()
        self._backend = backend

    def _user(self) -> str | None:
        """Return whose session it is in this request."""
        users = map(self._user_under, self._backend.user_keys)
        return next((user for user in users if user is not None), None)

    def _user_under(self, key: UserKey) -> str | None:
        try:
            return key.user(self.get(key.key))
        except UnstorableValue as error:
            if key.key in self._assigned or self._encoded([key.key]):
                raise
            # This request did not put it there: another program has written it.
            self._note_damage(key.key, error)
            return None

    def _holder(self) -> str | None:
        """Return whose session it was when it was loaded, by what its keys held then."""
        users = (key.stored_user(self._fields) for key in self._backend.user_keys)
        return next((user for user in users if user is not None), None)

    def _is_assigned(self) -> bool:
        """Tell whether this request assigned a user's key, or changed something inside of it."""
        keys = [key.key for key in self._backend.user_keys]
        return any(key in self._assigned for key in keys) or bool(
            self._encoded(self._mutable & {*keys})
        )

    def _changed_keys(self, changes: Changes) -> list[UserKey]:
        """Return the user's keys that this request assigned or removed, or changed inside."""
        return [
            key
            for key in self._backend.user_keys
            if key.key in self._assigned or key.key in self._deleted or key.field in changes.sets
        ]

    def _turns_user(self, changed: Collection[UserKey]) -> bool:
        """Tell whether one of several user's keys says another user than it did.

        That key need not be the one that counts. But of two requests that change different ones
        only one may save: together they could leave a user that neither of them knew of.
        """
        return len(self._backend.user_keys) > 1 and any(
            key.stored_user(self._fields) != self._user_under(key) for key in changed
        )
