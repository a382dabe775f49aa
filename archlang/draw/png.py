"""Drawings as PNG, with Pillow and the font that it carries: the same picture on every machine."""

from __future__ import annotations

import io
from functools import cache
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any

from archlang.draw.layout import HEAD, LINE, NOTE_LINE, PAD, Placed, Route, label, second_line
from archlang.draw.svg import NOTE, TEXT, WIRE, colours
from archlang.errors import fail, missing_extra

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SCALE = 2.0
"""Pixels for each px of the drawing."""
MAX_SIDE, MAX_PIXELS = 32_000, 60_000_000


def png(placed: Placed) -> bytes:
    """The drawing, two pixels for one of the SVG, fewer where it is very large. Raises OutsideError, ArchError."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise missing_extra("PNG", "draw") from error
    scale = _scale(placed)
    size = max(1, round(placed.width * scale)), max(1, round(placed.height * scale))
    image = Image.new("RGB", size, "white")
    _Painter(ImageDraw.Draw(image), scale).inside(placed, 0, 0)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


def _scale(placed: Placed) -> float:
    side = MAX_SIDE / max(placed.width, placed.height)
    area = sqrt(MAX_PIXELS / (placed.width * placed.height))
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

    def inside(self, placed: Placed, x: float, y: float) -> None:
        for child in placed.children:
            if child.is_open:
                self.box(child, x + child.x, y + child.y)
        for route in placed.routes:
            self.wire(route, x, y)
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
            self.text(label(placed.box), x + PAD, base, LINE, TEXT, "ls", bold=True)
            self.text(second_line(placed.box), x + placed.width - PAD, base, NOTE_LINE, NOTE, "rs")
            self.inside(placed, x, y)
        else:
            middle = x + placed.width / 2
            self.text(label(placed.box), middle, y + 18, LINE, TEXT, "ms", bold=True)
            self.text(second_line(placed.box), middle, y + 34, NOTE_LINE, NOTE, "ms")

    def rect(self, placed: Placed, x: float, y: float) -> None:
        fill, line = colours(placed)
        corners = self.at(x, y), self.at(x + placed.width, y + placed.height)
        radius = (14 if placed.box.kind == "terminal" else 6) * self.scale
        self.draw.rounded_rectangle(corners, radius, fill, line, max(1, round(self.scale)))

    def text(self, text: str, x: float, y: float, size: float, colour: str, anchor: str, bold: bool = False) -> None:
        stroke = 0.35 * self.scale if bold else 0
        font = _font(size * self.scale)
        self.draw.text(self.at(x, y), text, colour, font, anchor, stroke_width=stroke, stroke_fill=colour)

    def wire(self, route: Route, x: float, y: float) -> None:
        points = [(px + x, py + y) for px, py in route.points]
        line = [self.at(*points[0])]
        for (ax, ay), (bx, by) in pairwise(points):
            for step in range(1, 17):
                t = step / 16
                ease = t * t * (3 - 2 * t)  # the Bézier curve of the SVG: its ends are vertical
                line.append(self.at(ax + (bx - ax) * ease, ay + (by - ay) * _down(t)))
        self.draw.line(line, WIRE, max(1, round(1.4 * self.scale)), joint="curve")
        if route.arrow:
            tip_x, tip_y = points[-1]
            self.draw.polygon(
                [self.at(tip_x, tip_y), self.at(tip_x - 4, tip_y - 7), self.at(tip_x + 4, tip_y - 7)], WIRE
            )

    def at(self, x: float, y: float) -> tuple[float, float]:
        return x * self.scale, y * self.scale


def _down(t: float) -> float:
    """Height along a cubic Bézier curve whose two inner points are half way down."""
    return 1.5 * t * (1 - t) + t**3
