"""The servers that the tests of one run share."""

from __future__ import annotations

from .cluster import Cluster
from .programs import CLUSTERS
from .server import Server


class Servers:
    """The servers of a test run by name, each started when it is first asked for."""

    def __init__(self) -> None:
        self._started: dict[str, Server | Cluster] = {}

    def get(self, name: str) -> Server | Cluster:
        """Return the running server or cluster of this name, emptied.

        :param name: a key of :data:`PROGRAMS` or :data:`CLUSTERS`.
        :raises Missing: if its program is not installed.
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
