"""The list of log messages in docs/monitoring.md is complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import flask_redis_session

PACKAGE = Path(flask_redis_session.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "monitoring.md").read_text("utf-8")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the texts that a module names."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _logged() -> Iterator[tuple[str, str]]:
    """Yield the level and the message of each logging call in the package."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        constants = _constants(tree)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and ast.unparse(node.func.value) in ("log", "logger", "logging")
            ):
                first = node.args[0]
                text = constants[first.id] if isinstance(first, ast.Name) else _text(first)
                level = "error" if node.func.attr == "exception" else node.func.attr
                yield level, re.sub(r"%[-+.\d]*[a-z]", "…", text)


def _text(node: ast.expr) -> str:
    value = ast.literal_eval(node)
    assert isinstance(value, str)
    return value


def test_each_message_is_in_the_documentation() -> None:
    """The table has every message, at its level, and no other."""
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \|", PAGE.partition("## The log")[2], re.MULTILINE)

    assert sorted({*_logged()}) == sorted(rows)


def test_one_logger() -> None:
    """Every module uses the logger that the page names."""
    names = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"getLogger\(([^)]*)\)", path.read_text("utf-8"))
    }

    assert {'"flask_redis_session"'} == names
    assert "One logger, `flask_redis_session`." in PAGE
