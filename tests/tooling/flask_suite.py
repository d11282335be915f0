"""Flask's own tests, run with these sessions in every app that sets none of its own.

``python -m tests.tooling.flask_suite`` takes the source distribution of the installed Flask, which
holds its tests, and exits 0 where none failed but those of :data:`MAY_FAIL`. With ``--baseline``
the same tests run with Flask's own sessions. Under pytest this file is also the plugin that swaps
them in.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _pytest.monkeypatch
import flask
import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Where the tests find Redis; without it the apps keep Flask's own sessions.
URL = "FLASK_SUITE_REDIS_URL"
#: Where they write their outcome.
OUTCOME = "FLASK_SUITE_OUTCOME"

#: The tests that may fail, each with what it presupposes.
MAY_FAIL = {
    "test_missing_session": "that a session without SECRET_KEY cannot be written",
    "test_session_secret_key_fallbacks": "that a cookie is signed with SECRET_KEY",
    "test_session_transactions_no_null_sessions": "that there is no session without SECRET_KEY",
}
#: The tests that fail with Flask's own sessions too.
FAIL_ANYWAY = {
    "test_bad_environ_raises_bad_request": "a Werkzeug that refuses a host it cannot encode",
}


class Unavailable(Exception):
    """The source distribution could not be had."""


@dataclass(frozen=True)
class Outcome:
    """What the run said, by the names of the tests."""

    passed: int
    skipped: int
    failed: tuple[str, ...]
    output: str

    def unexpected(self, *, baseline: bool = False) -> list[str]:
        """The tests that failed and must not."""
        allowed = set(FAIL_ANYWAY) if baseline else {*FAIL_ANYWAY, *MAY_FAIL}
        return [name for name in self.failed if name.rpartition("::")[2] not in allowed]


def sources() -> Path:
    """Return the folder of the installed Flask's source distribution, fetched at first use.

    :raises Unavailable: where pip cannot fetch it.
    """
    version = importlib.metadata.version("flask")
    home = Path(sys.prefix if sys.prefix != sys.base_prefix else tempfile.gettempdir())
    folder = home / "flask-suite" / f"flask-{version}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--no-deps",
            ]
            command += ["--no-binary", "flask", "--dest", scratch, f"flask=={version}"]
            fetch = subprocess.run(command, capture_output=True, text=True, check=False)
            if fetch.returncode:
                raise Unavailable(f"Flask's source distribution: {fetch.stderr.strip()[-500:]}")
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as unpacking:
                unpacking.extractall(scratch, filter="data")
            try:
                (Path(scratch) / folder.name).rename(folder)
            except OSError:
                # Another run was faster.
                if not folder.exists():
                    raise
    return folder


def run(*, baseline: bool = False, arguments: Sequence[str] = ()) -> Outcome:
    """Run Flask's tests in a process of their own.

    :param baseline: with Flask's own sessions instead of these.
    :param arguments: further ones for pytest.
    """
    # The plugin has no use for it.
    from tests.support.servers import Server

    folder = sources()
    with tempfile.TemporaryDirectory() as scratch, Server("valkey9") as server:
        outcome = Path(scratch) / "outcome.json"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))},
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
            OUTCOME: str(outcome),
        }
        environment.pop(URL, None)
        if not baseline:
            environment[URL] = server.url
        command = [sys.executable, "-m", "pytest", "--rootdir", str(folder), "--quiet"]
        command += ["-c", str(folder / "pyproject.toml"), "-p", "no:xdist"]
        command += ["-p", "tests.tooling.flask_suite"]
        command += ["-p", "no:valkey", "-p", "no:cacheprovider", "--basetemp", f"{scratch}/tmp"]
        tests = subprocess.run(
            [*command, *arguments, "tests"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not outcome.exists():
            raise RuntimeError(f"Flask's tests did not run:\n{tests.stdout}")
        found: dict[str, Any] = json.loads(outcome.read_text())
    return Outcome(found["passed"], found["skipped"], tuple(found["failed"]), tests.stdout)


# --------------------------------------------------------------------------- the plugin

# Flask's tests import this name, which pytest 9.1 renamed.
if not hasattr(_pytest.monkeypatch, "notset"):
    _pytest.monkeypatch.notset = _pytest.monkeypatch.NOTSET  # type: ignore[attr-defined]


class _Sessions:
    """Gives each app an interface of its own, unless it or its class sets one."""

    def __init__(self, client: redis.Redis) -> None:
        # `--baseline` must run where the package does not.
        from flask_redis_session import RedisSessionInterface

        self._make = RedisSessionInterface
        self._client = client

    def __get__(self, app: flask.Flask | None, owner: type[flask.Flask]) -> Any:
        if app is None:
            return self
        interface = self._make(redis=self._client, prefix="session:")
        app.__dict__["session_interface"] = interface
        return interface


def pytest_configure(config: pytest.Config) -> None:
    """Swap the sessions in."""
    if OUTCOME in os.environ:
        config.pluginmanager.register(_Record(), "flask_suite_record")
    if URL in os.environ:
        client = redis.Redis.from_url(os.environ[URL])
        config.pluginmanager.register(_Empty(client), "flask_suite_empty")
        flask.Flask.session_interface = _Sessions(client)  # type: ignore[assignment]


class _Empty:
    """Empties Redis before each test."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @pytest.fixture(autouse=True)
    def _empty_redis(self) -> None:
        self._client.flushall()


class _Record:
    """Notes what became of each test."""

    def __init__(self) -> None:
        self._passed: set[str] = set()
        self._skipped: set[str] = set()
        self._failed: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.skipped:
            self._skipped.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.skipped:
            self._skipped.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        outcome = {
            "passed": len(self._passed - set(self._failed)),
            "skipped": len(self._skipped),
            "failed": list(self._failed),
        }
        Path(os.environ[OUTCOME]).write_text(json.dumps(outcome))


# --------------------------------------------------------------------------- the command


def main() -> int:
    """Run the tests and say which failed."""
    parser = argparse.ArgumentParser(description="Run Flask's own tests on these sessions.")
    parser.add_argument("--baseline", action="store_true", help="on Flask's own sessions instead")
    parser.add_argument("--verbose", action="store_true", help="show what pytest printed")
    parser.add_argument("arguments", nargs="*", help="further arguments for pytest, after --")
    options = parser.parse_args()

    outcome = run(baseline=options.baseline, arguments=options.arguments)
    unexpected = outcome.unexpected(baseline=options.baseline)
    if options.verbose or unexpected:
        print(outcome.output)

    whose = "Flask's own sessions" if options.baseline else "flask-redis-session"
    print(f"Flask {importlib.metadata.version('flask')}'s tests on {whose}:")
    print(f"{outcome.passed} passed, {len(outcome.failed)} failed, {outcome.skipped} skipped")
    for name in outcome.failed:
        known = {**MAY_FAIL, **FAIL_ANYWAY}.get(name.rpartition("::")[2])
        why = "UNEXPECTED" if name in unexpected else f"expected: it presupposes {known}"
        print(f"  {name}: {why}")
    return 1 if unexpected or not outcome.passed else 0


if __name__ == "__main__":
    sys.exit(main())
