"""What could be had at best: the commands of our sessions, sent by hand with bare redis-py.

It does what no request can do without: read the cookie, hash the secret, send the command, judge
the reply, decode what the view wants. It notices nothing, checks nothing else and serves only
these views.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from itertools import cycle
from secrets import token_urlsafe
from typing import Any

import orjson
import redis
from flask import Flask, Response, request

from contenders import DAY, NoSessions, text
from flask_redis_session.storage.commit import _COMMIT, _CREATE
from flask_redis_session.storage.record import mark
from flask_redis_session.storage.user_index import _INDEX

IDLE = int(DAY.total_seconds())
#: The kind of a session that is not permanent.
PASSING = "passing"
#: How long a user's index lives: the idle time and a touch interval, in milliseconds.
INDEX = (IDLE + 60) * 1000 + 1
OF_RECORD = ("@seen", "@idle", "@user", "@signed", "@own", "@permanent")


class NotOpen(Exception):
    """The cookie opens no session."""


class Hand:
    """Hand-written sessions: a hash each, with our layout.

    :param by_name: whether fields are asked for by name, as ours does for a large session.
    """

    def __init__(self, client: redis.Redis, *, by_name: bool) -> None:
        self.client = client
        self.by_name = by_name
        self.commit_sha = client.script_load(_COMMIT.text)
        self.create_sha = client.script_load(_CREATE.text)
        self.index_sha = client.script_load(_INDEX.text)

    def opened(self) -> tuple[str, str]:
        """Return the key and the digest of the secret."""
        sid, secret = request.cookies["session"].split(".")
        return f"ours:{sid}", digest(secret)

    def load(self, *fields: str) -> tuple[str, str, dict[Any, Any]]:
        key, proof = self.opened()
        proving = f"@secret:{proof}"
        if self.by_name and fields:
            names = ("@born", proving, *OF_RECORD, *fields)
            values: Any = self.client.hmget(key, names)
            born, secret = values[:2]
            held = dict(zip(fields, values[2 + len(OF_RECORD) :], strict=True))
        else:
            got: Any = self.client.hgetall(key)
            born, secret = got.get(b"@born"), got.get(proving.encode())
            held = {name: got.get(name.encode()) for name in fields} if fields else got
        if born is None or secret != mark(proof):
            raise NotOpen
        return key, proof, held

    def commit(self, key: str, proof: str, *sets: str | bytes) -> Any:
        """Send the script."""
        return self.client.evalsha(self.commit_sha, 1, key, *arguments(proof, "", *sets))


def digest(secret: str) -> str:
    return urlsafe_b64encode(sha256(secret.encode()).digest())[:43].decode()


def arguments(proof: str, fresh: str, *sets: str | bytes) -> tuple[Any, ...]:
    """Return the arguments of the commit script."""
    return (proof, str(IDLE), PASSING, "", f"0 0  {fresh}" if fresh else "", *sets)


def creation(proof: str, *sets: str | bytes) -> tuple[Any, ...]:
    """Return the arguments of the script that creates."""
    return (proof, str(IDLE), "", PASSING, "", *sets)


def bare(data: dict[str, Any], size: int, url: str) -> Flask:
    """Flask whose views speak to Redis themselves."""
    app = Flask("bare")
    client = redis.Redis.from_url(url)
    app.session_interface = NoSessions({})
    total = sum(len(orjson.dumps(value)) for value in data.values())
    hand = Hand(client, by_name=total > 4096)
    texts = cycle([text(size, "a"), text(size, "b")])
    users = cycle(range(1, 1001))
    ten = [key for key in data if key != "last"][:10]

    def untouched() -> str:
        return "0"

    def read_one() -> str:
        _, _, held = hand.load("key0")
        return str(len(orjson.loads(held["key0"])))

    def read_ten() -> str:
        _, _, held = hand.load(*ten)
        return str(sum(len(orjson.loads(held[key])) for key in ten))

    def set_one() -> str:
        hand.commit(*hand.opened(), "key0", orjson.dumps(next(texts)))
        return "1"

    def read_and_set_one() -> str:
        key, proof, held = hand.load("key0")
        before = len(orjson.loads(held["key0"]))
        hand.commit(key, proof, "key0", orjson.dumps(next(texts)))
        return str(before)

    def change_nested() -> str:
        key, proof, held = hand.load("last")
        value = orjson.loads(held["last"])
        value["n"] = 1 - value["n"]
        hand.commit(key, proof, "last", orjson.dumps(value))
        return "1"

    def set_to_same() -> str:
        _, _, held = hand.load("key1")
        stored = held["key1"]
        assert orjson.dumps(orjson.loads(stored)) == stored
        return "1"

    def sign_in() -> Response:
        key, proof, _ = hand.load()
        sid = key.partition(":")[2]
        secret = token_urlsafe(32)
        user = str(next(users))
        device = ("@user", user, "@agent", request.user_agent.string, "@ip", request.remote_addr)
        pipeline = client.pipeline(transaction=False)
        pipeline.evalsha(hand.index_sha, 1, f"ours:user:{user}", sid, "add", INDEX, 100)
        changes = (*device, "user_id", user)
        pipeline.evalsha(hand.commit_sha, 1, key, *arguments(proof, digest(secret), *changes))
        pipeline.execute()
        return handed_out(sid, secret)

    def new_visitor() -> Response:
        sid, secret = token_urlsafe(16), token_urlsafe(32)
        words = creation(digest(secret), "key0", orjson.dumps(next(texts)))
        client.evalsha(hand.create_sha, 1, f"ours:{sid}", *words)
        return handed_out(sid, secret)

    def iterate_all() -> str:
        _, _, held = hand.load()
        values = [orjson.loads(held[name]) for name in held if name[:1] != b"@"]
        return str(len(values))

    def handed_out(sid: str, secret: str) -> Response:
        response = Response("1")
        response.set_cookie("session", f"{sid}.{secret}", path="/", httponly=True)
        return response

    for view in (
        *(untouched, read_one, read_ten, set_one, read_and_set_one, change_nested, set_to_same),
        *(sign_in, new_visitor, iterate_all),
    ):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    app.add_url_rule("/sign_in_renewed", view_func=sign_in, endpoint="sign_in_renewed")
    return app
