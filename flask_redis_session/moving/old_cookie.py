"""An old cookie: what form it has, and what it proves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn

from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadData, Signer

from .settings import COOKIE, FLASK_SESSION

if TYPE_CHECKING:
    from flask import Flask, Request

#: How many cookies of one name are looked at.
MOST_COOKIES = 3

# Flask-Session's ids are base64url, or a UUID before 0.6. A shorter one could be guessed. There is
# no colon in it, so that it never names a key of this package's that is no session's.
_ID = r"[A-Za-z0-9_-]{11,256}"
_FORMS = {
    "id": re.compile(_ID),
    "signed id": re.compile(rf"{_ID}\.[^.]+"),
    # payload.time.signature; a compressed payload begins with a dot
    "cookie": re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[^.]+"),
}
_LONGEST = 8192


class OldCookie:
    """The value of a cookie that has the form of an old one. It keeps the value to itself.

    :param source: which sessions have cookies of this form, as ``SESSION_IMPORT`` names them.
    :param value: the value.
    """

    __slots__ = ("_value", "source")

    def __init__(self, source: str, value: str) -> None:
        self.source = source
        self._value = value

    def proof(self, app: Flask, *, is_signed: bool) -> Proof | None:
        """Return what it proves; ``None``: it proves nothing.

        :param app: the application, whose ``SECRET_KEY`` is asked.
        :param is_signed: whether Flask-Session's cookies are signed.
        """
        if self.source == COOKIE:
            return _of_cookie(app, self._value)
        old_id = _unsigned(app, self._value) if is_signed else self._value
        return None if old_id is None else Proof(FLASK_SESSION, old_id, None, None)

    def __repr__(self) -> str:
        # Tracebacks show it. They must not show what may open a session.
        return f"<OldCookie of {self.source}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An old cookie cannot be pickled: it holds a secret.")


class OldKey:
    """The key of an old session. It keeps it to itself: its end is the id, which opens the session.

    :param name: the key.
    """

    __slots__ = ("_name",)

    def __init__(self, name: bytes) -> None:
        self._name = name

    def name(self) -> bytes:
        """Return the key, for Redis."""
        return self._name

    def __repr__(self) -> str:
        return "<OldKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("The key of an old session cannot be pickled: it holds a secret.")


@dataclass(frozen=True, repr=False, slots=True)
class Proof:
    """What an old cookie proved.

    :param source: of which sessions it is.
    :param text: what was proved: of a signed cookie its payload and time, of Flask-Session the id.
    :param content: what the session holds; ``None``: that is in Redis.
    :param signed_at: when the cookie was signed, in epoch seconds; ``None``: not known.
    """

    source: str
    text: str
    content: Mapping[str, Any] | None
    signed_at: float | None

    @property
    def digest(self) -> str:
        """The SHA-256 of what was proved.

        One signed cookie can be spelled in many ways, because its signature can; so it is not the
        digest of the cookie.
        """
        return digest_of(self.text)

    def __repr__(self) -> str:
        return f"<Proof of {self.source}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("This cannot be pickled: it holds a secret.")


def digest_of(text: str) -> str:
    """Return what Redis has of what was proved: its SHA-256.

    :param text: what was proved.
    """
    return sha256(text.encode()).hexdigest()


def id_of(name: bytes, prefix: str) -> str | None:
    """Return the id in the key of a session of Flask-Session's; ``None`` if it is no such key.

    :param name: the key.
    :param prefix: of those keys.
    """
    start = len(prefix.encode())
    old_id = name[start:].decode("ascii", "replace")
    return old_id if _FORMS["id"].fullmatch(old_id) else None


def old_cookies(
    request: Request, name: str, until: Mapping[str, float], now: float, *, is_signed: bool
) -> Iterator[OldCookie]:
    """Yield the cookies of a name that have the form of an old one.

    :param request: the request.
    :param name: the name of the old cookie.
    :param until: for each source, when it ends, in epoch seconds.
    :param now: epoch seconds.
    :param is_signed: whether Flask-Session's cookies are signed.
    """
    forms = {FLASK_SESSION: "signed id" if is_signed else "id", COOKIE: "cookie"}
    patterns = {source: _FORMS[forms[source]] for source, at in until.items() if now < at}
    for value in request.cookies.getlist(name)[:MOST_COOKIES]:
        for source, pattern in patterns.items():
            if len(value) <= _LONGEST and pattern.fullmatch(value):
                yield OldCookie(source, value)


def _of_cookie(app: Flask, value: str) -> Proof | None:
    """Check a cookie of Flask's own sessions as Flask does."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    if serializer is None:
        return None
    max_age = int(app.permanent_session_lifetime.total_seconds())
    try:
        content, signed = serializer.loads(value, max_age=max_age, return_timestamp=True)
    except (BadData, ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        # Not only bad signatures: another application with this key may have signed anything.
        return None
    if not isinstance(content, dict):
        return None
    # The signature is over these very letters.
    return Proof(COOKIE, value.rpartition(".")[0], content, signed.timestamp())


def _unsigned(app: Flask, value: str) -> str | None:
    """Return the id of a cookie that Flask-Session signed; ``None`` if it did not."""
    key = app.secret_key
    if not key:
        return None
    signer = Signer(key, salt="flask-session", key_derivation="hmac")
    try:
        return signer.unsign(value).decode()
    except (BadData, ValueError):
        return None
