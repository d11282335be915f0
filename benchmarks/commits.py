"""What a commit and a creation cost Redis, against GET and SET of a blob.

``python -m benchmarks.commits`` sends each command 100,000 times over 50 connections, to 10,000
sessions of three keys of 20 B, by ``redis-benchmark``. The commands take turns, and the processor
time of Redis is that of ``INFO cpu``.
"""

from __future__ import annotations

import shutil
import subprocess
from statistics import median
from typing import Any

import msgspec

from flask_redis_session.storage.commit import (
    _COMMIT,
    _CREATE,
    Lifetime,
    commit_command,
    create_command,
)
from flask_redis_session.storage.record import Binding, Changes
from flask_redis_session.storage.token import new_token
from tests.support.servers import HOST, Server

ROUNDS, SENT, SENDERS = 20, 5000, 50
SESSIONS = 10_000
DAY = Lifetime(86400, other=2_678_400)
TEXT = "x" * 18
CONTENT = {name: f'"{TEXT}"'.encode() for name in (b"key0", b"key1", b"key2")}

#: What ``redis-benchmark`` replaces by a number of twelve digits.
RANDOM = "__rand_int__"


def commands() -> dict[str, tuple[Any, ...]]:
    """Return what is sent, by what it is called; a key has a number of twelve digits in it."""
    token = new_token(permanent=False)
    key, blob = f"s:{RANDOM}".encode(), f"b:{RANDOM}"
    create: dict[str, Any] = {"absolute": None, "token": token, "binding": Binding(None)}
    commit: dict[str, Any] = {"absolute": None, "proof": token.proof, "fresh": None, "binding": None}
    one = Changes({b"key0": CONTENT[b"key0"]})
    packed = msgspec.msgpack.encode({name.decode(): TEXT for name in CONTENT})
    return {
        "GET": ("GET", blob),
        "SET": ("SET", blob, packed, "EX", 86400),
        "commit": commit_command(key, one, DAY, **commit),
        "touch": commit_command(key, Changes(), DAY, **commit),
        "create": create_command(key, CONTENT, DAY, **create),
    }


def processor_time(client: Any) -> float:
    """Return how much processor time a server has used, in microseconds."""
    about = client.info("cpu")
    return float(about["used_cpu_user"] + about["used_cpu_sys"]) * 1e6


def fill(client: Any, commands: dict[str, tuple[Any, ...]]) -> None:
    """Store the sessions and the blobs, and nothing else."""
    client.flushall()
    for first in range(0, max(SESSIONS,1000), 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(first, first + 1000):
            for name in ("create", "SET"):
                pipeline.execute_command(*(_numbered(word, number) for word in commands[name]))
        pipeline.execute()


def _numbered(word: Any, number: int) -> bytes:
    return _bytes(word).replace(RANDOM.encode(), b"%012d" % number)


def send(server: Server, command: tuple[Any, ...], sessions: int) -> None:
    """Send a command many times, each time to one of so many sessions."""
    program = shutil.which("redis-benchmark")
    assert program, "redis-benchmark is part of Debian's redis-tools"
    options = ("-h", HOST, "-p", server.port, "-n", SENT, "-c", SENDERS, "-r", sessions, "-q")
    words = [*map(_bytes, (program, *options, *command))]
    subprocess.run(words, check=True, capture_output=True)


def _bytes(word: object) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def measured(server: Server, client: Any, ways: dict[str, tuple[Any, ...]]) -> dict[str, float]:
    """Return what each command costs the server, in microseconds."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, command in ways.items():
            # A creation is sent to keys that are not there.
            is_new = name.startswith("create")
            if is_new:
                client.flushall()
            before = processor_time(client)
            send(server, command, 10**12 if is_new else SESSIONS)
            spent[name].append((processor_time(client) - before) / SENT)
            if is_new:
                fill(client, ways)
    return {name: median(times) for name, times in spent.items()}


def main(others: dict[str, dict[str, str]] | None = None) -> None:
    """Print what each command costs, and the ratios.

    :param others: further scripts to compare with: the name of a command, and the texts that may
        run in its place, by what they are called.
    """
    with Server("redis7") as server:
        client = server.client()
        for text in (_COMMIT.text, _CREATE.text):
            client.script_load(text)
        ways = commands()
        for name, texts in (others or {}).items():
            for other, text in texts.items():
                _, _, *rest = ways[name]
                ways[f"{name}, {other}"] = ("EVALSHA", client.script_load(text), *rest)
        fill(client, ways)
        found = measured(server, client, ways)
    both = found["GET"] + found["SET"]
    for name, each in found.items():
        print(f"{name}: {each:.2f} µs of Redis, {each / both:.2f} of GET and SET")


if __name__ == "__main__":
    main()
