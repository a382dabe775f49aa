"""Drawings as PNG, with Pillow and the font that it carries: the same picture on every machine."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from math import hypot, sqrt
from typing import TYPE_CHECKING, Any

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
from archlang.draw.sheet import EARLIER, MARGIN, REPEAT, TITLE, TRAINING, Entry, Sheet, sheet
from archlang.draw.svg import COLOURS, DASHES, NOTE, TEXT, WIRE, colours
from archlang.errors import fail, missing_extra

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    Point = tuple[float, float]

SCALE = 2.0
"""Pixels for each px of the drawing."""
MAX_SIDE, MAX_PIXELS = 32_000, 60_000_000
_STEPS = 16


def png(placed: Placed) -> bytes:
    """The drawing, two pixels for one of the SVG, fewer where it is very large. Raises OutsideError, ArchError."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise missing_extra("PNG", "draw") from error
    page = sheet(placed)
    scale = _scale(page)
    size = max(1, round(page.width * scale)), max(1, round(page.height * scale))
    image = Image.new("RGB", size, "white")
    _Painter(ImageDraw.Draw(image), scale).sheet(page)
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=6)
    return data.getvalue()


def _scale(page: Sheet) -> float:
    side = MAX_SIDE / max(page.width, page.height)
    area = sqrt(MAX_PIXELS / (page.width * page.height))
    scale = min(SCALE, side, area)
    if scale < 0.5:
        raise fail("E0608", "the drawing is too large for a PNG", help="write an .svg or .html, or leave out --expand")
    return scale


@cache
def _font(size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


class _Painter:
    """Paints placed boxes; coordinates are those of the drawing."""

    def __init__(self, draw: ImageDraw, scale: float) -> None:
        self.draw = draw
        self.scale = scale

    def sheet(self, page: Sheet) -> None:
        self.text(page.title, MARGIN, 28, TITLE, TEXT, "ls", bold=True)
        self.text(page.summary, MARGIN, 45, NOTE_LINE, NOTE, "ls")
        for entry in page.legend:
            self.sample(entry)
            self.text(entry.text, entry.x + 22, entry.y + 4, NOTE_LINE, NOTE, "ls")
        self.inside(page.drawing, page.x, page.y)

    def sample(self, entry: Entry) -> None:
        fill, line = COLOURS.get(entry.kind, ("#ffffff", WIRE))
        x, y = entry.x, entry.y - 5
        if entry.kind == EARLIER:
            self.line([(x, entry.y), (x + 14, entry.y)], WIRE, 1.4, EARLIER)
            return
        if entry.kind == REPEAT:
            self.rectangle(x + 3, y + 3, 14, 10, 3, fill, line)
        self.rectangle(x, y, 14, 10, 3, fill, line, entry.kind)

    def inside(self, placed: Placed, x: float, y: float) -> None:
        for child in placed.children:
            if child.is_open:
                self.box(child, x + child.x, y + child.y)
        for route in placed.routes:
            self.wire(route, x, y, placed.right)
        for child in placed.children:
            if not child.is_open:
                self.box(child, x + child.x, y + child.y)

    def box(self, placed: Placed, x: float, y: float) -> None:
        if placed.box.count > 1 and not placed.is_open:
            self.rect(placed, x + 6, y + 6)
            self.rect(placed, x + 3, y + 3)
        self.rect(placed, x, y)
        if placed.is_open:
            base = y + HEAD - 7
            self.label(placed, x + PAD, base, centred=False)
            self.text(header_note(placed.box), x + placed.width - PAD, base, NOTE_LINE, NOTE, "rs")
            self.inside(placed, x, y)
        else:
            middle = x + placed.width / 2
            self.label(placed, middle, y + 18, centred=True)
            self.text(second_line(placed.box), middle, y + 34, NOTE_LINE, NOTE, "ms")
            self.text(placed.box.carry, middle, y + 49, NOTE_LINE, NOTE, "ms")

    def label(self, placed: Placed, x: float, y: float, centred: bool) -> None:
        """The title, and the count in the colour of the border."""
        title, mark = placed.box.title, count_mark(placed.box)
        font = _font(LINE * self.scale)
        gap = MARK_GAP + font.getlength(" ") / self.scale if title and mark else 0.0
        long, rest = (font.getlength(text) / self.scale for text in (title, mark))
        start = x - (long + gap + rest) / 2 if centred else x
        self.text(title, start, y, LINE, TEXT, "ls", bold=True)
        self.text(mark, start + long + gap, y, LINE, colours(placed.box, placed.is_open)[1], "ls", bold=True)

    def rect(self, placed: Placed, x: float, y: float) -> None:
        fill, line = colours(placed.box, placed.is_open)
        radius = 14 if placed.box.kind == "terminal" else 6
        dashes = TRAINING if placed.box.training else ""
        self.rectangle(x, y, placed.width, placed.height, radius, fill, line, dashes)

    def rectangle(
        self, x: float, y: float, width: float, height: float, radius: float, fill: str, line: str, dashes: str = ""
    ) -> None:
        corners = self.at(x, y), self.at(x + width, y + height)
        thick = max(1, round(self.scale))
        dashed = dashes in DASHES
        self.draw.rounded_rectangle(corners, radius * self.scale, fill, None if dashed else line, thick)
        if dashed:
            border = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
            self.line(border, line, 1, dashes)

    def text(self, text: str, x: float, y: float, size: float, colour: str, anchor: str, bold: bool = False) -> None:
        stroke = 0.35 * self.scale if bold else 0
        font = _font(size * self.scale)
        self.draw.text(self.at(x, y), text, colour, font, anchor, stroke_width=stroke, stroke_fill=colour)

    def wire(self, route: Route, x: float, y: float, right: bool) -> None:
        points = [(px + x, py + y) for px, py in route.points]
        line = [points[0]]
        for a, b in pairwise(points):
            line += _curve(a, b, right)
        self.line(line, WIRE, 1.4, EARLIER if route.earlier else TRAINING if route.faint else "")
        if route.arrow:
            tip_x, tip_y = points[-1]
            back = [(-7, -4), (-7, 4)] if right else [(-4, -7), (4, -7)]
            self.draw.polygon([self.at(tip_x, tip_y), *(self.at(tip_x + dx, tip_y + dy) for dx, dy in back)], WIRE)

    def line(self, points: Sequence[Point], colour: str, width: float, dashes: str = "") -> None:
        pieces = _dashes(points, dashes) if dashes in DASHES else [points]
        for piece in pieces:
            scaled = [self.at(*point) for point in piece]
            self.draw.line(scaled, colour, max(1, round(width * self.scale)), joint="curve")

    def at(self, x: float, y: float) -> Point:
        return x * self.scale, y * self.scale


def _curve(a: Point, b: Point, right: bool) -> list[Point]:
    """Points of the Bézier curve of the SVG, whose ends go straight on."""
    (ax, ay), (bx, by) = a, b
    found = []
    for step in range(1, _STEPS + 1):
        t = step / _STEPS
        ease, on = t * t * (3 - 2 * t), 1.5 * t * (1 - t) + t**3
        dx, dy = (on, ease) if right else (ease, on)
        found.append((ax + (bx - ax) * dx, ay + (by - ay) * dy))
    return found


def _dashes(points: Sequence[Point], dashes: str) -> Iterator[list[Point]]:
    """The pieces of a line that are drawn."""
    lengths = [float(length) for length in DASHES[dashes].split()]
    drawn, left = True, lengths[0]
    piece = [points[0]]
    for (ax, ay), (bx, by) in pairwise(points):
        whole = hypot(bx - ax, by - ay)
        done = 0.0
        while whole - done > left:
            done += left
            turn = (ax + (bx - ax) * done / whole, ay + (by - ay) * done / whole)
            if drawn:
                yield [*piece, turn]
            drawn = not drawn
            piece, left = [turn], lengths[0 if drawn else 1]
        left -= whole - done
        piece.append((bx, by))
    if drawn:
        yield piece
