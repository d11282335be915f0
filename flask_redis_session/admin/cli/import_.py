"""The command ``import``, which carries Flask-Session's sessions over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from flask.globals import app_ctx

from flask_redis_session.admin.keyspace import PAGE, names_under
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.errors import StoreUnavailable

from . import output
from .failure import Unusable, cause_of, failed
from .group import json_option, with_sessions

if TYPE_CHECKING:
    from flask_redis_session.moving.ahead import Ahead, Result
    from flask_redis_session.moving.flask_session import FlaskSessionStore

#: How many sessions are read at a time: one may be large.
READ = 50

#: What the report says of each result, besides the first.
_REPORT: dict[Result, str] = {
    "already": "had come over before",
    "revoked": "belong to users whose sessions were revoked, and stay behind",
    "empty": "hold nothing to carry over",
    "unreadable": "cannot be read; Flask-Session 0.8 writes them as MessagePack at their next use",
}


@click.command("import", short_help="Carry Flask-Session's sessions over, all at once.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be carried over.")
@json_option
@with_sessions
def import_(backend: ApplicationBackend, *, dry_run: bool, as_json: bool) -> None:
    """Carry over all sessions that Flask-Session left in Redis.

    SESSION_IMPORT says which, and where they are. Nobody has to run this: a request with an old
    cookie carries its session over by itself. After this command all of them are sessions of this
    library, so that they can be listed and ended; the old keys are gone. Each browser gets its new
    cookie when it comes back, until the time that SESSION_IMPORT names.

    Run it when no worker with Flask-Session is left. It goes through the whole key space with SCAN,
    and can be stopped and run again.

    The exit code is 1 if some cannot be read.
    """
    mover = backend.mover
    if mover is None or "flask-session" not in mover.settings.until:
        raise Unusable('SESSION_IMPORT has no "flask-session": there is nothing to carry over.')
    if mover.settings.keeps_old:
        raise Unusable(
            "SESSION_IMPORT_KEEP_OLD is set: workers with Flask-Session may still write to the old "
            "sessions, and would not see the new ones. Remove it first."
        )
    if mover.settings.until["flask-session"] <= backend.hashes.clock.now():
        raise Unusable("The time that SESSION_IMPORT names is over.")
    from flask_redis_session.moving.ahead import Ahead  # noqa: PLC0415 (see ApplicationBackend)

    terms = backend.terms(app_ctx.app)
    ahead = Ahead(mover, backend.redis, backend.hashes, terms, absolute=backend.absolute)
    size = sum(node.call(("DBSIZE",)) for node in mover.store.redis.nodes())
    counts: Counter[Result] = Counter()
    told: dict[str, object] = {"dry_run": dry_run, "complete": False}
    try:
        with output.progress("Looking" if dry_run else "Carrying over", size) as bar:
            for results in _results(ahead, mover.store, dry_run=dry_run):
                counts.update(results)
                bar.advance(PAGE)
        told["complete"] = True
    except StoreUnavailable as failure:
        told["error"] = cause_of(failure)
        raise failed(failure) from failure
    finally:
        if as_json:
            told = {**{str(name): counts[name] for name in ("moved", *_REPORT)}, **told}
            output.echo_json(told)
        else:
            _report(counts, dry_run=dry_run, complete=told["complete"] is True)
    if counts["unreadable"]:
        raise click.exceptions.Exit(1)


def _results(ahead: Ahead, store: FlaskSessionStore, *, dry_run: bool) -> Iterator[list[Result]]:
    """Carry sessions over, step by step; yields what became of those of each step."""
    for names in names_under(store.redis, store.prefix):
        yield [
            ahead.move(found, dry_run=dry_run)
            for first in range(0, len(names), READ)
            for found in ahead.found(names[first : first + READ])
        ]


def _report(counts: Counter[Result], *, dry_run: bool, complete: bool) -> None:
    verb = "Would carry over" if dry_run else "Carried over"
    click.echo(f"{verb} {output.counted(counts['moved'])}.")
    for result, what in _REPORT.items():
        if counts[result]:
            click.echo(f"{counts[result]:,} {what}.")
    if not complete:
        click.echo("It stopped half-way. Run it again to carry over the rest.")
