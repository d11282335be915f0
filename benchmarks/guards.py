"""What a guard costs Redis: ``python -m benchmarks.guards``.

The processor time of Redis for one commit that sets one key, by ``INFO cpu``, without and with a
guard. The ways take turns, and the median of the rounds counts.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from flask_redis_session.storage.commit import _COMMIT, Lifetime, commit_command, create_command
from flask_redis_session.storage.record import Binding, Changes
from flask_redis_session.storage.token import new_token
from tests.support.servers import Server

ROUNDS, COMMITS = 40, 4000
DAY = Lifetime(86400)
SIZES = {"20 B": 20, "1 KB": 1024}


def commands(client: Any, texts: dict[str, str]) -> dict[str, tuple[Any, ...]]:
    """Store a session for each way, and return the commit that is repeated on it.

    :param client: of the server.
    :param texts: the digest of each script that takes part, by what it is called.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for name, sha in texts.items():
        for size, length in SIZES.items():
            text = b'"' + b"x" * (length - 2) + b'"'
            for guards in ({}, {b"a": text}):
                if guards and name != "this":
                    continue
                token = new_token(permanent=False)
                key = f"s:{token.sid}".encode()
                create: Any = {"absolute": None, "token": token, "binding": Binding(None)}
                client.execute_command(*create_command(key, {b"a": text}, DAY, **create))
                commit: Any = {
                    "absolute": None,
                    "proof": token.proof,
                    "fresh": None,
                    "binding": None,
                }
                changes = Changes({b"a": text}, guards=guards)
                command = commit_command(key, changes, DAY, **commit)
                what = f"{name}, {size}, {'a guard' if guards else 'no guard'}"
                found[what] = (command[0], sha, *command[2:])
    return found


def processor_time(client: Any) -> float:
    """Return how much processor time a server has used, in microseconds."""
    about = client.info("cpu")
    return float(about["used_cpu_user"] + about["used_cpu_sys"]) * 1e6


def main(others: dict[str, str] | None = None) -> None:
    """Print a line for each way.

    :param others: further scripts to compare with, by what they are called.
    """
    with Server() as server:
        client = server.client()
        scripts = {"this": _COMMIT.text, **(others or {})}
        texts = {name: client.script_load(text) for name, text in scripts.items()}
        ways = commands(client, texts)
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, command in ways.items():
                began = processor_time(client)
                for _ in range(COMMITS // 500):
                    pipeline = client.pipeline(transaction=False)
                    for _ in range(500):
                        pipeline.execute_command(*command)
                    assert pipeline.execute()[-1][0] == b"saved"
                spent[way].append((processor_time(client) - began) / COMMITS)
        for way, times in spent.items():
            print(f"{way}: {median(times):.2f} µs of Redis, at least {min(times):.2f}")


if __name__ == "__main__":
    main()
