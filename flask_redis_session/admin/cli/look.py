"""The commands ``list``, ``show`` and ``count``, which change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import add
from typing import Any, NamedTuple

import click

from flask_redis_session.admin.keyspace import PAGE, Count, KeySpace
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.commands import HMGET
from flask_redis_session.storage.record import (
    ADDRESS,
    AGENT,
    BORN,
    IDLE,
    OWN,
    SEEN,
    SIGNED,
    USER,
    key_of,
    lifetime,
    moment,
    number,
    text,
)
from flask_redis_session.storage.user_sessions import MOST_SESSIONS

from . import output
from .failure import Refused
from .group import json_option, sid_argument, user_argument, with_sessions
from .users import looked_up

#: Up to how many fields the names of all of them are asked for at once.
MANY = 10_000

#: How many fields are asked about at once.
CHUNK = 500


@click.command("list")
@user_argument
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_SESSIONS),
    default=50,
    show_default=True,
    help="How many sessions to show.",
)
@click.option(
    "--offset",
    type=click.IntRange(0, MOST_SESSIONS),
    default=0,
    help="How many sessions to skip.",
)
@json_option
@with_sessions
@looked_up
def list_(backend: ApplicationBackend, user: str, limit: int, offset: int, as_json: bool) -> None:
    """List the sessions of USER, last seen first.

    Times are in UTC. LAST SEEN is exact to SESSION_TOUCH_INTERVAL, a minute by default. ADDRESS
    and BROWSER are those of the sign-in.
    """
    pages = backend.users.list_pages(user, limit=limit, offset=offset)
    infos = (info for page in pages for info in page)
    if as_json:
        output.echo_array(map(output.session_json, infos))
        return
    shown = output.echo_rows(infos)
    total = backend.users.index_size(user)
    if total > offset + shown and shown == limit:
        rest = total - offset - shown
        click.echo(f"and {rest:,} more; --limit and --offset show them.", err=True)
    elif not shown:
        further = " beyond that offset" if offset and total else ""
        click.echo(f"User {output.quoted(user)} has no session{further}.")


# A sid may begin with a dash, so what is not an option of this command is read as a sid.
@click.command(
    "show",
    short_help="Show one session: its times, its keys, their sizes.",
    context_settings={"ignore_unknown_options": True},
)
@sid_argument
@click.option("--values", is_flag=True, help="Show the values too. They may be private.")
@json_option
@with_sessions
def show(backend: ApplicationBackend, sid: str, values: bool, as_json: bool) -> None:
    """Show one session: its user, its times, its keys and their sizes.

    SID is its public id, which 'flask sessions list' shows and which is session.sid in the
    application. The secret that opens the session is not in Redis.
    """
    info = _info(backend, sid)
    if info is None:
        raise Refused(f"There is no session {sid}.")
    fields = _fields(backend, sid, values=values)
    if as_json:
        keys = [_field_json(field, values=values) for field in fields]
        idle = {"idle_seconds": info.idle, "idle_is_assigned": info.is_own}
        output.echo_json({**output.session_json(info), **idle, "keys": keys})
        return
    size = sum(field.size for field in fields)
    for label, value in (
        ("sid", info.sid),
        ("user", output.quoted(info.user_id) if info.user_id else "nobody"),
        ("created", output.moment(info.created_at)),
        ("signed in", output.moment(info.signed_in_at) if info.user_id else "-"),
        ("last seen", output.moment(info.last_seen_at)),
        ("expires", output.moment(info.expires_at)),
        ("may idle", _may_idle(info)),
        ("address", output.plain(info.ip_address or "-")),
        ("browser", output.plain(info.user_agent or "-")),
        ("holds", f"{output.counted(len(fields), 'key')}, {output.counted(size, 'byte')}"),
    ):
        click.echo(f"{label:<10} {value}")
    click.echo(f"\n{'BYTES':>9}  KEY")
    for field in fields:
        value = f" = {output.plain(field.text)}" if values else ""
        click.echo(f"{field.size:>9,}  {output.plain(field.key)}{value}")


class Field(NamedTuple):
    """A key of a session.

    :param key: the key.
    :param size: how many bytes its value has.
    :param text: its value, as Redis holds it; empty if it was not asked for.
    """

    key: str
    size: int
    text: str


class Info(NamedTuple):
    """A session as it is, even if a time in it is damaged or it never expires."""

    sid: str
    user_id: str
    created_at: datetime | None
    signed_in_at: datetime | None
    last_seen_at: datetime | None
    expires_at: datetime | None
    user_agent: str | None
    ip_address: str | None
    #: How long it may be idle, in seconds, and whether the application assigned that.
    idle: float | None
    is_own: bool


def _info(backend: ApplicationBackend, sid: str) -> Info | None:
    """Return a session, if there is one; its user is ``""`` if nobody is signed in."""
    key = backend.hashes.key(sid)
    if backend.redis.call(("TYPE", key)) not in (b"hash", "hash"):
        return None
    names = (BORN, SEEN, USER, AGENT, ADDRESS, SIGNED, IDLE, OWN)
    (born, seen, user, agent, address, signed, idle, own), left = backend.redis.together(
        [(HMGET, key, *names), ("PTTL", key)]
    )
    if number(born) is None:
        return None
    ends = moment(backend.hashes.clock.now() + left / 1000) if left >= 0 else None
    # Without a user it is when the last one signed out.
    signed_in = moment(number(signed)) if user else None
    created, last = moment(number(born)), moment(number(seen))
    return Info(
        sid,
        text(user) or "",
        created,
        signed_in,
        last,
        ends,
        text(agent),
        text(address),
        lifetime(idle),
        own is not None,
    )


def _may_idle(info: Info) -> str:
    """Return how long a session may be unused, as it is shown to people."""
    if info.idle is None:
        return "-"
    shown = str(timedelta(seconds=info.idle))
    return f"{shown} (assigned; no setting changes it)" if info.is_own else shown


def _fields(backend: ApplicationBackend, sid: str, *, values: bool) -> list[Field]:
    """Return the keys of a session; it asks for them in chunks, so that Redis is not held up."""
    key = backend.hashes.key(sid)
    names = sorted(name for name in _names(backend, key) if name[:1] != b"@" or name[:2] == b"@@")
    fields = []
    for first in range(0, len(names), CHUNK):
        chunk = names[first : first + CHUNK]
        sizes = backend.redis.together([("HSTRLEN", key, name) for name in chunk])
        texts = backend.redis.call((HMGET, key, *chunk)) if values else [None] * len(chunk)
        for name, size, value in zip(chunk, sizes, texts, strict=True):
            shown = key_of(name) or name.decode("utf-8", "backslashreplace")
            fields.append(Field(shown, size, text(value) or ""))
    return fields


def _names(backend: ApplicationBackend, key: bytes) -> Iterable[bytes]:
    """Return the names of a hash's fields; if there are very many, HKEYS would hold up Redis."""
    call = backend.redis.call
    if call(("HLEN", key)) <= MANY:
        return call(("HKEYS", key))  # type: ignore[no-any-return]
    names: set[bytes] = set()
    cursor = 0
    while True:
        cursor, fields = call(("HSCAN", key, cursor, "COUNT", CHUNK))
        names.update(fields)
        if cursor == 0:
            return names


def _field_json(field: Field, *, values: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"key": field.key, "bytes": field.size}
    if values:
        # Not decoded: JSON has no form for some of Python's types (docs/layout.md has their tags).
        shown["value"] = field.text
    return shown


@click.command("count", short_help="Count sessions, and the users who have one.")
@json_option
@with_sessions
def count(backend: ApplicationBackend, as_json: bool) -> None:
    """Count the sessions, the users who have at least one, and the anonymous sessions.

    It goes through the whole key space with SCAN, which does not hold up Redis. A session that
    comes or goes meanwhile may be counted or not.
    """
    keyspace = KeySpace(backend)
    total = Count(0, 0, 0)
    with output.progress("Counting", keyspace.size()) as bar:
        for step in keyspace.count():
            total = Count(*map(add, total, step))
            bar.advance(PAGE)
    if as_json:
        output.echo_json(total._asdict())
        return
    click.echo(f"{total.sessions:>12,}  sessions")
    click.echo(f"{total.users:>12,}  users who have at least one")
    click.echo(f"{total.anonymous:>12,}  of the sessions are anonymous")
