"""Links to files that are not pages lead to the repository, if its address is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

#: Files beside `docs/` that a page includes.
INCLUDED = {ROOT / "CHANGELOG.md": "changelog", ROOT / "CONTRIBUTING.md": "contributing"}


def repository() -> str | None:
    """Return the address of the repository, or ``None`` while ``[project.urls]`` has none."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        urls: dict[str, str] = tomllib.load(file)["project"].get("urls", {})
    return urls.get("Source")


def lead_to_repository(app: Sphinx, doctree: nodes.document) -> None:
    """Replace each link to a file outside ``docs/``; without an address its text stays."""
    docs = Path(app.srcdir)
    links = [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]
    for link in links:
        path = _outside(docs, app.env.docname, link)
        if path in INCLUDED:
            link["refdomain"], link["reftarget"] = "doc", INCLUDED[path]
        elif path:
            link.replace_self(_reference(link, path, str(app.config.release)))


def _outside(docs: Path, docname: str, link: nodes.Element) -> Path | None:
    """Return the file outside ``docs/`` that a link means, or ``None``."""
    if link.get("reftype") != "myst":
        return None
    target = link["reftarget"].partition("#")[0]
    if link.get("refdomain") == "doc":
        target += ".md"
    for base in (docs, *(path.parent for path, page in INCLUDED.items() if page == docname)):
        path = (base / target).resolve()
        if target and path.exists() and docs not in path.parents:
            return path
    return None


def _reference(link: nodes.Element, path: Path, release: str) -> nodes.Element:
    address = repository()
    if address is None:
        return nodes.inline("", "", *link.children)
    uri = f"{address.rstrip('/')}/blob/v{release}/{path.relative_to(ROOT).as_posix()}"
    return nodes.reference("", "", *link.children, refuri=uri, internal=False)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of this extension."""
    app.connect("doctree-read", lead_to_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
