"""Predicted against measured latency, as a drawing: SVG, a page that holds it, or PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from archlang.device.predict.validate import CLOSE, Report
from archlang.errors import fail, missing_extra
from archlang.files import write_whole

SIDE = 480
MARGIN = 64
_FONT = 13
_SCALE = 2
_INK, _GRID, _BAND, _POINT, _INTERVAL = "#1f2328", "#d8dee4", "#dafbe1", "#0969da", "#9ec5f4"


@dataclass(frozen=True)
class Stroke:
    """A straight line, in px from the upper left."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str
    title: str = ""


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[tuple[float, float], ...]
    colour: str


@dataclass(frozen=True)
class Words:
    """Text; anchor: `start`, `middle` or `end` is at x."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


Mark = Stroke | Dot | Area | Words


def write(report: Report, title: str, path: Path) -> None:
    """Write predicted against measured latency; see `write_marks`."""
    write_marks(list(marks(report, title)), title, path)


def write_marks(drawn: list[Mark], title: str, path: Path) -> None:
    """Write a drawing in the format of the file's suffix. Raises ArchError for another one, OutsideError for .png
    without Pillow."""
    check_format(path)
    write_whole(path, _WRITERS[path.suffix](drawn, title))


def check_format(path: Path) -> None:
    """Raises ArchError E1014 where a plot cannot be written as the file's suffix says."""
    if path.suffix not in _WRITERS:
        help = f"{', '.join(_WRITERS)} are known"
        raise fail("E1014", f"{path}: the plot cannot be written as `{path.suffix}`", help=help)


def marks(report: Report, title: str) -> Iterator[Mark]:
    """The drawing, back to front. Both axes have the same logarithmic scale; the band is within 10 %."""
    points = [(pair, pair.predicted.ms) for pair in report.pairs if pair.predicted.ms is not None]
    values = [value for pair, ms in points for value in (pair.measured_ms, ms)] or [1.0]
    scale = _Scale(min(values) / 1.15, max(values) * 1.15)
    yield Area(tuple(scale.band()), _BAND)
    for tick in scale.ticks():
        yield from scale.grid(tick)
    yield Stroke(*scale.at(scale.low, scale.low), *scale.at(scale.high, scale.high), _INK)
    for pair, ms in points:
        low, high = (scale.kept(value or ms) for value in (pair.predicted.low_ms, pair.predicted.high_ms))
        yield Stroke(*scale.at(pair.measured_ms, low), *scale.at(pair.measured_ms, high), _INTERVAL, 2)
    for pair, ms in points:
        yield Dot(*scale.at(pair.measured_ms, ms), 3.5, _POINT, f"{pair.measured_ms:.3f} ms, predicted {ms:.3f} ms")
    middle = MARGIN + SIDE / 2
    yield Words(middle, MARGIN + SIDE + 44, "measured, ms")
    yield Words(MARGIN, MARGIN - 10, "predicted, ms", "start")
    yield Words(middle, 22, title)
    yield Words(middle, 42, _figures(report))


def _figures(report: Report) -> str:
    return (
        f"Spearman {report.spearman:.3f}, Kendall {report.kendall:.3f}, mean relative error {report.mape:.1%}, "
        f"{report.within_10:.0%} within 10 %"
    )


@dataclass(frozen=True)
class _Scale:
    """Milliseconds to px, logarithmic."""

    low: float
    high: float

    def part(self, value: float) -> float:
        return SIDE * math.log(value / self.low) / math.log(self.high / self.low)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return MARGIN + self.part(x), MARGIN + SIDE - self.part(y)

    def kept(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[float]:
        """Round values, 1, 2 or 5 times a power of ten; ones between them where that leaves fewer than three."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(i / 10 for i in range(10, 100))):
            found = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in found if self.low <= value <= self.high]
            if len(inside) >= 3:
                return inside[:: max(1, len(inside) // 9)]
        return [self.low, self.high]

    def grid(self, tick: float) -> Iterator[Mark]:
        x, y = self.at(tick, tick)
        yield Stroke(x, MARGIN, x, MARGIN + SIDE, _GRID)
        yield Stroke(MARGIN, y, MARGIN + SIDE, y, _GRID)
        yield Words(x, MARGIN + SIDE + 20, f"{tick:.3g}")
        yield Words(MARGIN - 8, y + 4, f"{tick:.3g}", "end")

    def band(self) -> Iterator[tuple[float, float]]:
        for x, factor in ((self.low, 1 + CLOSE), (self.high, 1 + CLOSE), (self.high, 1 - CLOSE), (self.low, 1 - CLOSE)):
            yield self.at(x, self.kept(x * factor))


# SVG

_SIZE = SIDE + 2 * MARGIN


def _svg(drawn: list[Mark], title: str) -> str:
    parts = "\n".join(_element(mark) for mark in drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE}" height="{_SIZE}" viewBox="0 0 {_SIZE} {_SIZE}" '
        f'role="img" font-family="sans-serif" font-size="{_FONT}" fill="{_INK}">\n'
        f'<title>{escape(title)}</title>\n<rect width="{_SIZE}" height="{_SIZE}" fill="#ffffff"/>\n{parts}\n</svg>\n'
    )


def _element(mark: Mark) -> str:
    if isinstance(mark, Stroke):
        ends = f'x1="{mark.x1:.1f}" y1="{mark.y1:.1f}" x2="{mark.x2:.1f}" y2="{mark.y2:.1f}"'
        return f'<line {ends} stroke="{mark.colour}" stroke-width="{mark.width:g}"/>'
    if isinstance(mark, Area):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
        return f'<polygon points="{points}" fill="{mark.colour}"/>'
    if isinstance(mark, Dot):
        circle = f'cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius:g}" fill="{mark.colour}"'
        return f"<circle {circle}><title>{escape(mark.title)}</title></circle>"
    return f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}">{escape(mark.text)}</text>'


def _page(drawn: list[Mark], title: str) -> str:
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
    return f"{head}<body>\n{_svg(drawn, title)}</body>\n</html>\n"


# PNG


def _png(drawn: list[Mark], title: str) -> bytes:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise missing_extra("writing a .png file", "draw") from error
    image = Image.new("RGB", (_SIZE * _SCALE, _SIZE * _SCALE), "#ffffff")
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT * _SCALE)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for mark in drawn:
        if isinstance(mark, Stroke):
            ends = [value * _SCALE for value in (mark.x1, mark.y1, mark.x2, mark.y2)]
            canvas.line(ends, fill=mark.colour, width=round(mark.width * _SCALE))
        elif isinstance(mark, Area):
            canvas.polygon([(x * _SCALE, y * _SCALE) for x, y in mark.points], fill=mark.colour)
        elif isinstance(mark, Dot):
            left, top = (mark.x - mark.radius) * _SCALE, (mark.y - mark.radius) * _SCALE
            width = 2 * mark.radius * _SCALE
            canvas.ellipse([left, top, left + width, top + width], fill=mark.colour)
        else:
            place = (mark.x * _SCALE, mark.y * _SCALE)
            canvas.text(place, mark.text, fill=_INK, font=font, anchor=anchors[mark.anchor])
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


_WRITERS: dict[str, Callable[[list[Mark], str], str | bytes]] = {".svg": _svg, ".html": _page, ".png": _png}
