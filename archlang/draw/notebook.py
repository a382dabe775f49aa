"""How a network shows itself in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from archlang.draw import boxes
from archlang.errors import OutsideError

if TYPE_CHECKING:
    from archlang.cost import NetCost
    from archlang.ir.graph import Graph


def summary(graph: Graph, title: str, found: NetCost) -> str:
    """A table of the cost and, where the extra `draw` is installed, the folded drawing under it."""
    return f"<div>{_table(title, found)}{_drawing(graph, title)}</div>"


def _drawing(graph: Graph, title: str) -> str:
    from archlang.draw import layout, svg

    try:
        placed = layout.place(boxes(graph, title), 0)
    except OutsideError:
        return ""
    return svg.svg(placed, standalone=False)


def _table(title: str, found: NetCost) -> str:
    figures = {
        "parameters": found.total.params,
        "MACs": found.total.macs,
        "FLOPs": found.total.flops,
        "activation bytes": found.activation_bytes,
        "peak memory bytes": found.peak_memory_bytes,
    }
    heads = "".join(f"<th>{name}</th>" for name in figures)
    cells = "".join(f"<td>{value:,}</td>" for value in figures.values())
    return f"<table><caption>{escape(title)}</caption><tr>{heads}</tr><tr>{cells}</tr></table>"
