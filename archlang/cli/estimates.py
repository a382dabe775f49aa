"""How an estimate is shown: what is reckoned, and what is not in it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from archlang.cli.common import bytes_text
from archlang.cli.table import Table, show

if TYPE_CHECKING:
    from archlang.device.estimate import Estimate

_SHOWN_LAYERS = 20


def show_estimate(name: str, found: Estimate) -> None:
    """Time, memory, the most expensive layers, and the operators that the accelerator leaves to the CPU."""
    click.echo(f"{name}: an estimate by {found.tool}")
    if found.ms is not None:
        click.echo(f"{found.ms:.3f} ms, {found.cycles:,} cycles")
    parts = ", ".join(f"{part} {bytes_text(size)}" for part, size in found.parts)
    limit = f" of {bytes_text(found.ram_limit)}{'' if found.fits else ': IT DOES NOT FIT'}" if found.ram_limit else ""
    click.echo(f"{found.ram_bytes:,} bytes of RAM{limit}" + (f" ({parts})" if parts else ""))
    click.echo(f"{found.flash_bytes:,} bytes of flash for the model")
    _show_fallback(found)
    _show_layers(found)


def _show_fallback(found: Estimate) -> None:
    if not found.fallback:
        return
    kinds = Counter(op for op, _ in found.fallback)
    listed = ", ".join(f"{count} {op}" for op, count in kinds.most_common())
    click.echo(f"{len(found.fallback)} operators run on the CPU, whose time is not in the estimate: {listed}")


def _show_layers(found: Estimate) -> None:
    ranked = sorted((layer for layer in found.layers if layer.cycles), key=lambda layer: layer.cycles, reverse=True)
    if not ranked:
        return
    rows = [(layer.name, layer.op, layer.cycles, layer.sram_bytes, layer.macs) for layer in ranked[:_SHOWN_LAYERS]]
    rest = len(ranked) - len(rows)
    click.echo()
    titles = ("layer", "type", "cycles", "SRAM bytes", "MACs")
    show(Table(titles, rows, caption=f"and {rest} of fewer cycles" if rest > 0 else ""))
