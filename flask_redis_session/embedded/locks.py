"""Locks of files, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_private(path: Path, flags: int = 0) -> int:
    """Open a file that is this user's alone, and make it if it is missing; follow no link."""
    return os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextmanager
def locked(path: Path, deadline: float) -> Iterator[None]:
    """Hold a lock.

    :param deadline: until when to wait for it, as ``time.monotonic`` tells.
    :raises OSError: if another process holds it for longer.
    """
    file = open_private(path)
    try:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise OSError(f"another process has held {path} for too long")
            time.sleep(0.01)
        yield
    finally:
        # Closing is not enough if the process forked meanwhile.
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Tell whether any process holds a lock."""
    file = open_private(path)
    try:
        free = _try_lock(file)
        if free:
            fcntl.flock(file, fcntl.LOCK_UN)
        return not free
    finally:
        os.close(file)
