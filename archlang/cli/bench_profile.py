"""A profile in tables: by operator, by source line, by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli.table import Table, show

if TYPE_CHECKING:
    from archlang.device import BenchResult
    from archlang.device.attribution import Part
    from archlang.device.estimate import Estimate
    from archlang.device.transport import OpTime
    from archlang.ir.graph import Graph

_SHOWN = 20


def as_json(result: BenchResult | Estimate, graph: Graph | None) -> dict[str, Any]:
    """`lines` and `blocks`, where there is a profile and they are known."""
    from archlang.device.attribution import by_block, by_line

    ops = getattr(result, "ops", None)
    if ops is None:
        return {}
    lines = by_line(ops, graph) if graph is not None else []
    return {"lines": [part.as_json() for part in lines], "blocks": [part.as_json() for part in by_block(ops, graph)]}


def show_profile(result: BenchResult, graph: Graph | None) -> None:
    from archlang.device.attribution import by_block, by_line

    if result.ops is None:
        return
    _show_ops(result.ops)
    if graph is not None:
        _show_parts("line", by_line(result.ops, graph)[:_SHOWN])
    blocks = by_block(result.ops, graph)
    if len(blocks) > 1:
        _show_parts("block", blocks)


def _show_ops(ops: Sequence[OpTime]) -> None:
    ranked = sorted(ops, key=lambda op: op.ms, reverse=True)
    rows = [
        (op.name, op.op, _count(op.macs), op.ms, f"{op.share:.1%}", _rate(op.macs, op.ms)) for op in ranked[:_SHOWN]
    ]
    rest = len(ranked) - len(rows)
    caption = f"the slowest operators ({rest} quicker ones are left out)" if rest else "operators"
    _show(Table(("operator", "runs as", "MACs", "ms", "share", "GMAC/s"), rows, caption=caption))


def _show_parts(title: str, parts: Sequence[Part]) -> None:
    rows = [
        (_short(part.name), part.what, part.ops, part.macs, part.ms, f"{part.share:.1%}", _rate(part.macs, part.ms))
        for part in parts
    ]
    what = "source" if title == "line" else "made by"
    _show(Table((title, what, "ops", "MACs", "ms", "share", "GMAC/s"), rows, caption=f"by {title}"))


def _show(table: Table) -> None:
    click.echo()
    show(table)


def _short(name: str) -> str:
    """The file without its folders: the line says which one it is."""
    return Path(name).name if "/" in name else name


def _count(macs: int | None) -> int | str:
    return "" if macs is None else macs


def _rate(macs: int | None, ms: float) -> float | str:
    """Billions of MACs a second: what is far below the others is not bound by arithmetic."""
    return round(macs / ms / 1e6, 1) if macs and ms else ""
