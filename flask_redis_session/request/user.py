"""Whose a session is: which of its keys say so, and the text that names a user's index."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from flask_redis_session.errors import UnreadableValue, UnstorableValue
from flask_redis_session.storage.record import field_of

from .codec import decode


class UserKey(NamedTuple):
    """Where a user's id is: under a key of the session, or in the dict that is there.

    :param name: as it is written in ``SESSION_USER_KEY``, such as ``user.sub``.
    :param key: the session key: what is before the first dot.
    :param inner: the way on from there, through a dict each.
    """

    name: str
    key: str
    inner: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str) -> UserKey:
        """Read a name out of ``SESSION_USER_KEY``.

        :param name: a key, or a path with a dot between its parts.
        """
        key, *inner = name.split(".")
        return cls(name, key, tuple(inner))

    @property
    def field(self) -> bytes:
        """The hash field that holds the id."""
        return field_of(self.key)

    def user(self, value: object) -> str | None:
        """Return the user that a value says, as text, or ``None`` if it says none.

        :param value: what the session holds under the key.
        :raises UnstorableValue: if what is there has not the type of an id.
        """
        for part in self.inner:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        if value is None or (isinstance(value, str) and not value):
            return None
        return user_text(self.name, value)

    def stored_user(self, fields: Mapping[bytes, bytes]) -> str | None:
        """Return the user that a stored session says, as text; ``None`` if it cannot be read.

        :param fields: the fields of the session, as Redis holds them.
        """
        stored = fields.get(self.field)
        try:
            return None if stored is None else self.user(decode(stored))
        except (UnreadableValue, UnstorableValue):
            return None


class UserKeys:
    """The keys that may say whose a session is; the first that says somebody counts.

    :param names: as in ``SESSION_USER_KEY``.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._keys = tuple(map(UserKey.parse, names))
        #: The session keys that they begin with.
        self.roots = tuple(dict.fromkeys(each.key for each in self._keys))

    def __iter__(self) -> Iterator[UserKey]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __str__(self) -> str:
        return " or ".join(repr(each.name) for each in self._keys)


#: Where the user is if the application names no key.
PLAIN = UserKeys(["user_id"])
#: Where Flask-Login puts the user.
FLASK_LOGIN = UserKeys(["_user_id"])


def user_keys(names: Collection[str] | None, app: object) -> UserKeys:
    """Return the keys that say whose a session is.

    :param names: ``SESSION_USER_KEY``.
    :param app: the application; it has a ``login_manager`` if it uses Flask-Login.
    """
    if names is not None:
        return UserKeys(names)
    return FLASK_LOGIN if hasattr(app, "login_manager") else PLAIN


def user_text(key: str, value: object) -> str:
    """Return a user's id as the text that names their index.

    :param key: under which it was found, for the error.
    :param value: the id.
    :raises UnstorableValue: if its type is not that of an id.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        problem = f"a user's id must be a str, an int or a UUID, not {type(value).__name__}."
        raise UnstorableValue(key, problem)
    try:
        text = _plain(value)
        text.encode()
    except UnicodeEncodeError:
        raise UnstorableValue(key, "a user's id must not hold a lone surrogate.") from None
    except ValueError:
        # Python writes no int of more than some thousand digits.
        raise UnstorableValue(key, "a user's id must not be so long a number.") from None
    return text


def _plain(value: str | int | UUID) -> str:
    # Not str(): an enumeration's member shows its name by that, and is stored as its value.
    if isinstance(value, str):
        return str.__str__(value)
    return int.__repr__(value) if isinstance(value, int) else str(value)
