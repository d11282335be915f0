"""One server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import programs
from .certificates import Certificates
from .cost import Cost, Meter, turns
from .link import Link
from .ports import HOST, free_port
from .reaper import reaper
from .waiting import NotReady, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

# The shell says its number itself before it becomes the server, so no server ever runs that the
# reaper does not know of; if the reaper is gone, the write ends the shell by SIGPIPE.
_LAUNCH = 'echo "process $$"; exec "$@" >>"$0" 2>&1'


class Server:
    """One server on a free port of 127.0.0.1, with a folder of its own.

    Nothing is persisted unless the arguments ask for it, as in
    ``Server("valkey9", "--appendonly", "yes", "--appendfsync", "always")``.

    :param name: a key of :data:`programs.PROGRAMS`; ``None``: :data:`programs.default`.
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
        self.name = name or programs.default
        self.program = programs.program(self.name)
        self.arguments = arguments
        self.password = password
        self.tls = tls
        self.tls_auth_clients = tls_auth_clients
        self.cluster = cluster
        self.port = free_port(bus=cluster)
        self.folder = Path(tempfile.mkdtemp(prefix="frs-"))
        reaper.tell("folder", self.folder)
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
            stdout=reaper.pipe(),
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
        reaper.tell("ended", self._process.pid)

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
        reaper.tell("removed", self.folder)

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
        turns.start()
        try:
            with Meter(self, end) as meter:
                turned = self._turned()
                meter.start()
                yield cost
                cost.round_trips = self._turned() - turned
                meter.finish(cost)
        finally:
            turns.stop()

    def _turned(self) -> int:
        return turns.seen[str(self.port)] + turns.seen[str(self.socket_path)]
