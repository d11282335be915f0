"""What the server does for processes that keep sessions (``SESSION_KEEP``)."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.commands import Commands

#: How many keys Redis tracks at most, unless ``tracking-table-max-keys`` says otherwise.
MOST_KEYS = 1_000_000


class Tracking(NamedTuple):
    """What the server tracks.

    :param listeners: how many connections are told of changes, of any application.
    :param keys: how many keys it remembers for them.
    """

    listeners: int
    keys: int

    @property
    def hint(self) -> str:
        """What to do about it; ``""``: nothing."""
        if self.keys >= MOST_KEYS:
            return (
                "The table may be full: then Redis says of keys that they changed though they did "
                "not. Raise tracking-table-max-keys."
            )
        if not self.listeners:
            return (
                "If the application is busy with GETs, look for a warning of SESSION_KEEP in its "
                "log: its user in Redis may lack +client|tracking."
            )
        return ""


def tracking_of(backend: ApplicationBackend) -> Tracking | None:
    """Ask the server what it tracks; ``None`` without ``SESSION_KEEP``.

    :param backend: the sessions of the application.
    :raises StoreUnavailable: if Redis fails.
    """
    if backend.kept is None:
        return None
    clients, stats = (_info(backend.redis, section) for section in ("clients", "stats"))
    return Tracking(int(clients["tracking_clients"]), int(stats["tracking_total_keys"]))


def _info(redis: Commands, section: str) -> Any:
    return redis.understood(lambda reply: reply | {}, redis.call(("INFO", section)))
