"""A reply goes to the command that asked for it, wherever an exception comes in between.

The handler of a signal raises at any line: one that ends what takes too long, a Ctrl-C.
"""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from flask_redis_session.client.url import connect
from tests.support.interruption import unmeasured
from tests.support.servers import wait_until

pytestmark = pytest.mark.one_server("connections to one server")

PACKAGES = ("/redis/", "/flask_redis_session/", "/hiredis/")


class SoftTimeLimit(Exception):
    """What a handler of signals raises."""


def interrupted(action, error, after):
    """Call something, raise after so many lines of ours and of redis-py's, and tell whether."""
    left = after

    def trace(frame, event, _):
        nonlocal left
        if not any(package in frame.f_code.co_filename for package in PACKAGES):
            return None
        if event in ("line", "return"):
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise error
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except BaseException:
        if left > 0:
            raise
    finally:
        sys.settrace(before)
    return left <= 0


def plainly(client, key):
    """Send a command whose reply is taken as it comes."""
    return client.execute_command("hmget", key, "a")


def usually(client, key):
    """Send a command whose reply redis-py reads."""
    return [client.execute_command("HGET", key, "a")]


def pipelined(client, key):
    """Send a command in a pipeline."""
    pipeline = client.pipeline(transaction=False)
    pipeline.hget(key, "a")
    return pipeline.execute()


def in_one_piece(client, key):
    """Send commands in one piece: one whose reply is taken as it comes, and one of the others."""
    assert not client.is_traced
    (found,), again = client.exchange_all([("hmget", key, "a"), ("HGET", key, "a")])
    assert found == again
    return [found]


@pytest.fixture
def url(valkey):
    """A database in which alice and bob have a session each, with strangers in database 0."""
    for name in ("alice", "bob"):
        valkey.ask("HSET", name, "a", "a stranger")
        valkey.client(db=1).hset(name, "a", name)
    return f"{valkey.url.removesuffix('/0')}/1"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [SoftTimeLimit("soft"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("send", [plainly, usually, pipelined, in_one_piece])
# A connection takes many lines to be made, but where it is unsafe some of them in a row are.
@pytest.mark.parametrize(("connected", "step"), [(True, 1), (False, 7)])
def test_interrupted_anywhere(url, connected, step, send, error):
    """Whatever line of alice's command is the last, bob and she then have their own."""
    after, points = 1, 0
    while True:
        client = connect(url)
        if connected:
            assert send(client, "alice") == [b"alice"]
        if not interrupted(lambda client=client: send(client, "alice"), error, after):
            break
        points += 1
        after += step
        assert send(client, "bob") == [b"bob"], after
        assert send(client, "alice") == [b"alice"], after
        client.close()

    assert points > 50


#: Sends commands of many numbers while a signal handler raises every now and then.
TIMED = """
import random, signal, sys
from flask_redis_session.client.url import connect

class Soft(Exception):
    pass

def limit(*_):
    raise Soft

client, met = connect(sys.argv[1]), 0
numbers = [*range(3000)]
signal.signal(signal.SIGALRM, limit)
for _ in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
        for _ in range(100):
            if sys.argv[2] == "hmget":
                client.execute_command("hmget", "key", *numbers)
            elif sys.argv[2] == "one piece":
                client.exchange_all([("hmget", "key", *numbers), ("HGET", "key", 1)])
            else:
                client.pipeline(transaction=False).hmget("key", numbers).execute()
    except Soft:
        met += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
# Now and then it is met while an object is deleted, which Python ignores.
assert met > 100, met
assert client.execute_command("hmget", "key", "1") == [None]
"""


@pytest.mark.parametrize("how", ["hmget", "one piece", "pipeline"])
def test_signal_while_a_command_is_packed(valkey, how):
    """The process lives on if a signal handler raises while numbers are written as text."""
    command = [sys.executable, "-X", "faulthandler", "-c", TIMED, valkey.url, how]
    ended = subprocess.run(
        command, env=unmeasured(), capture_output=True, text=True, timeout=50, check=False
    )

    assert 0 == ended.returncode, ended.stderr[-2000:]


def test_lost_connection(valkey):
    """A connection that an exception took from the pool is closed, and its place is free again."""

    def clients():
        return len(valkey.ask("CLIENT", "LIST").splitlines())

    pool = connect(f"{valkey.url}?max_connections=2").connection_pool
    before = clients()
    for _ in range(20):
        connection = pool.get_connection()
        connection.connect()
        del connection
        # What is young is enough: of everything else there is much in a run of all tests.
        gc.collect(1)

    wait_until(lambda: clients() <= before + 1, "the server has noticed")
