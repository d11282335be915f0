"""How a command fails: its exit code, and what it says."""

from __future__ import annotations

import click

from flask_redis_session.errors import StoreUnavailable, WrongType


class Refused(click.ClickException):
    """What was asked for does not exist, or was not confirmed."""

    exit_code = 1


class Unusable(click.ClickException):
    """The application cannot be used as it is."""

    exit_code = 2


class Failed(click.ClickException):
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
