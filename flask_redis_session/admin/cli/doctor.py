"""The command ``doctor``, which finds what is broken and mends it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import click

from flask_redis_session.admin.doctor import Doctor, Finding, Kind
from flask_redis_session.admin.keyspace import KeySpace
from flask_redis_session.admin.tracking import Tracking, tracking_of
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.errors import StoreUnavailable

from . import output
from .failure import Refused, Unusable, cause_of, failed
from .group import json_option, with_sessions

#: How many of each kind are shown to people.
EXAMPLES = 10

HEADINGS: dict[Kind, str] = {
    "dead-member": "members of an index without a session",
    "stray-member": "members of an index whose session is somebody else's",
    "unindexed": "sessions missing from the index of their user",
    "no-expiry": "keys without expiry",
    "early-expiry": "indexes that expire before a session in them",
    "no-session": "hashes that no cookie can open",
    "other-layout": "keys of another layout",
}


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Mend what is found, except keys of another layout.")
@click.option(
    "--delete-others",
    is_flag=True,
    help="With --fix: also delete keys of another layout under the prefix.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --delete-others.")
@json_option
@with_sessions
def doctor(
    backend: ApplicationBackend, *, fix: bool, delete_others: bool, yes: bool, as_json: bool
) -> None:
    """Find what is broken in Redis, and mend it with --fix.

    \b
    It finds                                           --fix
    members of an index without a session              removes them
    members of an index whose session is another's     removes them
    sessions missing from the index of their user      adds them
    keys without expiry                                lets them expire
    indexes that expire before a session in them       extends their life
    hashes that no cookie can open                     deletes them
    keys of another layout                             leaves them alone

    An index is the sorted set of a user's sessions. It is used to list and to end them.

    The first is usual: a session that expires leaves its sid in the index until the user's
    sessions are listed or ended the next time. The others come from a crash at the wrong moment,
    or from somebody's work with redis-cli.

    The doctor can run while the application does: what a request may be in the middle of does not
    count as broken. It looks only at keys under SESSION_KEY_PREFIX. It shows only the beginning of
    the name of a key of another layout, because that name may let somebody in.

    The exit code is 0 if nothing is wrong or everything was mended, and 1 if something is left.
    """  # noqa: D301
    if delete_others and not fix:
        raise click.UsageError("--delete-others needs --fix.")
    imports = backend.settings.imports
    if delete_others and imports is not None:
        raise Unusable(
            "SESSION_IMPORT is set: what has another layout may be sessions that have yet to come "
            "over. Remove SESSION_IMPORT first."
        )
    prefix = output.plain(backend.settings.prefix)
    if delete_others and not yes:
        _confirm(prefix)
    found = Doctor(backend, mends=fix, deletes_others=delete_others)
    round_ = _Round(found, tracking_of(backend))
    with output.progress("Looking", KeySpace(backend).size(), prints=as_json) as bar:
        if as_json:
            _echo_json(round_, bar)
            report: Iterable[str] = ()
        else:
            examples = _examples(round_.findings(bar))
            report = _report(round_, examples, prefix, fix=fix)
    for line in report:
        click.echo(line)
    if round_.tracking is not None and not as_json:
        _echo_tracking(round_.tracking)
    if round_.left:
        raise click.exceptions.Exit(1)


class _Round:
    """One round of the doctor, with its totals."""

    def __init__(self, doctor: Doctor, tracking: Tracking | None) -> None:
        self._doctor = doctor
        #: What the server tracks; ``None``: nothing is kept.
        self.tracking = tracking
        self.sessions = self.indexes = 0
        self.found: Counter[Kind] = Counter()
        self.mended: Counter[Kind] = Counter()

    @property
    def left(self) -> int:
        """How much was found and not mended."""
        return self.found.total() - self.mended.total()

    def findings(self, bar: output.Bar) -> Iterator[Finding]:
        """Make the round; yields what is found."""
        for step in self._doctor.steps():
            bar.expect(step.more)
            bar.advance(step.done)
            self.sessions += step.sessions
            self.indexes += step.indexes
            for finding in step.findings:
                self.found[finding.kind] += 1
                self.mended[finding.kind] += finding.mended
                yield finding

    def totals(self) -> dict[str, Any]:
        """Return the totals, for scripts."""
        found, mended = self.found.total(), self.mended.total()
        seen: dict[str, Any] = {"sessions": self.sessions, "indexes": self.indexes}
        if self.tracking is not None:
            seen["tracking"] = {**self.tracking._asdict(), "hint": self.tracking.hint}
        return {**seen, "found": found, "mended": mended}


def _echo_json(round_: _Round, bar: output.Bar) -> None:
    """Print what is found as one JSON text, also if Redis fails on the way.

    :raises Failed: if it does.
    """
    end: dict[str, Any] = {"complete": False}
    click.echo('{"findings": ', nl=False)
    try:
        with output.array() as echo:
            for finding in round_.findings(bar):
                echo(asdict(finding))
        end = {"complete": True}
    except StoreUnavailable as failure:
        end["error"] = cause_of(failure)
        raise failed(failure) from failure
    finally:
        click.echo(f", {json.dumps({**round_.totals(), **end})[1:]}")


def _echo_tracking(tracking: Tracking) -> None:
    listeners, keys = tracking.listeners, tracking.keys
    click.echo(f"SESSION_KEEP: {listeners:,} connections listen, Redis tracks {keys:,} keys.")
    if tracking.hint:
        click.echo(tracking.hint)


def _confirm(prefix: str) -> None:
    what = f"every key under '{prefix}' that does not have this library's layout"
    if not sys.stdin.isatty():
        raise Refused(
            f"This would delete {what}, and there is no terminal to ask. "
            "Nothing was done; add --yes to do it."
        )
    click.confirm(f"Delete {what}?", abort=True, err=True)


def _examples(findings: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    """Return the first few findings of each kind."""
    examples: dict[Kind, list[Finding]] = {kind: [] for kind in HEADINGS}
    for finding in findings:
        if len(examples[finding.kind]) < EXAMPLES:
            examples[finding.kind].append(finding)
    return examples


def _report(
    round_: _Round, examples: dict[Kind, list[Finding]], prefix: str, *, fix: bool
) -> Iterator[str]:
    """Yield the report on what was found, for people."""
    for kind, heading in HEADINGS.items():
        found, mended = round_.found[kind], round_.mended[kind]
        if not found:
            continue
        yield f"{heading}: {found:,}" + (f", mended {mended:,}" if fix else "")
        for finding in examples[kind]:
            about = (finding.key, finding.sid if "member" in kind else None, finding.note)
            yield "    " + "  ".join(output.plain(part) for part in about if part)
        if found > len(examples[kind]):
            yield f"    and {found - len(examples[kind]):,} more; --json shows all"
    seen = f"{output.counted(round_.sessions)} and {output.counted(round_.indexes, 'index')}"
    found, left = round_.found.total(), round_.left
    if not found:
        outcome = "nothing is wrong"
    elif not left:
        outcome = f"{found:,} found, all mended"
    else:
        outcome = f"{found:,} found, {found - left:,} mended" if fix else f"{found:,} found"
    yield f"Looked at {seen} under '{prefix}': {outcome}."
    others = round_.found["other-layout"]
    if not fix and found > others:
        yield "'flask sessions doctor --fix' mends this."
    if others > round_.mended["other-layout"]:
        yield "Keys of another layout may be another application's; see --delete-others."
