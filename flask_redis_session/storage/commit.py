"""One commit or creation: what is asked of ``commit.lua`` or ``create.lua``, and the reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha1
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from flask_redis_session.client.script import Command, Script, lua

from .record import ADDRESS, AGENT, SIGNED, USER, Binding, Changes, mark, text
from .token import Token

_COMMIT = Script(
    lua(__package__, "begin.lua"),
    lua(__package__, "usual.lua"),
    lua(__package__, "refused.lua"),
    lua(__package__, "secrets.lua"),
    lua(__package__, "fields.lua"),
    lua(__package__, "commit.lua"),
)
_CREATE = Script(lua(__package__, "begin.lua"), lua(__package__, "create.lua"))


@lru_cache(maxsize=64)
def _seconds(idle: float) -> str:
    """Return a number of seconds as commit.lua reads it: as a plain decimal."""
    return f"{idle:.3f}".rstrip("0").rstrip(".")


#: What becomes of the idle lifetime of a session. *lower*: it is lowered to another one, if it is
#: longer. *set*: it becomes that one. Neither changes one that the application assigned.
#: *assign*: it becomes that one, and counts as assigned. *reset*: it does, and no longer counts so.
Meaning = Literal["lower", "set", "assign", "reset"]


class Lifetime(NamedTuple):
    """How long a session may be idle.

    :param idle: seconds.
    :param rule: what this means for the lifetime that the session has.
    :param permanent: whether the session is to be permanent; ``None``: it stays what it is. To
        *lower* it, that is what the cookie says: a session that is of the other kind was turned
        meanwhile, and is not lowered.
    """

    idle: float
    rule: Meaning = "lower"
    permanent: bool | None = False

    @property
    def kind(self) -> str:
        """How the scripts are told of which kind the session is, or is to be."""
        return "permanent" if self.permanent else "passing"

    @property
    def told(self) -> str:
        """How ``commit.lua`` is told what this means."""
        if self.rule == "lower":
            return self.kind
        return self.rule if self.permanent is None else f"{self.rule} {self.kind}"

    def longest(self, before: float | None) -> float:
        """Return for how long a session may be idle, before the commit or after it, in seconds.

        :param before: its idle lifetime before, in seconds; ``None``: not known.
        """
        if self.rule == "lower":
            return before or self.idle
        return max(self.idle, before or 0.0)


class Committed(NamedTuple):
    """What became of a commit, and the state before it, as Redis tells it.

    :param what: *saved*; *ended* if the session was emptied; *unfit* if what was to be incremented
        is no integer; *conflict* if a guarded field holds another text; else as
        :data:`~.record.Standing`.
    :param now: the server's time.
    :param born: when the session was created.
    :param seen: when it was last seen before.
    :param idle: its idle lifetime.
    :param user: its user before.
    :param signed: ``@signed`` as it is now.
    :param own: ``@own`` as it is now.
    :param permanent: ``@permanent`` as it is now.
    :param value: the JSON text that an increment made, or that was taken.
    :param is_emptied: whether the last key of the user's was taken.
    :param stored: after a conflict, what each guarded field holds; ``None``: it is not there.
    """

    what: Literal["saved", "ended", "unfit", "conflict", "gone", "rotated", "unknown"]
    now: bytes = b"0"
    born: bytes | None = None
    seen: bytes | None = None
    idle: bytes | None = None
    user: str | None = None
    signed: bytes | None = None
    own: bytes | None = None
    permanent: bytes | None = None
    value: bytes | None = None
    is_emptied: bool = False
    stored: Mapping[bytes, bytes | None] = MappingProxyType({})


def create_command(
    key: bytes,
    fields: Mapping[bytes, bytes],
    lifetime: Lifetime,
    *,
    absolute: float | None,
    token: Token,
    binding: Binding,
) -> Command:
    """Return the command that creates a session.

    :param key: the key of the session hash.
    :param fields: its content.
    :param lifetime: how long it may be idle.
    :param absolute: its absolute lifetime in seconds; ``None``: it has none.
    :param token: its cookie.
    :param binding: its user.
    """
    if binding.user is not None:
        fields = {**_held(_fields_of(binding)), **fields}
    return _CREATE.on(
        key,
        token.proof,
        _seconds(lifetime.idle),
        "" if absolute is None else repr(absolute),
        ("own " if lifetime.rule == "assign" else "") + lifetime.kind,
        "signed" if binding.user is not None and binding.signs_in else "",
        *chain.from_iterable(fields.items()),
    )


def _fields_of(binding: Binding) -> dict[bytes, bytes | None]:
    """Return the fields that say whose a session is; ``None``: it is not to be there."""
    texts = {USER: binding.user, AGENT: binding.agent, ADDRESS: binding.address}
    return {name: text.encode() if text else None for name, text in texts.items()}


def _held(fields: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if value}


def commit_command(
    key: bytes,
    changes: Changes,
    lifetime: Lifetime,
    *,
    absolute: float | None,
    proof: str,
    fresh: Token | None,
    binding: Binding | None,
    confirms: bool = False,
) -> Command:
    """Return the command that commits changes to a session.

    :param key: the key of the session hash.
    :param changes: what to set and delete.
    :param lifetime: how long it may be idle.
    :param absolute: its absolute lifetime in seconds; ``None``: it has none.
    :param proof: the digest of the cookie's secret.
    :param fresh: a token with a fresh secret, to rotate to; ``None`` keeps the secret.
    :param binding: its user from now on; ``None``: it keeps the one that it has.
    :param confirms: whether its user has just proved who they are.
    """
    if binding is not None:
        changes = _with_binding(changes, binding)
    if confirms:
        changes = replace(changes, sets={SIGNED: b"", **changes.sets})
    return _COMMIT.on(
        key,
        *commit_arguments(
            changes,
            lifetime,
            absolute=absolute,
            proof=proof,
            fresh=fresh.proof if fresh is not None else "",
        ),
    )


def _with_binding(changes: Changes, binding: Binding) -> Changes:
    ours = _fields_of(binding)
    sets = {**_held(ours), **changes.sets}
    deletes = [*changes.deletes, *(name for name, value in ours.items() if not value)]
    return replace(changes, sets=sets, deletes=deletes)


def commit_arguments(
    changes: Changes, lifetime: Lifetime, *, absolute: float | None, proof: str, fresh: str
) -> tuple[bytes | str | int, ...]:
    """Return the arguments of ``commit.lua``.

    :param changes: the fields to set and delete, ours included.
    :param lifetime: how long the session may be idle.
    :param absolute: its absolute lifetime in seconds; ``None``: it has none.
    :param proof: the digest of the cookie's secret.
    :param fresh: the digest of a fresh secret; ``""``: there is none.
    """
    deletes, guards = changes.deletes, changes.guards
    ending = "wipe" if changes.wipe else "spent" if changes.spent else ""
    is_plain = not (deletes or guards or ending or fresh)
    return (
        proof,
        _seconds(lifetime.idle),
        lifetime.told,
        "" if absolute is None else repr(absolute),
        "" if is_plain else f"{len(deletes)} {len(guards)} {ending} {fresh}",
        *deletes,
        *chain.from_iterable(changes.sets.items()),
        *(part for name, text in guards.items() for part in (name, _digest(text))),
    )


def _digest(text: bytes | None) -> str:
    return "" if text is None else sha1(text, usedforsecurity=False).hexdigest()


def committed(reply: Any, token: Token) -> Committed | None:
    """Return what became of a commit; ``None``: this is the reply to another command.

    :param reply: the reply.
    :param token: the cookie that the commit was sent with, or that it created the session for.
    """
    if not isinstance(reply, list) or len(reply) < 2 or reply[1] != mark(token.proof):
        return None
    what, _, *state = reply
    if what == b"conflict":
        return Committed("conflict", stored=dict(zip(state[::2], state[1::2], strict=False)))
    if not state:
        return Committed(what.decode())
    now, born, seen, idle, user, signed, own, permanent, *at_once = state
    value, is_emptied = at_once or (None, 0)
    return Committed(
        what.decode(),
        now,
        born,
        seen,
        idle,
        text(user),
        signed,
        own,
        permanent,
        value,
        is_emptied=bool(is_emptied),
    )
