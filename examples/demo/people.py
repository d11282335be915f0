"""The people who can sign in. They are made up, so the page may show their passwords."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from werkzeug.security import check_password_hash, generate_password_hash


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in.

    :param password: the sign-in page fills it in; the site checks its hash.
    """

    id: int
    name: str
    role: str
    password: str
    password_hash: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "password_hash", generate_password_hash(self.password))

    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.name.split())


PEOPLE = (
    Person(23, "Mira Holt", "buys too much tea", "marmalade"),
    Person(42, "Jonas Feld", "keeps the minutes", "pebble"),
    Person(77, "Tamsin Okoro", "has nine devices, with this one", "lantern"),
)

#: Visits each page when the demo starts. Nobody else can sign in as the guide.
GUIDE = Person(1, "The Guide", "visits each page first", secrets.token_urlsafe(16))

_BY_ID = {person.id: person for person in (*PEOPLE, GUIDE)}


def find(person_id: object) -> Person | None:
    """Return the person with this id, or ``None``."""
    return _BY_ID.get(person_id) if isinstance(person_id, int) else None


def authenticate(person_id: object, password: str) -> Person | None:
    """Return the person with this id if this is their password, else ``None``."""
    person = find(person_id)
    if person is None or not check_password_hash(person.password_hash, password):
        return None
    return person
