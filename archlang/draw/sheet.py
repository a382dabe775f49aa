"""The sheet around a drawing: a title above it and a legend of what is in it, for pictures that stand alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archlang.draw.layout import NOTE_LINE, PAD, Placed, text_width
from archlang.draw.model import Box

TITLE = 16.0
"""Size of the title's font in px."""
MARGIN, TOP, ROW, SWATCH = 20.0, 58.0, 20.0, 22.0
LEGEND = {
    "conv": "convolution",
    "linear": "linear",
    "pool": "pooling",
    "join": "join",
    "norm": "normalisation",
    "activation": "activation",
    "attention": "attention",
    "shape": "reshaping",
    "block": "block",
}
"""Kinds in the order of the legend, and what it calls them."""
REPEAT, EARLIER, TRAINING = "repeat", "earlier", "training"
_OTHERS = {
    REPEAT: "x n: n in a row, the last shown",
    EARLIER: "the result before the last",
    TRAINING: "in training only",
}


@dataclass(frozen=True)
class Entry:
    """A line of the legend: a sample of `kind` at (x, y), and the text beside it."""

    kind: str
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Sheet:
    """A drawing at (x, y) of a page. summary: the line under the title."""

    drawing: Placed
    title: str
    summary: str
    legend: tuple[Entry, ...]
    x: float
    y: float
    width: float
    height: float


def sheet(drawing: Placed) -> Sheet:
    """The legend stands at the right of a drawing that runs down, and below one that runs to the right."""
    title, summary = _shortened(drawing.box.title), figures(drawing.box)
    head = max(text_width(title, TITLE, bold=True), text_width(summary, NOTE_LINE)) + 2 * MARGIN
    found = list(_found(drawing))
    wide = max((text_width(text, NOTE_LINE) for _, text in found), default=0.0) + SWATCH + 2 * MARGIN
    inner = drawing.width + 2 * (MARGIN - PAD)
    if drawing.right:
        width = max(head, inner)
        legend = tuple(_in_rows(found, width, TOP + drawing.height + PAD))
        height = max((entry.y for entry in legend), default=TOP + drawing.height) + ROW + PAD
    else:
        width = max(head, inner + wide)
        legend = tuple(Entry(kind, text, inner, TOP + ROW * (i + 1)) for i, (kind, text) in enumerate(found))
        height = max(TOP + drawing.height, TOP + ROW * (len(found) + 2))
    return Sheet(drawing, title, summary, legend, MARGIN - PAD, TOP, width, height)


def figures(box: Box) -> str:
    """Parameters and MACs of a network for its heading: `25.6 M parameters, 4.09 G MACs`."""
    return f"{short(box.cost.params)} parameters, {short(box.cost.macs)} MACs"


def short(count: int) -> str:
    """Three figures and a unit: `25.6 M`."""
    value, unit = float(count), ""
    for larger in ("k", "M", "G", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}".strip()


def _shortened(title: str) -> str:
    return title if len(title) <= 60 else title[:59] + "…"


def _found(drawing: Placed) -> Iterator[tuple[str, str]]:
    """The kinds of what a drawing shows."""
    shown = list(_shown(drawing))
    kinds = {placed.box.kind for placed in shown if not placed.is_open or placed.box.kind == "block"}
    yield from ((kind, text) for kind, text in LEGEND.items() if kind in kinds)
    present = {
        REPEAT: any(placed.box.count > 1 for placed in shown),
        EARLIER: any(route.earlier for placed in shown for route in placed.routes),
        TRAINING: any(placed.box.training for placed in shown),
    }
    yield from ((kind, text) for kind, text in _OTHERS.items() if present[kind])


def _shown(placed: Placed) -> Iterator[Placed]:
    yield placed
    for child in placed.children:
        yield from _shown(child)


def _in_rows(found: list[tuple[str, str]], width: float, y: float) -> Iterator[Entry]:
    x = MARGIN
    for kind, text in found:
        long = SWATCH + text_width(text, NOTE_LINE) + MARGIN
        if x > MARGIN and x + long > width:
            x, y = MARGIN, y + ROW
        yield Entry(kind, text, x, y + ROW - NOTE_LINE / 2)
        x += long
