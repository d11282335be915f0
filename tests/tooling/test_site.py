"""The site: each page has its place."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_has_one_place() -> None:
    """The index lists each page once: what it does not list, no reader finds."""
    index = (DOCS / "index.md").read_text("utf-8")
    lists = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    listed = Counter(
        line for text in lists for line in text.split() if re.fullmatch("[a-z-]+", line)
    )
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}

    assert {} == {page: listed[page] for page in pages if listed[page] != 1}
