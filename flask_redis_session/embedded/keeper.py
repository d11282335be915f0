"""Ends an embedded server when the process that started it ends, in whatever way that ends.

It also ends it if its directory is removed: whoever names that directory from then on starts
another server, and all are to share one.

``server.py`` runs this file as a process of its own, in the directory of the server, apart from
its own session, so that Ctrl-C in a terminal reaches the application alone. The standard input is
a pipe; its write end is the starter's. The arguments are the path of the directory, that of the
server's socket, a process group (0: none) with which the directory goes, and the command of the
server.

A signal on the death of the parent (``PR_SET_PDEATHSIG``) cannot replace the pipe: it
fires at the end of the *thread* that started the server, and only on Linux.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress

#: Seconds for the server to end on request, and for the rest of the process group to end.
PATIENCE = 10.0

#: Seconds between two looks at the directory.
PAUSE = 0.5


def keep(folder: str, socket: str, group: int, command: list[str]) -> None:
    """Run the server until it, standard input or its directory ends.

    :param folder: the current directory, by the name that others look for it.
    :param socket: the path of its unix socket.
    :param group: the process group with which the current directory goes, or 0.
    :param command: the server and its arguments.
    :raises BlockingIOError: if a server runs in this directory.
    """
    os.umask(0o077)
    running = os.open("running", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The starter waits for the end of this process and has no further child of ours to reap.
    if os.fork():
        os._exit(0)

    alive, held = os.pipe()
    server = os.fork()
    if server == 0:
        os.set_inheritable(held, True)
        os.set_inheritable(running, True)
        _end_with_parent()
        os.execv(command[0], command)  # noqa: S606
    os.close(held)
    while _is_there(folder, running):
        if select.select([0, alive], [], [], PAUSE)[0]:
            break
    else:
        # What has its name by now is another server's.
        group = 0

    # Without its socket, nobody joins a server that is about to end.
    with suppress(FileNotFoundError):
        os.unlink(socket)  # noqa: PTH108
    _end(server)
    with suppress(OSError):
        os.rmdir(os.path.dirname(socket))  # noqa: PTH106, PTH120
    os.close(running)
    if group:
        _remove_with(group)


def _is_there(folder: str, running: int) -> bool:
    """Tell whether a directory still has the file that we locked."""
    try:
        return os.path.samestat(os.stat(f"{folder}/running"), os.fstat(running))  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # The disk of a network may come back.
        return True


def _end_with_parent() -> None:
    """If the system can (Linux does), make the keeper's death end the server too."""
    with suppress(ImportError, OSError, AttributeError):
        from ctypes import CDLL  # noqa: PLC0415

        pr_set_pdeathsig = 1
        CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _end(server: int) -> None:
    os.kill(server, signal.SIGTERM)
    os.kill(server, signal.SIGCONT)
    deadline = time.monotonic() + PATIENCE
    while os.waitpid(server, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.01)


def _remove_with(group: int) -> None:
    """Remove the directory once the process group is gone, if that is soon.

    If it is not, its next server goes on with the data; what is left after all, the next
    application of this user removes.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            import shutil  # noqa: PLC0415

            shutil.rmtree(os.getcwd(), ignore_errors=True)  # noqa: PTH109
            return
        except PermissionError:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    keep(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
