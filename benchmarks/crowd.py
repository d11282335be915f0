"""Many sessions: of one user, and in one Redis."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from redis.connection import AbstractConnection

from contenders import content, flask_session, ours
from requests import Contender
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Link, Server

KEYS, EACH = 3, 20
USER = "23"
#: The sessions of a user were last seen in the course of a day; this much of it ends by time.
OLDEST = 0.1
REPEATED = 40
#: Commands that take less than this many microseconds do not count as long.
LONG = 300

# Sessions as ours are stored, made where they are to be: the network would take most of the time.
# ARGV: first number, last number, all there will be, user ('' for nobody, '#' for one each), now.
FILL = """
local first, last, all, user, now = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
for i = first, last do
  local sid = string.format('%022d', i)
  local key = 'ours:' .. sid
  local seen = string.format('%.3f', now - 86400 * (i - 0.5) / all)
  redis.call('HSET', key, '@born', seen, '@seen', seen, '@idle', '604800',
    '@secret:' .. string.format('%043d', i), 's' .. string.sub(string.format('%043d', i), 1, 8),
    'key0', '"xxxxxxxxxxxxxxxxxx"', 'key1', '"xxxxxxxxxxxxxxxxxx"', 'last', '{"n":0,"t":"xxxxxx"}')
  if user ~= '' then
    local owner = user == '#' and tostring(i) or user
    redis.call('HSET', key, '@user', owner, '@agent', 'Mozilla/5.0 (X11; Linux) Firefox/140.0',
      '@ip', '203.0.113.195', 'user_id', owner)
    redis.call('ZADD', 'ours:user:' .. owner, seen, sid)
    redis.call('PEXPIRE', 'ours:user:' .. owner, 604800000)
  end
  redis.call('PEXPIRE', key, 604800000)
end
"""
# The same number of sessions as Flask-Session stores them.
FILL_BLOBS = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('SET', 'fs:' .. string.format('%043d', i), ARGV[3], 'PX', 604800000)
end
"""


def fill(link: Link, count: int, user: str) -> float:
    """Store so many sessions like ours, and return from when their last day is counted back."""
    now = time.time()
    for first in range(1, count + 1, 5000):
        last = min(first + 4999, count)
        link.ask("EVAL", FILL, 0, first, last, count, user, f"{now:.3f}")
    return now


# --------------------------------------------------------------------------- of one user


def of_one_user(count: int, server: Server) -> dict[str, dict[str, Any]]:
    """Measure what a user with so many sessions costs."""
    app = ours(content(KEYS, EACH), EACH, server.url)
    interface: Any = app.session_interface
    side = Contender(Browser(app))
    found = {}
    with Link(server) as link:
        link.ask("FLUSHALL")
        link.ask("CONFIG", "SET", "slowlog-log-slower-than", LONG)
        link.ask("CONFIG", "SET", "slowlog-max-len", 10_000)
        now = fill(link, count, USER)
        index = f"ours:user:{USER}"

        def sign_in() -> None:
            side.browser.get(f"/sign_in_as/{USER}")

        def long_ago() -> None:
            assert side.browser.cookie
            key = "ours:" + side.browser.cookie.partition(".")[0]
            link.ask("HSET", key, "@seen", f"{time.time() - 3600:.3f}")

        def page() -> None:
            assert len(interface.list_sessions(USER, limit=50)) >= min(count, 50)

        def revoke_old() -> int:
            return interface.revoke_sessions(USER, before=now - (1 - OLDEST) * 86400)

        def revoke_all() -> int:
            return interface.revoke_sessions(USER)

        found["sign in"] = _each(sign_in, link, before=side.seed)
        found["touch"] = _each(lambda: side.browser.get("/read_one"), link, before=long_ago)
        found["list a page of 50"] = _each(page, link)
        members = link.ask("ZCARD", index)
        found[f"end the oldest {OLDEST:.0%}"] = _each(revoke_old, link, repeated=1)
        assert link.ask("ZCARD", index) == members - int(count * OLDEST)
        found["end all"] = _each(revoke_all, link, repeated=1)
        assert link.ask("ZCARD", index) == 0
        assert link.ask("DBSIZE") <= REPEATED
        link.ask("FLUSHALL")
    return found


def _each(
    action: Callable[[], object],
    link: Link,
    *,
    before: Callable[[], object] | None = None,
    repeated: int = REPEATED,
) -> dict[str, Any]:
    """Return the median of an action, its round trips, and the longest command of them all."""
    times = []
    link.ask("SLOWLOG", "RESET")
    sent = 0
    for _ in range(repeated):
        if before is not None:
            before()
        with counted() as trips:
            begin = time.perf_counter()
            action()
            times.append(time.perf_counter() - begin)
        sent = len(trips)
    slow = [(entry[2], entry[3][0].decode()) for entry in link.ask("SLOWLOG", "GET", -1)]
    microseconds, command = max((each for each in slow if each[1] != "SLOWLOG"), default=(0, ""))
    return {
        "seconds": median(times),
        "round_trips": sent,
        "longest": microseconds / 1e6,
        "command": command,
    }


@contextmanager
def counted() -> Iterator[list[None]]:
    """Count what redis-py sends: a command or a pipeline at a time."""
    trips: list[None] = []
    original = AbstractConnection.send_packed_command

    def send(*args: Any, **options: Any) -> Any:
        trips.append(None)
        return original(*args, **options)

    AbstractConnection.send_packed_command = send
    try:
        yield trips
    finally:
        AbstractConnection.send_packed_command = original


def memory_of_ending(count: int, server: Server) -> int:
    """Return how much Python needs at most to end so many sessions, in bytes."""
    app = ours(content(KEYS, EACH), EACH, server.url)
    interface: Any = app.session_interface
    with Link(server) as link:
        fill(link, count, USER)
    interface.list_sessions(USER, limit=1)
    # It slows everything down, so it is no part of what is timed.
    tracemalloc.start()
    assert interface.revoke_sessions(USER) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


# --------------------------------------------------------------------------- in one Redis


def of_redis(count: int, server: Server) -> dict[str, Any]:
    """Measure what so many sessions take in Redis, and what a request costs among them."""
    data = content(KEYS, EACH)
    found: dict[str, Any] = {"memory": {}}
    with Link(server) as link:
        blobs = Contender(Browser(flask_session(data, EACH, server.url)))
        blobs.seed()
        blob = link.ask("GET", f"fs:{blobs.browser.cookie}")

        def fill_blobs() -> None:
            for first in range(1, count + 1, 5000):
                link.ask("EVAL", FILL_BLOBS, 0, first, min(first + 4999, count), blob)

        for name, make in (
            ("flask_session", fill_blobs),
            ("anonymous", lambda: fill(link, count, "")),
            ("signed_in", lambda: fill(link, count, "#")),
        ):
            link.ask("FLUSHALL")
            empty = _used(link)
            make()
            found["memory"][name] = (_used(link) - empty) / count

        side = Contender(Browser(ours(data, EACH, server.url)))
        link.ask("CONFIG", "RESETSTAT")
        found["requests"] = {}
        for case in ("read_one", "set_one", "sign_in", "new_visitor"):
            if case in ("read_one", "set_one"):
                side.seed()
            for _ in range(100):
                side.request(case)
            found["requests"][case] = median(side.times)
            side.times.clear()
        stats = link.ask("INFO", "commandstats").decode().split()
        found["commands"] = sorted(
            line.partition(":")[0].removeprefix("cmdstat_").upper()
            for line in stats
            if line.startswith("cmdstat_") and "config" not in line and "client" not in line
        )
        link.ask("FLUSHALL")
    return found


def _used(link: Link) -> int:
    for line in link.ask("INFO", "memory").decode().splitlines():
        if line.startswith("used_memory:"):
            return int(line.partition(":")[2])
    raise AssertionError("no used_memory")


# --------------------------------------------------------------------------- what is shown


def tables_of_crowds(found: dict[str, Any]) -> list[Table]:
    """Return the tables of many sessions."""
    one = Table(
        "Sessions of one user: time, round trips, longest command in Redis",
        ["sessions", *next(iter(found["of_one_user"].values()))],
        notes=[
            (
                "Other requests wait no longer than the longest command; one of less than "
                f"{LONG} µs is not shown."
            )
        ],
    )
    for count, actions in found["of_one_user"].items():
        one.rows.append([count, *map(_action, actions.values())])
    needed = [f"{size / 1e6:.1f} MB for {count}" for count, size in found["memory"].items()]
    one.notes = [*one.notes, f"Python needs at most so much to end them: {', '.join(needed)}."]
    all_of_them = Table(
        f"Sessions in one Redis, of {KEYS} keys of {EACH} B: bytes per session, µs per request",
        [
            *("sessions", "Flask-Session", "ours, anonymous", "ours, signed in, with its index"),
            *("read one", "set one", "sign in", "new visitor"),
        ],
        notes=["The bytes are what Redis's memory grew by, all included."],
    )
    for count, got in found["of_redis"].items():
        cells = [*got["memory"].values(), *got["requests"].values()]
        all_of_them.rows.append([count, *map(figure, cells)])
        all_of_them.notes = [all_of_them.notes[0], _commands(got["commands"])]
    return [one, all_of_them]


def _commands(names: list[str]) -> str:
    return f"Commands of these requests, scripts included: {', '.join(names)}. None scans."


def _action(got: dict[str, Any]) -> str:
    seconds = got["seconds"]
    shown = f"{figure(seconds * 1000)} ms" if seconds < 1 else f"{figure(seconds)} s"
    trips = f"{got['round_trips']:,.0f} trip{'' if got['round_trips'] == 1 else 's'}"
    longest = f", {got['command']} {figure(got['longest'] * 1000)} ms" if got["longest"] else ""
    return f"{shown}, {trips}{longest}"


def main() -> None:
    with Server("redis7") as server:
        print(of_one_user(10_000, server))


if __name__ == "__main__":
    main()
