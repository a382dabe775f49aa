"""How the generated file makes fresh weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from archlang.backends.source.body import INPUT, Body, Value
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import INDENT
from archlang.backends.source.plan import ClassPlan, Option
from archlang.ir.graph import Graph
from archlang.weights import is_transformer


def scheme(graph: Graph, init: str) -> str:
    """What `paper` means for the network: the truncated normal numbers of ViT and ConvNeXt, else He's."""
    if init != "paper":
        return init
    return "truncated-normal" if is_transformer(graph) else "he"


def initialised(graph: Graph, init: str) -> dict[str, Any]:
    """Which modules the file must give fresh weights other than PyTorch's own, for its template; empty where none."""
    ops = [node.op for node in graph.nodes]
    convolutions = [op for op in ops if op.name == "conv"]
    linears = [op for op in ops if op.name == "linear"]
    attention = any(op.name == "attention" for op in ops)
    chosen = scheme(graph, init)
    truncated = chosen == "truncated-normal"
    biases = [getattr(op, "bias", False) for op in linears] + [True] * (attention and truncated)
    flags = {
        "conv": bool(convolutions),
        "conv_bias": any(getattr(op, "bias", False) for op in convolutions),
        "conv_no_bias": not all(getattr(op, "bias", True) for op in convolutions),
        "linear": bool(biases),
        "linear_bias": any(biases),
        "linear_no_bias": not all(biases),
        "attention": attention and not truncated,
    }
    return {**flags, "truncated": truncated} if any(flags.values()) and chosen != "torch" else {}


# ---- residual branches that begin as nothing -------------------------------------------------------------------------


@dataclass(frozen=True)
class LastNorm:
    """The BatchNorm that ends a residual branch. place: its module below `self`; option: the part of the class that
    must be there for the sum to be made."""

    place: str
    option: Option | None

    def lines(self, owner: str, test: str = "") -> list[str]:
        """The statement that sets it to 0, under what it depends on. owner: `self` or a variable of the class."""
        there = self.option.test.replace("self.", f"{owner}.", 1) if self.option else ""
        condition = " and ".join(filter(None, [test, there]))
        statement = f"nn.init.zeros_({owner}.{self.place}.weight)"
        return [f"if {condition}:", " " * INDENT + statement] if condition else [statement]


def zeroing(plans: Sequence[ClassPlan]) -> list[str]:
    """The lines of the network's constructor that set the last BatchNorm of every residual branch to 0."""
    *blocks, network = plans
    lines = [line for norm in last_norms(network) for line in norm.lines("self")]
    inner = [line for plan in blocks for norm in last_norms(plan) for line in norm.lines("block", _is(plan))]
    return [*lines, "for block in self.modules():", *(" " * INDENT + line for line in inner)] if inner else lines


def _is(plan: ClassPlan) -> str:
    return f"isinstance(block, {plan.name})"


def last_norms(plan: ClassPlan) -> Iterator[LastNorm]:
    """Of every sum of two in the class's body, the BatchNorm that ends the longer branch; none where some instances
    have the sum and not the BatchNorm."""
    for i, item in enumerate(plan.body.items):
        if item.layer.kind == "add" and len(item.inputs) == 2:
            branch = max(item.inputs, key=lambda value: _length(plan.body, value))
            option = next((option for option in plan.options if i in option.items), None)
            elsewhere = {j for other in plan.options if other is not option for j in other.items}
            place = _norm(plan.body, branch, elsewhere)
            if place:
                yield LastNorm(place, option)


def _length(body: Body, value: Value) -> int:
    """How many modules with parameters a value has come through since the class's input."""
    if value[0] == INPUT:
        return 0
    item = body.items[value[0]]
    return _modules(item.layer) + max((_length(body, before) for before in item.inputs), default=0)


def _modules(layer: Layer) -> int:
    inner = [argument for argument in layer.arguments if isinstance(argument, Layer)]
    return sum(map(_modules, inner)) if inner else int(layer.stateful)


def _norm(body: Body, value: Value, absent: set[int]) -> str:
    """Where the value comes out of a BatchNorm, the module's place; what drops in training may stand between."""
    i = value[0]
    if i == INPUT or i in absent:
        return ""
    item = body.items[i]
    if item.layer.kind in ("drop_path", "dropout"):
        return _norm(body, item.inputs[0], absent)
    if item.layer.kind == "bn":
        return item.name
    last = item.layer.arguments[-1] if item.layer.kind == "chain" and item.layer.arguments else None
    return f"{item.name}[-1]" if isinstance(last, Layer) and last.kind == "bn" else ""
