"""The rooms of the package: arrows point one way, and what is private stays so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flask_redis_session

PACKAGE = Path(flask_redis_session.__file__).parent

#: Each room, with the rooms that it may use. What is not in a folder is the face.
MAY_USE = {
    "errors": set[str](),
    "embedded": {"errors"},
    "client": {"embedded", "errors"},
    "storage": {"client", "errors"},
    "request": {"storage", "errors"},
    "moving": {"request", "storage", "client", "errors"},
    "face": {"moving", "request", "storage", "client", "errors"},
    "admin": {"face", "moving", "request", "storage", "client", "errors"},
    "devices": {"face", "request", "storage", "errors"},
    "testing": {"face", "request", "storage", "embedded", "errors"},
    "pytest_plugin": {"testing", "face", "client"},
}
MOST_LINES = 330
MOST_PRIVATE = 9

#: Attributes of other libraries' that begin with an underscore and are documented.
_DOCUMENTED = {"_get_current_object", "_replace", "_asdict", "_exit"}


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")
        yield name, ast.parse(path.read_text("utf-8"))


def _room(parts: list[str]) -> str:
    if parts[0] == "errors":
        return "errors"
    return parts[0] if parts[0] in MAY_USE else "face"


def _imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the rooms that a module imports from."""
    is_package = (PACKAGE / name / "__init__.py").exists()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").split(".") if node.module else []
        if node.level:
            parts = [] if name == "__init__" else name.split("/")
            up = node.level - (1 if is_package or name == "__init__" else 0)
            parts = parts[: len(parts) - up] if up else parts
            yield _room([*parts, *module, *(alias.name for alias in node.names)])
        elif module[:1] == ["flask_redis_session"]:
            yield _room([*module[1:], *(alias.name for alias in node.names)])


def test_arrows_point_one_way() -> None:
    """A room uses itself and the rooms below it, and no other."""
    wrong = [
        f"{name} uses {used}"
        for name, tree in _modules()
        if name != "__init__"
        for used in _imports(name, tree)
        if used != (room := _room(name.split("/"))) and used not in MAY_USE[room]
    ]

    assert [] == wrong


def test_no_module_is_long() -> None:
    """A module that one cannot survey hides what it is about."""
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}

    assert {} == {path.name: count for path, count in lines.items() if count > MOST_LINES}


def test_what_is_private_stays_so() -> None:
    """Few places reach into another object, and each has a note to the linter that says so."""
    found = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in _DOCUMENTED
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and ast.unparse(node.value) != "super()"
    ]

    assert len(found) <= MOST_PRIVATE, found
