"""The map of the tests (tests/README.md) names everything, and only what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import flask_redis_session
from flask_redis_session.defaults import DEFAULTS

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PACKAGE = Path(flask_redis_session.__file__).parent
MAP = (TESTS / "README.md").read_text("utf-8")


def section(name: str) -> list[list[str]]:
    """Return the rows of the table under a heading, each with what its cells name in `…`."""
    text = MAP.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[_names(cell) or cell.strip() for cell in row] for row in rows[2:]]


def _names(cell: str) -> str:
    return " ".join(re.findall("`([^`]+)`", cell))


def test_every_module() -> None:
    """Each module of the package has a row, and no other does."""
    named = {name for row in section("Modules") for name in row[0].split() if name.endswith(".py")}
    there = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }

    assert there == named


def test_every_setting() -> None:
    """Each setting has a row, with a class that is there."""
    effects = ast.parse((TESTS / "request" / "test_setting_effects.py").read_text("utf-8"))
    classes = {node.name for node in effects.body if isinstance(node, ast.ClassDef)}
    rows = section("Settings")

    assert [*DEFAULTS] == [row[0] for row in rows]
    assert classes == {name for row in rows for name in row[1].split() if name.startswith("Test")}


def test_every_guarantee() -> None:
    """Each guarantee of docs/guarantees.md has a row."""
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    numbers = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)

    assert numbers == [row[0] for row in section("Guarantees")]


@pytest.mark.parametrize(
    "page", ["tests/README.md", "tests/concurrency/README.md", "CONTRIBUTING.md"]
)
def test_files_are_where_a_page_says(page: str) -> None:
    """Each test file that a page names is there."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", text))
    near = (ROOT / page).parent

    assert named
    assert [] == [name for name in named if not ((TESTS / name).exists() or (near / name).exists())]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_files_that_the_documentation_names(page: Path) -> None:
    """Each test file that the documentation names is there, with or without its folder."""
    for folder, name in re.findall(r"(tests/\w+/)?\b(test_\w+\.py)", page.read_text("utf-8")):
        where = [*(ROOT / folder).glob(name)] if folder else [*TESTS.rglob(name)]
        assert where, f"{folder}{name}"
