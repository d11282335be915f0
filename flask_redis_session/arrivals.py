"""The sessions of old cookies, on their way here while an import is configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .request.arrival import Arrival
from .storage.record import Binding

if TYPE_CHECKING:
    from flask import Flask, Request

    from .application import ApplicationBackend
    from .moving.mover import Mover


def mover_of(backend: ApplicationBackend) -> Mover | None:
    """Return what carries old sessions over; ``None`` without a ``SESSION_IMPORT``.

    :param backend: the sessions of the application.
    """
    settings = backend.settings
    if settings.imports is None:
        return None
    from .moving.mover import Mover  # noqa: PLC0415 (most applications have nothing to carry)

    return Mover(
        settings.imports,
        backend.redis,
        backend.hashes,
        settings.prefix,
        user_keys=lambda: backend.user_keys,
    )


def carrier(
    backend: ApplicationBackend, app: Flask, request: Request, name: str
) -> Callable[[], Arrival] | None:
    """Return what carries the session of an old cookie over; ``None`` if there is none.

    :param backend: the sessions of the application.
    :param app: the application.
    :param request: the request that may bring one. Redis is not asked yet.
    :param name: the name of the cookie of the sessions here.
    """
    mover = backend.mover
    if mover is None or not (cookies := mover.cookies(request, name)):
        return None

    def carry() -> Arrival:
        device = Binding(None, *backend.device(request))
        return mover.carry(app, cookies, backend.terms(app), device)

    return carry
