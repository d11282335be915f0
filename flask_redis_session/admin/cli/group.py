"""The group ``flask sessions``: how its commands find the sessions, and how they fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from flask.cli import AppGroup, with_appcontext
from flask.globals import app_ctx

from flask_redis_session.admin.keyspace import KeySpace
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.url import is_elsewhere
from flask_redis_session.errors import SettingError, StoreUnavailable
from flask_redis_session.interface import backend_of
from flask_redis_session.request.user import user_text
from flask_redis_session.storage.token import is_sid, parse_cookie

from . import output
from .failure import Refused, Unusable, cause_of, failed

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_EMBEDDED = (
    "SESSION_REDIS_URL = 'embedded://' is a server that the processes of one process group share, "
    "and none runs in the process group of this command. Add a directory, embedded:///DIRECTORY: "
    "all processes that name the same directory share a server."
)

# The log says what a failure of Redis means for requests. Nobody asked for that at a terminal.
_QUIET = logging.NullHandler()


class SessionsGroup(AppGroup):
    """A group that lists its commands in their order, and exits with the documented codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        logging.getLogger("flask_redis_session").addHandler(_QUIET)
        try:
            return super().invoke(ctx)
        except SettingError as error:
            raise Unusable(str(error)) from error
        except StoreUnavailable as failure:
            raise failed(failure) from failure


def with_sessions(
    command: Callable[Concatenate[ApplicationBackend, P], R],
) -> Callable[P, R]:
    """Give a command the sessions of the application as its first argument.

    If it is to print JSON and fails before it has printed anything, it prints the failure.
    """

    @wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        app = app_ctx.app
        backend = backend_of(app)
        if backend is None:
            raise Unusable(
                f"The application {app.name!r} does not keep its sessions with flask-redis-session "
                f"(app.session_interface is a {type(app.session_interface).__name__}). "
                "Give it these: app.session_interface = RedisSessionInterface()"
            )
        if backend.settings.url is not None and is_elsewhere(backend.settings.url):
            # Another server would hold no sessions to show or to end.
            raise Unusable(_EMBEDDED)
        try:
            # "7d" is counted by the clock of Redis, as every time in it is.
            backend.hashes.clock.hear(KeySpace(backend).now())
            return command(backend, *args, **kwargs)
        except Refused as refused:
            if kwargs.get("as_json"):
                output.echo_json({"error": refused.message})
            raise
        except StoreUnavailable as failure:
            if kwargs.get("as_json"):
                output.echo_json({"error": cause_of(failure)})
            raise failed(failure) from failure

    return with_appcontext(call)


def _user(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        user = user_text("USER", value)
    except TypeError:
        raise click.BadParameter("a user's id must be a text in UTF-8.") from None
    if not user:
        raise click.BadParameter("a user's id must not be empty.")
    return user


def _sid(_: click.Context, __: click.Parameter, value: str) -> str:
    # What is not a sid is not repeated: it may be a cookie.
    if parse_cookie(value) is not None:
        raise click.BadParameter(
            "this is a whole cookie with its secret, which is now in the history of your shell. "
            "Its sid is the part before the first dot. End that session: "
            "flask sessions revoke USER --only SID"
        )
    if not is_sid(value):
        raise click.BadParameter(
            "a sid has 22 letters, digits, '-' and '_'; 'flask sessions list USER' shows them."
        )
    return value


def sids(ctx: click.Context, param: click.Parameter, values: Iterable[str]) -> frozenset[str]:
    """Read an option that takes several sids; a callback for click.

    :raises click.BadParameter: if one of them is not a sid.
    """
    return frozenset(_sid(ctx, param, value) for value in values)


def user_argument(command: F) -> F:
    """Give a command the argument USER, and the option that says that it is an id."""
    option = click.option("--id", "is_id", is_flag=True, help="USER is an id: look nobody up.")
    return click.argument("user", metavar="USER", callback=_user)(option(command))


sid_argument = click.argument("sid", metavar="SID", callback=_sid)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
