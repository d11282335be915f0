"""The cookie: the public id of a session and the secret that opens it."""

from __future__ import annotations

import re
from binascii import b2a_base64
from hashlib import sha256
from math import ceil
from secrets import token_urlsafe
from typing import NoReturn

SID_BYTES = 16
SECRET_BYTES = 32

# 16 and 32 bytes in base64url without padding: 22 and 43 characters.
_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})(\.p([1-9][0-9]{0,9})?)?")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_SID = re.compile(r"[A-Za-z0-9_-]{22}")


class Token:
    """What a session cookie says. Only Redis can tell whether it opens a session.

    It keeps its secret to itself: neither ``repr`` nor iteration, ``vars``, JSON or pickling shows
    it, because error trackers send what they find in a traceback. Only :meth:`cookie` gives it
    away.

    :param sid: the public id: 128 random bits in base64url.
    :param secret: the proof of the right to the session: 256 random bits in base64url.
    :param permanent: whether the cookie outlives the browser.
    :param lifetime: for how long, in seconds, if the application assigned it; ``None``: as long as
        the settings say. Who has the cookie can write any number there.
    """

    __slots__ = ("_proof", "_secret", "lifetime", "permanent", "sid")

    def __init__(
        self, sid: str, secret: str, permanent: bool = False, lifetime: int | None = None
    ) -> None:
        self.sid = sid
        self._secret = secret
        self.permanent = permanent
        self.lifetime = lifetime
        # Most requests that do not use their session never need it.
        self._proof = ""

    @property
    def proof(self) -> str:
        """The digest of the secret: what Redis has of it."""
        if not self._proof:
            self._proof = digest(self._secret)
        return self._proof

    def cookie(self) -> str:
        """Return the cookie's value."""
        if not self.permanent:
            return f"{self.sid}.{self._secret}"
        return f"{self.sid}.{self._secret}.p{self.lifetime or ''}"

    def rotated(self) -> Token:
        """Return a token for the same session with a fresh secret."""
        return Token(self.sid, token_urlsafe(SECRET_BYTES), self.permanent, self.lifetime)

    def lasting(self, permanent: bool, own: float | None) -> Token:
        """Return the same token in a cookie that lasts so long; this one, if it does.

        :param permanent: whether that cookie outlives the browser.
        :param own: the idle lifetime that the application assigned, in seconds; ``None``: none.
        """
        lifetime = ceil(own) if permanent and own is not None else None
        if (permanent, lifetime) == (self.permanent, self.lifetime):
            return self
        return Token(self.sid, self._secret, permanent, lifetime)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        mine = self.sid, self.proof, self.permanent, self.lifetime
        return mine == (other.sid, other.proof, other.permanent, other.lifetime)

    def __hash__(self) -> int:
        return hash((self.sid, self.proof))

    def __repr__(self) -> str:
        # Tracebacks and debuggers show tokens. They must not show the secret.
        return f"<Token {self.sid}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session's token cannot be pickled: it holds a secret.")


def new_sid() -> str:
    """Return the public id of a session that does not exist yet."""
    return token_urlsafe(SID_BYTES)


def new_token(permanent: bool, sid: str | None = None) -> Token:
    """Return a token for a session that does not exist yet.

    :param permanent: whether the cookie outlives the browser.
    :param sid: its public id; ``None``: a new one.
    """
    return Token(sid or new_sid(), token_urlsafe(SECRET_BYTES), permanent)


def parse_cookie(value: str) -> Token | None:
    """Read a cookie's value, or return ``None`` if it does not have the form of one.

    :param value: the cookie, as the browser sent it.
    """
    match = _COOKIE.fullmatch(value)
    if match is None:
        return None
    sid, secret, permanent, lifetime = match.groups()
    return Token(sid, secret, permanent is not None, int(lifetime) if lifetime else None)


def is_sid(value: str) -> bool:
    """Tell whether a text has the form of a session's public id.

    :param value: the text to judge.
    """
    return _SID.fullmatch(value) is not None


def digest(secret: str) -> str:
    """Return what Redis holds in place of a secret: its SHA-256 in base64url, 43 characters.

    In hexadecimal it would have 64. A field name of more than 64 bytes makes Redis store the
    whole hash in its larger encoding (``hash-max-listpack-value``).

    :param secret: the secret of a token.
    """
    text = b2a_base64(sha256(secret.encode()).digest(), newline=False)
    return text.translate(_URL_SAFE, b"=").decode()
