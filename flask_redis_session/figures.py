"""What a request's session did and cost, for whoever listens: the log at DEBUG, and a signal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal
from weakref import ref

from flask import has_request_context, request

from .client.meter import METER, Meter
from .errors import StoreUnavailable
from .request.outcome import Outcome
from .signals import session_saved
from .storage.record import key_of

if TYPE_CHECKING:
    from flask import Flask, Request

    from .request.session import RedisSession

log = logging.getLogger("flask_redis_session")


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What one request did with its session, and what that cost.

    :param result: *read*: there was nothing to write. *written*: what it changed was written.
        *ended*: it ended the session. *refused*: its changes were not written, because its cookie
        no longer opened the session. *failed*: Redis failed.
    :param loaded: how many keys of the session were loaded.
    :param written: how many were set or deleted.
    :param skipped: how many were loaded and needed no write.
    :param bytes_sent: bytes of all commands, as RESP2 writes them.
    :param bytes_received: bytes of all replies, as RESP2 writes them.
    :param round_trips: how often the request waited for Redis.
    :param seconds: for how long in all.
    """

    result: Literal["read", "written", "ended", "refused", "failed"]
    loaded: int
    written: int
    skipped: int
    bytes_sent: int
    bytes_received: int
    round_trips: int
    seconds: float


def begin(app: Flask, session: RedisSession, request: Request) -> None:
    """Begin to count what a request asks of Redis, if somebody listens.

    :param app: the application.
    :param session: the session of the request.
    :param request: the request. A view may have begun it, and go on after it.
    """
    if session_saved.has_receivers_for(app) or log.isEnabledFor(logging.DEBUG):
        counts = partial(_is_current, ref(request))
        METER.set(Meter(ref(session), counts, _still_there(METER.get())))
    elif METER.get() is not None:
        METER.set(_still_there(METER.get()))


def _is_current(which: Callable[[], Request | None]) -> bool:
    """Tell whether a request is the current one, or there is none."""
    if not has_request_context():
        return True
    return which() is request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001


def _still_there(meter: Meter | None) -> Meter | None:
    """Leave out the meters of requests of this thread's that came to no end."""
    while meter is not None and meter.owner() is None:
        meter = meter.outer
    return meter


def report(app: Flask, session: RedisSession, came: Outcome | StoreUnavailable | None) -> None:
    """Tell those who listen what a request did with its session, if it used it.

    :param app: the application.
    :param session: the session of the request.
    :param came: what came of its save; ``None``: there was nothing to save.
    """
    meter = METER.get()
    while meter is not None and meter.owner() is not session:
        meter = meter.outer
    if meter is None:
        return
    METER.set(_still_there(meter.outer))
    if not session.accessed and not meter.round_trips:
        return
    figures = _figures(meter, came)
    log.debug(
        "Session %s was %s: keys loaded %d, written %d, skipped %d; bytes sent %d, received %d; "
        "round trips %d in %.2f ms; endpoint %r.",
        meter.sid,
        figures.result,
        figures.loaded,
        figures.written,
        figures.skipped,
        figures.bytes_sent,
        figures.bytes_received,
        figures.round_trips,
        figures.seconds * 1000,
        request.endpoint if has_request_context() else None,
    )
    session_saved.send(app, session=session, sid=meter.sid, figures=figures)


def _figures(meter: Meter, came: Outcome | StoreUnavailable | None) -> SessionFigures:
    loaded, written = (
        {name for name in fields if key_of(name) is not None}
        for fields in (meter.loaded, meter.written)
    )
    return SessionFigures(
        result=_result(came, is_written=bool(written)),
        loaded=len(loaded),
        written=len(written),
        skipped=len(loaded - written),
        bytes_sent=meter.bytes_sent,
        bytes_received=meter.bytes_received,
        round_trips=meter.round_trips,
        seconds=meter.seconds,
    )


def _result(
    came: Outcome | StoreUnavailable | None, *, is_written: bool
) -> Literal["read", "written", "ended", "refused", "failed"]:
    if isinstance(came, StoreUnavailable):
        return "failed"
    names = () if came is None else [event.name for event in came.events]
    if "save_refused" in names:
        return "refused"
    if came is not None and came.cookie == "clear":
        return "ended"
    # What was done at once, by increment() and take(), is no part of the save.
    has_saved = came is not None and came.written is not None
    return "written" if is_written or has_saved else "read"
