"""redis-py or valkey-py: which of them a client is from, and what it raises."""

from __future__ import annotations

import importlib
from typing import Any


def library_of(client: object) -> str:
    """Return ``redis`` or ``valkey``: where a client's class comes from, or one that it extends."""
    for cls in type(client).__mro__:
        library = cls.__module__.partition(".")[0]
        if library in ("redis", "valkey"):
            return library
    return "redis"


def exceptions_of(library: str) -> Any:
    """Return the module of a library's exceptions."""
    return importlib.import_module(f"{library}.exceptions")


def failures_of(library: str) -> tuple[type[Exception], ...]:
    """Return what a client raises when Redis fails; the libraries share no root for all of it."""
    exceptions = exceptions_of(library)
    cluster = f"{library.capitalize()}ClusterException"
    names = (f"{library.capitalize()}Error", cluster)
    return (OSError, *(getattr(exceptions, name) for name in names if hasattr(exceptions, name)))
