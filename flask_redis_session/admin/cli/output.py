"""What the commands print: rows, JSON, and a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import click

from flask_redis_session.errors import StoreUnavailable
from flask_redis_session.storage.record import SessionInfo

from .failure import cause_of, failed
from .failure import plain as plain  # noqa: PLC0414 (for the commands)

_ROW = "{:<22}  {:<20}  {:<20}  {:<20}  {:<15}  {}"

_HEADING = _ROW.format("SID", "SIGNED IN", "LAST SEEN", "EXPIRES", "ADDRESS", "BROWSER")


class Described(Protocol):
    """A session to show: a ``SessionInfo``, or one whose times need not be readable."""

    @property
    def sid(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def signed_in_at(self) -> datetime | None: ...
    @property
    def last_seen_at(self) -> datetime | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def user_agent(self) -> str | None: ...
    @property
    def ip_address(self) -> str | None: ...


def quoted(user: str) -> str:
    """Return a user's id as it is shown in a sentence."""
    return f"'{plain(user)}'"


def counted(count: int, what: str = "session") -> str:
    """Return a number of things in words."""
    plural = "indexes" if what == "index" else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def moment(at: datetime | None) -> str:
    """Return a time as it is shown to people."""
    return "?" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def echo_rows(infos: Iterable[SessionInfo]) -> int:
    """Print sessions as a table, each as it comes; return how many."""
    count = 0
    for count, info in enumerate(infos, 1):
        if count == 1:
            click.echo(_HEADING)
        times = (moment(at) for at in (info.signed_in_at, info.last_seen_at, info.expires_at))
        address, agent = (plain(text or "-") for text in (info.ip_address, info.user_agent))
        click.echo(_ROW.format(info.sid, *times, address, agent))
    return count


def session_json(info: Described) -> dict[str, Any]:
    """Return a session as it is printed in JSON."""
    times = {
        "created_at": info.created_at,
        "signed_in_at": info.signed_in_at,
        "last_seen_at": info.last_seen_at,
        "expires_at": info.expires_at,
    }
    return {
        "sid": info.sid,
        # Nobody has an empty id.
        "user_id": info.user_id or None,
        **{name: at and at.isoformat() for name, at in times.items()},
        "user_agent": info.user_agent,
        "ip_address": info.ip_address,
    }


def echo_json(value: object) -> None:
    """Print a value as JSON in ASCII, which every terminal can show."""
    click.echo(json.dumps(value))


@contextmanager
def array() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Print a JSON array, which is closed whatever happens; yields what prints an item."""
    lead = "["

    def echo(item: Mapping[str, Any]) -> None:
        nonlocal lead
        click.echo(f"{lead}\n{json.dumps(item)}", nl=False)
        lead = ","

    try:
        yield echo
    finally:
        click.echo("[]" if lead == "[" else "\n]", nl=False)


def echo_array(items: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON array, each item as it comes.

    :raises Failed: if Redis fails on the way; then the last item says so.
    """
    with array() as echo:
        try:
            for item in items:
                echo(item)
        except StoreUnavailable as failure:
            echo({"error": cause_of(failure)})
            raise failed(failure) from failure
    click.echo()


class Bar:
    """A progress bar, if there is a terminal to show it on.

    :param bar: click's bar; ``None``: nothing is shown.
    """

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar

    def advance(self, steps: int) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(steps)

    def expect(self, steps: int) -> None:
        """Add to the steps that are expected."""
        if self._bar is not None:
            self._bar.length += steps


@contextmanager
def progress(label: str, length: int, *, prints: bool = False) -> Iterator[Bar]:
    """Show progress on the standard error, if that is a terminal.

    :param label: what is done.
    :param length: how many steps are expected.
    :param prints: whether something is printed meanwhile. Then no bar is shown on the terminal
        where that is printed.
    """
    if not sys.stderr.isatty() or (prints and sys.stdout.isatty()):
        yield Bar()
        return
    with click.progressbar(length=max(length, 1), label=label, file=sys.stderr) as bar:
        yield Bar(bar)
