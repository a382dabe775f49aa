"""Drawings as one HTML page that needs nothing else: boxes open and close in place.

The page holds the boxes, their closed sizes and the plan of each scope as JSON; `layout.js` places them and `view.js`
shows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Any

from archlang.draw import layout
from archlang.draw.layout import NOTE_LINE, closed_sizes, header_note, label_width, text_width
from archlang.draw.model import Box
from archlang.draw.plan import Plan, numbers, plan
from archlang.draw.sheet import EARLIER, LEGEND, REPEAT, TRAINING, figures
from archlang.draw.svg import COLOURS, clean

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_CONSTANTS = ("PAD", "GAP", "LAYER_GAP", "HEAD", "BORDER_GAP", "LANE", "PORT", "BEND", "MOST_BEND", "SWEEPS")
DARK = {
    "conv": ("#1d3350", "#6ea3e6"),
    "linear": ("#2f2750", "#a58cf0"),
    "pool": ("#45301a", "#e09a4e"),
    "join": ("#40380f", "#d6b83a"),
    "norm": ("#1f3a1f", "#7cc174"),
    "activation": ("#333b16", "#b3c55a"),
    "attention": ("#45202f", "#e27ba3"),
    "shape": ("#2d3035", "#9aa0a8"),
    "terminal": ("#23262b", "#9aa0a8"),
    "block": ("#15393a", "#54b9b3"),
}
"""Kind -> fill and line, on a dark page."""
_DARK_PAGE = (
    "--page: #14171b; --text: #e6e9ee; --note: #a3acb9; --wire: #8b94a3; --edge: #343a43; --raised: #1e2228; "
    "--mark: #ff922b; --frame: #191d22; --frame-line: #596069; --inside: #142123;"
)
_COMMANDS = {
    "fold": ("fold all", "Close all blocks"),
    "open": ("open all", "Open all blocks"),
    "turn": ("turn", "From the top down, or from the left to the right"),
    "smaller": ("−", "Zoom out (-)"),
    "bigger": ("+", "Zoom in (+)"),
    "fit": ("fit", "The whole drawing (0)"),
    "theme": ("light / dark", "Change the colours"),
}
_KEYS = (
    "click or <kbd>Enter</kbd> opens, a click on x n or <kbd>x</kbd> draws all n, arrows move, <kbd>/</kbd> searches"
)


def page(box: Box, depth: int, right: bool = False) -> str:
    """The page. depth: how many levels of blocks are open at first. right: whether it runs to the right at first."""
    title = escape(clean(box.title))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{title}</title>\n<style>\n{_style()}</style>\n</head>\n<body>",
            f"<header><h1>{title}</h1><p>{figures(box)}</p>{_tools()}</header>",
            '<svg id="canvas" role="group" aria-label="The network"><g id="world"></g></svg>',
            f"<footer>{''.join(_legend(box))}<p>{_KEYS}</p></footer>",
            '<div id="tip" role="tooltip" hidden></div>',
            "<noscript>A script draws this page. `archlang graph` writes .svg and .png, too.</noscript>",
            f'<script type="application/json" id="drawing">{_json(drawing(box, depth, right))}</script>',
            f"<script>\n{_text('layout.js')}{_text('view.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _text(name: str) -> str:
    return files("archlang.draw").joinpath(name).read_text("utf-8")


def _style() -> str:
    light, dark = variables(COLOURS), f"  {_DARK_PAGE}\n{variables(DARK)}"
    rules = [f".{kind} {{ --fill: var(--{kind}); --line: var(--{kind}-line); }}" for kind in DARK]
    style = _text("page.css").replace("/*light*/", light).replace("/*dark*/", dark)
    return "\n".join([style, *rules, ""])


def variables(colours: dict[str, tuple[str, str]]) -> str:
    """CSS variables: `--conv` for what a kind is filled with, `--conv-line` for its border."""
    return "\n".join(f"  --{kind}: {colours[kind][0]}; --{kind}-line: {colours[kind][1]};" for kind in DARK)


def _tools() -> str:
    buttons = (
        f'<button type="button" data-command="{command}" title="{title}">{text}</button>'
        for command, (text, title) in _COMMANDS.items()
    )
    search = '<input id="search" type="search" placeholder="search (/)" aria-label="Search">'
    return f'<nav>{search}<span id="count" role="status"></span>{"".join(buttons)}</nav>'


def _legend(box: Box) -> Iterator[str]:
    kinds = {inner.kind for inner in box.walk()}
    yield from (f'<span class="{kind}">{text}</span>' for kind, text in LEGEND.items() if kind in kinds)
    if any(inner.count > 1 for inner in box.walk()):
        yield f'<span class="{REPEAT}">x n: n in a row, the last shown</span>'
    if any(inner.earlier for inner in box.walk()):
        yield f'<span class="{EARLIER}">the result before the last</span>'
    if any(inner.training for inner in box.walk()):
        yield f'<span class="{TRAINING}">in training only</span>'


def drawing(box: Box, depth: int, right: bool) -> dict[str, Any]:
    """What the page knows: all boxes, the network's first; the plans that they share; the sizes of the layout."""
    table = _Table()
    table.add(box, (0.0, 0.0))
    constants = {name: getattr(layout, name) for name in _CONSTANTS}
    return {
        "boxes": table.boxes,
        "plans": table.plans,
        "constants": constants,
        "depth": depth,
        "right": right,
    }


class _Table:
    """Boxes and plans by number."""

    def __init__(self) -> None:
        self.boxes: list[dict[str, Any]] = []
        self.plans: list[dict[str, object]] = []
        self.known: dict[int, tuple[int, Plan]] = {}

    def add(self, box: Box, size: tuple[float, float]) -> int:
        number = len(self.boxes)
        entry = _entry(box, size)
        self.boxes.append(entry)
        sizes = closed_sizes(box.children)
        entry["kids"] = [self.add(child, size) for child, size in zip(box.children, sizes, strict=True)]
        entry["each"] = self.add(box.each, size) if box.each else None
        if box.children:
            places: dict[str | None, int] = {child.path: i for i, child in enumerate(box.children)} | {None: -1}
            entry["wires"] = [(places[w.source], w.source_port, places[w.target], w.target_port) for w in box.wires]
            entry["plan"] = self.plan(box)
        return number

    def plan(self, box: Box) -> int:
        found = plan(box)
        if id(found) not in self.known:  # equal scopes share their plan
            self.known[id(found)] = len(self.plans), found
            self.plans.append(dict(numbers(found)))
        return self.known[id(found)][0]


def _entry(box: Box, size: tuple[float, float]) -> dict[str, Any]:
    """One box; `head`, `label` and `note_width` are the widths of its header's texts."""
    label = label_width(box)
    note = text_width(header_note(box), NOTE_LINE)
    return {
        "path": clean(box.path),
        "kind": box.kind,
        "title": clean(box.title),
        "note": clean(box.note),
        "shape": box.shape,
        "count": box.count,
        "carry": clean(box.carry),
        "training": box.training,
        "earlier": box.earlier,
        "names": [clean(name) for name in box.names] if not box.children else [],
        "ops": [clean(op) for op in box.detail.ops],
        "takes": box.detail.takes,
        "arrays": box.detail.arrays,
        "place": clean(box.detail.place),
        "line": clean(box.detail.line),
        "params": box.cost.params,
        "macs": box.cost.macs,
        "size": size,
        "label": label,
        "note_width": note,
        "head": label + text_width("   ", NOTE_LINE) + note,
        "inputs": len(box.inputs),
        "outputs": len(box.outputs),
    }


def _json(value: object) -> str:
    """JSON inside a <script>: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
