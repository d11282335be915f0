"""Other projects' own tests, from their source distributions, run with these sessions.

The plugin that swaps the sessions in is ``plugins/swapped_sessions.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import Server

HERE = Path(__file__).parent
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


class Unavailable(Exception):
    """The source distribution could not be had."""


@dataclass(frozen=True)
class Outcome:
    """What a run said, by the names of the tests."""

    passed: int
    skipped: int
    failed: tuple[str, ...]
    output: str

    def unexpected(self, allowed: Collection[str]) -> list[str]:
        """The tests that failed and must not.

        :param allowed: what may fail: the last parts of names, without what is in brackets.
        """
        return [name for name in self.failed if short(name) not in allowed]


def short(name: str) -> str:
    """Return the last part of a test's name, or of the file that could not be imported."""
    return re.sub(r"\[.*", "", name.rpartition("::")[2])


def home() -> Path:
    """Return the folder that keeps what was fetched."""
    return Path(sys.prefix if sys.prefix != sys.base_prefix else tempfile.gettempdir()) / "foreign"


def sources(package: str) -> Path:
    """Return the folder of an installed package's source distribution, fetched at first use.

    :param package: its name.
    :raises Unavailable: if pip cannot fetch it.
    """
    version = importlib.metadata.version(package)
    folder = home() / f"{package}-{version}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            command = [*PIP, "download", "--no-deps", "--no-binary", package, "--dest", scratch]
            _pip([*command, f"{package}=={version}"])
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as unpacking:
                unpacking.extractall(scratch, filter="data")
            (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
            _move(unpacked, folder)
    return folder


def extras(package: str, requirements: Sequence[str]) -> Path:
    """Return a folder with what only the tests of a package need, installed at first use.

    :param package: whose tests.
    :param requirements: what they need, without what that needs itself.
    :raises Unavailable: if pip cannot install it.
    """
    folder = home() / "-".join([package, "extras", *(re.sub("=+", "_", r) for r in requirements)])
    if requirements and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            target = Path(scratch) / "extras"
            _pip([*PIP, "install", "--no-deps", "--target", str(target), *requirements])
            _move(target, folder)
    return folder


def _pip(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{command[-1]}: {done.stderr.strip()[-500:]}")


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        # Another run was faster.
        if not target.exists():
            raise


def run(
    folder: Path,
    arguments: Sequence[str] = ("tests",),
    *,
    baseline: bool = False,
    extras: Path | None = None,
) -> Outcome:
    """Run tests in a process of their own.

    :param folder: where the project is.
    :param arguments: which tests, and further arguments for pytest.
    :param baseline: with Flask's own sessions instead of these.
    :param extras: a folder with further packages.
    """
    with tempfile.TemporaryDirectory() as scratch, Server("valkey9") as server:
        # Some tests leave a database behind, which the next run would find.
        folder = Path(shutil.copytree(folder, Path(scratch) / "sources", symlinks=True))
        outcome = Path(scratch) / "outcome.json"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
        paths = [str(HERE / "plugins"), *([str(extras)] if extras else []), str(HERE.parents[1])]
        environment = {
            **kept,
            # The project itself first: it may have a package `tests`, too.
            "PYTHONPATH": os.pathsep.join([str(folder), *paths, *sys.path]),
            "SWAPPED_SESSIONS_OUTCOME": str(outcome),
        }
        environment.pop("SWAPPED_SESSIONS_REDIS_URL", None)
        if not baseline:
            environment["SWAPPED_SESSIONS_REDIS_URL"] = server.url
        command = [sys.executable, "-m", "pytest", "--rootdir", str(folder), "--quiet"]
        command += ["-p", "no:xdist", "-p", "no:valkey", "-p", "no:playwright"]
        command += ["-p", "swapped_sessions", "-p", "no:cacheprovider"]
        command += ["--basetemp", f"{scratch}/tmp"]
        tests = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not outcome.exists():
            raise RuntimeError(f"The tests in {folder} did not run:\n{tests.stdout}")
        found: dict[str, Any] = json.loads(outcome.read_text())
    return Outcome(found["passed"], found["skipped"], tuple(found["failed"]), tests.stdout)
