"""Figures for docs/reliability.md: a line each in the file that ``FIGURES`` names."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: How long what "does not take long" may take on a machine that is busy, in seconds.
SOON = 5.0


def figure(name: str, value: object) -> None:
    """Keep a figure for docs/reliability.md."""
    line = f"{name}: {value}\n"
    print(line, end="")
    if path := os.environ.get("FIGURES"):
        with Path(path).open("a") as file:
            file.write(line)


def took(began: float) -> str:
    """Return how long it took since then, for a figure."""
    seconds = time.monotonic() - began
    return f"{seconds * 1000:.0f} ms" if seconds < 2 else f"{seconds:.1f} s"
