"""What a soak reads of gunicorn's processes and of Redis while it goes on."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from tests.support.servers import Link

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.load.journal import Journal
    from tests.support.servers import Server

#: Seconds between two readings.
INTERVAL = 0.5

#: The name of the connections that read, which are not counted.
OURS = "gauges"


def workers(master: int) -> list[int]:
    """Return gunicorn's processes but the first."""
    with suppress(OSError):
        return [
            int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()
        ]
    return []


@dataclass(frozen=True)
class Process:
    """One process.

    :param resident: its memory in MB.
    :param descriptors: how many files and sockets it has open.
    :param sockets: those of them that are connected to Redis, by their local port.
    """

    resident: float
    descriptors: int
    sockets: frozenset[int]


def process(pid: int, ports: dict[str, int]) -> Process | None:
    """Look at a process; ``None``: it is gone.

    :param ports: the local port of each connection to Redis, by its inode.
    """
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        names = []
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                names.append(os.readlink(entry.path))  # noqa: PTH115
    except OSError:
        return None
    if not names:
        return None
    sockets = frozenset(ports[name] for name in names if name in ports)
    return Process(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(names), sockets)


def connections(port: int) -> dict[str, int]:
    """Return the local port of each connection to a port of this machine, by its inode."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, *_, inode = line.split()[:10]
        if int(remote.partition(":")[2], 16) == port:
            found[f"socket:[{inode}]"] = int(local.partition(":")[2], 16)
    return found


def lives(server: Server) -> dict[str, int]:
    """Return for how long each key is to live, in milliseconds; -1 for ever."""
    with Link(server) as link:
        link.ask("CLIENT", "SETNAME", OURS)
        cursor, keys = b"0", []
        while True:
            cursor, page = link.ask("SCAN", cursor, "COUNT", 1000)
            keys += page
            if cursor == b"0":
                break
        found = {key.decode(): link.ask("PTTL", key) for key in set(keys)}
        return {key: life for key, life in found.items() if life != -2}


@dataclass
class Reading:
    """What was there at one moment.

    :param processes: gunicorn's, the first of them left out.
    :param clients: how many connections Redis has.
    :param keys: how many keys; -1 if Redis was away.
    :param most_keys: how many there may be.
    """

    at: float
    processes: dict[int, Process]
    clients: int = -1
    keys: int = -1
    most_keys: int = 0

    @property
    def resident(self) -> float:
        """The memory of the largest process, in MB."""
        return max(each.resident for each in self.processes.values())


@dataclass
class Gauges:
    """Reads all the time while the block runs, by a thread of its own.

    :param passing: for how long a session lives that is left alone, in seconds.
    :param staying: for how long at most one lives that is used, likewise.
    :param steady: how many keys there may be besides.
    """

    server: Server
    master: int
    journal: Journal
    passing: float
    staying: float
    steady: int
    readings: list[Reading] = field(default_factory=list)
    #: Every process that was seen.
    seen: set[int] = field(default_factory=set)
    #: How many commands were sent over each connection that the first process has.
    masters: dict[str, set[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read_on(self) -> None:
        try:
            while not self._stop.wait(INTERVAL):
                self.read()
        except Exception as error:  # noqa: BLE001
            self.journal.accuse(f"the gauges stumbled: {error!r}")

    def read(self) -> None:
        """Read all gauges once."""
        ports = connections(self.server.port)
        found = {pid: process(pid, ports) for pid in workers(self.master)}
        processes = {pid: each for pid, each in found.items() if each is not None}
        if not processes:
            return
        reading = Reading(time.monotonic(), processes)
        self.seen |= set(processes)
        master = process(self.master, ports)
        inherited = master.sockets if master is not None else frozenset()
        self._look_for_shared(processes, inherited)
        with suppress(OSError, redis.ResponseError):
            self._ask(reading, inherited)
        self.readings.append(reading)

    def _look_for_shared(self, processes: dict[int, Process], inherited: frozenset[int]) -> None:
        owners: dict[int, int] = {}
        for pid, each in processes.items():
            for port in each.sockets - inherited:
                if port in owners:
                    self.journal.accuse(f"{pid} and {owners[port]} share a connection to Redis")
                owners[port] = pid

    def _ask(self, reading: Reading, inherited: frozenset[int]) -> None:
        with Link(self.server) as link:
            link.ask("CLIENT", "SETNAME", OURS)
            lines = link.ask("CLIENT", "LIST").splitlines()
        listed = [dict(pair.split(b"=", 1) for pair in line.split()) for line in lines]
        reading.clients = sum(1 for each in listed if each[b"name"] != OURS.encode())
        for each in listed:
            name = each[b"addr"].decode()
            if int(name.rpartition(":")[2]) in inherited:
                self.masters.setdefault(name, set()).add(each[b"tot-cmds"])
        now = time.monotonic()
        keys = lives(self.server)
        reading.keys = len(keys)
        reading.most_keys = self.steady + self._begun_since(now)
        if forever := [key for key, life in keys.items() if life == -1]:
            self.journal.accuse(f"without an expiry: {forever[:5]}")

    def _begun_since(self, now: float) -> int:
        """Return how many keys may be there of sessions that were begun lately."""
        passing = sum(at > now - self.passing for at in [*self.journal.passing])
        return passing + sum(at > now - self.staying for at in [*self.journal.staying])

    def part(self, first: float, last: float) -> list[Reading]:
        """Return a part of the readings, at least one: from 0.5 to 0.75 is the third quarter."""
        count = len(self.readings)
        begin = int(first * count)
        return self.readings[begin : max(begin + 1, int(last * count))]
