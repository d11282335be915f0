"""Ends the servers of a test run when the run ends, in whatever way it ends.

``servers.py`` starts this as a process of its own and writes what there is to end to its standard
input, a line each: ``process PID``, ``ended PID``, ``folder PATH``, ``removed PATH``. When the
process that started it is gone, what is left is killed and removed.

A signal on the death of the parent (``PR_SET_PDEATHSIG``) would not do: it fires at the end of the
*thread* that started the server, and only on Linux.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from contextlib import suppress


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
