"""Ends the servers of a test run when the run ends, in whatever way it ends.

A :class:`Reaper` starts this file as a process and writes what there is to end to its standard
input, a line each: ``process PID``, ``ended PID``, ``folder PATH``, ``removed PATH``. When the
process that started it is gone, what is left is killed and removed.

A signal on the death of the parent (``PR_SET_PDEATHSIG``) would not do: it fires at the end of the
*thread* that started the server, and only on Linux.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path


class Reaper:
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
                    [sys.executable, "-ISE", Path(__file__), str(self._owner)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    bufsize=0,
                )
            if self._process.stdin is None:
                raise RuntimeError("the reaper has no standard input")
            return self._process.stdin.fileno()

    def tell(self, what: str, value: object) -> None:
        os.write(self.pipe(), f"{what} {value}\n".encode())

    def close(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait()
            self._process = None


reaper = Reaper()
atexit.register(reaper.close)


def watch(parent: int) -> None:
    """Read what there is to end until the parent is gone, then end it."""
    processes: set[int] = set()
    folders: set[str] = set()
    pending = b""

    while True:
        if not select.select([0], [], [], 0.25)[0]:
            # The pipe's end alone says too little: a process that the run forked holds it open.
            if os.getppid() != parent:
                break
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            what, _, value = line.decode().partition(" ")
            if what == "process":
                processes.add(int(value))
            elif what == "ended":
                processes.discard(int(value))
            elif what == "folder":
                folders.add(value)
            elif what == "removed":
                folders.discard(value)

    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Ctrl-C is for the run; this process sees its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch(int(sys.argv[1]))
