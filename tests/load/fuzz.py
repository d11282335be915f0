"""Fuzz everything that reads bytes from outside: ``make fuzz FUZZ_SECONDS=600``.

    python tests/fuzz.py                  every target, one after another
    python tests/fuzz.py NAME FILE…       one target, with these inputs
    python tests/fuzz.py NAME OPTION…     one target, with options of libFuzzer's

What a target learned is kept in ``.fuzz/NAME``, and what it fails at in ``.fuzz/crashes``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
KEPT = Path(os.environ.get("FUZZ_DIRECTORY", ROOT / ".fuzz"))
NAMES = (
    *("token", "reading", "writing", "record", "url", "device", "form", "options", "times"),
    *("cookie", "fields"),
)
#: Where the server for the targets that need one is; where there is none yet, they start one.
PORT = os.environ.get("FUZZ_REDIS_PORT")

#: An input that takes longer is a failure, in seconds; and so is one that takes more memory, in MB.
LONGEST = 10
MOST_MEMORY = 2048


class Outcome(NamedTuple):
    """What came of fuzzing a target.

    :param runs: how many inputs it was given.
    :param edges: how many branches of the instrumented code were taken, as libFuzzer counts them.
    :param inputs: how many inputs took new ones.
    :param crashes: the files with which it fails.
    """

    runs: int
    edges: int
    inputs: int
    crashes: list[Path]


def fuzz(name: str, seconds: int, port: int) -> Outcome:
    """Fuzz a target for so many seconds."""
    kept, crashes = KEPT / name, KEPT / "crashes"
    for folder in (kept, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    options = ["-max_total_time={}", "-timeout={}", "-rss_limit_mb={}", "-artifact_prefix={}/{}-"]
    filled = (seconds, LONGEST, MOST_MEMORY, crashes)
    result = subprocess.run(
        [
            *(sys.executable, __file__, name, kept, "-print_final_stats=1", "-max_len=4096"),
            *(option.format(value, name) for option, value in zip(options, filled, strict=True)),
        ],
        env={**os.environ, "FUZZ_REDIS_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    found = [path for path in crashes.glob(f"{name}-*") if path.stat().st_mtime >= began - 1]
    if result.returncode != 0:
        print("\n".join(result.stdout.splitlines()[-40:]), file=sys.stderr)
        found = found or [crashes]
    return Outcome(
        _last(r"number_of_executed_units: (\d+)", result.stdout),
        _last(r"cov: (\d+)", result.stdout),
        _last(r"corp: (\d+)", result.stdout),
        found,
    )


def again(name: str, path: Path) -> str:
    """Return the command that gives a target one input."""
    return shlex.join([sys.executable, __file__, name, str(path)])


def _last(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def fuzz_all(names: tuple[str, ...], seconds: int) -> bool:
    """Fuzz targets one after another, for so many seconds together; tell whether all is well."""
    share = max(seconds // len(names), 1)
    crashes: list[Path] = []
    print(f"{'target':<10}{'inputs run':>12}{'branches':>10}{'kept':>7}")
    with Server("valkey9") as server:
        for name in names:
            outcome = fuzz(name, share, server.port)
            print(
                f"{name:<10}{outcome.runs:>12,}{outcome.edges:>10,}{outcome.inputs:>7,}", flush=True
            )
            for path in outcome.crashes:
                print(f"  fails: {again(name, path)}")
            crashes += outcome.crashes
    return not crashes


def run(name: str, arguments: list[str]) -> None:
    """Give one target to libFuzzer; it does not return."""
    import atheris

    # What is imported here is instrumented, so that libFuzzer sees which branches it takes.
    with atheris.instrument_imports(include=["flask_redis_session", "werkzeug.sansio"]):
        from tests.load import targets
    target = targets.TARGETS.get(name, targets.CANARY)
    for folder in filter(Path.is_dir, map(Path, arguments)):
        for number, seed in enumerate(target.seeds):
            (folder / f"seed-{number}").write_bytes(seed)
    with Server("valkey9") if target.server and not PORT else nullcontext() as server:
        if server is not None:
            os.environ["FUZZ_REDIS_PORT"] = str(server.port)
        atheris.Setup([sys.argv[0], *arguments], atheris.instrument_func(target.run))
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1], sys.argv[2:])
    else:
        sys.exit(not fuzz_all(NAMES, int(os.environ.get("FUZZ_SECONDS", "60"))))
