"""What the commands print: rows, JSON, a bar that shows progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import click

_ROW = "{:<22}  {:<20}  {:<20}  {:<20}  {:<15}  {}"

HEADING = _ROW.format("SID", "CREATED", "LAST SEEN", "EXPIRES", "ADDRESS", "BROWSER")


class Described(Protocol):
    """What is shown of a session: a :class:`~.record.SessionInfo`, or what may be nobody's."""

    @property
    def sid(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def last_seen_at(self) -> datetime | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def user_agent(self) -> str | None: ...
    @property
    def ip_address(self) -> str | None: ...


def plain(text: str) -> str:
    """Return a text as a terminal can show it: what is in Redis must not steer the terminal."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


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


def row(info: Described) -> str:
    """Return a session as a line under :data:`HEADING`."""
    times = (moment(at) for at in (info.created_at, info.last_seen_at, info.expires_at))
    address, agent = (plain(text or "-") for text in (info.ip_address, info.user_agent))
    return _ROW.format(info.sid, *times, address, agent)


def session_json(info: Described) -> dict[str, Any]:
    """Return a session as JSON has it."""
    times = {
        "created_at": info.created_at,
        "last_seen_at": info.last_seen_at,
        "expires_at": info.expires_at,
    }
    return {
        "sid": info.sid,
        "user_id": info.user_id,
        **{name: at and at.isoformat() for name, at in times.items()},
        "user_agent": info.user_agent,
        "ip_address": info.ip_address,
    }


def echo_json(value: object) -> None:
    """Print a value; only in ASCII, so that no terminal minds."""
    click.echo(json.dumps(value))


def echo_array(items: Iterable[Mapping[str, Any]], *, end: str = "\n") -> None:
    """Print a JSON array, each item as it comes."""
    lead = "["
    for item in items:
        click.echo(f"{lead}\n{json.dumps(item)}", nl=False)
        lead = ","
    click.echo("[]" if lead == "[" else "\n]", nl=False)
    click.echo(end, nl=False)


class Bar:
    """A bar that shows progress, where there is somebody to see it.

    :param bar: click's, or ``None``.
    """

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar

    def advance(self, steps: int) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.update(steps)

    def expect(self, steps: int) -> None:
        """Make the way longer."""
        if self._bar is not None:
            self._bar.length += steps


@contextmanager
def progress(label: str, length: int, *, prints: bool = False) -> Iterator[Bar]:
    """Show progress on the standard error where that is a terminal.

    :param label: what is done.
    :param length: how many steps are expected.
    :param prints: whether something is printed meanwhile, which a bar would get in the way of.
    """
    if not sys.stderr.isatty() or (prints and sys.stdout.isatty()):
        yield Bar()
        return
    with click.progressbar(length=max(length, 1), label=label, file=sys.stderr) as bar:
        yield Bar(bar)
