"""What a request costs at the server, exactly: commands, round trips, bytes, processor time.

And what a session takes there: the whole of it, and each field that is not the user's.
Run it as `python benchmarks/counts.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from contenders import BENCHMARKED, SIZES, content, flask_session, ours
from requests import CASES, WARM_UP, Contender
from tables import Table, figure
from wsgi import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Cost, Link, Server

SHOWN = [case for case in CASES if case not in ("sign_in_renewed", "set_to_same")]

#: Most bytes from a session of 1 MB: what a warm read of one key brings, what a set of one sends.
BARS = {"read_one": ("bytes_out", 2048), "set_one": ("bytes_in", 1843)}
BARRED = "1,000 × 1 KB"

#: How many requests the processor time is the mean of.
REPEATED = 50

SECRET = "@secret:" + "s" * 43
#: A session of three keys, signed in, as the hash holds it.
SIGNED_IN = {
    "@born": "1764000000.123",
    "@seen": "1764000100.001",
    "@idle": "86400",
    SECRET: "s" * 9,
    "@user": "23",
    "@signed": "1764000050.700",
    "@agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)",
    "@ip": "203.0.113.195",
    "user_id": "23",
    "key0": f'"{"x" * 18}"',
    "last": '{"n":0,"t":"xxxxxx"}',
}
WHY = {
    "@born": "the absolute lifetime, “signed in since”, and the proof that the session exists",
    "@seen": "when the next touch is due, “last seen”",
    "@idle": "the script moves the expiry without a load",
    SECRET: "the proof of the cookie, without the secret in Redis",
    "@user": "a save proves whose index the session is in",
    "@signed": "when that user signed in or was confirmed; the absolute lifetime counts from it",
    "@agent": "the list of a user's sessions names the browser",
    "@ip": "and where it signed in from",
}


def run(*, quick: bool = False) -> dict[str, Any]:
    """Count what each case costs both libraries, and what a session takes."""
    found: dict[str, Any] = {"requests": {}}
    with Server(BENCHMARKED) as server:
        for size, (keys, each) in SIZES.items():
            data = content(keys, each)
            sides = [
                Contender(Browser(app(data, each, server.url))) for app in (flask_session, ours)
            ]
            repeated = 5 if quick else REPEATED
            found["requests"][size] = {
                case: {side.name: counted(case, side, server, repeated) for side in sides}
                for case in SHOWN
            }
            server.ask("FLUSHDB")
        found["memory"] = {size: memory(size, server) for size in SIZES}
        found["fields"] = fields(server)
    return found


def counted(case: str, side: Contender, server: Server, repeated: int) -> dict[str, Any]:
    """Count one request of a kind, warm."""
    side.seed()
    for _ in range(WARM_UP):
        side.request(case)
    side.prepare(case)
    with server.cost() as cost:
        side.browser.get(f"/{case}")
    return {
        "commands": [name.upper() for name in cost.names],
        "round_trips": cost.round_trips,
        "bytes_in": cost.bytes_in,
        "bytes_out": cost.bytes_out,
        "cpu": _processor_time(case, side, server, cost, repeated),
    }


def _processor_time(case: str, side: Contender, server: Server, cost: Cost, requests: int) -> float:
    """Return how long Redis worked on the commands of a request, in microseconds."""
    sent = Counter(cost.names)
    scripted = Counter(each.name for each in cost.scripted)
    # Only a sign-in needs a session of its own, whose making must not count.
    stretch = 1 if case.startswith("sign_in") else requests
    total = 0.0
    with Link(server) as link:
        for _ in range(0, requests, stretch):
            side.prepare(case)
            before = _times(link)
            for _ in range(stretch):
                side.request(case) if stretch > 1 else side.browser.get(f"/{case}")
            after = _times(link)
            # What a script calls is part of its own time, and must not count twice.
            total += sum(
                (after[name] - before[name]) * sent[name] / (sent[name] + scripted[name])
                for name in sent
            )
    return total / requests


def _times(link: Link) -> Counter[str]:
    times: Counter[str] = Counter()
    for line in link.ask("INFO", "commandstats").decode().splitlines():
        name, _, figures = line.partition(":")
        if name.startswith("cmdstat_"):
            times[name.removeprefix("cmdstat_")] = int(figures.split("usec=")[1].split(",")[0])
    return times


# --------------------------------------------------------------------------- memory


def memory(size: str, server: Server) -> dict[str, int]:
    """Return what one session of a size takes in Redis, in bytes."""
    keys, each = SIZES[size]
    data = content(keys, each)
    taken = {"content": sum(len(key) for key in data) + keys * each}
    for app in (flask_session, ours):
        side = Contender(Browser(app(data, each, server.url)))
        side.seed()
        with Link(server) as link:
            (key,) = link.ask("KEYS", "*")
            taken[side.name] = link.ask("MEMORY", "USAGE", key, "SAMPLES", 0)
            link.ask("FLUSHDB")
    return taken


def fields(server: Server) -> dict[str, Any]:
    """Return what each field of ours takes in a session of three keys."""
    with Link(server) as link:

        def usage(held: dict[str, str]) -> tuple[int, str]:
            key = "session:" + "a" * 22
            link.ask("DEL", key)
            link.ask("HSET", key, *(part for item in held.items() for part in item))
            taken = link.ask("MEMORY", "USAGE", key, "SAMPLES", 0)
            return taken, link.ask("OBJECT", "ENCODING", key).decode()

        def packed(held: dict[str, str]) -> int:
            usage(held)
            return len(link.ask("DUMP", "session:" + "a" * 22))

        whole, encoding = usage(SIGNED_IN)
        # Uncompressed, a dump is the listpack itself: exact, while the allocator rounds up.
        link.ask("CONFIG", "SET", "rdbcompression", "no")
        without = {
            name: packed({other: SIGNED_IN[other] for other in SIGNED_IN if other != name})
            for name in WHY
        }
        dumped = packed(SIGNED_IN)
        users = {name: SIGNED_IN[name] for name in SIGNED_IN if name not in WHY}
        # One byte more than hash-max-listpack-value allows, in a value and in a name.
        long_agent = usage({**SIGNED_IN, "@agent": "x" * 65})
        in_hexadecimal = usage({**SIGNED_IN, "@secret:" + "0" * 64: "s" * 9})
        return {
            "whole": whole,
            "encoding": encoding,
            "users": usage(users)[0],
            "each": {name: dumped - taken for name, taken in without.items()},
            "long_agent": long_agent,
            "in_hexadecimal": in_hexadecimal,
        }


# --------------------------------------------------------------------------- what is shown


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of the counts."""
    made = []
    for size, cases in found["requests"].items():
        table = Table(
            f"{size}: what a request costs at the server",
            ["request", "commands", "round trips", "bytes in", "bytes out", "Redis CPU µs"],
        )
        for case, sides in cases.items():
            for name, count in sides.items():
                table.rows.append(
                    [
                        f"{CASES[case]}: {'Flask-Session' if name == 'flask_session' else name}",
                        " ".join(count["commands"]) or "–",
                        str(count["round_trips"]),
                        f"{count['bytes_in']:,}",
                        f"{count['bytes_out']:,}",
                        figure(count["cpu"]) if count["commands"] else "0",
                    ]
                )
        made.append(table)
    return [*made, _of_memory(found), _of_fields(found["fields"])]


def bars(found: dict[str, Any]) -> Table:
    """Return which bars are met."""
    made = Table("Bytes from and to a session of 1 MB", ["request", "bar", "found", ""])
    for case, (what, most) in BARS.items():
        count = found["requests"][BARRED][case]["ours"][what]
        met = "met" if count <= most else "**missed**"
        asked = f"{what.replace('_', ' ')} ≤ {most:,}"
        made.rows.append([f"{BARRED}, {CASES[case]}", asked, f"{count:,}", met])
    return made


def _of_memory(found: dict[str, Any]) -> Table:
    table = Table(
        "Memory of one session in Redis, in bytes",
        ["session", "content as JSON", "Flask-Session", "ours", "ours / F-S"],
        notes=["By `MEMORY USAGE`: the key, the value, and what Redis needs to find them."],
    )
    for size, taken in found["memory"].items():
        blob, own = taken["flask_session"], taken["ours"]
        cells = (f"{taken['content']:,}", f"{blob:,}", f"{own:,}", figure(own / blob))
        table.rows.append([size, *cells])
    return table


def _of_fields(found: dict[str, Any]) -> Table:
    bytes_of, encoding = found["long_agent"]
    hexadecimal, _ = found["in_hexadecimal"]
    table = Table(
        "What each field of ours takes, in bytes",
        ["field of a signed-in session of three keys", "bytes", "what for"],
        notes=[
            "The bytes of a field are exact; of the whole, Redis's allocator rounds them up.",
            (
                f"With values and names of at most 64 bytes the hash is a {found['encoding']} of "
                f"{found['whole']:,} bytes. One longer value, such as a user agent, makes it a "
                f"{encoding} of {bytes_of:,}; so would a secret's digest in hexadecimal "
                f"({hexadecimal:,}), which is why it is in base64url."
            ),
        ],
    )
    for name, taken in found["each"].items():
        shown = "@secret:…" if name == SECRET else name
        table.rows.append([f"`{shown}`", str(taken), WHY[name]])
    table.rows.append(["the user's three keys alone", str(found["users"]), ""])
    table.rows.append(["all of it", str(found["whole"]), ""])
    return table


def main() -> None:
    found = run()
    for table in [*tables(found), bars(found)]:
        print(table.text())


if __name__ == "__main__":
    main()
