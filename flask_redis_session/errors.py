"""The exceptions of this package.

::

    SessionError
    ├── SettingError           (also a ValueError)
    ├── UnstorableValue        (also a TypeError)
    ├── UnreadableValue        (also a ValueError)
    └── StoreUnavailable       (also werkzeug's ServiceUnavailable: 503)
        ├── WrongType
        ├── RevocationIncomplete
        └── RevocationUnconfirmed
"""

from __future__ import annotations

from werkzeug.exceptions import ServiceUnavailable


class SessionError(Exception):
    """The root of every exception that this package raises."""


class SettingError(SessionError, ValueError):
    """A setting is ill-typed or contradicts another one.

    :param setting: the name under ``app.config``, or the name of the argument.
    :param problem: what is wrong and what to do about it.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class UnstorableValue(SessionError, TypeError):
    """A key or a value of the session has no form in Redis; nothing was written.

    :param key: the session key, as it was given.
    :param problem: what is wrong and what to do about it.
    """

    #: The endpoint of the request, if it is known. Once it is set, the message names it.
    endpoint: str | None = None

    def __init__(self, key: object, problem: str) -> None:
        super().__init__(f"session[{key!r}]: {problem}")
        self.key = key

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} (endpoint {self.endpoint!r})" if self.endpoint else message


class UnreadableValue(SessionError, ValueError):
    """The text of a field in Redis is not one that this package writes.

    :param problem: what is wrong with it. The text itself is not repeated: it may be private.
    """


class StoreUnavailable(SessionError, ServiceUnavailable):
    """Redis gave no answer in time, or one that refuses service.

    In a view this is a response with status 503 and ``Retry-After``, unless the
    application handles it: ``@app.errorhandler(StoreUnavailable)`` or ``(503)``.
    The client library's own exception is the ``__cause__``.

    :param description: what the browser is told.
    :param retry_after: seconds after which a client may try again.
    """

    def __init__(
        self,
        description: str = "The session store is not available. Please try again in a moment.",
        *,
        retry_after: int = 1,
    ) -> None:
        super().__init__(description, retry_after=retry_after)


class WrongType(StoreUnavailable):
    """A key of this package's name holds something else than this package put there.

    :param key: the key in Redis; delete or rename it.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def __str__(self) -> str:
        return f"The key {self.key!r} in Redis has another type; delete or rename it."


class RevocationIncomplete(StoreUnavailable):
    """A revocation stopped because Redis failed; to run it again finishes it.

    :param ended: how many sessions had been ended by then.
    """

    def __init__(self, ended: int) -> None:
        super().__init__(
            f"Redis failed after {ended} sessions had been ended; revoke again to end the rest."
        )
        self.ended = ended


class RevocationUnconfirmed(StoreUnavailable):
    """A revocation was carried out, but not by as many replicas as ``SESSION_REVOKE_WAIT`` asks.

    Should the primary fail before they have it, the sessions may be alive on its successor.

    :param ended: how many sessions were ended.
    :param replicas: how many replicas confirmed it in time.
    """

    def __init__(self, ended: int, replicas: int) -> None:
        super().__init__(
            f"{ended} sessions were ended, but only {replicas} replicas confirmed it in time."
        )
        self.ended = ended
        self.replicas = replicas
