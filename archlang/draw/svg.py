"""Drawings as SVG 1.1."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

from archlang.draw.layout import (
    HEAD,
    LINE,
    MARK_GAP,
    NOTE_LINE,
    PAD,
    Placed,
    Route,
    count_mark,
    header_note,
    second_line,
)
from archlang.draw.model import Box
from archlang.draw.sheet import EARLIER, MARGIN, REPEAT, TITLE, TRAINING, Entry, Sheet, sheet

COLOURS = {
    "conv": ("#dbe9fb", "#4a7fc1"),
    "linear": ("#e5defa", "#7b62c4"),
    "pool": ("#fbe6d2", "#cf8136"),
    "join": ("#fdf3c8", "#b99a1f"),
    "norm": ("#e2f1e0", "#5c9a55"),
    "activation": ("#edf5d5", "#8a9a3f"),
    "attention": ("#fadce6", "#c1557f"),
    "shape": ("#ececec", "#8a8a8a"),
    "terminal": ("#f6f6f6", "#8a8a8a"),
    "block": ("#dff2f1", "#3b8f8a"),
    "repeat": ("#fbfbfb", "#b4b4b4"),
    "sequence": ("#fbfbfb", "#b4b4b4"),
    "stage": ("#fbfbfb", "#b4b4b4"),
}
"""Kind -> fill and line."""
OPEN_BLOCK, FRAME = ("#f6fbfb", "#3b8f8a"), COLOURS["repeat"]
WIRE, TEXT, NOTE = "#7a8290", "#1f2733", "#5a6472"
DASHES = {"training": "5 3", "earlier": "2 3"}
"""What is drawn in pieces -> the lengths of line and gap in px."""
_FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"

_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'


def colours(box: Box, is_open: bool) -> tuple[str, str]:
    """Fill and line of a box."""
    if is_open:
        return OPEN_BLOCK if box.kind == "block" else FRAME
    return COLOURS[box.kind]


def clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, escaped or not."""
    return "".join(c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE else "\ufffd" for c in text)


def hover(box: Box) -> str:
    """What is shown when the pointer rests on a box: names, ops, shapes, parameters, cost, source."""
    names = [box.path] if box.path not in box.names else list(box.names)
    shapes = f"{', '.join(box.detail.takes)} -> {box.shape}" if box.detail.takes else box.shape
    cost = f"{box.cost.params:,} parameters, {box.cost.macs:,} MACs"
    lines = [
        ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else ""),
        " + ".join(box.detail.ops) or f"{box.title} {box.note}".strip(),
        shapes,
        ", ".join(box.detail.arrays),
        f"{cost}, {box.count} of them together" if box.count > 1 else cost,
        f"{box.detail.place}: {box.detail.line}" if box.detail.place else "",
    ]
    return "\n".join(line for line in lines if line)


def svg(placed: Placed, standalone: bool = True) -> str:
    """The drawing as one <svg> element: a file of its own, or (not standalone) a part of an HTML page."""
    page = sheet(placed)
    width, height = round(page.width), round(page.height)
    parts = [
        f'<svg{_NAMESPACE if standalone else ""} width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{_FONT}" role="img">',
        f"<title>{escape(clean(placed.box.title))}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_around(page),
        *_inside(placed, page.x, page.y),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def inside(placed: Placed) -> str:
    """The drawing alone, without a background, a title or a legend: for a page that has them and colours it. Boxes are
    of the class `box` and of that of their kind."""
    width, height = round(placed.width), round(placed.height)
    head = f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="{_FONT}" role="img">'
    return "\n".join([head, f"<title>{escape(clean(placed.box.title))}</title>", *_inside(placed, 0, 0), "</svg>"])


def _around(page: Sheet) -> Iterator[str]:
    yield _text(page.title, MARGIN, 28, TITLE, TEXT, "start", bold=True)
    yield _text(page.summary, MARGIN, 45, NOTE_LINE, NOTE, "start")
    for entry in page.legend:
        yield from _sample(entry)
        yield _text(entry.text, entry.x + 22, entry.y + 4, NOTE_LINE, NOTE, "start")


def _sample(entry: Entry) -> Iterator[str]:
    fill, line = COLOURS.get(entry.kind, ("#ffffff", WIRE))
    x, y = entry.x, entry.y - 5
    if entry.kind == EARLIER:
        yield f'<path d="M{_n(x)} {_n(entry.y)}h14" stroke="{WIRE}" stroke-width="1.4"{_dashed(EARLIER)}/>'
        return
    if entry.kind == REPEAT:
        yield _rectangle(x + 3, y + 3, 14, 10, 3, fill, line)
    yield _rectangle(x, y, 14, 10, 3, fill, line, _dashed(entry.kind))


def _dashed(what: str) -> str:
    return f' stroke-dasharray="{DASHES[what]}"' if what in DASHES else ""


def _inside(placed: Placed, x: float, y: float) -> Iterator[str]:
    """The children and the wires of an open box whose corner is at (x, y); wires under the boxes."""
    for child in placed.children:
        if child.is_open:
            yield from _box(child, x + child.x, y + child.y)
    for route in placed.routes:
        yield from _wire(route, x, y, placed.right)
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
    fill, line = colours(placed.box, placed.is_open)
    radius = 14 if placed.box.kind == "terminal" else 6
    dashes = _dashed(TRAINING) if placed.box.training else ""
    return _rectangle(x, y, placed.width, placed.height, radius, fill, line, dashes)


def _rectangle(
    x: float, y: float, width: float, height: float, radius: float, fill: str, line: str, more: str = ""
) -> str:
    size = f'width="{_n(width)}" height="{_n(height)}" rx="{radius:g}"'
    return f'<rect x="{_n(x)}" y="{_n(y)}" {size} fill="{fill}" stroke="{line}"{more}/>'


def _lines(placed: Placed, x: float, y: float) -> Iterator[str]:
    middle = x + placed.width / 2
    yield _label(placed, middle, y + 18, "middle")
    yield _text(second_line(placed.box), middle, y + 34, NOTE_LINE, NOTE, "middle")
    if placed.box.carry:
        yield _text(placed.box.carry, middle, y + 49, NOTE_LINE, NOTE, "middle")


def _header(placed: Placed, x: float, y: float) -> Iterator[str]:
    yield _label(placed, x + PAD, y + HEAD - 7, "start")
    yield _text(header_note(placed.box), x + placed.width - PAD, y + HEAD - 7, NOTE_LINE, NOTE, "end")


def _label(placed: Placed, x: float, y: float, anchor: str) -> str:
    """The title, and the count in the colour of the border."""
    box, mark = placed.box, ""
    if box.count > 1:
        gap = f' dx="{MARK_GAP:g}"' if box.title else ""
        mark = (
            f'<tspan{gap} fill="{colours(box, placed.is_open)[1]}">{" " if box.title else ""}{count_mark(box)}</tspan>'
        )
    place = f'x="{_n(x)}" y="{_n(y)}" font-size="{LINE:.0f}" fill="{TEXT}" text-anchor="{anchor}" font-weight="bold"'
    return f"<text {place}>{escape(clean(box.title))}{mark}</text>"


def _text(text: str, x: float, y: float, size: float, colour: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{_n(x)}" y="{_n(y)}" font-size="{size:.0f}" fill="{colour}" text-anchor="{anchor}"{weight}'
    return f"<text {place}>{escape(clean(text))}</text>"


def _wire(route: Route, x: float, y: float, right: bool) -> Iterator[str]:
    points = [(px + x, py + y) for px, py in route.points]
    path = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    path += [_piece(a, b, right) for a, b in pairwise(points)]
    dashes = _dashed(EARLIER if route.earlier else TRAINING if route.faint else "")
    yield f'<path class="wire" d="{"".join(path)}" fill="none" stroke="{WIRE}" stroke-width="1.4"{dashes}/>'
    if route.arrow:
        tip_x, tip_y = points[-1]
        head = "l-7 -4v8z" if right else "l-4 -7h8z"
        yield f'<path d="M{_n(tip_x)} {_n(tip_y)}{head}" fill="{WIRE}"/>'


def _piece(a: tuple[float, float], b: tuple[float, float], right: bool) -> str:
    """Straight on, or a Bézier curve that leaves and arrives straight on."""
    (ax, ay), (bx, by) = a, b
    if right:
        middle = (ax + bx) / 2
        straight = abs(ay - by) < 0.05
        return f"H{_n(bx)}" if straight else f"C{_n(middle)} {_n(ay)} {_n(middle)} {_n(by)} {_n(bx)} {_n(by)}"
    middle = (ay + by) / 2
    straight = abs(ax - bx) < 0.05
    return f"V{_n(by)}" if straight else f"C{_n(ax)} {_n(middle)} {_n(bx)} {_n(middle)} {_n(bx)} {_n(by)}"


def _n(value: float) -> str:
    """A coordinate, a tenth of a pixel fine, without a minus before zero."""
    return f"{round(value, 1) + 0.0:g}"
