"""Families as a drawing: what their members cost across, logarithmic, and another of their metrics up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from archlang.device.predict.plot import MARGIN, SIDE, Dot, Mark, Stroke, Words, write_marks
from archlang.draw.sheet import short
from archlang.scale.ladder import Member

INK, GRID = "#1f2328", "#d8dee4"
COLOURS: Mapping[str, str] = {
    "depth": "#bf3989",
    "width": "#1a7f37",
    "resolution": "#9a6700",
    "compound": "#0969da",
}

LOGARITHMIC = ("params", "macs", "flops", "latency", "peak_memory", "flash")
"""Metrics that grow as the work does; what an evaluator says of a network is drawn on an even scale."""


@dataclass(frozen=True)
class Series:
    """The members that one method made. metrics: of each, with whatever an evaluator added."""

    method: str
    members: Sequence[Member]

    def points(self, x: str, y: str) -> list[tuple[float, float, str]]:
        """Those that have both metrics, the cheapest first."""
        known = [member for member in self.members if x in member.metrics and y in member.metrics]
        return sorted((member.metrics[x], member.metrics[y], member.name) for member in known)


def write(series: Sequence[Series], x: str, y: str, title: str, path: Path) -> None:
    """Write the drawing as .svg, .html or .png. Raises ArchError E1014 for another format, OutsideError for .png
    without Pillow."""
    write_marks(list(marks(series, x, y, title)), title, path)


def marks(series: Sequence[Series], x: str, y: str, title: str) -> Iterator[Mark]:
    """The drawing, back to front: a line through the members of each series."""
    found = [(each, each.points(x, y)) for each in series]
    every = [point for _, points in found for point in points]
    across = Axis.of([point[0] for point in every], logarithmic=True)
    up = Axis.of([point[1] for point in every], logarithmic=y in LOGARITHMIC)
    yield from _frame(across, up, x, y, title)
    for i, (each, points) in enumerate(found):
        colour = COLOURS[each.method]
        places = [(MARGIN + across.at(a), MARGIN + SIDE - up.at(b)) for a, b, _ in points]
        for (x1, y1), (x2, y2) in pairwise(places):
            yield Stroke(x1, y1, x2, y2, colour, 2)
        for (px, py), (a, b, name) in zip(places, points, strict=True):
            yield Dot(px, py, 4, colour, f"{name}: {_text(a)} {x}, {_text(b)} {y}")
        yield Dot(MARGIN + 16, MARGIN + 18 + 18 * i, 4, colour)
        yield Words(MARGIN + 26, MARGIN + 22 + 18 * i, each.method, "start")


@dataclass(frozen=True)
class Axis:
    """Values to px from the origin."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], logarithmic: bool) -> Axis:
        """An axis that holds the values, with a margin."""
        low, high = min(values, default=1.0), max(values, default=1.0)
        logarithmic = logarithmic and low > 0
        if logarithmic:
            return cls(low / 1.15, high * 1.15, True)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - margin, high + margin, False)

    def at(self, value: float) -> float:
        if self.logarithmic:
            return SIDE * math.log(value / self.low) / math.log(self.high / self.low)
        return SIDE * (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 6) -> list[float]:
        """Round values within: powers of two times the smallest where it is logarithmic."""
        if not self.logarithmic:
            step = (self.high - self.low) / count
            digits = max(0, math.ceil(-math.log10(step)))
            values = [round(self.low + step * (i + 0.5), digits) for i in range(count)]
            return [value for value in dict.fromkeys(values) if self.low <= value <= self.high]
        first, octaves = self.low * 1.15, math.log2(self.high / self.low / 1.15**2)
        every = max(1, math.ceil(octaves / count))
        return [first * 2 ** (i * every) for i in range(math.floor(octaves / every + 0.05) + 1)]


def _frame(across: Axis, up: Axis, x: str, y: str, title: str) -> Iterator[Mark]:
    for tick in across.ticks():
        place = MARGIN + across.at(tick)
        yield Stroke(place, MARGIN, place, MARGIN + SIDE, GRID)
        yield Words(place, MARGIN + SIDE + 20, _text(tick))
    for tick in up.ticks():
        place = MARGIN + SIDE - up.at(tick)
        yield Stroke(MARGIN, place, MARGIN + SIDE, place, GRID)
        yield Words(MARGIN - 8, place + 4, _text(tick), "end")
    yield Stroke(MARGIN, MARGIN, MARGIN, MARGIN + SIDE, INK)
    yield Stroke(MARGIN, MARGIN + SIDE, MARGIN + SIDE, MARGIN + SIDE, INK)
    yield Words(MARGIN + SIDE / 2, MARGIN + SIDE + 44, _UNITS.get(x, x))
    yield Words(MARGIN, MARGIN - 10, _UNITS.get(y, y), "start")
    yield Words(MARGIN + SIDE / 2, 22, title)


_UNITS = {
    "flops": "FLOPs",
    "macs": "MACs",
    "params": "parameters",
    "latency": "latency, ms",
    "peak_memory": "peak memory, bytes",
}


def _text(value: float) -> str:
    return short(round(value)) if value >= 1000 else f"{value:.3g}"
