"""A cluster."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import redis

from .cost import Cost
from .ports import HOST
from .server import Server
from .waiting import NotReady, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self


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
