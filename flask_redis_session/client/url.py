"""What a URL says: where Redis is, and how it is reached."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from redis.cluster import REDIS_ALLOWED_KEYS
from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as LostConnection

from .cluster import cluster
from .options import MOST, credentials, options_of, refuse
from .retry import RetryLost
from .sentinel import sentinel
from .single import at_socket, embedded, single

_TLS = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}

_URL = re.compile(
    r"(?P<scheme>redis|rediss|valkey|valkeys|unix|embedded|(?:redis|rediss)\+(?:sentinel|cluster))://"
    r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(
    r"(?:\[(?P<six>[0-9A-Za-z:.%]+)\]|(?P<name>[^\[\]:@\s]*))(?::(?P<port>[0-9]{1,5}))?"
)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def connect(url: str, *, timeout: float = 1.0) -> Any:
    """Return a client of the server, the Sentinels' primary or the cluster that a URL names.

    No server is asked yet, but for a cluster, whose client asks for its slots when it is made, and
    for ``embedded://``, whose server is started or joined.

    :param url: as in ``SESSION_REDIS_URL``. Options in its query win over the defaults here.
    :param timeout: seconds that a server has for a connection, and for each reply. All Sentinels
        share one such time. A node of a cluster has a third: a command may meet a hanging node
        itself, then among those that are asked for the slots, and again.
    :raises SettingError: if the URL has no such form; the message says what to write.
    :raises redis.exceptions.RedisError: if a cluster or the embedded server does not answer.
    """
    return _recipe(url, timeout)()


def check_url(url: str) -> None:
    """Check a URL without a connection, and without a start of the embedded server.

    :param url: as in ``SESSION_REDIS_URL``.
    :raises SettingError: as :func:`connect` does.
    """
    _recipe(url, 1.0)


def reply_timeout(url: str, *, timeout: float = 1.0) -> float:
    """Return how long a client waits for each reply, in seconds.

    :param url: as in ``SESSION_REDIS_URL``; it has been checked.
    :param timeout: what holds if the URL says nothing.
    """
    _, _, query = url.strip().partition("?")
    return float(options_of(query, sentinel=True).get("socket_timeout", timeout))


def is_elsewhere(url: str) -> bool:
    """Tell whether a URL means a server that other processes have, and this one cannot join.

    :param url: as in ``SESSION_REDIS_URL``; it has been checked.
    """
    parts = _URL.fullmatch(url.strip())
    if parts is None or parts["scheme"] != "embedded" or parts["path"]:
        return False
    from flask_redis_session.embedded import runs_here  # noqa: PLC0415

    return not runs_here()


def _recipe(url: object, timeout: float) -> Callable[[], Any]:
    """Check the URL and return what makes its client."""
    parts = _URL.fullmatch(url.strip()) if isinstance(url, str) else None
    if parts is None:
        refuse(
            "write redis://HOST:PORT/DB, rediss://, unix:///PATH, redis+sentinel://HOST:PORT,"
            "HOST:PORT/SERVICE, redis+cluster://HOST:PORT,HOST:PORT or embedded://, and in it %23 "
            "for a #"
        )
    if _LONE_SURROGATE.search(parts[0]):
        refuse("holds a byte that is not UTF-8, or a lone surrogate")
    scheme, _, kind = parts["scheme"].partition("+")
    login, _, authority = parts["authority"].rpartition("@")
    path, query = parts["path"], parts["query"] or ""
    options = options_of(query, sentinel=kind == "sentinel")
    for name in ("socket_timeout", "socket_connect_timeout"):
        options.setdefault(name, timeout / 3 if kind == "cluster" else timeout)
    # What RESP3 has beyond RESP2 is of no use here, and redis-py takes longer to read it.
    options.setdefault("protocol", 2)
    # A request that needs its session needs a connection. redis-py 8 refuses the 101st at once,
    # which a worker with more greenlets or threads than that would tell as an outage.
    options.setdefault("max_connections", MOST)
    # redis-py 5 tries again for the errors of this list only.
    options |= {"retry": RetryLost(), "retry_on_error": [LostConnection]}
    options |= credentials(login, options)

    if scheme == "embedded":
        if parts["authority"] or path == "/":
            refuse("write embedded://, or embedded:///DIRECTORY with an absolute path")
        return embedded(unquote(path) or None, options)
    if scheme == "unix":
        if authority or len(path) < 2:
            refuse("a unix socket has an absolute path: unix:///run/redis.sock")
        return at_socket(unquote(path), options)
    if "@" in path + query:
        refuse("in a user name, a password and an option, write %2F for /, %3F for ?, %40 for @")
    hosts = [_host(text, 26379 if kind == "sentinel" else 6379) for text in authority.split(",")]
    return _over_network(_TLS[scheme], kind, hosts, path, options)


def _over_network(
    tls: bool, kind: str, hosts: list[tuple[str, int]], path: str, options: dict[str, Any]
) -> Callable[[], Any]:
    # A cluster's client of redis-py 5 cannot check the host name.
    if tls and (kind != "cluster" or "ssl_check_hostname" in REDIS_ALLOWED_KEYS):
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
    if kind and not all(host for host, _ in hosts):
        refuse(f"write the hosts as redis+{kind}://HOST:PORT,HOST:PORT")
    if not kind and len(hosts) > 1:
        refuse("several hosts need redis+sentinel:// or redis+cluster://")
    service, _, database = path[1:].partition("/") if kind == "sentinel" else ("", "", path[1:])
    if kind == "sentinel" and not service:
        refuse("name the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    if not re.fullmatch("[0-9]{0,9}", database):
        refuse("what follows the last slash is the number of a database")
    options.setdefault("db", int(database or 0))
    connection = SSLConnection if tls else Connection
    if kind == "sentinel":
        return sentinel(connection, hosts, unquote(service), options)
    if kind == "cluster":
        return cluster(connection, hosts, options)
    host, port = hosts[0]
    return single(connection, {**options, "host": host or "localhost", "port": port})


def _host(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        refuse("write a host as HOST:PORT or [IPV6]:PORT, and in a password %2F for /, %3F for ?")
    host = unquote(found["six"] or found["name"])
    try:
        # As the resolver will, which fails otherwise than a server does that is not there.
        host.encode("idna")
    except UnicodeError:
        refuse("a host's name has an empty part, or one of more than 63 characters")
    return host, int(found["port"] or port)
