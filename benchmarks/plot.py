"""Draws what a session costs a request, as an SVG that is readable on light and on dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import log10
from typing import Any

from deployed import DELAY
from requests import CASES, Times, over_floor

SIZES = ("3 × 20 B", "100 × 1 KB", "1,000 × 1 KB")
SHOWN = ("untouched", "read_one", "set_one")
SIDES = {"flask_session": "Flask-Session", "ours": "flask-redis-session"}

#: What a request costs each side: (size, kind of request) -> side -> microseconds.
Costs = dict[tuple[str, str], dict[str, float]]

WIDTH, HEIGHT = 780, 506
LEFT, TOP = 74, 102
#: From the top of one place to that of the next.
BLOCK = 236
PANEL, GAP = 150, 86
ROW, BAR = 54, 17
#: The scale is logarithmic and begins here, in microseconds.
LEAST = 5

STYLE = """
    text { font: 12px system-ui, sans-serif; fill: #1f2328; }
    .quiet { fill: #59636e; }
    .title { font-size: 14px; font-weight: 600; }
    .size { font-weight: 600; }
    .times { font-weight: 600; fill: #1a7f37; }
    .flask_session { fill: #afb8c1; }
    .ours { fill: #2da44e; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .quiet { fill: #9198a1; }
      .times { fill: #3fb950; }
      .flask_session { fill: #656c76; }
      .ours { fill: #2ea043; }
    }
"""


def svg(found: dict[str, dict[str, Times]], deployed: dict[str, Any]) -> str:
    """Return the plot of the results of ``requests.run`` and of ``deployed.run``."""
    far = deployed["requests"]
    blocks = {
        "Redis on the same machine": _costs(found),
        f"{DELAY * 1000:g} ms of network each way": _costs(
            {size: places["there"] for size, places in far.items()}
        ),
    }
    parts = [
        _text(0, 16, "What a session costs a request", "title"),
        _text(0, 35, "µs over Flask that stores nothing, log scale, median", "quiet"),
    ]
    for at, (side, title) in enumerate(SIDES.items()):
        x = WIDTH - 262 + at * 118
        parts.append(f'<rect class="{side}" x="{x}" y="7" width="11" height="11" rx="2"/>')
        parts.append(_text(x + 16, 17, title, ""))
    for at, (title, costs) in enumerate(blocks.items()):
        parts.extend(_block(TOP + at * BLOCK, title, costs))
    body = "\n  ".join(parts)
    described = "; ".join(
        f"{title}, {size}, {CASES[case]}: "
        f"Flask-Session {cost['flask_session']:.0f}, ours {cost['ours']:.0f}"
        for title, costs in blocks.items()
        for (size, case), cost in costs.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title desc">\n'
        f'  <title id="title">Microseconds that a session costs a request</title>\n'
        f'  <desc id="desc">{escape(described)}</desc>\n'
        f"  <style>{STYLE}  </style>\n  {body}\n</svg>\n"
    )


def _costs(found: dict[str, dict[str, Times]]) -> Costs:
    return {(size, case): over_floor(found[size][case]) for size in SIZES for case in SHOWN}


def _block(top: int, title: str, costs: Costs) -> Iterator[str]:
    """Draw the requests of every size, below each other, with a scale of their own."""
    scale = PANEL / log10(max(cost["flask_session"] for cost in costs.values()) / LEAST)
    yield _text(0, top - 30, title, "size")
    for row, case in enumerate(SHOWN):
        yield _text(0, top + row * ROW + 28, CASES[case], "")
    for panel, size in enumerate(SIZES):
        x = LEFT + panel * (PANEL + GAP)
        yield _text(x, top - 10, f"session of {size}", "quiet")
        for row, case in enumerate(SHOWN):
            cost = costs[size, case]
            for at, side in enumerate(SIDES):
                y = top + row * ROW + at * (BAR + 2) + 4
                width = max(2.0, scale * log10(max(cost[side], LEAST) / LEAST))
                yield (
                    f'<rect class="{side}" x="{x}" y="{y}" width="{width:.1f}" '
                    f'height="{BAR}" rx="2"/>'
                )
                label = f"<tspan>{cost[side]:,.0f}</tspan>"
                if side == "ours":
                    ratio = cost["flask_session"] / cost["ours"]
                    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
                    label += f'<tspan class="times" dx="7">÷ {shown}</tspan>'
                yield f'<text x="{x + width + 5:.1f}" y="{y + 13}">{label}</text>'


def _text(x: float, y: float, content: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(content)}</text>'
