"""The URL of a Redis server -> a client that fails fast and outlives a lost connection.

redis-py's own clients try again up to ten times, which takes seconds where a port is closed and
minutes where a server hangs. The clients made here wait for a server once, and try again only
where the server had closed the connection. No error and no log of theirs names a credential.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_plus

import redis
from redis.backoff import NoBackoff
from redis.cluster import REDIS_ALLOWED_KEYS, ClusterNode, RedisCluster
from redis.connection import (
    URL_QUERY_ARGUMENT_PARSERS,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from flask_redis_session.errors import SettingError

from .fast import LeanPool, LeanRedis
from .slot_refresh import SlotRefresh

SETTING = "SESSION_REDIS_URL"

_TLS = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}

_URL = re.compile(
    r"(?P<scheme>redis|rediss|valkey|valkeys|unix|embedded|(?:redis|rediss)\+(?:sentinel|cluster))://"
    r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(
    r"(?:\[(?P<six>[0-9A-Za-z:.%]+)\]|(?P<name>[^\[\]:@\s]*))(?::(?P<port>[0-9]{1,5}))?"
)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_FILES = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}
_TEXTS = {"ssl_ca_data", "ssl_cert_reqs", "ssl_ciphers", "ssl_password", "username", "password"}
_TEXTS |= {"client_name", "lib_name", "lib_version", "protocol"}
_SENTINEL_TEXTS = {"sentinel_username", "sentinel_password"}

#: Of the options that redis-py converts: a list of classes has no form in a URL, and ``timeout``
#: is for another kind of pool.
_NO_OPTIONS = {"retry_on_error", "timeout"}
_MAY_BE_0 = {"db", "health_check_interval"}

#: The greatest value of an option: redis-py's own default for ``max_connections``. As a timeout it
#: is 68 years; the operating system refuses one that is much longer, when it is first used.
_MOST = 2**31

#: From 6 on, a cluster's client has a ``Retry`` in the place of a number.
_MAJOR = int(redis.__version__.partition(".")[0])


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


class _RetryLost(Retry):
    """Tries once more where the server had closed the connection.

    Not where no answer came in time, nor where the server answered with a refusal: those are
    kinds of ``ConnectionError`` of their own, such as a wrong password or a server that loads.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1)
        self._lost: set[type[Exception]] = {LostConnection}

    def update_supported_errors(self, specified_errors: Any) -> None:
        super().update_supported_errors(specified_errors)
        self._lost.update(specified_errors)

    def call_with_retry(self, do: Any, fail: Any, *_: Any, **options: Any) -> Any:
        failures = 0
        while True:
            try:
                return do()
            except BaseException as error:  # noqa: PERF203
                failures += 1
                # An exchange that stopped before its reply leaves that on the way: were the
                # connection kept, the next command would take it, with another session in it, for
                # its own. Whatever may stop it, such as the exception of a handler of signals.
                if type(error) in self._lost or not isinstance(error, ResponseError):
                    fail(error, failures) if options.get("with_failure_count") else fail(error)
                if type(error) not in self._lost or failures > 1:
                    raise


class _Hidden(str):
    """A text that is not shown where the options of a connection are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"


def reply_timeout(url: str, *, timeout: float = 1.0) -> float:
    """Return how long a client waits for each reply, in seconds.

    :param url: as in ``SESSION_REDIS_URL``; it has been checked.
    :param timeout: what holds where the URL says nothing.
    """
    _, _, query = url.strip().partition("?")
    return float(_options(query, _SENTINEL_TEXTS).get("socket_timeout", timeout))


def is_elsewhere(url: str) -> bool:
    """Tell whether a URL means a server that other processes have, and this one cannot join.

    :param url: as in ``SESSION_REDIS_URL``; it has been checked.
    """
    parts = _URL.fullmatch(url.strip())
    if parts is None or parts["scheme"] != "embedded" or parts["path"]:
        return False
    from flask_redis_session.embedded import server as embedded  # noqa: PLC0415

    return not embedded.runs_here()


def _recipe(url: object, timeout: float) -> Callable[[], Any]:
    """Check the URL and return what makes its client."""
    parts = _URL.fullmatch(url.strip()) if isinstance(url, str) else None
    if parts is None:
        _refuse(
            "write redis://HOST:PORT/DB, rediss://, unix:///PATH, redis+sentinel://HOST:PORT,"
            "HOST:PORT/SERVICE, redis+cluster://HOST:PORT,HOST:PORT or embedded://, and in it %23 "
            "where a # is meant"
        )
    if _LONE_SURROGATE.search(parts[0]):
        _refuse("holds a byte that is not UTF-8, or a lone surrogate")
    scheme, _, kind = parts["scheme"].partition("+")
    login, _, authority = parts["authority"].rpartition("@")
    path, query = parts["path"], parts["query"] or ""
    options = _options(query, _SENTINEL_TEXTS if kind == "sentinel" else set())
    for name in ("socket_timeout", "socket_connect_timeout"):
        options.setdefault(name, timeout / 3 if kind == "cluster" else timeout)
    # What RESP3 has beyond RESP2 is of no use here, and redis-py takes longer to read it.
    options.setdefault("protocol", 2)
    # A request that needs its session needs a connection. redis-py 8 refuses the 101st at once,
    # which a worker with more greenlets or threads than that would tell as an outage.
    options.setdefault("max_connections", _MOST)
    # redis-py 5 tries again for the errors of this list only.
    options |= {"retry": _RetryLost(), "retry_on_error": [LostConnection]}
    options |= _credentials(login, options)

    if scheme == "embedded":
        if parts["authority"] or path == "/":
            _refuse("write embedded://, or embedded:///DIRECTORY with an absolute path")
        return _embedded(unquote(path) or None, options)
    if scheme == "unix":
        if authority or len(path) < 2:
            _refuse("a unix socket has an absolute path: unix:///run/redis.sock")
        return _single(UnixDomainSocketConnection, {**options, "path": unquote(path)})
    if "@" in path + query:
        _refuse("in a user name, a password and an option, write %2F for /, %3F for ?, %40 for @")
    hosts = [_host(text, 26379 if kind == "sentinel" else 6379) for text in authority.split(",")]
    return _over_network(_TLS[scheme], kind, hosts, path, options)


def _over_network(
    tls: bool, kind: str, hosts: list[tuple[str, int]], path: str, options: dict[str, Any]
) -> Callable[[], Any]:
    # A cluster's client of redis-py 5 cannot check the host name.
    if tls and (kind != "cluster" or "ssl_check_hostname" in REDIS_ALLOWED_KEYS):
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
    if kind and not all(host for host, _ in hosts):
        _refuse(f"write the hosts as redis+{kind}://HOST:PORT,HOST:PORT")
    if not kind and len(hosts) > 1:
        _refuse("several hosts need redis+sentinel:// or redis+cluster://")
    service, _, database = path[1:].partition("/") if kind == "sentinel" else ("", "", path[1:])
    if kind == "sentinel" and not service:
        _refuse("name the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    if not re.fullmatch("[0-9]{0,9}", database):
        _refuse("what follows the last slash is the number of a database")
    options.setdefault("db", int(database or 0))
    connection = SSLConnection if tls else Connection
    if kind == "sentinel":
        return _sentinel(connection, hosts, unquote(service), options)
    if kind == "cluster":
        return _cluster(connection, hosts, options)
    host, port = hosts[0]
    return _single(connection, {**options, "host": host or "localhost", "port": port})


def _refuse(problem: str) -> NoReturn:
    # Nothing of the URL is repeated: in a malformed one, any part may be part of a password.
    # For the same reason, no parser's error is shown with this one.
    raise SettingError(SETTING, problem) from None


def _options(query: str, further: set[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    parsers: dict[str, Any] = URL_QUERY_ARGUMENT_PARSERS
    known = (set(parsers) - _NO_OPTIONS) | _TEXTS | _FILES | further
    for pair in filter(None, query.split("&")):
        name, _, text = (unquote_plus(part) for part in pair.partition("="))
        if name not in known:
            near = get_close_matches(name, known, 1) or sorted(known)
            _refuse(f"an option after ? is unknown; known is: {', '.join(near)}")
        try:
            value = parsers.get(name, str)(text)
        except (TypeError, ValueError):
            _refuse(f"the option {name} has a value of the wrong type")
        if isinstance(value, int | float) and not (
            0 < value <= _MOST or (value == 0 and (value is False or name in _MAY_BE_0))
        ):
            _refuse(f"the option {name} is out of range")
        if name in _FILES and not _exists(value):
            _refuse(f"there is no file where the option {name} says")
        options[name] = _Hidden(value) if name == "ssl_password" else value
    return options


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        # It is too long to be a file's name, or in a directory that is closed to us.
        return False


def _credentials(login: str, options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Take the credentials out of the options, to where no ``repr`` of a pool shows them."""
    user, _, password = (unquote(part) for part in login.partition(":"))
    user = user or options.pop(f"{prefix}username", "")
    password = password or options.pop(f"{prefix}password", "")
    provider = UsernamePasswordCredentialProvider(user, password)
    return {"credential_provider": provider} if user or password else {}


def _host(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        _refuse("write a host as HOST:PORT or [IPV6]:PORT, and in a password %2F for /, %3F for ?")
    host = unquote(found["six"] or found["name"])
    try:
        # As the resolver will, which fails otherwise than a server does that is not there.
        host.encode("idna")
    except UnicodeError:
        _refuse("a host's name has an empty part, or one of more than 63 characters")
    return host, int(found["port"] or port)


def _check(connection: Any, options: dict[str, Any]) -> None:
    """Make a connection without connecting, so that an option that it refuses shows at once."""
    try:
        connection(**{name: options[name] for name in options if name != "max_connections"})
    except TypeError:
        _refuse("an option after ? does not go with this scheme; ssl_... is for rediss:// alone")
    except (RedisError, ValueError):
        _refuse("an option after ? has a value that redis-py refuses")


def _single(connection: Any, options: dict[str, Any]) -> Callable[[], Any]:
    _check(connection, options)
    return lambda: LeanRedis.from_pool(LeanPool(connection_class=connection, **options))


def _embedded(directory: str | None, options: dict[str, Any]) -> Callable[[], Any]:
    try:
        from flask_redis_session.embedded import server as embedded  # noqa: PLC0415
    except ImportError:
        _refuse("embedded:// needs Linux or macOS")
    embedded.server_binary()
    embedded.prepare(directory)
    make = _single(embedded.EmbeddedConnection, {**options, "directory": directory})

    def start() -> Any:
        try:
            embedded.start_or_join(directory)
        except OSError as error:
            raise LostConnection(str(error)) from error
        return make()

    return start


def _sentinel(
    connection: Any, hosts: list[tuple[str, int]], service: str, options: dict[str, Any]
) -> Callable[[], Any]:
    own = _credentials("", options, "sentinel_")
    _check(connection, options)
    own |= {name: options[name] for name in options if name.startswith(("socket_", "ssl_"))}
    own |= {"retry": _RetryLost(), "ssl": connection is SSLConnection}
    for name in ("socket_timeout", "socket_connect_timeout"):
        own[name] /= len(hosts)
    options["ssl"] = own["ssl"]
    make: Any = Sentinel
    return lambda: make(hosts, sentinel_kwargs=own, **options).master_for(service)


def _cluster(
    connection: Any, hosts: list[tuple[str, int]], options: dict[str, Any]
) -> Callable[[], Any]:
    _check(connection, options)
    if options.pop("db"):
        _refuse("a cluster has database 0 alone: leave the number out")
    del options["retry"], options["retry_on_error"]
    if dropped := set(options) - set(REDIS_ALLOWED_KEYS):
        _refuse(f"redis-py's cluster client takes no {', '.join(sorted(dropped))}")
    options["ssl"] = connection is SSLConnection
    if _MAJOR < 6:
        options["cluster_error_retry_attempts"] = 1
    else:
        options["retry"] = Retry(NoBackoff(), 1)
    node: Any = ClusterNode

    def make() -> Any:
        try:
            client = RedisCluster(startup_nodes=[node(*host) for host in hosts], **options)
        except RedisClusterException as error:
            raise LostConnection(str(error)) from error
        manager: Any = client.nodes_manager
        manager.initialize = SlotRefresh(manager.initialize)
        return client

    return make
