"""The cookie: the public id of a session and the secret that opens it."""

from __future__ import annotations

import re
from binascii import b2a_base64
from hashlib import sha256
from secrets import token_urlsafe
from typing import NamedTuple

SID_BYTES = 16
SECRET_BYTES = 32

# 16 and 32 bytes in base64url without padding: 22 and 43 characters.
_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})(\.p)?")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_SID = re.compile(r"[A-Za-z0-9_-]{22}")


class Token(NamedTuple):
    """What a session cookie says. Only Redis can tell whether it opens a session.

    :param sid: the public id: 128 random bits in base64url.
    :param secret: the proof of the right to the session: 256 random bits in base64url.
    :param permanent: whether the cookie outlives the browser.
    """

    sid: str
    secret: str
    permanent: bool = False

    def cookie(self) -> str:
        """Return the cookie's value."""
        return f"{self.sid}.{self.secret}.p" if self.permanent else f"{self.sid}.{self.secret}"

    def rotated(self) -> Token:
        """Return a token for the same session with a fresh secret."""
        return self._replace(secret=token_urlsafe(SECRET_BYTES))

    def __repr__(self) -> str:
        # Tracebacks and debuggers show tokens. They must not show the secret.
        return f"<Token {self.sid}>"


def new_token(permanent: bool) -> Token:
    """Return a token for a session that does not exist yet.

    :param permanent: whether the cookie outlives the browser.
    """
    return Token(token_urlsafe(SID_BYTES), token_urlsafe(SECRET_BYTES), permanent)


def parse_cookie(value: str) -> Token | None:
    """Read a cookie's value, or return ``None`` if it does not have the form of one.

    :param value: the cookie, as the browser sent it.
    """
    match = _COOKIE.fullmatch(value)
    if match is None:
        return None
    sid, secret, permanent = match.groups()
    return Token(sid, secret, permanent is not None)


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
