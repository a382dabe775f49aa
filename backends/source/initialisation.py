"""Where fresh weights of generated source differ from the framework's own: what the network's paper took, and residual
branches that begin as nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archlang.backends.source.body import INPUT, Body, Value
from archlang.backends.source.layer import Layer
from archlang.backends.source.plan import ClassPlan, Option
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.weights import is_transformer

SCHEMES = ("paper", "he", "truncated-normal")
"""What every target that writes source knows, beside its framework's own."""


def scheme(graph: Graph, init: str, own: str) -> str:
    """`he`, `truncated-normal`, or the framework's own. `paper` means for the network the truncated normal numbers of
    ViT and ConvNeXt, else He's. Raises ArchError for another framework's."""
    if init not in (*SCHEMES, own):
        known = ", ".join(f"`{name}`" for name in (*SCHEMES, own))
        raise fail("E0804", f"this target has no initialisation `{init}`", help=f"it has {known}")
    if init != "paper":
        return init
    return "truncated-normal" if is_transformer(graph) else "he"


@dataclass(frozen=True)
class LastNorm:
    """The BatchNorm that ends a residual branch: item `item` of the body, or the last member of the chain that it is.

    option: the part of the body that must be there for the sum to be made.
    """

    item: int
    in_chain: bool
    option: Option | None


def last_norms(plan: ClassPlan, norm: str) -> Iterator[LastNorm]:
    """Of every sum of two in the body, the BatchNorm that ends the longer branch; none where some instances have the
    sum and not the BatchNorm. norm: the kind of its layer."""
    for i, item in enumerate(plan.body.items):
        if item.layer.kind == "add" and len(item.inputs) == 2:
            branch = max(item.inputs, key=lambda value: _length(plan.body, value))
            option = next((option for option in plan.options if i in option.items), None)
            elsewhere = {j for other in plan.options if other is not option for j in other.items}
            found = _last(plan.body, branch, elsewhere, norm)
            if found:
                yield LastNorm(*found, option)


def _length(body: Body, value: Value) -> int:
    """How many modules with parameters a value has come through since the body's input."""
    if value[0] == INPUT:
        return 0
    item = body.items[value[0]]
    return _modules(item.layer) + max((_length(body, before) for before in item.inputs), default=0)


def _modules(layer: Layer) -> int:
    inner = [argument for argument in layer.arguments if isinstance(argument, Layer)]
    return sum(map(_modules, inner)) if inner else int(layer.stateful)


def _last(body: Body, value: Value, absent: set[int], norm: str) -> tuple[int, bool] | None:
    """The item that is a BatchNorm, or a chain that ends with one, and makes the value; what drops in training may
    stand between."""
    i = value[0]
    if i == INPUT or i in absent:
        return None
    item = body.items[i]
    if item.layer.kind in ("drop_path", "dropout"):
        return _last(body, item.inputs[0], absent, norm)
    if item.layer.kind == norm:
        return i, False
    last = item.layer.arguments[-1] if item.layer.kind == "chain" and item.layer.arguments else None
    return (i, True) if isinstance(last, Layer) and last.kind == norm else None
