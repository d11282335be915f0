"""Where operations begin: sessions in Redis, who has their cookies, and what Redis holds."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from flask_redis_session.storage import token as token_module
from flask_redis_session.storage.record import mark
from tests.concurrency.interleaving import current

if TYPE_CHECKING:
    import redis

PREFIX = "session:"
DAY = 86_400.0
#: ``SESSION_TOUCH_INTERVAL``, by which an index may outlive its sessions' last touch.
INTERVAL = 60.0


# --------------------------------------------------------------------------- cookies


@dataclass(frozen=True)
class Token:
    """A cookie: which session it is for, and the secret that opens it."""

    sid: str
    secret: str

    @property
    def cookie(self) -> str:
        return f"{self.sid}.{self.secret}"

    @property
    def digest(self) -> str:
        """What Redis holds of the secret."""
        return urlsafe_b64encode(sha256(self.secret.encode()).digest()).rstrip(b"=").decode()

    @classmethod
    def read(cls, cookie: str) -> Token:
        sid, secret = cookie.split(".")[:2]
        return cls(sid, secret)


def sid_of(name: str) -> str:
    """Return the sid of the session of this name: the name, as long as a sid is."""
    return name.ljust(22, "_")


def token_of(name: str, tab: str = "") -> Token:
    """Return a cookie that opens the session of this name at the beginning.

    :param name: the session's name.
    :param tab: which of its cookies, if it has several.
    """
    return Token(sid_of(name), f"secret-{name}{tab}".ljust(43, "_"))


@contextmanager
def repeatable_tokens() -> Iterator[None]:
    """Draw the same tokens in every run: an order can be repeated and read."""
    drawn: dict[object, int] = {}

    def draw(size: int) -> str:
        actor = current()
        if actor is None:
            return original(size)
        key = (actor.run, actor.number)
        if drawn and next(iter(drawn))[0] is not actor.run:  # type: ignore[index]
            drawn.clear()
        drawn[key] = drawn.get(key, 0) + 1
        return f"new-{actor.number}-{drawn[key]}".ljust((size * 8 + 5) // 6, "_")

    module: Any = token_module
    original: Callable[[int], str] = module.token_urlsafe
    module.token_urlsafe = draw
    try:
        yield
    finally:
        module.token_urlsafe = original


# --------------------------------------------------------------------------- what Redis holds

_DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind, held = redis.call('TYPE', key).ok, {}
  if kind == 'hash' then
    held = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  end
  found[#found + 1] = {key, kind, redis.call('PTTL', key), held}
end
return found
"""


class Snapshot:
    """All that Redis holds under the prefix at one moment."""

    def __init__(self, reply: Sequence[Any]) -> None:
        #: The fields of each session, by sid.
        self.hashes: dict[str, dict[str, str]] = {}
        #: The fields of each hash that is no session, but the tombstones of one that ended.
        self.stones: dict[str, dict[str, str]] = {}
        #: The members of each user's index with their scores, by user.
        self.indexes: dict[str, dict[str, float]] = {}
        #: The milliseconds that each has left, by sid or by ``user:`` and the user.
        self.left: dict[str, int] = {}
        self.strange: list[str] = []
        for raw, kind, left, held in reply:
            name = raw.decode().removeprefix(PREFIX)
            self.left[name] = left
            pairs = zip(held[::2], held[1::2], strict=True)
            if kind == b"hash":
                fields = {key.decode(): value.decode() for key, value in pairs}
                (self.hashes if "@born" in fields else self.stones)[name] = fields
            elif kind == b"zset" and name.startswith("user:"):
                members = {member.decode(): float(score) for member, score in pairs}
                self.indexes[name.removeprefix("user:")] = members
            else:
                self.strange.append(name)

    @classmethod
    def take(cls, client: redis.Redis, prefix: str = PREFIX) -> Snapshot:
        """Look at what Redis holds now."""
        reply: Any = client.execute_command("EVAL", _DUMP, 0, f"{prefix}*")
        return cls(reply)

    def user(self, sid: str) -> str | None:
        """Return whose session it is."""
        return self.hashes.get(sid, {}).get("@user")

    def secrets(self, sid: str) -> list[str]:
        """Return the digests of the secrets that open a session."""
        return [
            name.removeprefix("@secret:")
            for name, value in self.hashes.get(sid, {}).items()
            if name.startswith("@secret:") and value.startswith("s")
        ]

    def opens(self, token: Token) -> bool:
        """Tell whether a cookie opens its session."""
        return token.digest in self.secrets(token.sid)

    def buries(self, token: Token) -> bool:
        """Tell whether there is a tombstone of a cookie."""
        fields = self.hashes.get(token.sid) or self.stones.get(token.sid, {})
        return fields.get(f"@secret:{token.digest}", "s")[:1] != "s"

    def of_user(self, user: str) -> set[str]:
        """Return a user's sessions, by the hashes."""
        return {sid for sid, fields in self.hashes.items() if fields.get("@user") == user}


# --------------------------------------------------------------------------- where it begins


@dataclass(frozen=True)
class Held:
    """A session that is there at the beginning.

    :param name: its name in this file; see :func:`token_of`.
    :param user: whose it is.
    :param keys: what it holds besides.
    :param seen: how many seconds ago it was seen last.
    :param tabs: further cookies that open it; see :func:`token_of`.
    :param retired: how many of its secrets were rotated away: all within the last 20 s, and
        one more that is forgotten by now.
    """

    name: str
    user: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    #: More than the touch interval ago: so each request touches it, in the index too.
    seen: float = 90.0
    tabs: tuple[str, ...] = ()
    retired: int = 0
    #: Its idle lifetime in seconds, if that was assigned.
    own: float | None = None

    @property
    def tokens(self) -> list[Token]:
        """The cookies that open it."""
        return [token_of(self.name, tab) for tab in ("", *self.tabs)]

    def commands(self, now: float) -> list[tuple[Any, ...]]:
        """Return the commands that put it there."""
        seen = now - self.seen
        # 1,000 s: neither now nor before does a minute since then end within the next second.
        born = now - (1000 if self.seen < 1000 else self.seen + 50)
        fields: dict[str, Any] = {
            "@born": f"{born:.3f}",
            "@seen": f"{seen:.3f}",
            "@idle": f"{self.own or DAY:.0f}",
        }
        if self.own is not None:
            fields["@own"] = "1"
        fields |= {f"@secret:{token.digest}": mark(token.digest) for token in self.tokens}
        # Within 20 seconds: none of them is forgotten during a run.
        ages = [20 * at / self.retired for at in range(self.retired)]
        for age in [*ages, 60.0] if ages else []:
            digest = token_of(self.name, f"-{age:.3f}").digest
            fields[f"@secret:{digest}"] = f"{now - age:.3f}"
        if self.user is not None:
            fields |= {"@user": self.user, "user_id": orjson.dumps(int(self.user))}
        fields |= {key: orjson.dumps(value) for key, value in self.keys.items()}
        key = f"{PREFIX}{sid_of(self.name)}"
        commands: list[tuple[Any, ...]] = [
            ("HSET", key, *(part for item in fields.items() for part in item)),
            ("PEXPIREAT", key, int((seen + (self.own or DAY)) * 1000)),
        ]
        if self.user is not None:
            index = f"{PREFIX}user:{self.user}"
            commands += [
                ("ZADD", index, f"{seen:.3f}", sid_of(self.name)),
                ("PEXPIREAT", index, int((now + (self.own or DAY) + INTERVAL) * 1000)),
            ]
        return commands


@dataclass(frozen=True)
class Situation:
    """What is there at the beginning."""

    name: str
    sessions: tuple[Held, ...]
    #: Members of the index of user 23 whose sessions have ended.
    dead: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def commands(self) -> list[tuple[Any, ...]]:
        now = time.time()
        index = f"{PREFIX}user:23"
        dead: list[tuple[Any, ...]] = [
            ("ZADD", index, f"{now - 5000:.3f}", sid_of(name)) for name in self.dead
        ]
        if dead:
            dead.append(("PEXPIREAT", index, str(int((now + DAY + INTERVAL) * 1000))))
        return [*dead, *(command for held in self.sessions for command in held.commands(now))]


_THINGS = {"theme": "dark", "cart": [1]}
#: Another device of user 23, and another user.
_OTHERS = (Held("B", "23", seen=20.0), Held("D", "42", seen=20.0))

#: Session A is user 23's.
SIGNED_IN = Situation("signed in", (Held("A", "23", _THINGS), *_OTHERS))
#: Session A is nobody's yet.
ANONYMOUS = Situation("anonymous", (Held("A", None, _THINGS), *_OTHERS))
#: The same, but A was touched just now.
FRESH = Situation("just seen", (Held("A", "23", _THINGS, seen=1.0), *_OTHERS))
#: Session A is user 23's only one, and holds nothing else.
ALONE = Situation("alone", (Held("A", "23"),))
#: User 23 has none.
NOBODY = Situation("nobody", (Held("D", "42", seen=20.0),))
#: Session A has a lifetime of its own.
LASTING = Situation("lasting", (*_OTHERS, Held("A", "23", _THINGS, own=30 * DAY)))
#: The same, and A is nobody's yet.
LASTING_ANONYMOUS = Situation(
    "lasting, anonymous", (Held("A", None, _THINGS, own=30 * DAY), *_OTHERS)
)
#: Session A has two cookies that open it, and more tombstones than are kept.
TWO_COOKIES = Situation(
    "two cookies", (Held("A", "23", _THINGS, tabs=("2",), retired=34), *_OTHERS)
)
#: Session A ends in 100 s, unless somebody comes.
RUNNING_OUT = Situation("running out", (Held("A", "23", _THINGS, seen=DAY - 100), *_OTHERS))
#: The index of user 23 has dead members.
LITTERED = Situation("littered", (Held("A", "23", _THINGS), *_OTHERS), dead=("X", "Y"))
#: The same, and user 23 has no session.
NOBODY_LITTERED = Situation("nobody, littered", (Held("D", "42", seen=20.0),), dead=("X", "Y"))
