"""`{settings}`: every setting of the library, from the comments beside its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from flask_redis_session import defaults


def settings() -> list[tuple[str, str, str, str]]:
    """Return name, default, type or unit, and meaning of each setting.

    :raises ValueError: if one has no comment, or its comment does not begin with its unit.
    """
    found, comment = [], ""
    for line in Path(defaults.__file__).read_text("utf-8").splitlines():
        if text := re.fullmatch(r"    #: (.*)", line):
            comment += " " + text[1]
        elif name := re.match(r'    "(SESSION_\w+)":', line):
            said = re.fullmatch(r" \[(.*?)\] (.*)", comment)
            if said is None:
                raise ValueError(f"defaults.py does not say what {name[1]} is")
            found.append((name[1], _shown(defaults.DEFAULTS[name[1]]), said[1], said[2]))
            comment = ""
    return found


def _shown(default: object) -> str:
    if default is None:
        return "`None`"
    return f"`{default!r}`".replace("datetime.", "")


class SettingsDirective(SphinxDirective):
    """Lists the settings, each under a heading that pages can link to."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        self.env.note_dependency(defaults.__file__)
        text = "\n\n".join(
            f"## `{name}`\n\nDefault: {default} · {unit}\n\n{meaning}"
            for name, default, unit, meaning in settings()
        )
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of this extension."""
    app.add_directive("settings", SettingsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
