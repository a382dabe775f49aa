"""What an import did, layer by layer: for a person, for programs, and as a map to import with again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archlang.checkpoint.align import Ambiguity
from archlang.checkpoint.layers import Layer
from archlang.ir.graph import Graph
from archlang.ops.activation import Activation
from archlang.ops.conv import Conv2d
from archlang.ops.norm import BatchNorm, LayerNorm


@dataclass(frozen=True)
class Decision:
    """A layer of the network and where its arrays come from.

    how: `name` (the whole file agrees by name), `map` (the caller said so), `only` (no other layer has these shapes in
    its place), `called` (told apart by their names), `order` (one of several alike, in their order), `fresh` (as
    training starts from it, out of nothing in the file). why: in words. reshaped: axes of length 1 were added or taken
    away.
    """

    ours: str
    theirs: str
    how: str
    why: str
    reshaped: bool = False


@dataclass(frozen=True)
class Report:
    """net: of which network. decisions: in the order of evaluation. unused: layers of the file that nothing takes,
    missing: layers of the network that the file has not, ambiguous: what cannot be told apart. assumed: what no state
    dict says, as the network has it. problem: why nothing was imported; empty where all went well."""

    net: str
    decisions: tuple[Decision, ...] = ()
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ambiguous: tuple[Ambiguity, ...] = ()
    assumed: tuple[str, ...] = ()
    problem: str = ""
    help: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many layers were decided in which way."""
        return dict(Counter(decision.how for decision in self.decisions))

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": not self.problem,
            "net": self.net,
            "problem": self.problem,
            "help": self.help,
            "decided": self.counts,
            "layers": [
                {"name": d.ours, "from": d.theirs, "how": d.how, "why": d.why, "reshaped": d.reshaped}
                for d in self.decisions
            ],
            "unused": list(self.unused),
            "missing": list(self.missing),
            "assumed": list(self.assumed),
            "ambiguous": [{"ours": list(a.ours), "theirs": list(a.theirs), "why": a.why} for a in self.ambiguous],
        }


def assumptions(graph: Graph) -> tuple[str, ...]:
    """What two networks with equal weights may differ in: the activations, eps of the norms, uneven padding."""
    ops = [node.op for node, _ in graph.modules()]
    activations = sorted({op.name for op in ops if isinstance(op, Activation)})
    eps = sorted({op.eps for op in ops if isinstance(op, BatchNorm | LayerNorm)})
    padded = any(isinstance(op, Conv2d) and op.padding[:2] != op.padding[2:] for op in ops)
    return (
        *([f"activations: {', '.join(activations)}"] if activations else []),
        *([f"eps of the norms: {', '.join(f'{value:g}' for value in eps)}"] if eps else []),
        "padding: " + ("uneven in places, as TensorFlow's" if padded else "the same on both sides"),
    )


def listed(layers: Sequence[Layer], most: int = 4) -> str:
    """The first of some layers, and how many more there are."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(map(str, layers[:most])) + more
