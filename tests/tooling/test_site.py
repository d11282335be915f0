"""The site: each page has its place, and the reference names everything."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path

import flask_redis_session
from flask_redis_session.defaults import DEFAULTS

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


def test_every_setting_is_described() -> None:
    """The reference has each setting, with its type or unit and what it does."""
    spec = importlib.util.spec_from_file_location("_", DOCS / "_ext" / "settings_reference.py")
    assert spec
    assert spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    found = reference.settings()

    assert [*DEFAULTS] == [name for name, *_ in found]
    assert all(unit and meaning.endswith(".") for *_, unit, meaning in found)


def test_every_public_name_is_described() -> None:
    """The reference has each public name, and each exception by their module."""
    page = (DOCS / "api.md").read_text("utf-8")
    errors = vars(flask_redis_session.errors)

    assert [] == [
        name
        for name in flask_redis_session.__all__
        if name not in errors and not re.search(rf"\bflask_redis_session\.{name}\b|`{name}`", page)
    ]


def test_markup_is_read_as_what_it_is() -> None:
    """What writes reStructuredText stands in a block of that: else a page shows its markup."""
    pages = [
        path
        for path in DOCS.glob("*.md")
        if re.search(r"(`{3}|:{3})\{(click|auto\w+)\}", path.read_text("utf-8"))
    ]

    assert [] == pages
    assert "\n.. click::" in (DOCS / "command-line.md").read_text("utf-8")
