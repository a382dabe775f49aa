"""Transfer learning: a network takes those trained arrays that fit, and starts anew where none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archlang.errors import fail, nearest
from archlang.ir.graph import Graph
from archlang.weights import Array, specs

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transfer:
    """What became of trained arrays, by name.

    kept: those that the network took. reshaped: those that start anew because the shapes differ, each with the trained
    one and the network's. missing: those that start anew because there was none. unused: trained ones of no module.
    """

    kept: tuple[str, ...]
    reshaped: Mapping[str, tuple[Shape, Shape]]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def fresh(self) -> tuple[str, ...]:
        """Every array that starts anew."""
        return (*self.reshaped, *self.missing)

    def __str__(self) -> str:
        lines = [f"kept {len(self.kept)} arrays, {len(self.fresh)} start anew, {len(self.unused)} unused"]
        lines += [
            f"  {name}: {_text(theirs)} was trained, {_text(ours)} is needed"
            for name, (theirs, ours) in self.reshaped.items()
        ]
        lines += [f"  {name}: none was trained" for name in self.missing]
        lines += [f"  {name}: unused" for name in self.unused]
        return "\n".join(lines)


def fitting(graph: Graph, weights: Mapping[str, Any]) -> tuple[dict[str, Array], Transfer]:
    """The arrays that the network can take, as float32, and what became of each. Raises ArchError where none fits, or
    one that fits is not finite."""
    wanted = specs(graph)
    shapes = {name: tuple(np.shape(value)) for name, value in weights.items()}
    kept = {name: np.asarray(weights[name], np.float32) for name in wanted if shapes.get(name) == wanted[name].shape}
    if not kept:
        first = next(iter(wanted), "")
        help = nearest(first, weights) if first else f"{graph.name} has no weights"
        raise fail("E0601", f"none of the weights fit {graph.name}, which needs `{first}`", help=help)
    for name, array in kept.items():
        if not np.isfinite(array).all():
            raise fail("E0603", f"the weights: `{name}` holds values that are not finite")
    reshaped = {name: (shapes[name], wanted[name].shape) for name in wanted if name in shapes and name not in kept}
    missing = tuple(name for name in wanted if name not in shapes)
    unused = tuple(name for name in shapes if name not in wanted and not name.endswith("num_batches_tracked"))
    return kept, Transfer(tuple(kept), reshaped, missing, unused)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "()"
