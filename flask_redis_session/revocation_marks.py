"""The marks of revocations: what may turn into a session later is held against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .remember_cookie import remembering_of

if TYPE_CHECKING:
    from .application import ApplicationBackend
    from .client.script import Command
    from .moving.marks import Marks
    from .storage.revocation import Selection


def marks_of(backend: ApplicationBackend) -> Marks | None:
    """Return the marks of an application; ``None`` if nothing can turn into a session later.

    An old session can, while an import is configured, and so can a remember cookie of Flask-Login's
    that is accepted.

    :param backend: the sessions of the application.
    """
    mover, app = backend.mover, backend.app()
    remembering = None if app is None else remembering_of(app)
    ends = [] if mover is None else [mover.settings.last]
    if remembering is not None and remembering.until is not None:
        ends.append(remembering.marked_until)
    if not ends:
        return None
    from .moving.marks import Marks  # noqa: PLC0415 (most applications have nothing to note)

    return Marks(backend.redis, backend.settings.prefix, max(ends))


def notes_of(backend: ApplicationBackend) -> Callable[[str, Selection], list[Command]]:
    """Return what tells how to note a revocation before it begins.

    :param backend: the sessions of the application.
    """

    def note(user: str, selection: Selection) -> list[Command]:
        marks = marks_of(backend)
        return [] if marks is None else marks.revoked(user, selection)

    return note
