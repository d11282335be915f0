"""The commands ``revoke`` and ``revoke-all``, which end sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from flask_redis_session.admin.keyspace import PAGE, KeySpace
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.errors import RevocationIncomplete, RevocationUnconfirmed
from flask_redis_session.remember_cookie import keeps_remember_cookie
from flask_redis_session.storage.record import SessionInfo
from flask_redis_session.storage.revocation import Selection

from . import output
from .failure import Failed, Refused, cause_of
from .group import json_option, sids, user_argument, with_sessions
from .times import when
from .users import looked_up

When = timedelta | datetime

_REMEMBER = (
    "Note: a browser with a remember cookie of Flask-Login's can sign itself in again. "
    "With flask_redis_session.login.remember_by_session(app) there is none."
)
F = TypeVar("F", bound=Callable[..., Any])


def _selecting(command: F) -> F:
    """Give a command the options that select the sessions it ends, and --dry-run and --yes."""
    options = (
        click.option(
            "--before", metavar="TIME", callback=when, help="Only sessions last seen before TIME."
        ),
        click.option(
            "--created-before",
            metavar="TIME",
            callback=when,
            help="Only sessions created before TIME.",
        ),
        click.option(
            "--signed-in-before",
            metavar="TIME",
            callback=when,
            help="Only sessions whose user signed in, or was last confirmed, before TIME.",
        ),
        click.option(
            "--keep",
            metavar="SID",
            callback=sids,
            multiple=True,
            help="Do not end this session. Repeatable.",
        ),
        click.option("--dry-run", is_flag=True, help="End nothing; say what would be ended."),
        click.option("--yes", is_flag=True, help="Do not ask. Needed if there is no terminal."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("revoke", short_help="End all or some sessions of USER.")
@user_argument
@click.option(
    "--only", metavar="SID", callback=sids, multiple=True, help="End only this session. Repeatable."
)
@_selecting
@json_option
@with_sessions
@looked_up
def revoke(
    backend: ApplicationBackend,
    user: str,
    *,
    only: frozenset[str],
    before: When | None,
    created_before: When | None,
    signed_in_before: When | None,
    keep: frozenset[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End the sessions of USER: all of them, or only those that the options select.

    TIME is how long ago, as 45s, 30m, 12h, 7d or 2w, or a time with its zone, as 2026-01-01T00:00Z
    or 2026-01-01T00:00+01:00.

    \b
    Examples:
      flask sessions revoke 23
      flask sessions revoke 23 --before 7d --dry-run
      flask sessions revoke 23 --signed-in-before 2026-01-01T00:00Z --yes
      flask sessions revoke 23 --only dNdv0QZ0xZk1mG1v6dyqgA

    It asks before it ends more than one session. If Redis fails on the way, the sessions that were
    ended stay ended. Run the command again to end the rest.
    """  # noqa: D301
    selection = Selection(
        backend.users.epoch("--before", before),
        backend.users.epoch("--created-before", created_before),
        backend.users.epoch("--signed-in-before", signed_in_before),
        only or None,
        keep,
    )
    of_user = f"of user {output.quoted(user)}"
    size = backend.users.index_size(user)
    if dry_run or not yes:
        pages = _selected(backend, user, selection)
        if dry_run:
            _print_selected((info for infos, _ in pages for info in infos), user, as_json=as_json)
            return
        with output.progress("Counting", size) as bar:
            count = _count(bar, ((len(infos), steps) for infos, steps in pages))
        _confirm(count, of_user)
    with output.progress("Ending", size) as bar:
        counts = ((len(page), len(page)) for page in backend.users.revoke(user, selection))
        ended = _end(bar, counts, {"user_id": user}, as_json=as_json)
    if not as_json:
        such = "session" if selection == Selection() else "such session"
        none = f"User {output.quoted(user)} has no {such}."
        click.echo(f"Ended {output.counted(ended)} {of_user}." if ended else none)
    _tell_of_remember_cookies(backend)


@click.command("revoke-all")
@click.option("--anonymous", is_flag=True, help="Also sessions in which nobody is signed in.")
@_selecting
@json_option
@with_sessions
def revoke_all(
    backend: ApplicationBackend,
    *,
    anonymous: bool,
    before: When | None,
    created_before: When | None,
    signed_in_before: When | None,
    keep: frozenset[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End the sessions of every user: sign everybody out.

    Sessions in which nobody is signed in, such as one with a visitor's cart, stay unless
    --anonymous is given. Only this application's sessions end: those under its SESSION_KEY_PREFIX.

    TIME is how long ago, as 45s, 30m, 12h, 7d or 2w, or a time with its zone, as 2026-01-01T00:00Z
    or 2026-01-01T00:00+01:00.

    It goes through the whole key space with SCAN, which does not hold up Redis; in a cluster, on
    each primary. A user who signs in while it runs may stay signed in.

    It asks before it ends more than one session. If Redis fails on the way, the sessions that were
    ended stay ended. Run the command again to end the rest.
    """
    if anonymous and signed_in_before is not None:
        problem = "nobody signed in to the sessions of --anonymous; leave one of the two out."
        raise click.BadParameter(problem, param_hint="--signed-in-before")
    selection = Selection(
        backend.users.epoch("--before", before),
        backend.users.epoch("--created-before", created_before),
        backend.users.epoch("--signed-in-before", signed_in_before),
        keep=keep,
    )
    keyspace = KeySpace(backend)
    whose = "of everybody" if anonymous else "of all users"
    size = keyspace.size()
    if dry_run or not yes:
        with output.progress("Counting", size) as bar:
            found = keyspace.count_selected(selection, anonymous=anonymous)
            counts = ((count, PAGE) for count in found)
            count = _count(bar, counts, to_the_end=dry_run)
        if dry_run:
            if as_json:
                output.echo_json({"would_end": count})
            else:
                click.echo(f"Would end {output.counted(count)} {whose}.")
            return
        _confirm(count, whose)
    with output.progress("Ending", size) as bar:
        pages = keyspace.revoke(selection, anonymous=anonymous)
        counts = ((count, PAGE) for count in pages)
        ended = _end(bar, counts, {}, as_json=as_json)
    if not as_json:
        click.echo(f"Ended {output.counted(ended)} {whose}.")
    _tell_of_remember_cookies(backend)


def _tell_of_remember_cookies(backend: ApplicationBackend) -> None:
    """Say what was not ended, in an application with Flask-Login's remember cookies."""
    app = backend.app()
    if app is not None and keeps_remember_cookie(app):
        click.echo(_REMEMBER, err=True)


#: For each step: how many sessions, and how far the bar moves.
_Counts = Iterable[tuple[int, int]]


def _selected(
    backend: ApplicationBackend, user: str, selection: Selection
) -> Iterator[tuple[list[SessionInfo], int]]:
    """Yield the selected sessions of a user, page by page, and how many each page looked at."""
    missing = set(selection.only or ())
    for page in backend.users.list_pages(user):
        yield [info for info in page if _is_selected(info, selection)], len(page)
        missing -= {info.sid for info in page}
        if selection.only and not missing:
            break


def _is_selected(info: SessionInfo, selection: Selection) -> bool:
    times = (info.last_seen_at, info.created_at, info.signed_in_at)
    return selection.selects(info.sid, *map(_epoch, times))


def _epoch(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _print_selected(infos: Iterable[SessionInfo], user: str, *, as_json: bool) -> None:
    """Print which sessions would be ended."""
    if as_json:
        output.echo_array(map(output.session_json, infos))
        return
    count = output.echo_rows(infos)
    click.echo(f"Would end {output.counted(count)} of user {output.quoted(user)}.")


def _count(bar: output.Bar, counts: _Counts, *, to_the_end: bool = False) -> int:
    """Count sessions. Without a terminal to ask, stop as soon as there is more than one."""
    total = 0
    for count, steps in counts:
        total += count
        bar.advance(steps)
        if total > 1 and not to_the_end and not sys.stdin.isatty():
            break
    return total


def _confirm(count: int, whose: str) -> None:
    """Ask whether to end so many sessions, if they are more than one."""
    if count <= 1:
        return
    if not sys.stdin.isatty():
        raise Refused(
            f"This would end more than one session {whose}, and there is no terminal to ask. "
            "Nothing was ended; add --yes to end them."
        )
    click.confirm(f"End {output.counted(count)} {whose}?", abort=True, err=True)


def _end(bar: output.Bar, counts: _Counts, head: dict[str, Any], *, as_json: bool) -> int:
    """End sessions and return how many; an error on the way tells how many had been ended.

    :raises Failed: if Redis fails on the way, or too few replicas have it in time.
    """
    ended = 0
    outcome: dict[str, Any] = {"complete": False}
    try:
        for count, steps in counts:
            ended += count
            bar.advance(steps)
        outcome = {"complete": True}
    except RevocationUnconfirmed as failure:
        outcome["error"] = str(failure.description)
        raise Failed(str(failure.description)) from failure
    except RevocationIncomplete as failure:
        outcome["error"] = cause_of(failure)
        raise Failed(
            f"Redis failed after {output.counted(ended)} had been ended: {cause_of(failure)}\n"
            "Run it again to end the rest."
        ) from failure
    except KeyboardInterrupt:
        click.echo(
            f"\nStopped after {output.counted(ended)} had been ended. "
            "Run it again to end the rest.",
            err=True,
        )
        raise
    finally:
        if as_json:
            output.echo_json({**head, "ended": ended, **outcome})
    return ended
