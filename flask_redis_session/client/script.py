"""Lua scripts, which Redis knows by their digests."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

#: One command as it goes over the wire. A script is one whose name is ``EVALSHA``.
Command = tuple[Any, ...]


class Script:
    """A Lua script of this package, called by its digest.

    :param texts: its text, in one or several pieces.
    :param reads: whether it only reads.
    """

    def __init__(self, *texts: str, reads: bool = False) -> None:
        self.reads = reads
        self.text = "".join(texts)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        SCRIPTS[self.sha] = self

    def on(self, key: bytes, *args: bytes | str | int) -> Command:
        """Return the command that runs it on one key."""
        return ("EVALSHA", self.sha, 1, key, *args)

    def on_all(self, keys: Sequence[bytes]) -> Command:
        """Return the command that runs it on several keys, which are on one server."""
        return ("EVALSHA", self.sha, len(keys), *keys)


#: Every script, by its digest.
SCRIPTS: dict[str, Script] = {}


def lua(package: str, name: str) -> str:
    """Return the text of a Lua file.

    :param package: the package that it is in.
    :param name: its name.
    """
    return files(package).joinpath(name).read_text("utf-8")


def text_of(command: Command) -> str:
    """Return the text of the script that a command runs.

    :param command: the command, as :meth:`Script.on` returns it.
    """
    return SCRIPTS[command[1]].text


def in_full(command: Command) -> Command:
    """Return a script's command with its text, for a server that has lost it."""
    return ("EVAL", text_of(command), *command[2:])
