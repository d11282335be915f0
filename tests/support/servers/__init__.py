"""Real servers for tests and benchmarks, started from packages on free ports of this machine.

>>> with Server("redis7", "--maxmemory", "10mb") as server:
...     server.client().ping()
True

A server ends with the process that started it, also if that one is killed (see ``reaper.py``).
"""

from .certificates import Certificates
from .cluster import Cluster
from .cost import Cost, Sent
from .link import Link
from .ports import HOST, free_port
from .programs import CLUSTERS, PROGRAMS, Missing
from .sentinel import SentinelSet
from .server import Server
from .shared import Servers
from .waiting import NotReady, wait_until

__all__ = [
    "CLUSTERS",
    "HOST",
    "PROGRAMS",
    "Certificates",
    "Cluster",
    "Cost",
    "Link",
    "Missing",
    "NotReady",
    "Sent",
    "SentinelSet",
    "Server",
    "Servers",
    "free_port",
    "wait_until",
]
