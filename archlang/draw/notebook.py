"""How networks, their costs and spaces of them show themselves in a notebook: plain HTML without a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from archlang.draw import boxes
from archlang.errors import OutsideError

if TYPE_CHECKING:
    from archlang.breakdown import Line
    from archlang.cost import NetCost
    from archlang.ir.graph import Graph
    from archlang.search.space import Space

MAX_ROWS = 200
"""Of a table; what comes after them is counted."""


def summary(graph: Graph, title: str, found: NetCost, open_decisions: int = 0) -> str:
    """A network: its figures, its layers folded away, and, where the extra `draw` is installed, the folded drawing.

    open_decisions: how many decisions of a space the network has taken at their first alternative.
    """
    note = f"<p>A space: the network of the first alternatives of {_counted(open_decisions, 'decision')}.</p>"
    parts = [_figures(title, found), note if open_decisions else "", _layers(graph, found), _drawing(graph, title)]
    return f"<div>{''.join(parts)}</div>"


def cost(found: NetCost) -> str:
    """A cost: its figures and its layers."""
    return f"<div>{_figures(found.plain.name, found)}{_layers(found.plain, found)}</div>"


def space(shown: Space) -> str:
    """A space: how large it is, its decisions, and the network of the first alternatives."""
    size = (
        "too large to be counted" if shown.log10_size is None else f"about 10<sup>{shown.log10_size:.1f}</sup> networks"
    )
    size = f"{_counted(shown.decisions, 'decision')}, {size}"
    first = shown.lowered({})
    heading = f"<p><b>{escape(shown.name)}</b>: a space of {size}</p>"
    network = summary(first.graph, shown.name, _cost_of(first.graph), len(first.trace))
    return f"<div>{heading}{_decisions(shown)}{network}</div>"


def _cost_of(graph: Graph) -> NetCost:
    from archlang.cost import cost as cost_of

    return cost_of(graph)


def _drawing(graph: Graph, title: str) -> str:
    from archlang.draw import layout, svg

    try:
        placed = layout.place(boxes(graph, title), 0)
    except OutsideError:
        return ""
    return svg.svg(placed, standalone=False)


def _figures(title: str, found: NetCost) -> str:
    figures = {
        "parameters": found.total.params,
        "MACs": found.total.macs,
        "FLOPs": found.total.flops,
        "activation bytes": found.activation_bytes,
        "peak memory bytes": found.peak_memory_bytes,
        "peak memory bytes, int8": found.peak_memory_int8_bytes,
    }
    return _table(tuple(figures), [tuple(f"{value:,}" for value in figures.values())], caption=title)


def _layers(graph: Graph, found: NetCost) -> str:
    from archlang.breakdown import by_layer

    lines = by_layer(graph, found)
    params, macs = (max(getattr(line.cost, name) for line in lines) for name in ("params", "macs"))
    rows = [_layer(line, params, macs) for line in lines]
    table = _table(("layer", "op", "output", "n", "params", "MACs"), rows, names=3)
    return _folded(f"{_counted(sum(line.n for line in lines), 'layer')}, equal repeats in one line", table)


def _layer(line: Line, params: int, macs: int) -> tuple[str, ...]:
    shares = _bar(line.cost.params, params), _bar(line.cost.macs, macs)
    return escape(line.name), escape(line.op), escape(line.output), f"{line.n:,}", *shares


def _bar(value: int, largest: int) -> str:
    """A number over a bar that is as long as its part of the largest."""
    percent = 100 * value / largest if largest else 0
    fill = f"linear-gradient(to left, #8ab4e8 {percent:.1f}%, transparent {percent:.1f}%)"
    return f'<div style="background: {fill} 0 100% / 100% 3px no-repeat">{value:,}</div>'


def _decisions(shown: Space) -> str:
    from archlang.search.extent import alternative

    met = [shown.memo.decisions[key] for key in shown.lowered({}).trace]
    rows = [
        (escape(decision.label), ", ".join(escape(alternative(decision, i)) for i in range(min(decision.count, 20))))
        for decision in met
    ]
    heading = f"{_counted(len(rows), 'decision')} of the network below, which takes the first alternative of each"
    return _folded(heading, _table(("decision", "alternatives"), rows, names=2))


def _folded(heading: str, inside: str) -> str:
    return f"<details><summary>{escape(heading)}</summary>{inside}</details>"


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "", names: int = 0) -> str:
    """rows: HTML. names: how many columns, from the left, are text; numbers are aligned to the right."""
    head = "".join(f'<th style="{_side(i, names)}">{escape(title)}</th>' for i, title in enumerate(titles))
    body = "".join(_row(row, names) for row in rows[:MAX_ROWS])
    rest = len(rows) - MAX_ROWS
    more = f'<tr><td colspan="{len(titles)}">and {rest:,} more</td></tr>' if rest > 0 else ""
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>"


def _row(cells: Iterable[str], names: int) -> str:
    inside = "".join(f'<td style="{_side(i, names)}">{text}</td>' for i, text in enumerate(cells))
    return f"<tr>{inside}</tr>"


def _side(column: int, names: int) -> str:
    return f"text-align: {'left' if column < names else 'right'}; padding: 0 0.6em"


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
