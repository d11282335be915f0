"""Runs the benchmarks, prints their tables, and writes them into the documentation.

All of them take some half an hour: `python benchmarks/report.py`. To measure only some again,
name them: requests, deployed, frameworks, promises, counts, workers, growth, scale. `--quick`
takes some four minutes and writes nothing. `--render` measures nothing and writes what was found
last.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import counts
import deployed
import frameworks
import growth
import plot
import promises
import requests
import scale
import workers
from contenders import BENCHMARKED
from requests import Server
from tables import Table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
DOCS = HERE.parent / "docs"
PLOT = DOCS / "performance.svg"

PARTS: dict[str, Any] = {
    "requests": requests,
    "deployed": deployed,
    "frameworks": frameworks,
    "promises": promises,
    "counts": counts,
    "workers": workers,
    "growth": growth,
    "scale": scale,
}
#: The page that a part is written into.
PAGES = {part: DOCS / ("scale.md" if part == "scale" else "performance.md") for part in PARTS}


def environment() -> str:
    """Return what was measured, and on what, in words."""
    with Server(BENCHMARKED) as server:
        info = server.ask("INFO", "server").decode()
    names = {
        "Flask": "flask",
        "Werkzeug": "werkzeug",
        "redis-py": "redis",
        "hiredis": "hiredis",
        "Flask-Session": "flask-session",
        "orjson": "orjson",
    }
    installed = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    versions = [f"Python {platform.python_version()}"]
    for title, name in names.items():
        versions.append(f"{title} {installed[name]}" if name in installed else f"no {title}")
    found = re.search(r"redis_version:(\S+)", info)
    versions.append(f"Redis {found[1] if found else '?'} over TCP on the same machine")
    machine = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"
    # Nothing else gets the processor then; see docs/performance.md.
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) == os.SCHED_FIFO:
        machine += ", with real-time priority"
    return f"{datetime.now(timezone.utc):%Y-%m-%d}. {', '.join(versions)}. {machine}."


def tables_of(part: str, found: Any) -> list[Table]:
    """Return the tables of one part's results."""
    if part == "requests":
        made = [requests.table(size, cases) for size, cases in found.items()]
        return [*made, requests.bars(found)]
    made = PARTS[part].tables(found)
    return [*made, counts.bars(found)] if part == "counts" else made


def renew(part: str, result: dict[str, Any]) -> None:
    """Write the tables of a part between its marks on its page."""
    page = PAGES[part]
    tables = tables_of(part, result["found"])
    content = "\n\n".join([f"Measured {result['environment']}", *(t.markdown() for t in tables)])
    marks = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)", re.DOTALL)
    old = page.read_text("utf-8")
    text, times = marks.subn(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", old)
    assert times == 1, f"{page} has no place for {part}"
    page.write_text(text, "utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="measure less and write nothing")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")

    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    machine = environment()
    print(machine)
    for part in () if asked.render else asked.parts or PARTS:
        found = PARTS[part].run(quick=asked.quick)
        results[part] = {"environment": machine, "found": found}
        for table in tables_of(part, found):
            print(table.text(), flush=True)
    if asked.quick:
        return
    results = {part: results[part] for part in PARTS if part in results}
    RESULTS.write_text(json.dumps(_rounded(results), ensure_ascii=False) + "\n", "utf-8")
    for part, result in results.items():
        renew(part, result)
    if {"requests", "deployed"} <= set(results):
        PLOT.write_text(
            plot.svg(results["requests"]["found"], results["deployed"]["found"]), "utf-8"
        )


if __name__ == "__main__":
    main()
