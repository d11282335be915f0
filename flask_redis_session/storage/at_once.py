"""What is done to one key of a session at once: what is asked of ``at_once.lua``."""

from __future__ import annotations

from typing import NamedTuple

from flask_redis_session.client.script import Command, Script, lua

from .commit import Lifetime, commit_arguments
from .record import Changes

_AT_ONCE = Script(
    lua(__package__, "refused.lua"),
    lua(__package__, "secrets.lua"),
    lua(__package__, "fields.lua"),
    "local function commit(KEYS, ARGV)\n",
    lua(__package__, "begin.lua"),
    lua(__package__, "usual.lua"),
    lua(__package__, "commit.lua"),
    "end\n",
    lua(__package__, "at_once.lua"),
)


class Increment(NamedTuple):
    """Add to the integer in a field; a field that is not there counts as 0.

    :param field: the field.
    :param by: what to add.
    """

    field: bytes
    by: int

    @property
    def argument(self) -> str:
        """How the script is told."""
        return str(self.by)


class Take(NamedTuple):
    """Remove a field and return what it held.

    :param field: the field.
    """

    field: bytes

    @property
    def argument(self) -> str:
        """How the script is told."""
        return ""


Deed = Increment | Take


def at_once_command(
    key: bytes, deed: Deed, lifetime: Lifetime, *, absolute: float | None, proof: str
) -> Command:
    """Return the command that does something to one key of a session.

    :param key: the key of the session hash.
    :param deed: what to do.
    :param lifetime: how long the session may be idle.
    :param absolute: its absolute lifetime in seconds; ``None``: it has none.
    :param proof: the digest of the cookie's secret.
    """
    touch = commit_arguments(Changes(), lifetime, absolute=absolute, proof=proof, fresh="")
    return _AT_ONCE.on(key, *touch, deed.field, deed.argument)
