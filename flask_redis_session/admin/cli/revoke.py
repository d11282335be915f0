"""``revoke`` and ``revoke-all``: they end sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from flask_redis_session.admin.keyspace import PAGE, KeySpace, Selection
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.errors import RevocationIncomplete, RevocationUnconfirmed
from flask_redis_session.storage.record import SessionInfo

from . import output
from .group import Failed, Refused, cause_of, json_option, sids, user_argument, with_sessions
from .times import when

When = timedelta | datetime
F = TypeVar("F", bound=Callable[..., Any])


def _selecting(command: F) -> F:
    """Give a command the options that say which sessions it ends, and whether it asks."""
    options = (
        click.option(
            "--before", metavar="TIME", callback=when, help="Only those last seen before."
        ),
        click.option(
            "--created-before", metavar="TIME", callback=when, help="Only those created before."
        ),
        click.option(
            "--keep", metavar="SID", callback=sids, multiple=True, help="Not this one. Repeatable."
        ),
        click.option("--dry-run", is_flag=True, help="End nothing; say what would be ended."),
        click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("revoke", short_help="End the sessions of USER, all or some.")
@user_argument
@click.option(
    "--only", metavar="SID", callback=sids, multiple=True, help="Only this one. Repeatable."
)
@_selecting
@json_option
@with_sessions
def revoke(
    backend: ApplicationBackend,
    user: str,
    *,
    only: Collection[str],
    before: When | None,
    created_before: When | None,
    keep: Collection[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End the sessions of USER: all of them, or those that the options leave.

    TIME is how long ago, as 45s, 30m, 12h, 7d or 2w, or a time with its zone, as 2026-01-01T00:00Z
    or 2026-01-01T00:00+01:00.

    \b
    Examples:
      flask sessions revoke 23
      flask sessions revoke 23 --before 7d --dry-run
      flask sessions revoke 23 --created-before 2026-01-01T00:00Z --yes
      flask sessions revoke 23 --only dNdv0QZ0xZk1mG1v6dyqgA

    It asks before it ends more than one session. Where Redis fails on the way, what was ended
    stays ended, and to run it again ends the rest.
    """  # noqa: D301
    selection = _selection(backend, before, created_before, keep)
    of_user = f"of user {output.quoted(user)}"
    size = backend.redis.call(("ZCARD", backend.hashes.index.key(user)))
    if dry_run or not yes:
        matching = _matching(backend, user, selection, only)
        if dry_run:
            _tell((info for found, _ in matching for info in found), user, as_json=as_json)
            return
        with output.progress("Counting", size) as bar:
            count = _count(bar, ((len(found), gone) for found, gone in matching))
        _confirm(count, of_user)
    pages = backend.revoked(
        user,
        before=selection.before,
        created_before=selection.created_before,
        only=only or None,
        keep=selection.keep,
    )
    with output.progress("Ending", size) as bar:
        counts = ((len(page), len(page)) for page in pages)
        ended = _end(bar, counts, {"user_id": user}, as_json=as_json)
    if not as_json:
        such = "such session" if only or keep or before or created_before else "session"
        none = f"User {output.quoted(user)} has no {such}."
        click.echo(f"Ended {output.counted(ended)} {of_user}." if ended else none)


@click.command("revoke-all")
@click.option("--anonymous", is_flag=True, help="Also the sessions in which nobody is signed in.")
@_selecting
@json_option
@with_sessions
def revoke_all(
    backend: ApplicationBackend,
    *,
    anonymous: bool,
    before: When | None,
    created_before: When | None,
    keep: Collection[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End the sessions of every user: sign everybody out.

    Sessions in which nobody is signed in, as those with a visitor's cart, stay unless --anonymous
    is given. Only this application's sessions end: those under its SESSION_KEY_PREFIX.

    TIME is how long ago, as 45s, 30m, 12h, 7d or 2w, or a time with its zone, as 2026-01-01T00:00Z
    or 2026-01-01T00:00+01:00.

    It goes through the whole key space with SCAN, which holds up nobody; in a cluster, on each
    primary. Who signs in while it runs may stay signed in. It asks before it ends more than one
    session. Where Redis fails on the way, what was ended stays ended, and to run it again ends
    the rest.
    """
    selection = _selection(backend, before, created_before, keep, anonymous=anonymous)
    keyspace = KeySpace(backend)
    whose = "of everybody" if anonymous else "of all users"
    size = keyspace.size()
    if dry_run or not yes:
        with output.progress("Counting", size) as bar:
            counts = ((count, PAGE) for count in keyspace.matching(selection))
            count = _count(bar, counts, to_the_end=dry_run)
        if dry_run:
            if as_json:
                output.echo_json({"would_end": count})
            else:
                click.echo(f"Would end {output.counted(count)} {whose}.")
            return
        _confirm(count, whose)
    with output.progress("Ending", size) as bar:
        counts = ((count, PAGE) for count in keyspace.revoke(selection))
        ended = _end(bar, counts, {}, as_json=as_json)
    if not as_json:
        click.echo(f"Ended {output.counted(ended)} {whose}.")


#: Of each step: how many sessions, and how far it went.
_Counts = Iterable[tuple[int, int]]


def _selection(
    backend: ApplicationBackend,
    before: When | None,
    created_before: When | None,
    keep: Collection[str],
    *,
    anonymous: bool = False,
) -> Selection:
    return Selection(
        backend.epoch("--before", before),
        backend.epoch("--created-before", created_before),
        keep,
        anonymous,
    )


def _matching(
    backend: ApplicationBackend, user: str, selection: Selection, only: Collection[str]
) -> Iterator[tuple[list[SessionInfo], int]]:
    """Yield those sessions of a user that would be ended, and out of how many these are."""

    def is_meant(info: SessionInfo) -> bool:
        return (
            (not only or info.sid in only)
            and info.sid not in selection.keep
            and is_older(info.last_seen_at, selection.before)
            and is_older(info.created_at, selection.created_before)
        )

    def is_older(at: datetime | None, limit: float | None) -> bool:
        return limit is None or at is None or at.timestamp() < limit

    left = set(only)
    for page in backend.hashes.index.pages(user):
        yield list(filter(is_meant, page)), len(page)
        left -= {info.sid for info in page}
        if only and not left:
            break


def _tell(infos: Iterable[SessionInfo], user: str, *, as_json: bool) -> None:
    """Print which sessions would be ended."""
    if as_json:
        output.echo_array(map(output.session_json, infos))
        return
    count = 0
    for count, info in enumerate(infos, 1):
        if count == 1:
            click.echo(output.HEADING)
        click.echo(output.row(info))
    click.echo(f"Would end {output.counted(count)} of user {output.quoted(user)}.")


def _count(bar: output.Bar, counts: _Counts, *, to_the_end: bool = False) -> int:
    """Count; where nobody can be asked anyway, only up to what is too many."""
    total = 0
    for count, gone in counts:
        total += count
        bar.advance(gone)
        if total > 1 and not to_the_end and not sys.stdin.isatty():
            break
    return total


def _confirm(count: int, whose: str) -> None:
    """Ask whether to end so many sessions, unless it is one at most."""
    if count <= 1:
        return
    if not sys.stdin.isatty():
        raise Refused(
            f"This would end more than one session {whose}, and there is no terminal to ask. "
            "Nothing was ended; say --yes to end them."
        )
    click.confirm(f"End {output.counted(count)} {whose}?", abort=True, err=True)


def _end(bar: output.Bar, counts: _Counts, head: dict[str, Any], *, as_json: bool) -> int:
    """End sessions and return how many; what stops it on the way says how many by then.

    :raises Failed: where Redis fails on the way, or too few replicas have it in time.
    """
    ended = 0
    complete = False
    try:
        for count, gone in counts:
            ended += count
            bar.advance(gone)
        complete = True
    except RevocationUnconfirmed as failure:
        raise Failed(str(failure.description)) from failure
    except RevocationIncomplete as failure:
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
            output.echo_json({**head, "ended": ended, "complete": complete})
    return ended
