"""For how many replicas a revocation waits."""

from __future__ import annotations

from typing import Any

from flask_redis_session.errors import SettingError

from .url import reply_timeout


def replicas_to_wait_for(value: Any, client: Any, url: str | None) -> tuple[int, int] | None:
    """Return for how many replicas a revocation waits, and for how many milliseconds.

    :param value: ``SESSION_REVOKE_WAIT``.
    :param client: the application's client, if it gives one.
    :param url: the URL of the server, if it gives that.
    :raises SettingError: if the setting cannot be carried out; the message says what to write.
    """
    name = "SESSION_REVOKE_WAIT"
    if value is None:
        return None
    if (
        not isinstance(value, (tuple, list))
        or len(value) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value)
    ):
        problem = f"expects (replicas, milliseconds), both of 1 or more, not {value!r}."
        raise SettingError(name, problem)
    if hasattr(client, "get_node_from_key") or "+cluster://" in (url or ""):
        problem = "does not work in a cluster, where a user's sessions have several primaries."
        raise SettingError(name, problem)
    replicas, milliseconds = value
    timeout = _timeout(client, url)
    if timeout is not None and milliseconds >= timeout * 1000:
        problem = (
            f"waits for {milliseconds} ms, but the client gives up after {timeout * 1000:.0f} ms; "
            "give it a longer socket_timeout, in SESSION_REDIS_URL or where you make it."
        )
        raise SettingError(name, problem)
    return replicas, milliseconds


def _timeout(client: Any, url: str | None) -> float | None:
    """Return how long a client waits for a reply, in seconds, if that can be told."""
    if url is not None:
        return reply_timeout(url)
    pool = getattr(client, "connection_pool", None)
    timeout = getattr(pool, "connection_kwargs", {}).get("socket_timeout")
    return timeout if isinstance(timeout, (int, float)) else None
