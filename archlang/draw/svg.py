"""Drawings as SVG 1.1."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

from archlang.draw.layout import HEAD, LINE, NOTE_LINE, PAD, Placed, Route, label, second_line
from archlang.draw.model import Box

COLOURS = {
    "conv": ("#dbe9fb", "#4a7fc1"),
    "linear": ("#e5defa", "#7b62c4"),
    "pool": ("#fbe6d2", "#cf8136"),
    "join": ("#fdf3c8", "#b99a1f"),
    "norm": ("#e2f1e0", "#5c9a55"),
    "activation": ("#e2f1e0", "#5c9a55"),
    "attention": ("#fadce6", "#c1557f"),
    "shape": ("#ececec", "#8a8a8a"),
    "terminal": ("#f6f6f6", "#8a8a8a"),
    "block": ("#dff2f1", "#3b8f8a"),
}
"""Kind -> fill and line."""
OPEN_BLOCK, FRAME = ("#f6fbfb", "#3b8f8a"), ("#fbfbfb", "#b4b4b4")
WIRE, TEXT, NOTE = "#7a8290", "#1f2733", "#5a6472"
_FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'


def colours(placed: Placed) -> tuple[str, str]:
    """Fill and line of a box."""
    if placed.is_open:
        return OPEN_BLOCK if placed.box.kind == "block" else FRAME
    return COLOURS[placed.box.kind]


def clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, escaped or not."""
    return "".join(c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE else "\ufffd" for c in text)


def hover(box: Box) -> str:
    """What is shown when the pointer rests on a box: name, shape, cost."""
    names = [box.path] if box.path not in box.names else list(box.names)
    lines = [", ".join(names), f"{box.title} {box.note}".strip(), f"output {box.shape}"]
    if box.count > 1:
        lines.append(f"{box.count} of them, together:")
    lines += [f"{box.cost.params:,} parameters", f"{box.cost.macs:,} MACs"]
    return "\n".join(lines)


def svg(placed: Placed, standalone: bool = True) -> str:
    """The drawing as one <svg> element: a file of its own, or (not standalone) a part of an HTML page."""
    width, height = round(placed.width), round(placed.height)
    parts = [
        f'<svg{_NAMESPACE if standalone else ""} width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{_FONT}" role="img">',
        f"<title>{escape(clean(placed.box.title))}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_inside(placed, 0, 0),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _inside(placed: Placed, x: float, y: float) -> Iterator[str]:
    """The children and the wires of an open box whose corner is at (x, y); wires under the boxes."""
    for child in placed.children:
        if child.is_open:
            yield from _box(child, x + child.x, y + child.y)
    for route in placed.routes:
        yield from _wire(route, x, y)
    for child in placed.children:
        if not child.is_open:
            yield from _box(child, x + child.x, y + child.y)


def _box(placed: Placed, x: float, y: float) -> Iterator[str]:
    box = placed.box
    kind = "frame" if box.is_frame else box.kind
    yield f'<g class="box {kind}" data-path={quoteattr(clean(box.path))}>'
    yield f"<title>{escape(clean(hover(box)))}</title>"
    if box.count > 1 and not placed.is_open:
        for offset in (6, 3):
            yield _rect(placed, x + offset, y + offset)
    yield _rect(placed, x, y)
    yield from _header(placed, x, y) if placed.is_open else _lines(placed, x, y)
    if placed.is_open:
        yield from _inside(placed, x, y)
    yield "</g>"


def _rect(placed: Placed, x: float, y: float) -> str:
    fill, line = colours(placed)
    radius = 14 if placed.box.kind == "terminal" else 6
    size = f'width="{_n(placed.width)}" height="{_n(placed.height)}" rx="{radius}"'
    return f'<rect x="{_n(x)}" y="{_n(y)}" {size} fill="{fill}" stroke="{line}"/>'


def _lines(placed: Placed, x: float, y: float) -> Iterator[str]:
    middle = x + placed.width / 2
    yield _text(label(placed.box), middle, y + 18, LINE, TEXT, "middle", bold=True)
    yield _text(second_line(placed.box), middle, y + 34, NOTE_LINE, NOTE, "middle")


def _header(placed: Placed, x: float, y: float) -> Iterator[str]:
    yield _text(label(placed.box), x + PAD, y + HEAD - 7, LINE, TEXT, "start", bold=True)
    yield _text(second_line(placed.box), x + placed.width - PAD, y + HEAD - 7, NOTE_LINE, NOTE, "end")


def _text(text: str, x: float, y: float, size: float, colour: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{_n(x)}" y="{_n(y)}" font-size="{size:.0f}" fill="{colour}" text-anchor="{anchor}"{weight}'
    return f"<text {place}>{escape(clean(text))}</text>"


def _wire(route: Route, x: float, y: float) -> Iterator[str]:
    points = [(px + x, py + y) for px, py in route.points]
    path = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (ax, ay), (bx, by) in pairwise(points):
        middle = (ay + by) / 2
        straight = abs(ax - bx) < 0.05
        path.append(f"V{_n(by)}" if straight else f"C{_n(ax)} {_n(middle)} {_n(bx)} {_n(middle)} {_n(bx)} {_n(by)}")
    yield f'<path class="wire" d="{"".join(path)}" fill="none" stroke="{WIRE}" stroke-width="1.4"/>'
    if route.arrow:
        tip_x, tip_y = points[-1]
        head = f"M{_n(tip_x)} {_n(tip_y)}l-4 -7h8z"
        yield f'<path d="{head}" fill="{WIRE}"/>'


def _n(value: float) -> str:
    """A coordinate, a tenth of a pixel fine, without a minus before zero."""
    return f"{round(value, 1) + 0.0:g}"
