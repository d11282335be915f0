"""What each promise costs on a small session: commands that keep it beside those that do not.

Both are sent by the client that a URL makes, over one connection, in turn. What is measured is
processor time, of the application and of Redis. Run it as `python benchmarks promises`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from secrets import token_urlsafe
from statistics import median
from time import thread_time
from typing import Any

from bare import _COMMIT, _CREATE, _INDEX, INDEX, arguments, creation, digest
from contenders import BENCHMARKED, content
from flask_redis_session.client.url import connect
from frameworks import processor_time
from tables import Table, figure
from tests.support.servers import Server
from wsgi import HEADERS

#: What keeps a promise, what does not, and the promise. ``""``: it needs nothing otherwise.
ROWS = [
    ("load", "get", "keys apart, each written alone: `HGETALL` instead of `GET`"),
    ("script", "hset", "any script at all: one that does nothing instead of `HSET`"),
    ("commit", "save", "a save proves itself, all or nothing: instead of `HSET`, `PEXPIRE`"),
    ("create", "new", "expiry, secret and times at once: instead of `SET … EX`"),
    ("rotate", "commit", "a sign-in rotates the secret: instead of a usual save"),
    ("index", "", "log out everywhere: the user's index, in the same pipeline"),
    ("proof", "", "Redis does not know the secret: the cookie is read and hashed"),
]
ROUNDS, REPEATED = 25, 150
DAY = 86_400


def run(*, quick: bool = False) -> dict[str, Any]:
    """Return what each way costs the application and Redis, in microseconds."""
    with Server(BENCHMARKED) as server:
        ways = Ways(server).all()
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(5 if quick else ROUNDS):
            for name, send in ways.items():
                used, begin = processor_time(server), thread_time()
                for _ in range(REPEATED):
                    send()
                took = thread_time() - begin
                used = processor_time(server) - used
                times[name].append((took / REPEATED * 1e6, used / REPEATED * 1e6))
    middle = {
        name: [median(each) for each in zip(*found, strict=True)] for name, found in times.items()
    }
    # Each of these begins with a session of its own, whose making must not count.
    for name, less in (("index", "rotate"), ("rotate", "create")):
        middle[name] = [all_ - part for all_, part in zip(middle[name], middle[less], strict=True)]
    return middle


class Ways:
    """What is sent.

    :param server: to it.
    """

    def __init__(self, server: Server) -> None:
        self.client = connect(server.url)
        self.client.script_load(_COMMIT.text)
        self.client.script_load(_CREATE.text)
        self.client.script_load(_INDEX.text)
        self.empty = self.client.script_load("return ARGV[1]")
        self.content = content(3, 20)
        self.sid, self.secret = self.create()
        self.blob = b"x" * sum(len(name) + 20 for name in self.content)
        self.client.set("blob", self.blob)
        self.count = 0

    def all(self) -> dict[str, Callable[[], object]]:
        send, proof = self.client.execute_command, digest(self.secret)
        key, cookie = f"ours:{self.sid}", self.secret

        def save(*sets: Any) -> tuple[Any, ...]:
            return ("EVALSHA", _COMMIT.sha, 1, key, *arguments(proof, "", *sets))

        return {
            "get": lambda: send("GET", "blob"),
            "load": lambda: send("hgetall", key),
            "hset": lambda: send("HSET", "plain", "key0", self.value()),
            "script": lambda: send("EVALSHA", self.empty, 1, key, *save("key0", self.value())[4:]),
            "save": lambda: self.client.exchange_all(
                [("HSET", "plain", "key0", self.value()), ("PEXPIRE", "plain", DAY * 1000)]
            ),
            "commit": lambda: send(*save("key0", self.value())),
            "new": lambda: send("SET", token_urlsafe(32), self.blob, "EX", DAY),
            "create": self.create,
            "rotate": lambda: self.sign_in(is_indexed=False),
            "index": lambda: self.sign_in(is_indexed=True),
            "proof": lambda: digest(cookie),
        }

    def value(self) -> str:
        """Return one that is not there yet."""
        self.count += 1
        return f'"aaaaaaaaaaaaaaaaa{self.count % 10}"'

    def create(self) -> tuple[str, str]:
        sid, secret = token_urlsafe(16), token_urlsafe(32)
        sets = (part for name in self.content for part in (name, '"xxxxxxxxxxxxxxxxxx"'))
        words = creation(digest(secret), *sets)
        reply = self.client.execute_command("EVALSHA", _CREATE.sha, 1, f"ours:{sid}", *words)
        assert reply[0] == b"saved"
        return sid, secret

    def sign_in(self, *, is_indexed: bool) -> None:
        sid, secret = self.create()
        self.count += 1
        user = str(self.count % 1000)
        device = ("@user", user, "@agent", HEADERS["User-Agent"], "@ip", "127.0.0.1")
        words = arguments(digest(secret), digest(token_urlsafe(32)), *device, "user_id", user)
        commands = [("EVALSHA", _COMMIT.sha, 1, f"ours:{sid}", *words)]
        if is_indexed:
            index = (f"ours:user:{user}", sid, "add", INDEX, 100)
            commands.insert(0, ("EVALSHA", _INDEX.sha, 1, *index))
        *_, reply = self.client.exchange_all(commands)
        assert reply[0] == b"saved"


def tables(found: dict[str, Any]) -> list[Table]:
    """Return what each promise costs."""
    made = Table(
        "What each promise costs on 3 × 20 B: µs of the processor",
        ["promise", "application", "without it", "Redis", "without it"],
    )
    for kept, other, promise in ROWS:
        without = found[other] if other else (0.0, 0.0)
        pairs = zip(found[kept], without, strict=True)
        made.rows.append([promise, *(figure(each) for pair in pairs for each in pair)])
    return [made]


def main() -> None:
    for table in tables(run(quick="--quick" in sys.argv)):
        print(table.text())


if __name__ == "__main__":
    main()
