"""The command ``users``, and how what is typed becomes a user's id."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from flask_redis_session.admin.keyspace import PAGE, KeySpace
from flask_redis_session.admin.signed_in import SignedInUsers
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.errors import SettingError, UnstorableValue
from flask_redis_session.request.user import user_text
from flask_redis_session.storage.record import moment

from . import output
from .failure import Refused
from .group import json_option, with_sessions

P = ParamSpec("P")
R = TypeVar("R")

#: How many users can be shown at most: so many are kept in memory.
MOST = 100_000


def looked_up(
    command: Callable[Concatenate[ApplicationBackend, str, P], R],
) -> Callable[Concatenate[ApplicationBackend, P], R]:
    """Give a command the id of the user that USER means, as its second argument."""

    @wraps(command)
    def call(backend: ApplicationBackend, /, *args: P.args, **kwargs: P.kwargs) -> R:
        typed: Any = kwargs.pop("user")
        is_id = kwargs.pop("is_id")
        lookup = backend.settings.user_lookup
        user = typed if is_id or lookup is None else _look_up(lookup, typed)
        return command(backend, user, *args, **kwargs)

    return call


def _look_up(lookup: Callable[[str], object], typed: str) -> str:
    found = lookup(typed)
    if found is None or found == "":
        raise Refused(f"There is no user {output.quoted(typed)}.")
    try:
        return user_text("SESSION_USER_LOOKUP", found)
    except UnstorableValue as error:
        problem = f"returned {found!r} for {typed!r}, which cannot be a user's id."
        raise SettingError("SESSION_USER_LOOKUP", problem) from error


@click.command("users", short_help="List who is signed in, last seen first.")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="How many users to show.",
)
@json_option
@with_sessions
def users(backend: ApplicationBackend, *, limit: int, as_json: bool) -> None:
    """List the users who are signed in, last seen first, with their ids.

    Times are in UTC, and exact to SESSION_TOUCH_INTERVAL, a minute by default.

    It goes through the whole key space with SCAN, which holds up nobody; in a cluster, on each
    primary. It keeps no more users in memory than it shows, twice over.
    """
    found = SignedInUsers(backend, limit)
    with output.progress("Searching", KeySpace(backend).size()) as bar:
        for _ in found.search():
            bar.advance(PAGE)
    rows = (
        (user, moment(seen), sum(map(len, backend.users.list_pages(user))))
        for user, seen in found.newest()
    )
    if as_json:
        output.echo_array(
            {"user_id": user, "last_seen_at": at and at.isoformat(), "sessions": count}
            for user, at, count in rows
        )
        return
    shown = 0
    for shown, (user, at, count) in enumerate(rows, 1):
        if shown == 1:
            click.echo(f"{'LAST SEEN':<20}  {'SESSIONS':>8}  USER")
        click.echo(f"{output.moment(at):<20}  {count:>8,}  {output.plain(user)}")
    if found.has_more:
        click.echo("and more; --limit shows them.", err=True)
    elif not shown:
        click.echo("Nobody is signed in.")
