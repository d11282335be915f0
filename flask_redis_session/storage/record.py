"""What a session hash holds: its fields, its times, its user, and whether a cookie opens it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Literal, NamedTuple

from .surrogates import escaped, unescaped

#: Whether a cookie opens a session. *live*: it does. *gone*: there is no such session.
#: *rotated*: its secret was rotated away a moment ago. *unknown*: the session never had its
#: secret, or had it so long ago that no trace is left.
Standing = Literal["live", "gone", "rotated", "unknown"]

BORN = b"@born"
SEEN = b"@seen"
IDLE = b"@idle"
USER = b"@user"
SIGNED = b"@signed"
OWN = b"@own"
PERMANENT = b"@permanent"
#: What is loaded of a session in any case, beside its creation and its cookie's secret.
STATE = (SEEN, IDLE, USER, SIGNED, OWN, PERMANENT)
AGENT = b"@agent"
ADDRESS = b"@ip"
SECRET = b"@secret:"

_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_LONGEST_NUMBER = 32

#: The shortest lifetime and the longest, in seconds. Redis counts in milliseconds, and can hold the
#: longest, as ``datetime`` can.
SHORTEST = 0.001
LONGEST = 100 * 365.25 * 86400

#: How long a rotated secret is remembered, in seconds.
TOMBSTONE = 30.0


#: With what a field begins whose key is escaped.
_ESCAPED = b"@@\\"


def field_of(key: str) -> bytes:
    """Return the hash field of a session key.

    An ``@`` is put before a key that begins with ``@``. A key that UTF-8 cannot write, or that
    would then look like one, is escaped.

    :param key: the key, as in ``session[key]``.
    """
    if key[:2] != "@\\":
        try:
            # Not an f-string: a subclass of str may format itself as another text.
            return ("@" + key if key[:1] == "@" else key).encode()
        except UnicodeEncodeError:
            pass
    return _ESCAPED + escaped(key).encode()


def key_of(name: bytes) -> str | None:
    """Return the session key of a hash field, or ``None`` if the field is not a user's.

    :param name: the field's name.
    """
    try:
        if name[:1] != b"@":
            return name.decode()
        if name[:2] != b"@@":
            return None
        if name[:3] != _ESCAPED:
            return name[1:].decode()
        key = unescaped(name[3:].decode())
    except ValueError:
        return None
    # No two fields may be one key.
    return key if field_of(key) == name else None


# A request reads the same few texts several times.
@lru_cache(maxsize=64)
def number(text: bytes | None) -> float | None:
    """Read a number that Redis holds; a damaged one reads as ``None``.

    The scripts have the same function, so that they judge a damaged hash as Python does.

    :param text: the number, as Redis holds it.
    """
    if text is None or len(text) > _LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        return None
    return float(text)


def lifetime(text: bytes | None) -> float | None:
    """Read a lifetime that Redis holds, in seconds; one that no session can have reads as ``None``.

    The scripts have the same function.

    :param text: the number, as Redis holds it.
    """
    seconds = number(text)
    return seconds if seconds is not None and SHORTEST <= seconds <= LONGEST else None


def moment(seconds: float | None) -> datetime | None:
    """Return an epoch time as an aware UTC time, or ``None`` if no ``datetime`` can hold it.

    :param seconds: seconds since the epoch; ``None``: the time is not known.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None


def text(value: bytes | None) -> str | None:
    """Read a text that Redis holds; bytes that are not UTF-8 are replaced.

    :param value: the text, as Redis holds it.
    """
    return None if value is None else value.decode("utf-8", "replace")


@dataclass(slots=True)
class Record:
    """A session hash, or the part of one that was loaded.

    :param standing: whether the cookie opens it.
    :param fields: the fields, as Redis holds them; empty unless *live*.
    :param proof: the digest of the cookie's secret; ``""`` if it was not loaded.
    :param is_kept: whether it is from what this process keeps. It may have ended a moment ago.
    """

    standing: Standing
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    proof: str = ""
    is_kept: bool = False

    @property
    def born(self) -> float | None:
        return number(self.fields.get(BORN))

    @property
    def seen(self) -> float | None:
        return number(self.fields.get(SEEN))

    @property
    def idle(self) -> float | None:
        return lifetime(self.fields.get(IDLE))

    @property
    def user(self) -> str | None:
        return text(self.fields.get(USER))

    @property
    def signed(self) -> float | None:
        return number(self.fields.get(SIGNED))

    @property
    def own(self) -> float | None:
        """Its idle lifetime in seconds, if the application assigned it."""
        return self.idle if OWN in self.fields else None

    @property
    def permanent(self) -> bool:
        """Whether it is a permanent session. Its cookie says so too, but is not to be believed."""
        return PERMANENT in self.fields

    @property
    def since(self) -> float | None:
        """From when the absolute lifetime counts."""
        return self.born if self.signed is None else self.signed


def names_of(proof: str, fields: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the fields of a hash to ask for: those that judge a cookie, and some of the user's.

    :param proof: the digest of the cookie's secret.
    :param fields: those of the user's.
    """
    return (BORN, SECRET + proof.encode(), *STATE, *fields)


@dataclass(slots=True)
class Changes:
    """What a request changed in its session.

    :param sets: fields to set.
    :param deletes: fields to delete.
    :param wipe: whether every other key of the user's is deleted too.
    :param spent: whether the request took the last key: the session ends if there is still none.
    :param guards: what some of these fields must hold for anything to be written; ``None``: the
        field must not be there.
    """

    sets: dict[bytes, bytes] = field(default_factory=dict)
    deletes: list[bytes] = field(default_factory=list)
    wipe: bool = False
    spent: bool = False
    guards: dict[bytes, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sets or self.deletes or self.wipe or self.spent)


class Binding(NamedTuple):
    """The user that a session is bound to, and the device of the sign-in.

    :param user: the user's id, as text; ``None``: the session becomes nobody's.
    :param agent: the user agent to keep, if any.
    :param address: the address to keep, if any.
    :param signs_in: of a session that is created, whether the user signs in now; else nobody knows
        when they did. Who is bound to one that exists signs in.
    """

    user: str | None
    agent: str | None = None
    address: str | None = None
    signs_in: bool = True


def mark(proof: str) -> bytes:
    """Return the value of a secret that opens its session: a reply shows by it whose it is.

    :param proof: the digest of the secret.
    """
    return b"s" + proof[:8].encode()


def standing_of(born: bytes | None, secret: bytes | None, proof: str, now: float) -> Standing:
    """Judge a cookie by what the session hash holds.

    :param born: the value of ``@born``.
    :param secret: the value of ``@secret:<digest>`` for the cookie's secret.
    :param proof: that digest.
    :param now: epoch seconds.
    """
    if secret == mark(proof):
        return "gone" if number(born) is None else "live"
    rotated = number(secret)
    # abs: after a clock was set back, a tombstone seems to come from the future. It must not be
    # honoured until that future has come.
    if rotated is not None and abs(now - rotated) <= TOMBSTONE:
        return "rotated"
    return "gone" if number(born) is None else "unknown"


def expiry(
    since: float | None, seen: float | None, idle: float | None, absolute: float | None
) -> float | None:
    """Return when a session ends if it is not used again, in epoch seconds.

    :param since: when its user signed in, or the last one signed out; else when it was created. In
        epoch seconds.
    :param seen: when it was last seen, in epoch seconds.
    :param idle: its idle lifetime in seconds.
    :param absolute: its absolute lifetime in seconds; ``None``: no limit.
    """
    if seen is None or idle is None:
        return None
    if absolute is None or since is None:
        return seen + idle
    return min(seen + idle, since + absolute)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session, as its user may see it.

    :param sid: its public id. It can be used to end the session, but not to get in.
    :param user_id: the id of its user, as text.
    :param created_at: when it was created (UTC).
    :param signed_in_at: when its user signed in or was last confirmed (UTC); ``None``: not
        known.
    :param last_seen_at: when it was last used (UTC), exact to ``SESSION_TOUCH_INTERVAL``.
    :param expires_at: when it ends if it is not used again (UTC).
    :param user_agent: the browser that signed in, if ``SESSION_DEVICE_INFO`` keeps it.
    :param ip_address: the address that signed in, if ``SESSION_DEVICE_INFO`` keeps it.
    :param current: whether it is the session of this request.
    """

    sid: str
    user_id: str
    created_at: datetime
    signed_in_at: datetime | None
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None = None
    ip_address: str | None = None
    current: bool = False
