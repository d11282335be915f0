"""What a commit and a creation cost Redis, against GET and SET of a blob.

``python -m benchmarks.commits`` sends each command 100,000 times over 50 connections, to 10,000
sessions of three keys of 20 B, by ``redis-benchmark``. The commands take turns, and the processor
time of Redis is that of ``INFO cpu``. Those of 100 KB are sent 2,000 times. It takes half a minute.
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

ROUNDS, SENDERS, SESSIONS = 20, 50, 10_000
#: How often a command is sent in a round.
SENT, SENT_LARGE = 5000, 100
DAY = Lifetime(86400)
TEXT = "x" * 18
CONTENT = {name: f'"{TEXT}"'.encode() for name in (b"key0", b"key1", b"key2")}
LARGE = b'"' + b"x" * 99_998 + b'"'

#: What ``redis-benchmark`` replaces by a number of twelve digits.
RANDOM = "__rand_int__"

Commands = dict[str, tuple[Any, ...]]


def small_and_large() -> tuple[Commands, Commands]:
    """Return what is sent, by what it is called, and the same with a value of 100 KB."""
    token = new_token(permanent=False)
    key, blob = f"s:{RANDOM}".encode(), f"b:{RANDOM}"
    create: dict[str, Any] = {"absolute": None, "token": token, "binding": Binding(None)}
    commit: dict[str, Any] = {
        "absolute": None,
        "proof": token.proof,
        "fresh": None,
        "binding": None,
    }
    packed = msgspec.msgpack.encode({name.decode(): TEXT for name in CONTENT})
    small = {
        "GET": ("GET", blob),
        "SET": ("SET", blob, packed, "EX", 86400),
        "commit": commit_command(key, Changes({b"key0": CONTENT[b"key0"]}), DAY, **commit),
        "touch": commit_command(key, Changes(), DAY, **commit),
        "create": create_command(key, CONTENT, DAY, **create),
    }
    large = {
        "SET of 100 KB": ("SET", "large", LARGE, "EX", 86400),
        "a script that is given 100 KB and returns": ("EVAL", "return 1", 1, "large", LARGE),
        "commit of 100 KB": commit_command(
            b"s:%012d" % 0, Changes({b"key0": LARGE}), DAY, **commit
        ),
    }
    return small, large


def processor_time(client: Any) -> float:
    """Return how much processor time a server has used, in microseconds."""
    about = client.info("cpu")
    return float(about["used_cpu_user"] + about["used_cpu_sys"]) * 1e6


def fill(client: Any, ways: Commands) -> None:
    """Store the sessions and the blobs, and nothing else."""
    client.flushall()
    for first in range(0, SESSIONS, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(first, first + 1000):
            for name in ("create", "SET"):
                pipeline.execute_command(*(numbered(word, number) for word in ways[name]))
        pipeline.execute()


def numbered(word: Any, number: int) -> bytes:
    """Return a word of a command to the session of a number."""
    return _bytes(word).replace(RANDOM.encode(), b"%012d" % number)


def _bytes(word: object) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def send(server: Server, command: tuple[Any, ...], count: int, keys: int) -> None:
    """Send a command so many times, each time to one of so many keys."""
    program = shutil.which("redis-benchmark")
    assert program, "redis-benchmark is part of Debian's redis-tools"
    options = ("-h", HOST, "-p", server.port, "-n", count, "-c", SENDERS, "-r", keys, "-q")
    words = [*map(_bytes, (program, *options, *command))]
    subprocess.run(words, check=True, capture_output=True)


def measured(server: Server, client: Any, small: Commands, large: Commands) -> dict[str, float]:
    """Return what each command costs the server, in microseconds."""
    spent: dict[str, list[float]] = {name: [] for name in {**small, **large}}
    for _ in range(ROUNDS):
        for name, command in {**small, **large}.items():
            # A creation is sent to keys that are not there.
            is_new, count = name == "create", SENT_LARGE if name in large else SENT
            if is_new:
                client.flushall()
            before = processor_time(client)
            send(server, command, count, 10**12 if is_new else SESSIONS)
            spent[name].append((processor_time(client) - before) / count)
            if is_new:
                fill(client, small)
    return {name: median(times) for name, times in spent.items()}


def main(others: Commands | None = None) -> None:
    """Print what each command costs, and the ratios.

    :param others: further commands to compare with, by what they are called. A key has
        :data:`RANDOM` in it.
    """
    with Server("redis7") as server:
        client = server.client()
        for script in (_COMMIT, _CREATE):
            client.script_load(script.text)
        small, large = small_and_large()
        fill(client, small)
        commit = [numbered(word, 0) for word in small["commit"]]
        assert client.execute_command(*commit)[0] == b"saved"
        found = measured(server, client, {**small, **(others or {})}, large)
    both = found["GET"] + found["SET"]
    for name, each in found.items():
        ratio = "" if name in large else f", {each / both:.2f} of GET and SET"
        print(f"{name}: {each:.2f} µs of Redis{ratio}")


if __name__ == "__main__":
    main()
