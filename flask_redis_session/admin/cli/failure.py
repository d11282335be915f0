"""How a command fails: its exit code, and what it says."""

from __future__ import annotations

import sys

import click

from flask_redis_session.errors import StoreUnavailable, WrongType


def plain(text: str) -> str:
    """Return a text as a terminal can show it: no text in Redis may control the terminal."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


class _Plain(click.ClickException):
    """A failure whose message may repeat what is in Redis, or what Redis said."""

    def format_message(self) -> str:
        return "\n".join(map(plain, self.message.split("\n")))


class Refused(_Plain):
    """What was asked for does not exist, or was not confirmed."""

    exit_code = 1


class Unusable(_Plain):
    """The application cannot be used as it is."""

    exit_code = 2


class Failed(_Plain):
    """Redis failed."""

    exit_code = 3


def cause_of(failure: StoreUnavailable) -> str:
    """Tell in a few words why Redis failed."""
    cause: BaseException = failure
    while isinstance(cause, StoreUnavailable) and cause.__cause__ is not None:
        cause = cause.__cause__ if not isinstance(cause, WrongType) else WrongType(cause.key)
    if isinstance(cause, StoreUnavailable) and not isinstance(cause, WrongType):
        return str(cause.description)
    return str(cause) or type(cause).__name__


def failed(failure: StoreUnavailable) -> Failed:
    """Return what a command fails with if Redis did."""
    return Failed(f"Redis failed: {cause_of(failure)}")
