"""A virtual environment with one version of redis-py, with or without the fast parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: What the libraries parse replies with where it is installed.
FAST_PARSERS = {"redis": "hiredis", "valkey": "libvalkey"}


class Environment:
    """A virtual environment with one version of redis-py, with or without the fast parsers.

    It shares all else with the one that this runs in.

    :param folder: where it and others are.
    :param redis: the version, as far as it matters, such as ``"5.2"``.
    :param fast: whether it has the fast parsers.
    """

    def __init__(self, folder: Path, redis: str, *, fast: bool) -> None:
        self.redis = redis
        self.fast = fast
        self.folder = folder / f"redis-{redis}-{'fast' if fast else 'plain'}"
        self.python = self.folder / "bin" / "python"

    def make(self) -> None:
        """Make it anew.

        :raises SystemExit: if it did not become what it should be.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.EnvBuilder(symlinks=True).create(self.folder)
        here = Path(sysconfig.get_path("purelib"))
        there = self.folder / here.relative_to(sys.prefix)
        left_out = set() if self.fast else set(FAST_PARSERS.values())
        if not _is_version(version_of("redis"), self.redis):
            left_out.add("redis")
            _link(_installed(self.folder.parent, f"redis=={self.redis}.*"), there)
        _link(here, there, left_out)
        self._copy_scripts()
        self._check()

    def _copy_scripts(self) -> None:
        for script in Path(sys.executable).parent.iterdir():
            if script.is_file() and not (self.folder / "bin" / script.name).exists():
                text = script.read_bytes()
                if text.startswith(f"#!{sys.executable}\n".encode()):
                    copy = self.folder / "bin" / script.name
                    copy.write_bytes(text.replace(sys.executable.encode(), bytes(self.python), 1))
                    copy.chmod(0o755)

    def _check(self) -> None:
        expected = [FAST_PARSERS[library] if self.fast else "python" for library in FAST_PARSERS]
        redis, *parsers = self.ask(
            "import redis\nfrom tests.support import clients\n"
            f"print(redis.__version__, *map(clients.parser, {list(FAST_PARSERS)}))"
        ).split()
        if not _is_version(redis, self.redis) or parsers != expected:
            sys.exit(f"{self.folder} has redis-py {redis} and the parsers {parsers}")

    def ask(self, program: str) -> str:
        """Run a few lines of Python beside the tests and return what they print."""
        run = subprocess.run(
            [self.python, "-c", program],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return run.stdout


def _is_version(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


@cache
def _installed(folder: Path, requirement: str) -> Path:
    """Return a folder into which a package was installed, without what it needs itself."""
    target = folder / requirement
    shutil.rmtree(target, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "install", "--no-deps", "--target", target, requirement], check=True)
    return target


def _link(source: Path, target: Path, left_out: Iterable[str] = ()) -> None:
    """Put links to all packages of a folder into another, but for those that are named."""
    for entry in source.iterdir():
        if re.split("[-.]", entry.name)[0] not in left_out:
            (target / entry.name).symlink_to(entry)
