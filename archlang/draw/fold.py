"""Folds repeats: equal neighbours in a chain become one box with a count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archlang.draw.model import Box, Wire
from archlang.ops.base import Cost


def fold(box: Box) -> Box:
    """The same drawing with every chain of equal instances of a repeat drawn once."""
    children = tuple(fold(child) for child in box.children)
    box = replace(box, children=children)
    if box.kind != "repeat":
        return box
    runs = _runs(box)
    kept = tuple(_merged(run) for run in runs)
    if len(kept) == 1:  # the frame would hold one box
        return replace(kept[0], path=box.path, inputs=box.inputs, outputs=box.outputs)
    return replace(box, children=kept, wires=_rewired(box.wires, runs))


def _runs(box: Box) -> list[list[Box]]:
    runs: list[list[Box]] = []
    signatures = {child.path: _signature(child) for child in box.children}
    for child in box.children:
        last = runs[-1][-1] if runs else None
        if last and signatures[last.path] == signatures[child.path] and _chained(box.wires, last.path, child.path):
            runs[-1].append(child)
        else:
            runs.append([child])
    return runs


def _chained(wires: Sequence[Wire], first: str, second: str) -> bool:
    """Whether all that `first` makes goes to `second`, which takes nothing else."""
    out = {wire.target for wire in wires if wire.source == first}
    into = {wire.source for wire in wires if wire.target == second}
    return out == {second} and into == {first}


def _signature(box: Box) -> tuple[Any, ...]:
    """Equal for boxes that look the same inside. A block's own note is left out: what its arguments change shows
    in the ops, or does not matter."""
    places = {child.path: i for i, child in enumerate(box.children)}
    wires = tuple((places.get(w.source or ""), places.get(w.target or "")) for w in box.wires)
    note = box.note if not box.children else ""
    inside = tuple(_signature(child) for child in box.children)
    return (box.kind, box.title, note, box.shape, box.cost, box.count, len(box.inputs), wires, inside)


def _merged(run: list[Box]) -> Box:
    first, n = run[0], len(run)
    cost = Cost(first.cost.params * n, first.cost.macs * n, first.cost.flops * n)
    names = tuple(name for box in run for name in box.names)
    return replace(first, count=first.count * n, cost=cost, names=names, outputs=run[-1].outputs)


def _rewired(wires: Sequence[Wire], runs: Sequence[Sequence[Box]]) -> tuple[Wire, ...]:
    place = {box.path: run[0].path for run in runs for box in run}
    moved = [replace(wire, source=place.get(wire.source or ""), target=place.get(wire.target or "")) for wire in wires]
    return tuple(wire for wire in moved if wire.source != wire.target or wire.source is None)
