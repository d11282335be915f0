"""What many sessions ask of Redis: processor, memory, replication, persistence.

docs/scale.md reckons with these figures. Run it as `python benchmarks/scale.py`, with `--quick` for
few sessions.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bare import PASSING
from contenders import BENCHMARKED, content, ours
from crowd import fill
from requests import Contender
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_redis_session.storage.commit import _COMMIT
from flask_redis_session.storage.user_index import _INDEX
from tests.support.servers import HOST, Link, Server, wait_until

KEYS, EACH = 3, 20
SESSIONS = 1_000_000
REQUESTS = 2000
CONNECTIONS = 1000
#: Commands that redis-benchmark sends, over so many connections.
SENT, SENDERS = 200_000, 50
#: The share of the sessions that expire at the same time.
EXPIRING = 0.5
#: Redis leaves expired keys where they are less than a tenth of all (``active-expire-effort``).
LEFT = 0.1

#: What is written is also replicated and appended to a file, once a second to the disk.
DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec", "--repl-backlog-size", "64mb")

#: What INFO calls the figures of a request.
PROCESSOR = ("used_cpu_user", "used_cpu_sys")
REPLICATED = "master_repl_offset"
APPENDED = "aof_current_size"


def info(link: Link, section: str = "everything") -> dict[str, str]:
    """Return what INFO says."""
    lines = link.ask("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure everything."""
    count = SESSIONS // 50 if quick else SESSIONS
    found: dict[str, Any] = {"sessions": count}
    with ExitStack() as stack:
        primary = stack.enter_context(Server(BENCHMARKED, *DURABLE))
        follow = ("--replicaof", HOST, str(primary.port))
        replica = stack.enter_context(Server(BENCHMARKED, *follow))
        wait_until(lambda: _is_synchronous(replica), "the replica follows")
        found["requests"] = dict(of_requests(primary, 200 if quick else REQUESTS))
        found["per_second"] = dict(at_most(primary, SENT // 20 if quick else SENT))
    with Server(BENCHMARKED) as server:
        found["connection"] = of_a_connection(server)
        found["crowd"] = of_a_crowd(server, count)
    return found


def _is_synchronous(replica: Server) -> bool:
    with Link(replica) as link:
        return info(link, "replication").get("master_link_status") == "up"


# --------------------------------------------------------------------------- requests


def of_requests(server: Server, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what requests of each kind cost the server."""
    data = content(KEYS, EACH)
    side = Contender(Browser(ours(data, EACH, server.url)))
    always = Contender(Browser(ours(data, EACH, server.url, SESSION_TOUCH_INTERVAL=0)))
    interface: Any = side.browser.app.session_interface
    serial = iter(range(1_000_000))

    def anonymous() -> None:
        side.seed()

    def signed_in() -> None:
        side.seed()
        side.browser.get("/sign_in_as/23")
        always.browser.cookie = side.browser.cookie

    def many_of_others() -> list[str | None]:
        cookies = []
        for _ in range(count):
            side.seed()
            cookies.append(side.browser.cookie)
        return cookies

    def warm(path: str, which: Contender = side) -> Callable[[], object]:
        for _ in range(20):
            which.browser.get(path)
        return lambda: which.browser.get(path)

    def new_visitor() -> None:
        side.browser.cookie = None
        side.browser.get("/new_visitor")

    with Link(server) as link:
        anonymous()
        yield "reads", _each(link, warm("/read_one"), count)
        yield "sets a key", _each(link, warm("/set_one"), count)
        signed_in()
        yield "reads, signed in, and is touched", _each(link, warm("/read_one", always), count)
        cookies = iter(many_of_others())

        def sign_in() -> None:
            side.browser.cookie = next(cookies)
            side.browser.get(f"/sign_in_as/u{next(serial)}")

        yield "signs in", _each(link, sign_in, count)
        yield "is a new visitor's", _each(link, new_visitor, count)
        yield "lists a page of 50", _each(link, _listing(interface, link), count // 10)
        users = iter(range(1_000_000))

        def end_all() -> None:
            assert interface.revoke_sessions(f"u{next(users)}") == 1

        yield "ends a user's sessions, of which there is one", _each(link, end_all, count)


def _listing(interface: Any, link: Link) -> Callable[[], object]:
    fill(link, 1000, "many")

    def listing() -> None:
        assert len(interface.list_sessions("many", limit=50)) == 50

    return listing


def _each(link: Link, request: Callable[[], object], count: int) -> dict[str, float]:
    """Return what a request costs the server, the mean of so many."""
    before, begin = info(link), time.perf_counter()
    for _ in range(count):
        request()
    after, took = info(link), time.perf_counter() - begin
    time.sleep(took)
    # What the server would have done in that time anyway.
    idle = _processor(info(link)) - _processor(after)
    return {
        "processor": (_processor(after) - _processor(before) - idle) * 1e6 / count,
        "replicated": (int(after[REPLICATED]) - int(before[REPLICATED])) / count,
        "appended": (int(after[APPENDED]) - int(before[APPENDED])) / count,
    }


def _processor(found: dict[str, str]) -> float:
    return sum(float(found[name]) for name in PROCESSOR)


def at_most(server: Server, count: int) -> Iterator[tuple[str, float]]:
    """Yield how many commands a second one server carries out, by ``redis-benchmark``."""
    with Link(server) as link:
        fill(link, 1000, "many")
        fill(link, 1, "#")
        for script in (_COMMIT, _INDEX):
            link.ask("SCRIPT", "LOAD", script.text)
    sid, digest, user = f"{1:022}", f"{1:043}", "ours:user:1"
    commit = _COMMIT.on(f"ours:{sid}".encode(), digest, 86400, PASSING, "", "")
    commands: dict[str, tuple[Any, ...]] = {
        "HGETALL of 3 keys": ("HGETALL", f"ours:{sid}"),
        "the script that sets a key": (*commit, "key0", '"aaaaaaaaaaaaaaaaaa"'),
        "the script that touches": commit,
        "the script that moves it in its index": _INDEX.on(user.encode(), sid, "touch", 86_460_000),
        "ZREVRANGE of a page of 50": ("ZREVRANGE", "ours:user:many", "0", "49", "WITHSCORES"),
    }
    program = shutil.which("redis-benchmark")
    assert program, "redis-benchmark is part of Debian's redis-tools"
    for name, command in commands.items():
        options = ("-h", HOST, "-p", str(server.port), "-n", str(count), "-c", str(SENDERS))
        with Link(server) as link:
            before = _processor(info(link))
            printed = subprocess.run(
                [program, *options, "--csv", *map(_text, command)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            spent = _processor(info(link)) - before
        rate = float(printed.splitlines()[-1].rsplit('","', 7)[-7])
        yield name, {"rate": rate, "processor": spent * 1e6 / count}


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


# --------------------------------------------------------------------------- a crowd


def of_a_connection(server: Server) -> float:
    """Return what a connection takes of the server's memory, in bytes."""
    with ExitStack() as stack:
        link = stack.enter_context(Link(server))
        before = int(info(link, "memory")["used_memory"])
        for _ in range(CONNECTIONS):
            stack.enter_context(Link(server)).ask("PING")
        return (int(info(link, "memory")["used_memory"]) - before) / CONNECTIONS


def of_a_crowd(server: Server, count: int) -> dict[str, float]:
    """Measure many signed-in sessions, each with its user: memory, snapshots, expiry."""
    found: dict[str, float] = {}
    with Link(server, timeout=600) as link:
        empty = int(info(link, "memory")["used_memory"])
        fill(link, count, "#")
        memory = info(link, "memory")
        found["bytes"] = (int(memory["used_memory"]) - empty) / count
        found["resident"] = int(memory["used_memory_rss"]) / count
        found |= _snapshot(server, link)
        found |= _synchronisation(server)
        found |= _expiry(link, int(count * EXPIRING))
    server.stop()
    begin = time.perf_counter()
    server.start(wait=False).wait_ready(600)
    found["load"] = time.perf_counter() - begin
    return found


def _snapshot(server: Server, link: Link) -> dict[str, float]:
    begin = time.perf_counter()
    link.ask("BGSAVE")
    wait_until(lambda: info(link, "persistence")["rdb_bgsave_in_progress"] == "0", "saved", 600)
    return {
        "snapshot": time.perf_counter() - begin,
        "fork": int(info(link, "stats")["latest_fork_usec"]) / 1e6,
        "file": (server.folder / "dump.rdb").stat().st_size,
    }


def _synchronisation(server: Server) -> dict[str, float]:
    begin = time.perf_counter()
    with Server(BENCHMARKED, "--replicaof", HOST, str(server.port)) as replica:
        wait_until(lambda: _is_synchronous(replica), "the replica has it all", 600)
        return {"synchronisation": time.perf_counter() - begin}


def _expiry(link: Link, expiring: int) -> dict[str, float]:
    """Let some sessions expire at once; return when they are gone, and how long a PING took."""
    at = int((time.time() + max(2, expiring / 20_000)) * 1000)
    for first in range(1, expiring + 1, 5000):
        link.ask("EVAL", _EXPIRE, 0, first, min(first + 4999, expiring), at)
    # A session and its index are two keys.
    lasting = int(link.ask("DBSIZE")) - 2 * expiring
    time.sleep(max(0, at / 1000 - time.time()))
    begin, longest = time.perf_counter(), 0.0
    while int(link.ask("DBSIZE")) > lasting / (1 - LEFT):
        asked = time.perf_counter()
        link.ask("PING")
        longest = max(longest, time.perf_counter() - asked)
        time.sleep(0.001)
    return {"expiring": expiring, "expiry": time.perf_counter() - begin, "longest": longest}


_EXPIRE = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('PEXPIREAT', 'ours:' .. string.format('%022d', i), ARGV[3])
  redis.call('PEXPIREAT', 'ours:user:' .. i, ARGV[3])
end
"""


# --------------------------------------------------------------------------- what is shown


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables."""
    requests = Table(
        "What a request costs Redis",
        ["a request that …", "processor µs", "bytes replicated", "bytes appended"],
        notes=[
            (
                f"Sessions of {KEYS} keys of {EACH} B, one request after the other: all of the "
                "server's processor time, for the network and for its append-only file too. It is "
                "more than under a load, because the server wakes up for each of them."
            )
        ],
    )
    for name, costs in found["requests"].items():
        requests.rows.append([name, *(figure(costs[key]) for key in costs)])
    rates = Table(
        "What one server carries out",
        ["command", "per second", "processor µs"],
        notes=[
            (
                f"Over {SENDERS} connections, by redis-benchmark on the same machine, with a "
                "replica and an append-only file."
            )
        ],
    )
    for name, got in found["per_second"].items():
        rates.rows.append([name, figure(got["rate"]), figure(got["processor"])])
    crowd = found["crowd"]
    many = Table(f"{found['sessions']:,} signed-in sessions, each with its user", ["what", "found"])
    many.rows = [
        ["memory per session with its index", f"{figure(crowd['bytes'])} B"],
        ["… resident, as the kernel counts it", f"{figure(crowd['resident'])} B"],
        ["a snapshot (BGSAVE)", f"{figure(crowd['snapshot'])} s, {figure(crowd['file'] / 1e6)} MB"],
        ["… for whose fork Redis stands still", f"{figure(crowd['fork'] * 1000)} ms"],
        ["a new replica has all of it after", f"{figure(crowd['synchronisation'])} s"],
        ["a start that loads the snapshot", f"{figure(crowd['load'])} s"],
        [
            f"{crowd['expiring']:,} sessions expired at once: all but a tenth are gone after",
            f"{figure(crowd['expiry'])} s",
        ],
        ["… meanwhile a PING took at most", f"{figure(crowd['longest'] * 1000)} ms"],
        ["memory per connection", f"{figure(found['connection'] / 1000)} KB"],
    ]
    return [requests, rates, many]


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
