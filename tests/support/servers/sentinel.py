"""A primary, its replica and three sentinels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel as SentinelClient

from .ports import HOST
from .server import Server
from .waiting import wait_until

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self


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

    def cut_off(self, server: Server) -> None:
        """Part a server from the sentinels and from the others; a user of its own still gets in."""
        server.ask("ACL", "SETUSER", "default", "resetpass", ">nobody-else-knows")
        server.password = "nobody-else-knows"
        server.ask("CLIENT", "KILL", "USER", "default")

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
