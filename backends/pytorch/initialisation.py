"""How the generated file makes fresh weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.backends.source.initialisation import LastNorm, last_norms, scheme
from archlang.backends.source.layout import INDENT
from archlang.backends.source.plan import ClassPlan
from archlang.ir.graph import Graph

OWN = "torch"
"""What PyTorch's own initialisation is called."""


_CONVOLUTIONS = {"conv": "nn.Conv2d", "conv_transpose": "nn.ConvTranspose2d"}


def initialised(graph: Graph, init: str) -> dict[str, Any]:
    """Which modules the file must give fresh weights other than PyTorch's own, for its template; empty where none."""
    ops = [node.op for node in graph.nodes]
    convolutions = [op for op in ops if op.name in _CONVOLUTIONS]
    linears = [op for op in ops if op.name == "linear"]
    attention = any(op.name == "attention" for op in ops)
    chosen = scheme(graph, init, OWN)
    truncated = chosen == "truncated-normal"
    biases = [getattr(op, "bias", False) for op in linears] + [True] * (attention and truncated)
    classes = [_CONVOLUTIONS[name] for name in _CONVOLUTIONS if any(op.name == name for op in ops)]
    flags = {
        "conv": _one_or_tuple(classes),
        "conv_bias": any(getattr(op, "bias", False) for op in convolutions),
        "conv_no_bias": not all(getattr(op, "bias", True) for op in convolutions),
        "linear": bool(biases),
        "linear_bias": any(biases),
        "linear_no_bias": not all(biases),
        "attention": attention and not truncated,
        "kinds": _one_or_tuple([*classes, *["nn.Linear"] * bool(biases)]),
    }
    return {**flags, "truncated": truncated} if any(flags.values()) and chosen != OWN else {}


def _one_or_tuple(names: Sequence[str]) -> str:
    """For isinstance; empty where there is none."""
    return f"({', '.join(names)})" if len(names) > 1 else "".join(names)


# ---- residual branches that begin as nothing -------------------------------------------------------------------------


def zeroing(plans: Sequence[ClassPlan]) -> list[str]:
    """The lines of the network's constructor that set the last BatchNorm of every residual branch to 0."""
    *blocks, network = plans
    lines = list(_zeroed(network, "self"))
    inner = [line for plan in blocks for line in _zeroed(plan, "block", f"isinstance(block, {plan.name})")]
    return [*lines, "for block in self.modules():", *(" " * INDENT + line for line in inner)] if inner else lines


def _zeroed(plan: ClassPlan, owner: str, test: str = "") -> Iterator[str]:
    """The statements for the norms of a class. owner: `self` or a variable of the class, which `test` makes sure of."""
    for norm in last_norms(plan, "bn"):
        there = norm.option.test.replace("self.", f"{owner}.", 1) if norm.option else ""
        condition = " and ".join(filter(None, [test, there]))
        statement = f"nn.init.zeros_({owner}.{_place(plan, norm)}.weight)"
        yield from [f"if {condition}:", " " * INDENT + statement] if condition else [statement]


def _place(plan: ClassPlan, norm: LastNorm) -> str:
    """The module below the class's instance."""
    name = plan.body.items[norm.item].name
    return f"{name}[-1]" if norm.in_chain else name
