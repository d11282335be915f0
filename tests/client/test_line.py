"""The line on which Redis says what has changed: whatever is odd on it ends it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import suppress
from math import inf

import pytest

from flask_redis_session.client.line import BACKLOG, MOST_AWAITED, MOST_BYTES, PATIENCE, Ask, Line
from flask_redis_session.client.stream import Garbled, Stream
from flask_redis_session.storage.kept import Book
from flask_redis_session.storage.shelf import Kept

HELLO = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
TIME = b"*2\r\n$10\r\n1764000000\r\n$6\r\n250000\r\n"
BEAT = HELLO + TIME
FIELDS = {b"@born": b"1", b"a": b"2"}
MAP = b"%2\r\n$5\r\n@born\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n2\r\n"


def changed(*sids: str) -> bytes:
    """Return what Redis pushes when keys have changed."""
    keys = b"".join(b"$%d\r\ns:%b\r\n" % (len(sid) + 2, sid.encode()) for sid in sids)
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n%b" % (len(sids), keys)


class Wire:
    """A line, and its other end."""

    def __init__(self, stale: float = 1.0) -> None:
        ours, self.server = socket.socketpair()
        ours.setblocking(False)
        self.book = Book(b"s:", 2**20)
        self.line = Line(ours, Stream(), self.book, stale, peer=None, named=None, look=lambda: None)

    def ask(self, sid: str = "a", sent: float | None = None) -> None:
        """Ask for a session, of which everything was loaded."""
        kept = Kept(FIELDS, None, inf, inf)
        now = time.monotonic() if sent is None else sent
        self.line.ask(
            Ask(
                b"s:" + sid.encode(),
                ("hgetall", b"s:" + sid.encode()),
                kept.size,
                now,
                lambda reply: self.book.answered(sid, kept, None, reply),
            )
        )

    def is_heard(self, after: float = 0.0) -> bool:
        """Tell whether the line is believed so long from now."""
        return self.line.is_heard(time.monotonic() + after)


@pytest.fixture(params=["poll", "peek"])
def wire(request, monkeypatch):
    """A line that nothing was heard on, by either way to tell whether something has come."""
    if request.param == "peek":
        monkeypatch.delattr(select, "poll")
    wire = Wire()
    yield wire
    wire.line.close()
    wire.server.close()


@pytest.fixture
def heard(wire):
    """A line whose first beat was answered, and on which a session is kept."""
    assert not wire.is_heard()
    wire.server.sendall(BEAT)

    assert wire.is_heard()

    wire.ask()
    wire.server.sendall(MAP)

    assert wire.is_heard()
    assert FIELDS == wire.book.shelf.take("a").fields

    return wire


def test_beat(heard):
    """HELLO and TIME go out at a third of the bound, and what they say counts from then."""
    sent = heard.server.recv(1000)

    assert 1 == sent.count(b"HELLO")
    assert 1764000000.25 == pytest.approx(time.monotonic() + heard.line.ahead, abs=0.5)
    assert heard.is_heard(0.3)
    assert heard.is_heard(0.9)
    assert b"HELLO" in heard.server.recv(1000)
    assert not heard.is_heard(1.01)


def test_changed(heard):
    """What has changed is dropped, other sessions and keys are not."""
    heard.server.sendall(changed("b", "user:23") + changed("elsewhere").replace(b"s:", b"x:"))

    assert heard.is_heard()
    assert heard.book.shelf.take("a")

    heard.server.sendall(changed("b", "a"))

    assert heard.is_heard()
    assert None is heard.book.shelf.take("a")


def test_order(heard):
    """A reply from before a change does not outlive it; one from after it counts."""
    heard.ask("b")
    heard.ask("c")
    heard.server.sendall(MAP + changed("b", "c") + MAP)

    assert heard.is_heard()
    assert None is heard.book.shelf.take("b")
    assert heard.book.shelf.take("c")


def test_nil(heard):
    """A push without keys is about all of them."""
    heard.server.sendall(b">2\r\n$10\r\ninvalidate\r\n_\r\n")

    assert heard.is_heard()
    assert None is heard.book.shelf.take("a")


def test_other_reply(heard):
    """A session is kept only if the line shows what the load has found."""
    heard.ask("a")
    heard.server.sendall(MAP.replace(b"a\r\n$1\r\n2", b"a\r\n$1\r\n3"))
    heard.is_heard()

    assert None is heard.book.shelf.take("a")


def test_forget(heard):
    """What this process writes to is dropped, and so is the reply to what it has asked before."""
    heard.ask("b")
    heard.ask("c")
    heard.line.forget({b"s:a", b"s:b"})
    heard.server.sendall(MAP + MAP)

    assert heard.is_heard()
    assert [False, False, True] == [bool(heard.book.shelf.take(sid)) for sid in "abc"]


@pytest.mark.parametrize(
    "piece",
    [
        b"-NOPERM this user has no permissions\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b"*1\r\n" * 1000,
        b">2\r\n$10\r\ninvalidate\r\n:1\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n*0\r\n",
        b">1\r\n$10\r\ninvalidate\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*0\r\n",
        MAP + MAP,
        b"\x00",
        None,
    ],
)
def test_odd(heard, piece):
    """Whatever is odd, and the end of the stream, drops everything, and is no error."""
    heard.ask("b")
    if piece is None:
        heard.server.close()
    else:
        heard.server.sendall(piece + b"\r\n")

    assert not heard.is_heard()
    assert heard.line.is_lost
    assert 0 == len(heard.book.shelf)
    assert not heard.is_heard()


def test_odd_beat(wire):
    """A server that says that it is no primary, or nothing of that, is left."""
    for beat in (
        BEAT.replace(b"master", b"slaves"),
        b"*0\r\n" + TIME,
        b"%0\r\n" + TIME,
        HELLO + b"*1\r\n$1\r\n1\r\n",
    ):
        other = Wire()
        other.is_heard()
        other.server.sendall(beat)

        assert not other.is_heard()
        assert other.line.is_lost

        other.line.close()
        other.server.close()


@pytest.mark.parametrize("count", [1000, 400_000])
def test_backlog(heard, count):
    """However much has waited, one request takes in a part of it only."""
    heard.server.settimeout(5)
    data = b"".join(changed(f"{number:022}") for number in range(count))
    ours = heard.line._sock
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**25)
    heard.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**25)
    sender = threading.Thread(target=lambda: _send(heard.server, data))
    sender.start()
    time.sleep(0.2)
    began = time.thread_time()
    heard.is_heard()
    taken = time.thread_time() - began
    is_lost = heard.line.is_lost
    heard.line.close()
    sender.join()

    assert is_lost == (len(data) > BACKLOG)
    assert taken < 0.1


def _send(server, data):
    with suppress(OSError):
        server.sendall(data)


def test_large_reply_is_no_backlog(heard):
    """What was asked for may be large."""
    fields = {b"@born": b"1", **{b"f%d" % n: b"x" * 1000 for n in range(500)}}
    kept = Kept(fields, None, inf, inf)
    heard.book.shelf._room = 2**24
    heard.line.ask(
        Ask(
            b"s:b",
            ("hgetall", b"s:b"),
            kept.size,
            time.monotonic(),
            lambda reply: heard.book.answered("b", kept, None, reply),
        )
    )
    reply = b"%%%d\r\n" % len(fields) + b"".join(
        b"$%d\r\n%b\r\n" % (len(word), word) for pair in fields.items() for word in pair
    )
    sender = threading.Thread(target=lambda: _send(heard.server, reply))
    sender.start()
    until = time.monotonic() + 5
    while heard.book.shelf.take("b") is None and time.monotonic() < until:
        heard.is_heard()
    sender.join()

    assert heard.book.shelf.take("b")


def test_split_everywhere(wire):
    """The stream may be cut at every byte."""
    wire.is_heard()
    wire.ask()
    data = BEAT + MAP + changed("x")
    for at in range(len(data)):
        wire.server.sendall(data[at : at + 1])
        wire.is_heard()

    assert wire.is_heard()
    assert wire.book.shelf.take("a")


def test_silent_server_is_left(heard):
    """If nothing is answered for a few times the bound, another line is opened."""
    heard.is_heard(0.5)
    heard.is_heard(1.5)

    assert not heard.line.is_lost

    heard.is_heard(0.5 + PATIENCE + 0.1)

    assert heard.line.is_lost


def test_not_too_much_is_asked(heard):
    """A server that answers nothing is not asked without an end."""
    for _ in range(MOST_AWAITED + 50):
        heard.ask("b")

    assert MOST_AWAITED == len(heard.line._awaited)


def test_partial_send(wire):
    """If only a part of a command can be sent, the line is lost."""
    wire.line._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    long = b"x" * 10_000_000
    wire.line.ask(Ask(b"s:a", ("hgetall", long), 1, time.monotonic(), lambda reply: None))

    assert wire.line.is_lost


def test_ask_while_another_thread_reads(heard):
    """A command that would have to wait is not sent."""
    with heard.line._lock:
        heard.ask("b")

    assert 0 == len(heard.line._awaited)


def test_not_too_many_bytes_are_asked_for(heard):
    """Beside one large reply no other is awaited."""
    for sid in ("b", "c"):
        heard.line.ask(Ask(b"s:b", ("hgetall", sid), MOST_BYTES, time.monotonic(), print))

    assert 1 == len(heard.line._awaited)


def test_forget_without_a_line(heard):
    """Of a line that is lost there is nothing to forget."""
    heard.line.lose()
    with heard.line._lock:
        heard.line.forget({b"s:a"})

    assert None is heard.book.shelf.take("a")


def test_send_to_nobody(heard):
    """If nothing can be sent any more, the line is lost."""
    heard.server.close()
    heard.ask("b")

    assert heard.line.is_lost


def test_send_is_interrupted(heard):
    """If an exception comes while a command is sent, a part of it may be on its way."""

    class Interrupted:
        def send(self, _):
            raise KeyboardInterrupt

        def close(self):
            sock.close()

    sock, heard.line._sock = heard.line._sock, Interrupted()
    with pytest.raises(KeyboardInterrupt):
        heard.ask("b")

    assert heard.line.is_lost
    assert not heard.line._lock.locked()


def test_push_of_another_kind(heard):
    """What nobody subscribed to is no news of a change."""
    heard.server.sendall(b">2\r\n$7\r\nmessage\r\n*1\r\n$1\r\na\r\n")

    assert not heard.is_heard()


def test_refusal(heard):
    """A refusal ends the line, which says what it was in one word."""
    heard.ask("b")
    heard.server.sendall(b"-NOPERM this user has no permissions\r\n")

    assert not heard.is_heard()
    assert "NOPERM" == heard.line.refusal


@pytest.mark.parametrize(
    ("names", "reply"), [((b"a", b"b"), [b"1"]), ((b"a",), {}), (None, [b"a", b"1"])]
)
def test_reply_of_another_form(names, reply):
    """A reply that cannot be that of the command is none."""
    book = Book(b"s:", 2**20)
    with pytest.raises(Garbled):
        book.answered("a", Kept(FIELDS, None, inf, inf), names, reply)


def test_nobody_waits_for_the_lock(heard):
    """While another thread reads the line, Redis is asked rather than waited."""
    with heard.line._lock:
        assert not heard.is_heard()

        heard.server.sendall(changed("a"))

        assert not heard.is_heard()

        heard.ask("b")

    assert heard.is_heard()
    assert None is heard.book.shelf.take("a")


def test_interrupted(heard, monkeypatch):
    """If an exception comes between what was received and what it says, everything is dropped."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(heard.line, "_take", interrupt)
    heard.server.sendall(changed("b"))
    with pytest.raises(KeyboardInterrupt):
        heard.is_heard()

    assert heard.line.is_lost
    assert not heard.line._lock.locked()


def test_lock_that_is_never_let_go(heard):
    """If an exception came before a lock was let go, no write waits for it for long."""
    heard.line._lock.acquire()
    heard.line.forget({b"s:b"})

    assert heard.line.is_lost
    assert 0 == len(heard.book.shelf)

    heard.line.close()


def test_lock_that_only_reads_meet(heard):
    """So it is if nobody writes: reads do not wait for it, and note how long it has been."""
    heard.line._lock.acquire()

    assert not heard.is_heard(0.1)
    assert not heard.is_heard(0.2)
    assert not heard.line.is_lost
    assert not heard.is_heard(1.2)
    assert heard.line.is_lost


def test_lock_that_is_busy_now_and_then(heard):
    """A lock that was free in between is no matter."""
    for after in (0.1, 0.9):
        with heard.line._lock:
            heard.is_heard(after)
        heard.is_heard(after + 0.1)

    assert not heard.line.is_lost


def test_forget_is_interrupted(heard, monkeypatch):
    """If an exception comes while keys are dropped, everything is."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(heard.book, "changed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        heard.line.forget({b"s:a"})

    assert heard.line.is_lost
    assert not heard.line._lock.locked()


def test_close_in_a_child(wire):
    """After a fork the lock may be held for ever by a thread that did not come along."""
    wire.line.pid = os.getpid() - 1
    with wire.line._lock:
        wire.line.close()

    assert wire.line._sock.fileno() == -1
