"""Drawings of networks: SVG, PNG, an HTML page, Mermaid and DOT text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archlang.draw.model import Box
    from archlang.ir.graph import Graph

EVERYTHING = 1_000
"""A depth at which every block is open."""
DIRECTIONS = ("down", "right")
"""Ways that a drawing can run."""


def draw(
    graph: Graph, format: str, title: str = "", depth: int = 0, expand: bool = False, direction: str = "down"
) -> bytes:
    """The drawing of a network in one of `FORMATS`; the same bytes for the same graph.

    title: what it is called, the graph's name if empty. depth: how many levels of blocks are open. expand: every
    block is open and every repeat drawn as often as it is there. direction: `down`, or `right` (from the left to the
    right). Raises OutsideError where the extra `draw` is missing (SVG, PNG, HTML), ArchError where a PNG would be too
    large.
    """
    return FORMATS[format](
        boxes(graph, title, fold=not expand), EVERYTHING if expand else depth, direction == DIRECTIONS[1]
    )


def boxes(graph: Graph, title: str = "", fold: bool = True) -> Box:
    """What the drawing shows, as a tree. fold: equal repeats are one box with a count."""
    from archlang.draw import fold as folding
    from archlang.draw import model

    box = model.tree(graph, title)
    return folding.fold(box) if fold else box


def _svg(box: Box, depth: int, right: bool) -> bytes:
    from archlang.draw import layout, svg

    return svg.svg(layout.place(box, depth, right)).encode()


def _png(box: Box, depth: int, right: bool) -> bytes:
    from archlang.draw import layout, png

    return png.png(layout.place(box, depth, right))


def _html(box: Box, depth: int, right: bool) -> bytes:
    from archlang.draw import page

    return page.page(box, depth, right).encode()


def _mermaid(box: Box, depth: int, right: bool) -> bytes:
    from archlang.draw import text

    return text.mermaid(box, depth, right).encode()


def _dot(box: Box, depth: int, right: bool) -> bytes:
    from archlang.draw import text

    return text.dot(box, depth, right).encode()


FORMATS: dict[str, Callable[[Box, int, bool], bytes]] = {
    "svg": _svg,
    "png": _png,
    "html": _html,
    "mmd": _mermaid,
    "dot": _dot,
}
"""Suffix of the file -> what writes it."""
