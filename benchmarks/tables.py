"""Tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """A table; its first column is text, the others are figures.

    :param title: what it shows.
    :param head: the names of its columns.
    :param rows: its cells, as they are to be shown.
    :param notes: what one must know to read it.
    """

    title: str
    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Return it with aligned columns."""
        lines = [list(self.head), *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = ["", self.title, *(f"  {note}" for note in self.notes)]
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            shown.append("  " + "  ".join(cells).rstrip())
        return "\n".join(shown)

    def markdown(self) -> str:
        """Return it as a Markdown table under a heading."""
        lines = [list(self.head), ["---", *("---:" for _ in self.head[1:])], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"### {self.title}", *self.notes, table])


def figure(value: float) -> str:
    """Return a number with about three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
