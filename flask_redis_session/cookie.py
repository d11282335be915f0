"""The session's cookie, as the browser sends it and as the application hands it out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .request.arrival import Arrival
from .request.outcome import Event, Outcome
from .storage.token import Token, parse_cookie

if TYPE_CHECKING:
    from flask import Request

log = logging.getLogger("flask_redis_session")

_OWN_MACHINE = ("localhost", "127.0.0.1", "[::1]", "[")


#: How many cookies of one name are looked at.
MOST_COOKIES = 3


def read_cookies(request: Request, name: str) -> tuple[Token, ...]:
    """Return what the cookies of a name say that have the form of ours; most often it is one.

    A browser sends several if other paths or domains of the host have set one of this name.

    :param request: the request.
    :param name: the name.
    """
    header = request.environ.get("HTTP_COOKIE")
    if not header:
        return ()
    before, found, after = header.partition(f"{name}=")
    if found and f"{name}=" not in after and (not before or before.endswith("; ")):
        # The usual case. To parse all cookies takes as long as all the rest of a request that
        # does not use its session.
        token = parse_cookie(after.partition(";")[0])
        if token is not None:
            return (token,)
    tokens = (parse_cookie(value) for value in request.cookies.getlist(name))
    return tuple(dict.fromkeys(token for token in tokens if token is not None))[:MOST_COOKIES]


def as_wanted(outcome: Outcome, *, wanted: bool | None) -> Outcome:
    """Return the outcome of a save with what an application wants of the cookie.

    If its session ended, it is deleted in any case.

    :param outcome: what came of the save.
    :param wanted: whether to send the cookie of a live session; ``None``: if that is due.
    """
    if wanted is None or outcome.cookie == "clear":
        return outcome
    if not wanted:
        return outcome._replace(cookie="leave")
    is_sent = outcome.phase != "live" or outcome.cookie == "fresh"
    return outcome if is_sent else outcome._replace(cookie="refresh")


def carried_over(outcome: Outcome, arrival: Arrival, opens: Callable[[Token], bool]) -> Outcome:
    """Return the outcome of a save with what a browser is owed whose old session was carried over.

    Its old cookie opens nothing any more. It gets the new one whatever the application wants, and
    also if Redis failed after that.

    :param outcome: what came of the save.
    :param arrival: what the old cookie came to.
    :param opens: tells whether a cookie still opens its session.
    """
    token = arrival.token
    if token is not None and arrival.is_new:
        created = Event("session_created", {"sid": token.sid, "user_id": arrival.user})
        outcome = outcome._replace(events=(created, *outcome.events))
    if outcome.cookie == "clear" or outcome.written is not None:
        return outcome
    # Another request that came with the old cookie may have signed somebody in meanwhile. Its
    # browser has a newer cookie then, and this one would sign it out.
    owed = outcome.token or token
    if owed is None or not opens(owed):
        return outcome._replace(cookie="leave")
    return outcome._replace(cookie="fresh", token=owed)


class CookieFlags:
    """The flags of an application's cookie: whether they change, and what is weak about them."""

    def __init__(self) -> None:
        self._first: dict[str, Any] | None = None
        self._warned = False

    def have_changed(self, flags: dict[str, Any]) -> bool:
        """Tell whether the flags are others than those that were seen first.

        Only then is the same cookie sent again with a session that was modified. Sent with every
        change, it could overtake a rotation that another request made, and sign the browser out.

        :param flags: the flags, as ``response.set_cookie`` takes them.
        """
        if self._first is None:
            self._first = flags
        return flags != self._first

    def warn(self, name: str, flags: Mapping[str, Any], host: str) -> None:
        """Log what makes a cookie easier to steal, the first time that one is handed out.

        :param name: the cookie's name.
        :param flags: its flags, as ``response.set_cookie`` takes them.
        :param host: the host that the browser asked; one's own machine is not production.
        """
        if self._warned or host.partition(":")[0] in _OWN_MACHINE:
            return
        self._warned = True
        for weakness in weaknesses(name, flags):
            log.warning("The session cookie %r: %s", name, weakness)


def weaknesses(name: str, flags: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes a cookie easier to steal (OWASP Session Management, Cookies).

    :param name: its name.
    :param flags: its flags, as ``response.set_cookie`` takes them.
    """
    if not flags["secure"]:
        yield "without Secure it goes over plain HTTP; set SESSION_COOKIE_SECURE = True."
    if not flags["httponly"]:
        yield "without HttpOnly scripts can read it; set SESSION_COOKIE_HTTPONLY = True."
    if flags["samesite"] is None:
        yield (
            "without SameSite other sites' forms send it in some browsers; "
            'set SESSION_COOKIE_SAMESITE = "Lax".'
        )
    if name.startswith("__Host-") and (flags["domain"] or flags["path"] != "/"):
        yield "browsers refuse __Host- with a domain or with a path other than /; unset those."
