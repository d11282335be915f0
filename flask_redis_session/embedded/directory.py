"""Where an embedded server keeps its data."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from flask_redis_session.errors import SettingError

from .locks import is_locked, open_private

SETTING = "SESSION_REDIS_URL"

#: What the name of each temporary directory begins with.
PREFIX = "flask-redis-session-"


def prepare(directory: str | None) -> Path:
    """Return the directory of the server, and make it if it is missing.

    :param directory: an absolute path; ``None``: a temporary one of the process group.
    :raises SettingError: if it cannot be made, is not one, cannot be written to, or is not safe.
    """
    folder = Path(directory) if directory else _folder_of_group()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_everybodys = folder.stat().st_mode & stat.S_IWOTH
        if not is_everybodys:
            os.close(open_private(folder / "lock"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(SETTING, f"cannot keep sessions in {str(folder)!r}: {reason}") from error
    if is_everybodys:
        # Anyone could lead the application to a server of their own.
        problem = f"everybody may write to {str(folder)!r}; chmod o-w it, or name another directory"
        raise SettingError(SETTING, problem)
    return folder


def _folder_of_group() -> Path:
    root = temporary() / f"{PREFIX}{os.geteuid()}"
    try:
        with suppress(FileExistsError):
            root.mkdir(mode=0o700)
        # Everyone may write to the directory of temporary files, so anyone may have made it.
        found = root.lstat()
    except OSError as error:
        raise _unusable(f"cannot make {str(root)!r}: {error.strerror}") from error
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
        except OSError:  # pragma: no cover - it is another user's, which root may signal
            pass
        # Another process may be about to remove it too.
        with suppress(OSError):
            if over and not is_running(folder):
                shutil.rmtree(folder)


def _began(process: int) -> str | None:
    """Return when a process began, in ticks since the machine did; None if it cannot be told."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def temporary() -> Path:
    """Return the directory for temporary files, or one with a shorter path if its path is long.

    :raises SettingError: if there is none that can be written to.
    """
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise _unusable("there is no temporary directory that can be written to") from error
    return Path(folder if len(os.fsencode(folder)) < 60 else "/tmp")  # noqa: S108


def temporary_folder() -> Path:
    """Make a directory for temporary files that nobody else may use.

    :raises SettingError: as :func:`temporary`.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=temporary()))
    except OSError as error:
        folder = str(temporary())
        raise _unusable(f"cannot make a directory in {folder!r}: {error.strerror}") from error


def _unusable(problem: str) -> SettingError:
    return SettingError(
        SETTING, f"{problem}; set TMPDIR to a directory that this process can write to"
    )


def is_running(folder: Path) -> bool:
    """Tell whether a server runs on the data in a directory."""
    try:
        return is_locked(folder / "running")
    except FileNotFoundError:
        # Nobody finds one in a directory that was removed.
        return False
