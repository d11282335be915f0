"""The library, broken on purpose: what a test notices, it can fail for.

Each is applied in a process that ends with the test.

Not among them is what a crowd overlooks: that a removal from an index does not look whether the
session was put there again takes a creation that is sent twice with a revocation right in between,
which ``test_interleaving.py`` has; and without ``GT`` a score moves back only if a server's
clock does. Nor is that a rotation keeps another live secret open: no session of a crowd has two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha1
from importlib import import_module
from typing import Any, NamedTuple

from flask_redis_session.client.script import SCRIPTS, Script
from flask_redis_session.request import mapping as mapping_module
from flask_redis_session.request import save as save_module
from flask_redis_session.request import state as state_module
from flask_redis_session.request.session import RedisSession
from flask_redis_session.storage.revocation import Revocation
from flask_redis_session.storage.session_hash import SessionHashes
from flask_redis_session.storage.token import Token
from flask_redis_session.storage.user_index import UserIndex


def rewritten(text: str) -> Script:
    """Return a script of this text."""
    script = Script.__new__(Script)
    script.text = text
    script.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
    SCRIPTS[script.sha] = script
    return script


@dataclass(frozen=True)
class Rewrite:
    """A script with a piece of its code changed.

    :param module: whose it is.
    :param name: what it is called there.
    :param code: the piece.
    :param replacement: what takes its place.
    """

    module: str
    name: str
    code: str
    replacement: str

    def __call__(self) -> None:
        module = import_module(f"flask_redis_session.{self.module}")
        text = getattr(module, self.name).text

        assert self.code in text
        setattr(module, self.name, rewritten(text.replace(self.code, self.replacement)))


class Breakage(NamedTuple):
    """One way to be broken.

    :param what: in words.
    :param apply: breaks it in this process.
    """

    what: str
    apply: Callable[[], object]

    def __str__(self) -> str:
        return self.what


def _index_after_the_cookie() -> None:
    def create(self: SessionHashes, *args: Any) -> Any:
        add = UserIndex.add

        def later(index: UserIndex, *about: Any) -> Any:
            command = add(index, *about)
            threading.Timer(0.005, index._redis.call, [command]).start()
            return ("ZCARD", index.key("nobody"))

        UserIndex.add = later  # type: ignore[method-assign,assignment]
        try:
            return original(self, *args)
        finally:
            UserIndex.add = add  # type: ignore[method-assign]

    original = SessionHashes.create
    SessionHashes.create = create  # type: ignore[method-assign,assignment]


def _script_before_index() -> None:
    def indexed(self: SessionHashes, token: Any, script: Any, commands: Any, user: str) -> Any:
        ordered = [script, *(command for command in commands if command is not script)]
        return original(self, token, script, ordered, user)

    original = SessionHashes._indexed
    SessionHashes._indexed = indexed  # type: ignore[method-assign]


def _all_is_written() -> None:
    def suspects(self: RedisSession) -> list[str]:
        return [*self._values]

    RedisSession._suspects = suspects  # type: ignore[method-assign,assignment]
    vars(mapping_module)["is_same"] = lambda stored, text: False


def _secret_is_kept() -> None:
    Token.rotated = lambda self: self  # type: ignore[method-assign]


def _revocation_spares_one() -> None:
    def spare(self: Revocation, user: str, page: Any, *args: Any) -> Any:
        return original(self, user, [*page][:-1], *args)

    original = Revocation._page
    Revocation._page = spare  # type: ignore[method-assign,assignment]


def _every_refusal_clears() -> None:
    def refused(*args: Any) -> Any:
        return original(*args)._replace(cookie="clear")

    save: Any = save_module
    original = save._refused
    save._refused = refused


def _same_user_is_revived() -> None:
    save: Any = save_module
    save._was_theirs = lambda draft, binding: False


def _late_replaces() -> None:
    state: Any = state_module
    state.TOMBSTONE = float("inf")


#: What a crowd notices within some thousand operations.
NOTICED = [
    Breakage(
        "a save does not look whether its session is alive",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "elseif held[5] ~= mark(proof) then\n  local rotated",
            "elseif not born then\n  born = now\n"
            "elseif held[5] ~= mark(proof) then\n  local rotated",
        ),
    ),
    Breakage(
        "a save does not look whether its cookie opens the session",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "elseif held[5] ~= mark(proof) then",
            "elseif not born then\n  return {'gone', told}\nelseif false then",
        ),
    ),
    Breakage(
        "a rotation leaves the old secret open",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "if rotates then\n  local retired",
            "if false then\n  local retired",
        ),
    ),
    Breakage(
        "a rotation that is sent twice is refused",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "if fresh ~= '' and held[9] == mark(fresh) and born",
            "if false",
        ),
    ),
    Breakage(
        "a session has no expiry",
        Rewrite("storage.commit", "_CREATE", "redis.call('PEXPIREAT', key,", "tostring(key,"),
    ),
    Breakage(
        "the index does not outlive its sessions",
        Rewrite(
            "storage.user_index",
            "_INDEX",
            "math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]))",
            "1000",
        ),
    ),
    Breakage(
        "a revocation does not look whose the session is",
        Rewrite(
            "storage.revocation", "_REVOKE", "if (held[1] or '') ~= ARGV[1] then", "if false then"
        ),
    ),
    Breakage("the index comes after the cookie", _index_after_the_cookie),
    Breakage("a sign-in comes before its place in the index", _script_before_index),
    Breakage("a save writes all that was loaded", _all_is_written),
    Breakage("a sign-in keeps the secret", _secret_is_kept),
    Breakage("a revocation spares one", _revocation_spares_one),
    Breakage("every refusal clears the cookie", _every_refusal_clears),
    Breakage(
        "a touch does not put its session back",
        Rewrite(
            "storage.user_index",
            "_INDEX",
            "redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])\n  if not",
            "redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ARGV[1])\n  if not",
        ),
    ),
    Breakage(
        "a sign-out leaves no tombstones",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "bury(key, now)\n  return",
            "redis.call('UNLINK', key)\n  return",
        ),
    ),
    Breakage(
        "every revocation leaves tombstones",
        Rewrite("storage.revocation", "_REVOKE", "if ARGV[5] == 'own' then", "if true then"),
    ),
    Breakage(
        "a sign-in leaves when somebody signed in as it was",
        Rewrite("storage.commit", "_COMMIT", "if signs then", "if false then"),
    ),
    Breakage(
        "a save moves when somebody signed in",
        Rewrite(
            "storage.commit",
            "_COMMIT",
            "redis.call('HSET', key, '@seen', stamp,",
            "redis.call('HSET', key, '@seen', stamp, '@signed', stamp,",
        ),
    ),
    Breakage("the same user is revived", _same_user_is_revived),
    Breakage("a late request replaces the cookie", _late_replaces),
]
