"""What keeps a line open, and what it does if that cannot be."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading

import pytest

from flask_redis_session.client import dialling
from flask_redis_session.client.glance import glance_at
from flask_redis_session.client.stream import Stream
from tests.support.keeping import KeepingSite
from tests.support.servers import wait_until

pytestmark = pytest.mark.one_server("SESSION_KEEP is refused in a cluster")


@pytest.fixture
def site(valkey):
    """A site that keeps sessions."""
    return KeepingSite(valkey)


@pytest.fixture
def listener(site):
    """What keeps the line of that site open; it has one."""
    site.visitor(a=1)
    return site.kept.listener


def backend_of(site):
    """Return the sessions of a site."""
    return site.interface._any_backend()


def test_one_dial_at_a_time(site):
    """While a line is being opened, no other one is."""
    listener = site.kept.listener
    listener._pool = object()
    listener._dials[os.getpid()] = object()

    listener.listen()

    assert {os.getpid()} == listener._dials.keys()
    assert 0 == listener._dial_at


def test_no_thread(site, monkeypatch):
    """While the interpreter ends and no thread can be started, nothing is kept."""
    browser = site.browser()
    browser.sign_in(23)

    def refuse(_):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)

        assert {"user_id": 23} == browser.read()
        assert {} == site.kept.listener._dials

    site.kept.listener._dial_at = 0
    site.warm(browser)


def test_nothing_to_lose(site):
    """A failure before there is a line is none of its."""
    site.kept.listener.lose()

    assert None is site.line


def test_other_server_while_it_is_opened(listener):
    """If the data came from another server meanwhile, what the line says is not believed."""
    listener._peer = ("203.0.113.1", 6379)
    listener._dial()

    assert None is listener.line


def test_left_line(listener):
    """The end of a line that was left already does not end the next one."""
    left = listener.line
    listener._dial()
    listener._leave(left)

    assert listener.line is not None is not left
    assert left.is_lost


def test_refused_later(listener, caplog):
    """If Redis refuses what it once granted, one warning says so, and a minute passes."""
    for _ in range(2):
        listener._dial()
        line = listener.line
        line.refusal = "NOPERM"
        line.lose()
        with caplog.at_level(logging.WARNING, "flask_redis_session"):
            assert None is listener.line

    (warning,) = [record.message for record in caplog.records]
    assert "refuses a command (NOPERM). Grant the user CLIENT TRACKING and TIME" in warning
    assert listener._pause == 60


def test_greets_again(site, listener):
    """By either name that redis-py has for it, a greeting tells which server it reaches."""
    pool = backend_of(site).redis._client.connection_pool
    connection = pool.get_connection()
    for greet in ("on_connect", "on_connect_check_health"):
        if hasattr(connection, greet):
            listener._peer = None
            getattr(connection, greet)()

            assert listener.line.peer == listener._peer
    pool.release(connection)


def test_mistrust(site, listener):
    """A reply that belonged to another command ends what was kept, too."""
    assert listener.line is not None

    backend_of(site).redis.mistrust()

    assert None is listener.line


def test_any_write(site):
    """A command that is no script drops what it writes to, whichever of its words that is."""
    browser = site.visitor(a=1)
    backend_of(site).redis.call(("UNLINK", site.key(browser.sid).encode()))

    assert not site.believes(browser)


class Sent(socket.socket):
    """A socket whose command went out before the other end was closed."""

    def sendall(self, data, flags=0):
        """Nothing more can be sent."""


def test_hangs_up(listener, caplog, monkeypatch):
    """A proxy that ends the connection instead of a refusal is told of after the third time."""

    def hang_up(*_):
        raise dialling.HungUp("HELLO 3")

    monkeypatch.setattr("flask_redis_session.client.listener.dial", hang_up)
    with caplog.at_level(logging.WARNING, "flask_redis_session"):
        for times in range(1, 5):
            listener._dial()

            assert len(caplog.records) == (times >= 3)

    assert "refuses HELLO 3. Grant" in caplog.text


@pytest.mark.parametrize("word", ["BUSY", "WRONGTYPE", "MASTERDOWN", ""])
def test_refused_for_now(listener, caplog, word):
    """What Redis refuses for the moment is no matter of rights."""
    line = listener.line
    line.refusal = word
    line.lose()

    assert None is listener.line
    assert [] == caplog.records
    assert listener._pause < 60


class TestAgreement:
    """What is agreed upon before a line is used."""

    def test_end(self):
        """A server that closes the connection instead of an answer does not do that."""
        ours, server = socket.socketpair()
        server.close()
        with ours, pytest.raises(OSError):
            dialling._agree(ours, Stream(), ("HELLO", "3"))

    def test_reset(self):
        """It makes no difference how it is closed."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            server, _ = listening.accept()
            # What was not read turns the end into a reset.
            ours.sendall(b"x")
            server.recv(1, socket.MSG_PEEK)
            server.close()
            wait_until(lambda: select.select([ours], [], [], 0)[0], "it is reset")
            with Sent(fileno=ours.detach()) as sent, pytest.raises(dialling.HungUp):
                dialling._agree(sent, Stream(), ("CLIENT", "TRACKING", "ON"))

    def test_end_of_half_a_reply(self):
        """Nor does one that closes it within one."""
        ours, server = socket.socketpair()
        server.sendall(b"%1\r\n")
        server.shutdown(socket.SHUT_WR)
        with ours, server, pytest.raises(dialling.HungUp, match="HELLO 3"):
            dialling._agree(ours, Stream(), ("HELLO", "3"))

    def test_peer(self):
        """Which server a socket reaches may not be known, such as after its end."""
        ours, server = socket.socketpair()
        ours.close()
        server.close()

        assert None is dialling.peer_of(ours)
        assert None is dialling.peer_of(None)


class Encrypted(socket.socket):
    """A socket that refuses to look ahead, as one of TLS does."""

    def unwrap(self):
        raise NotImplementedError

    def recv(self, size, flags=0):
        if flags:
            raise ValueError("non-zero flags not allowed in calls to recv()")
        return super().recv(size)


def test_glance_at_tls(monkeypatch):
    """Where there is no poll, it looks ahead in the socket below TLS."""
    monkeypatch.setattr("flask_redis_session.client.glance.select.poll", None)
    ours, server = socket.socketpair()
    with Encrypted(fileno=ours.detach()) as sock, server:
        sock.setblocking(False)
        glance = glance_at(sock)

        assert not glance()

        server.sendall(b"x")

        assert glance()
        assert b"x" == sock.recv(1)
