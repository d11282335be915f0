from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from flask_redis_session.client.library import library_of
from flask_redis_session.client.options import Hidden
from flask_redis_session.client.url import check_url, connect
from flask_redis_session.errors import SettingError
from tests.support.servers import (
    Certificates,
    Cluster,
    SentinelSet,
    Server,
    Servers,
    free_port,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds within which every failure here must have shown; redis-py's own clients take longer.
BOUND = 3.0


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSet]:
    """A primary, its replica and three sentinels."""
    with SentinelSet(down_after=60_000) as sentinels:
        yield sentinels


def _options(client: Any) -> dict[str, Any]:
    return dict(client.connection_pool.connection_kwargs)


def _failure(client: Any, *words: Any) -> tuple[Exception, float]:
    """Run a command that must fail; return its exception and the seconds that it took."""
    began = time.monotonic()
    with pytest.raises((redis.RedisError, redis.exceptions.RedisClusterException)) as failure:
        client.execute_command(*(words or ("GET", "key")))
    return failure.value, time.monotonic() - began


# --------------------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", ("localhost", 6379, 0)),
        ("redis:///2", ("localhost", 6379, 2)),
        ("redis://:6380", ("localhost", 6380, 0)),
        ("redis://example.org", ("example.org", 6379, 0)),
        ("redis://example.org:6380/3", ("example.org", 6380, 3)),
        ("redis://example.org/?db=4", ("example.org", 6379, 4)),
        ("redis://example.org/1?db=4", ("example.org", 6379, 4)),
        ("redis://[::1]:6380/1", ("::1", 6380, 1)),
        ("redis://[::1]", ("::1", 6379, 0)),
        ("redis://[fe80::1%25eth0]/1", ("fe80::1%eth0", 6379, 1)),
        ("valkey://example.org:6380/3", ("example.org", 6380, 3)),
        ("  redis://example.org/3\n", ("example.org", 6379, 3)),
    ],
)
def test_host_port_and_database_are_read_from_the_url(
    url: str, expected: tuple[str, int, int]
) -> None:
    """Each of host, port and database may be left out; an IPv6 address is in brackets."""
    client = connect(url)
    options = _options(client)

    assert expected == (options["host"], options["port"], options["db"])
    assert issubclass(client.connection_pool.connection_class, Connection)


@pytest.mark.parametrize("url", ["rediss://example.org", "valkeys://example.org"])
def test_tls_checks_certificate_and_host_name(url: str) -> None:
    """Over rediss:// the server's certificate and its name are checked, with any redis-py."""
    client = connect(url)
    connection = SSLConnection(**_options(client))

    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    assert connection.check_hostname
    assert "CERT_REQUIRED" == connection.cert_reqs.name


def test_an_unchecked_certificate_has_no_checked_host_name() -> None:
    """``ssl_cert_reqs=none`` turns off the check of the name too, as one needs the other."""
    connection = SSLConnection(**_options(connect("rediss://example.org?ssl_cert_reqs=none")))

    assert not connection.check_hostname


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///run/redis.sock", ("/run/redis.sock", 0)),
        ("unix:///run/redis.sock?db=2", ("/run/redis.sock", 2)),
        ("unix:///run/my%20redis%2Fa.sock", ("/run/my redis/a.sock", 0)),
        ("unix://user:word@/run/redis@home.sock", ("/run/redis@home.sock", 0)),
    ],
)
def test_a_unix_socket_is_named_by_its_path(url: str, expected: tuple[str, int]) -> None:
    """unix:// takes an absolute path, percent-encoded or not."""
    client = connect(url)
    options = _options(client)

    assert expected == (options["path"], options.get("db", 0))
    assert issubclass(client.connection_pool.connection_class, UnixDomainSocketConnection)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://example.org", None),
        ("redis://@example.org", None),
        ("redis://:word@example.org", ("word",)),
        ("redis://user:word@example.org", ("user", "word")),
        ("redis://user@example.org", ("user", "")),
        ("redis://us%3Aer:w%2F%3F%23%40%25rd@example.org", ("us:er", "w/?#@%rd")),
        ("redis://:w:rd@example.org", ("w:rd",)),
        ("redis://user:w@rd@example.org", ("user", "w@rd")),
        ("redis://example.org?username=user&password=w%40rd", ("user", "w@rd")),
        ("unix://user@/run/redis.sock?password=word", ("user", "word")),
        ("redis+sentinel://user:word@a,b/service", ("user", "word")),
    ],
)
def test_credentials_are_percent_decoded(url: str, expected: tuple[str, ...] | None) -> None:
    """A user name and a password may hold any character, percent-encoded."""
    provider = _options(connect(url)).get("credential_provider")

    assert expected == (provider and provider.get_credentials())


def test_options_of_the_url_win() -> None:
    """What the query says replaces a default of this package."""
    url = (
        "redis://example.org?socket_timeout=7.5&socket_connect_timeout=2&client_name=shop"
        "&health_check_interval=0&max_connections=9&socket_keepalive=yes&retry_on_timeout=yes"
    )
    client = connect(url, timeout=1)
    options = _options(client)

    assert (7.5, 2.0) == (options["socket_timeout"], options["socket_connect_timeout"])
    assert ("shop", True, 0) == (
        options["client_name"],
        options["socket_keepalive"],
        options["health_check_interval"],
    )
    assert 9 == client.connection_pool.max_connections
    assert options["retry_on_timeout"]


@pytest.mark.parametrize("url", ["redis://example.org", "unix:///run/redis.sock"])
def test_the_timeout_bounds_connecting_and_each_reply(url: str) -> None:
    """Without options, the timeout of the call is that of both."""
    options = _options(connect(url, timeout=0.5))

    assert (0.5, 0.5) == (options["socket_timeout"], options["socket_connect_timeout"])


@pytest.mark.parametrize("query", ["", "?decode_responses=yes"])
def test_replies_are_bytes(valkey: Server, query: str) -> None:
    """A client leaves replies as bytes, and a URL cannot change that."""
    if query:
        with pytest.raises(SettingError, match="unknown"):
            connect(valkey.url + query)
    else:
        client = connect(valkey.url)
        client.set("key", "value")

        assert b"value" == client.get("key")


# --------------------------------------------------------------------------- malformed

MALFORMED = [
    ("", "redis://HOST"),
    ("localhost", "redis://HOST"),
    ("localhost:6379", "redis://HOST"),
    ("http://localhost", "redis://HOST"),
    ("Redis://localhost", "redis://HOST"),
    ("redis:localhost", "redis://HOST"),
    ("unix+sentinel://h/s", "redis://HOST"),
    ("redis+other://h/s", "redis://HOST"),
    ("redis://h#1", "%23"),
    ("redis://h:port", "HOST:PORT"),
    ("redis://h:0", "HOST:PORT"),
    ("redis://h:65536", "HOST:PORT"),
    ("redis://h:-1", "HOST:PORT"),
    ("redis://h: 6379", "HOST:PORT"),
    ("redis://h:6379:6380", "HOST:PORT"),
    ("redis://::1", "[IPV6]:PORT"),
    ("redis://[::1", "[IPV6]:PORT"),
    ("redis://h h", "HOST:PORT"),
    ("redis://h/one", "number of a database"),
    ("redis://h/-1", "number of a database"),
    ("redis://h/1/2", "number of a database"),
    ("redis://h/²", "number of a database"),
    ("redis://h?db=one", "db"),
    ("redis://h?db=-1", "db"),
    ("redis://h,i", "redis+sentinel://"),
    ("redis://h?socket_timout=1", "socket_timeout"),
    ("redis://h?colour=1", "client_name"),
    ("redis://h?retry_on_error=TimeoutError", "unknown"),
    ("redis://h?socket_timeout=soon", "socket_timeout"),
    ("redis://h?socket_timeout=0", "socket_timeout"),
    ("redis://h?socket_timeout=-1", "socket_timeout"),
    ("redis://h?socket_timeout=nan", "socket_timeout"),
    ("redis://h?socket_connect_timeout=inf", "socket_connect_timeout"),
    ("redis://h?max_connections=-1", "max_connections"),
    ("redis://h?protocol=9", "option"),
    ("redis://h?ssl_ca_certs=/", "rediss://"),
    ("rediss://h?ssl_ca_certs=/no/such/file", "ssl_ca_certs"),
    ("rediss://h?ssl_certfile=/no/such/file", "ssl_certfile"),
    ("rediss://h?ssl_cert_reqs=maybe", "value"),
    (
        "rediss://h?ssl_cert_reqs=CERT_NONE",
        "ssl_cert_reqs has one of the values required, optional",
    ),
    ("redis://h?sentinel_password=p", "unknown"),
    ("unix://", "unix:///run/redis.sock"),
    ("unix:///", "unix:///run/redis.sock"),
    ("unix://run/redis.sock", "unix:///run/redis.sock"),
    ("unix:///run/redis.sock?ssl_cert_reqs=none", "option"),
    ("redis+sentinel://h:26379", "service"),
    ("redis+sentinel://h:26379/", "service"),
    ("redis+sentinel:///service", "redis+sentinel://HOST"),
    ("redis+sentinel://h,,i/service", "redis+sentinel://HOST"),
    ("redis+sentinel://h/service/one", "number of a database"),
    ("redis+sentinel://h/service/1/2", "number of a database"),
    ("redis+sentinel://h/service?ssl_cert_reqs=none", "rediss://"),
    ("redis+cluster://", "redis+cluster://HOST"),
    ("redis+cluster://h/1", "database 0"),
    ("redis+cluster://h?db=1", "database 0"),
    ("redis+cluster://h/one", "number of a database"),
    ("redis+cluster://h?health_check_interval=9", "health_check_interval"),
    ("rediss+cluster://h?ssl_ciphers=any", "ssl_ciphers"),
    ("embedded://data", "embedded:///DIRECTORY"),
    ("embedded:///", "embedded:///DIRECTORY"),
    ("embedded://user:word@", "embedded:///DIRECTORY"),
]


@pytest.mark.parametrize(("url", "told"), MALFORMED)
def test_a_malformed_url_says_what_to_write(url: str, told: str) -> None:
    """Every URL of no known form is an error that names the setting and the form."""
    with pytest.raises(SettingError) as error:
        connect(url)

    assert "SESSION_REDIS_URL" == error.value.setting
    assert told in str(error.value)


@pytest.mark.parametrize("url", [None, 6379, b"redis://localhost"])
def test_a_url_of_another_type_says_what_to_write(url: Any) -> None:
    """A URL that is no text is the same error."""
    with pytest.raises(SettingError, match="redis://HOST"):
        connect(url)


@pytest.mark.parametrize(("url", "told"), MALFORMED)
def test_a_url_can_be_checked_alone(url: str, told: str) -> None:
    """``check_url`` refuses what ``connect`` refuses."""
    with pytest.raises(SettingError):
        check_url(url)


def test_a_check_asks_no_server() -> None:
    """``check_url`` passes a good URL also if nothing listens, be it a cluster's."""
    for scheme in ("redis", "redis+cluster"):
        check_url(f"{scheme}://127.0.0.1:{free_port()}")


# --------------------------------------------------------------------------- secrecy


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:Hunter2/x@h",
        "redis://user:Hunter2?x@h",
        "redis://user:Hunter2#x@h",
        "redis://user:12/Hunter2@h",
        "redis://user:12?Hunter2=1@h",
        "redis://user:x?Hunter2@h",
        "redis://user:x@h/Hunter2",
        "redis://user:Hunter2@h:port",
        "redis://user:Hunter2@h:6379/one",
        "redis://user:Hunter2@h?colour=1",
        "redis://user:Hunter2@[h",
        "redis://user:[Hunter2]@h:0",
        "redis://user:Hunter2:h",
        "redis://h?password=x&Hunter2=y",
        "redis://h?password=x&db=Hunter2",
        "user:Hunter2@h",
        "Hunter2",
        "unix://user:Hunter2@run/redis.sock",
        "embedded://:Hunter2@",
        "redis+sentinel://:Hunter2@h",
        "redis+sentinel://h?sentinel_password=Hunter2",
        "redis+cluster://:Hunter2@h/1",
        "rediss://h?ssl_password=Hunter2&ssl_cert_reqs=maybe",
    ],
)
def test_a_malformed_url_is_not_repeated(url: str) -> None:
    """No part of the URL is in the error or in one chained to it: any may be of a password."""
    with pytest.raises(SettingError) as error:
        connect(url)
    texts = []
    each: BaseException | None = error.value
    while each is not None:
        texts.append(f"{each} {each!r}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)

    assert "unter2" not in " ".join(texts)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:Hunter2@127.0.0.1:{port}",
        "unix://user:Hunter2@/run/no/such.sock",
        "redis+sentinel://user:Hunter2@127.0.0.1:{port}/s?sentinel_password=Hunter2",
        "rediss+sentinel://user:Hunter2@127.0.0.1:{port}/s?ssl_password=Hunter2",
        "redis+cluster://user:Hunter2@127.0.0.1:{port}",
        "rediss://user:Hunter2@127.0.0.1:{port}?ssl_password=Hunter2",
    ],
)
def test_a_failure_shows_no_credential(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the error of a failed connection, nor a log, nor the client's repr holds one."""
    caplog.set_level(logging.DEBUG)
    shown = ""
    try:
        client = connect(url.format(port=free_port()))
        shown = f"{client!r} {client.connection_pool!r}"
        client.get("key")
    except redis.RedisError as error:
        shown += f"{error} {error!r} {error.__context__!r} {error.__context__}"

    assert "onnect" in shown
    assert "Hunter2" not in shown + caplog.text


def test_a_wrong_password_is_not_shown(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    """A server's refusal of credentials is an error that does not hold them."""
    caplog.set_level(logging.DEBUG)
    with Server(password="right") as server:
        error, _ = _failure(connect(f"redis://:Hunter2@127.0.0.1:{server.port}"))

    assert isinstance(error, redis.AuthenticationError)
    assert "Hunter2" not in f"{error} {error!r} {caplog.text}"


# --------------------------------------------------------------------------- bounded failure


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{port}",
        "unix:///run/no/such.sock",
        "redis+sentinel://127.0.0.1:{port},127.0.0.1:{port}/service",
    ],
)
def test_a_refused_connection_fails_soon(url: str) -> None:
    """If nothing listens, a command fails in bounded time with a ConnectionError."""
    error, seconds = _failure(connect(url.format(port=free_port())))

    assert isinstance(error, redis.ConnectionError)
    assert seconds < BOUND


@pytest.mark.parametrize("url", ["url", "unix_url"])
@pytest.mark.one_server("is about the connections to one server")
def test_a_hanging_server_fails_soon(valkey: Server, url: str) -> None:
    """If a server hangs, a command fails in bounded time, over whatever connection."""
    client = connect(getattr(valkey, url))
    client.get("key")
    valkey.pause()
    try:
        old, old_seconds = _failure(client)
        new, new_seconds = _failure(connect(getattr(valkey, url)))
    finally:
        valkey.resume()

    assert isinstance(old, redis.TimeoutError)
    assert isinstance(new, redis.TimeoutError)
    assert old_seconds < BOUND
    assert new_seconds < BOUND


def test_a_full_queue_of_connections_fails_soon() -> None:
    """If a host does not even take the connection, a command fails in bounded time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        error, seconds = _failure(connect(f"redis://127.0.0.1:{port}"))
        for each in fill:
            each.close()

    assert isinstance(error, redis.TimeoutError)
    assert seconds < BOUND


def test_what_got_no_answer_is_not_sent_again() -> None:
    """A command without an answer in time is sent once: the time for a second is not there."""
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    while chunk := peer.recv(65536):
                        received.extend(chunk)
                        if b"INCR" not in chunk:
                            peer.sendall(b"+OK\r\n" * chunk.count(b"*"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        # Protocol 2: the greeting of the other one has a longer answer.
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}?protocol=2"
        error, _ = _failure(connect(url, timeout=1), "INCR", "key")
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)

    assert isinstance(error, redis.TimeoutError)
    assert 1 == received.count(b"INCR")


def test_hanging_sentinels_fail_soon(sentinels: SentinelSet) -> None:
    """With all sentinels hanging, a new connection fails in bounded time."""
    for sentinel in sentinels.sentinels:
        sentinel.pause()
    try:
        error, seconds = _failure(connect(sentinels.url))
    finally:
        for sentinel in sentinels.sentinels:
            sentinel.resume()

    assert isinstance(error, redis.ConnectionError)
    assert seconds < BOUND


def test_one_hanging_sentinel_is_passed_over(sentinels: SentinelSet) -> None:
    """If the first sentinel hangs, the next one is asked within the same command."""
    client = connect(sentinels.url)
    sentinels.sentinels[0].pause()
    try:
        client.set("key", "value")
    finally:
        sentinels.sentinels[0].resume()

    assert b"value" == client.get("key")


def test_a_cluster_that_is_down_fails_soon() -> None:
    """If no node of a cluster listens, making its client is a ConnectionError at once."""
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        connect(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")

    assert time.monotonic() - began < BOUND


def test_a_hanging_cluster_fails_soon(cluster: Cluster) -> None:
    """If all nodes of a cluster hang, commands and new clients fail in bounded time."""
    client = connect(cluster.url)
    client.set("key", "value")
    for node in cluster.nodes:
        node.pause()
    try:
        _, seconds = _failure(client)
        began = time.monotonic()
        with pytest.raises(redis.RedisError):
            connect(cluster.url)
        making = time.monotonic() - began
    finally:
        cluster.revive()

    assert seconds < BOUND
    assert making < BOUND


@pytest.mark.one_server("is about the connections to one server")
def test_a_server_that_is_no_cluster_is_said_to_be_none(valkey: Server) -> None:
    """redis+cluster:// with a server without cluster mode fails with words for it."""
    with pytest.raises(redis.ConnectionError, match=r"[Cc]luster mode is not enabled"):
        connect(f"redis+cluster://127.0.0.1:{valkey.port}")


# --------------------------------------------------------------------------- lost connections


def _connections(server: Server) -> int:
    return len(server.ask("CLIENT", "LIST", "TYPE", "normal").splitlines())


@pytest.mark.parametrize("how", ["CLIENT KILL", "idle timeout", "restart"])
@pytest.mark.one_server("is about the connections to one server")
def test_a_closed_connection_is_replaced_silently(valkey: Server, how: str) -> None:
    """A pooled connection that the server closed is not the user's trouble."""
    client = connect(valkey.url)
    client.set("key", "value")
    if how == "CLIENT KILL":
        valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    elif how == "restart":
        valkey.restart()
    else:
        valkey.ask("CONFIG", "SET", "timeout", "1")
        # The one that asks is new each time.
        wait_until(lambda: _connections(valkey) == 1, "the server closed the idle connection")
        valkey.ask("CONFIG", "SET", "timeout", "0")

    assert client.set("key", "again")
    assert b"again" == client.get("key")


@pytest.mark.parametrize("how", ["alone", "one piece", "pipeline"])
def test_a_connection_that_closes_on_a_command_is_replaced_once(how: str) -> None:
    """A command on whose arrival the server closes is sent once more, over a new connection."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    while chunk := peer.recv(65536):
                        if b"INCR" in chunk:
                            received.append(chunk)
                            if len(received) == 1:
                                break
                            peer.sendall(b":7\r\n")
                        else:
                            peer.sendall(b"+OK\r\n" * chunk.count(b"*"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = connect(f"redis://127.0.0.1:{listener.getsockname()[1]}?protocol=2")
        if how == "pipeline":
            answer = client.pipeline(transaction=False).incr("key").execute()[0]
        elif how == "one piece":
            answer = client.exchange_all([("INCR", "key")])[0]
        else:
            answer = client.incr("key")
        client.close()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)

    assert 7 == answer
    assert 2 == len(received)


def test_a_cluster_node_that_closed_its_connections_is_asked_again(cluster: Cluster) -> None:
    """A closed connection to a node of a cluster is replaced silently too."""
    client = connect(cluster.url)
    client.set("key", "value")
    for node in cluster.nodes:
        node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert b"value" == client.get("key")


def test_a_refusal_is_not_asked_for_twice() -> None:
    """A wrong password is tried once per command, though the error is a ConnectionError."""
    with Server(password="right") as server:
        _failure(connect(f"redis://:wrong@127.0.0.1:{server.port}"))
        errors = server.client().info("errorstats")

    assert {"count": 1} == errors["errorstat_WRONGPASS"]


class _Interrupt(BaseException):
    pass


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    "over",
    [
        "valkey",
        pytest.param("valkey in one piece", marks=pytest.mark.one_server("one server's client")),
        "sentinels",
    ],
)
def test_no_command_takes_the_reply_of_one_before(
    valkey: Server, sentinels: SentinelSet, over: str, interrupted: bool
) -> None:
    """A connection with an unread reply is dropped: else the next user would be shown it."""
    client = connect((sentinels if over == "sentinels" else valkey).url, timeout=1.5)
    client.set("key", "mine")

    def wait() -> None:
        if over == "valkey in one piece":
            client.exchange_all([("GET", "key"), ("BLPOP", "nothing", 3), ("GET", "key")])
        else:
            client.blpop("nothing", 3)

    def interrupt(*_: object) -> None:
        raise _Interrupt

    # The server sends the reply to BLPOP after three seconds, and everything later after that.
    if interrupted:
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(_Interrupt):
                wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    else:
        with pytest.raises(redis.TimeoutError):
            wait()

    assert b"mine" == client.get("key")


# --------------------------------------------------------------------------- real servers


def test_a_password_opens_a_server(servers: Servers) -> None:
    """The credentials of the URL are those that the server is given."""
    with Server(password="p@ss/w?rd#%") as server:
        url = f"redis://:{quote('p@ss/w?rd#%', safe='')}@127.0.0.1:{server.port}/3"
        client = connect(url)
        client.set("key", "value")

        assert 3 == client.client_info()["db"]


def test_options_for_tls_reach_the_server(certificates: Certificates, tmp_path: Path) -> None:
    """A private authority, a client's certificate and its encrypted key are options of the URL."""
    certificate, key = certificates.client
    locked = tmp_path / "locked key"
    subprocess.run(
        ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:w@rd", "-out", locked],
        check=True,
        capture_output=True,
    )
    with Server("redis7", tls=certificates) as server:
        url = (
            f"rediss://localhost:{server.port}?ssl_ca_certs={quote(str(certificates.authority))}"
            f"&ssl_certfile={quote(str(certificate))}"
        )
        plain = connect(f"{url}&ssl_keyfile={quote(str(key))}")
        encrypted = connect(f"{url}&ssl_keyfile={quote(str(locked))}&ssl_password=w%40rd")

        assert plain.ping()
        assert encrypted.ping()


def test_a_server_with_another_name_is_refused(certificates: Certificates) -> None:
    """A certificate that is not for the host of the URL is refused."""
    with Server("redis7", tls=certificates, tls_auth_clients="no") as server:
        url = f"rediss://127.0.0.2:{server.port}?ssl_ca_certs={certificates.authority}"
        server.ask("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
        error, _ = _failure(connect(url))

        assert "certificate verify failed" in str(error)
        assert connect(url + "&ssl_check_hostname=no").ping()


def test_sentinels_name_the_primary(sentinels: SentinelSet) -> None:
    """A Sentinel URL leads to the primary, with the credentials and database of the URL."""
    for server in sentinels.servers:
        server.ask("ACL", "SETUSER", "shop", "on", ">w@rd", "~*", "+@all")
    for sentinel in sentinels.sentinels:
        sentinel.ask("ACL", "SETUSER", "guide", "on", ">g@ide", "+@all")
    url = sentinels.url.replace("://", "://shop:w%40rd@")
    client = connect(f"{url}/2?sentinel_username=guide&sentinel_password=g%40ide")
    client.set("key", "value")

    def guided() -> bool:
        return any(b"user=guide" in each.ask("CLIENT", "LIST") for each in sentinels.sentinels)

    assert sentinels.primary.port == client.info("server")["tcp_port"]
    assert b"shop" == client.execute_command("ACL", "WHOAMI")
    assert 2 == client.client_info()["db"]
    assert guided()


def test_a_failover_is_followed() -> None:
    """When the sentinels have chosen another primary, the same client goes on with it."""
    with SentinelSet() as sentinels:
        client = connect(sentinels.url)
        client.set("key", "value")
        wait_until(lambda: sentinels.replica.ask("GET", "key"), "the replica has the key")
        old = sentinels.primary
        old.kill()

        def answers() -> bool:
            try:
                return bool(client.set("key", "again"))
            except redis.RedisError:
                return False

        wait_until(answers, "the client follows the failover", 30)

        assert old.port != client.info("server")["tcp_port"]


def test_a_cluster_takes_credentials(cluster: Cluster) -> None:
    """A cluster URL gives its credentials to each node, and its hosts are where it begins."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "shop", "on", ">w@rd", "~*", "+@all")
    client = connect(cluster.url.replace("://", "://shop:w%40rd@"), timeout=10)
    for number in range(20):
        client.set(f"key{number}", number)

    assert isinstance(client, redis.RedisCluster)
    assert all(b"user=shop" in node.ask("CLIENT", "LIST") for node in cluster.nodes)


def test_a_cluster_over_tls(certificates: Certificates) -> None:
    """rediss+cluster:// asks each node over TLS, with the options of the URL."""
    authority = certificates.authority
    arguments = ["--tls-cluster", "yes", "--cluster-require-full-coverage", "no"]
    with Server(
        "redis7", *arguments, tls=certificates, tls_auth_clients="no", cluster=True
    ) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(
            lambda: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"), "the cluster is well"
        )
        url = f"rediss+cluster://localhost:{server.port}"
        client = connect(f"{url}?ssl_ca_certs={authority}", timeout=10)

        assert client.set("key", "value")
        with pytest.raises(redis.ConnectionError):
            connect(url, timeout=10)


def test_a_client_goes_on_after_a_fork(valkey: Server) -> None:
    """A client made before a fork serves parent and child, each over a connection of its own."""
    client = connect(valkey.url)
    client.set("key", "value")
    child = os.fork()
    if child == 0:
        os._exit(0 if client.get("key") == b"value" else 1)
    _, status = os.waitpid(child, 0)

    assert 0 == status
    assert b"value" == client.get("key")


def test_what_is_hidden():
    """A text that is hidden among the options shows in no way of printing it."""
    secret = Hidden("precious")

    assert ["'***'", "***", "***", "***"] == [repr(secret), str(secret), f"{secret}", f"{secret:s}"]
    assert "precious" == secret[:]


def test_a_client_of_no_library():
    """A client that extends neither library is taken for one of redis-py's."""
    assert "redis" == library_of(object())
