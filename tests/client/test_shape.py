"""A reply whose form is not that of one to its command is a failure of the connection."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import valkey as valkey_library

from flask_redis_session import RevocationIncomplete, StoreUnavailable
from flask_redis_session.client.commands import Commands
from flask_redis_session.client.shape import is_odd
from flask_redis_session.client.url import connect
from tests.support.commandline import make, run
from tests.support.servers import HOST
from tests.support.webapp import Site

pytestmark = pytest.mark.one_server("replies of one server")

#: Replies of every form: a number, a status, a text, none, an empty list, lists, a nested list.
REPLIES = {
    "number": b":7\r\n",
    "status": b"+OK\r\n",
    "text": b"$3\r\nabc\r\n",
    "none": b"$-1\r\n",
    "empty": b"*0\r\n",
    "list": b"*1\r\n$1\r\nx\r\n",
    "pair": b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n",
    "nested": b"*2\r\n:0\r\n*1\r\n*1\r\n:1\r\n",
}


class Liar(socketserver.ThreadingTCPServer):
    """A server that gives the same reply to every command, but to a greeting."""

    daemon_threads = True
    allow_reuse_address = True
    reply = b""


class _Lies(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            greets = words[0].upper() in (b"CLIENT", b"HELLO", b"SELECT", b"AUTH")
            self.wfile.write(b"+OK\r\n" if greets else server.reply)


@pytest.fixture
def liar() -> Iterator[Liar]:
    """Such a server."""
    with Liar((HOST, 0), _Lies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(params=["url", "redis", "valkey"])
def client(request: pytest.FixtureRequest, liar: Liar) -> Any:
    """A client of it, of each kind."""
    port = liar.server_address[1]
    if request.param == "url":
        made: Any = connect(f"redis://{HOST}:{port}")
    else:
        library = {"redis": redis.Redis, "valkey": valkey_library.Valkey}[request.param]
        made = library(HOST, port, **({"protocol": 2} if request.param == "redis" else {}))
    yield made
    made.close()


@pytest.mark.parametrize("name", REPLIES)
def test_any_command(liar: Liar, client: Any, name: str) -> None:
    """Whatever the application asks for, an odd reply is a failure, and no other exception."""
    liar.reply = REPLIES[name]
    site = Site(None, redis=client)
    users = site.interface._any_backend().users
    sid = "A" * 22
    for ask in (
        lambda: users.list_sessions("23"),
        lambda: users.index_size("23") if name != "number" else site.interface.list_sessions(23),
        lambda: site.interface.revoke_sessions(23),
        lambda: site.interface.revoke_sessions(23, only=sid),
    ):
        with pytest.raises(StoreUnavailable):
            ask()
    site.send(f"session={sid}.{'B' * 43}", lambda: _read(), status=503)


def _read() -> dict[str, Any]:
    import flask

    return dict(flask.session)


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("command", ["count", "users", "list", "doctor", "revoke-all"])
def test_command_line(liar: Liar, client: Any, name: str, command: str) -> None:
    """So it is at the command line: the exit code is that of a failure."""
    liar.reply = REPLIES[name]
    arguments = {"list": ["23"], "revoke-all": ["--yes"]}.get(command, [])
    failed = run(Site(None, redis=client).app, command, *arguments, "--json", status=3)

    assert "error" in failed.out
    assert "Redis failed" in failed.error


@pytest.mark.parametrize("reply", ["x", None, [1], b"2"])
def test_wait(valkey: Any, reply: Any) -> None:
    """An odd reply to WAIT leaves it open whether the replicas have a revocation."""

    class Odd(redis.Redis):
        """A client whose WAIT means something else."""

    client = Odd(HOST, valkey.port)
    client.set_response_callback("WAIT", lambda *_, **__: reply)
    site = Site(valkey, redis=client, SESSION_REVOKE_WAIT=(1, 10))
    make(site.redis, 23, 2)

    with pytest.raises(RevocationIncomplete), site.app.app_context():
        site.interface.revoke_sessions(23)


def test_read_otherwise(valkey: Any) -> None:
    """What is read of a reply and is not there is a failure as well."""
    way = Commands(lambda: connect(valkey.url))
    with pytest.raises(StoreUnavailable):
        way.understood(lambda reply: reply["run_id"], {})


def test_page_that_is_no_pair() -> None:
    """A page is a cursor and what was found, and nothing else."""
    assert is_odd(("SCAN", 0), 7)
    assert is_odd(("SCAN", 0), [0])
    assert not is_odd(("SCAN", 0), [0, []])
