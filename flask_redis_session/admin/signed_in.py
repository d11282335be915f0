"""Who is signed in, as the indexes of an application tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.storage.record import BORN, SEEN, USER, number, text
from flask_redis_session.storage.token import is_sid

from .keyspace import KeySpace


class SignedIn(NamedTuple):
    """A user with at least one live session.

    :param user: the user's id, as text.
    :param seen: when the user was last seen, in epoch seconds.
    """

    user: str
    seen: float


class SignedInUsers:
    """Goes through the key space, and keeps the users that were seen last.

    :param backend: the sessions of the application.
    :param limit: how many users to keep at most.
    """

    def __init__(self, backend: ApplicationBackend, limit: int) -> None:
        self._backend = backend
        self._keyspace = KeySpace(backend)
        self._limit = limit
        self._seen: dict[str, float] = {}
        #: Whether there are users beyond the limit.
        self.has_more = False

    def search(self) -> Iterator[None]:
        """Go through the key space, step by step; a step goes through ``PAGE`` keys.

        :raises StoreUnavailable: as :meth:`.KeySpace.pages`.
        """
        for page in self._keyspace.pages():
            # SCAN may find an index twice; then the second look counts.
            self._seen.update(self._signed_in(page.users))
            if len(self._seen) > 2 * self._limit:
                self._keep_newest()
            yield

    def newest(self) -> list[SignedIn]:
        """Return the users that were found, last seen first."""
        self._keep_newest()
        return [SignedIn(*item) for item in self._seen.items()]

    def _keep_newest(self) -> None:
        newest = sorted(self._seen.items(), key=lambda item: (-item[1], item[0]))
        self.has_more = self.has_more or len(newest) > self._limit
        self._seen = dict(newest[: self._limit])

    def _signed_in(self, users: Sequence[str]) -> Iterator[SignedIn]:
        """Yield those of these users who have a live session."""
        sids = [sid or "" for sid in self._keyspace.newest(users)]
        hashes = self._backend.hashes.index.read_fields(sids, (BORN, SEEN, USER))
        for user, sid, (born, seen, owner) in zip(users, sids, hashes, strict=True):
            if is_sid(sid) and number(born) is not None and text(owner) == user:
                yield SignedIn(user, number(seen) or 0.0)
            else:
                # The newest session is dead; an older one may be alive.
                yield from self._from_older(user)

    def _from_older(self, user: str) -> Iterator[SignedIn]:
        for page in self._backend.hashes.index.list_pages(user, limit=1):
            for info in page:
                yield SignedIn(user, info.last_seen_at.timestamp())
