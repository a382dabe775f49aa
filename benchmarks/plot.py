"""Fronts as a picture: SVG, and characters for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
"""Something to be small, something to be large."""


@dataclass(frozen=True)
class Series:
    """Points under a name. mark: the character in a terminal; colour: in SVG."""

    name: str
    mark: str
    colour: str
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        """The points that no other of the series beats in both, from left to right."""
        found: list[Point] = []
        for x, y in sorted(self.points, key=lambda point: (point[0], -point[1])):
            if not found or y > found[-1][1]:
                found.append((x, y))
        return found


@dataclass(frozen=True)
class Axes:
    """The ranges of a plot, with a margin. The first begins at 0 unless all points are far from it."""

    low: Point
    high: Point

    @classmethod
    def of(cls, series: Sequence[Series]) -> Axes:
        xs, ys = zip(*(point for each in series for point in each.points), strict=True)
        margin = 0.08 * ((max(ys) - min(ys)) or 1.0)
        left, right = min(xs), max(xs)
        beside = 0.05 * (right - left)
        x0, x1 = (left - beside, right + beside) if left > right / 2 and right > left else (0.0, 1.05 * right)
        return cls((x0, min(ys) - margin), (x1, max(ys) + margin))

    def share(self, point: Point) -> Point:
        """Where the point is, from 0 to 1 along both axes."""
        (x0, y0), (x1, y1) = self.low, self.high
        return (point[0] - x0) / (x1 - x0), (point[1] - y0) / (y1 - y0)

    def ticks(self, axis: int, count: int = 5) -> list[float]:
        low, high = self.low[axis], self.high[axis]
        return [low + (high - low) * i / (count - 1) for i in range(count)]


def terminal(series: Sequence[Series], titles: tuple[str, str], width: int = 64, height: int = 16) -> str:
    """The points as characters in a frame; the later series is drawn over the earlier."""
    axes = Axes.of(series)
    rows = [[" "] * width for _ in range(height)]
    for each in series:
        for point in each.points:
            x, y = axes.share(point)
            rows[round((1 - y) * (height - 1))][round(x * (width - 1))] = each.mark
    low, high = axes.low, axes.high
    labels = {0: f"{high[1]:.2f}", height - 1: f"{low[1]:.2f}"}
    lines = [f"{labels.get(i, ''):>8} |{''.join(row).rstrip()}" for i, row in enumerate(rows)]
    bottom = f"{low[0]:<.2f}{titles[0]:^{width - 12}}{high[0]:>.2f}"
    legend = "   ".join(f"{each.mark} {each.name}" for each in series)
    return "\n".join([f"{titles[1]}", *lines, " " * 9 + "+" + "-" * width, " " * 10 + bottom, f"{legend:>{width}}"])


WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 440, 70, 24, 24, 56


def svg(series: Sequence[Series], titles: tuple[str, str]) -> str:
    """A scatter plot, the front of each series joined by steps."""
    axes = Axes.of(series)
    parts = [_frame(axes, titles)]
    for i, each in enumerate(series):
        parts.append(_steps(axes, each))
        parts += [_dot(axes, each, point) for point in each.points]
        below = HEIGHT - BOTTOM - 14 - 18 * (len(series) - 1 - i)  # fronts rise to the right: it is empty there
        parts.append(_text(WIDTH - RIGHT - 16, below, f"{each.name} ●", "end", each.colour))
    style = 'font-family="sans-serif" font-size="13"'
    body = "\n".join(parts)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect width="100%" height="100%" fill="white"/>'
    return f"{head}\n{body}\n</svg>\n"


def _place(axes: Axes, point: Point) -> Point:
    x, y = axes.share(point)
    return LEFT + x * (WIDTH - LEFT - RIGHT), TOP + (1 - y) * (HEIGHT - TOP - BOTTOM)


def _frame(axes: Axes, titles: tuple[str, str]) -> str:
    bottom = HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#444"/>']
    for value in axes.ticks(0):
        x, _ = _place(axes, (value, axes.low[1]))
        parts.append(_text(x, bottom + 20, f"{value:.2f}", anchor="middle"))
    for value in axes.ticks(1):
        _, y = _place(axes, (axes.low[0], value))
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>' + _text(LEFT - 8, y + 4, f"{value:.1f}", "end")
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, titles[0], anchor="middle"))
    parts.append(_text(LEFT, TOP - 8, titles[1]))
    return "\n".join(parts)


def _steps(axes: Axes, series: Series) -> str:
    places = [_place(axes, point) for point in series.front]
    if not places:
        return ""
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in places[1:])
    return f'<path d="{path}" fill="none" stroke="{series.colour}" stroke-width="1.5" stroke-dasharray="5 3"/>'


def _dot(axes: Axes, series: Series, point: Point) -> str:
    x, y = _place(axes, point)
    title = f"<title>{escape(series.name)}: {point[0]:.3f}, {point[1]:.2f}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{series.colour}">{title}</circle>'


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
