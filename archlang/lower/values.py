"""The values that elaboration computes with: numbers, tensors, and steps that wait for the flow.

All are immutable and hashable, so that a block instance can be looked up by what it was called with.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from archlang.ir.types import TensorType
from archlang.records import record
from archlang.source import Span
from archlang.syntax import tree

if TYPE_CHECKING:
    from archlang.lower.module import Module
    from archlang.lower.steps import Steps
    from archlang.ops.base import Op

Value = Any
"""int, float, bool, str, None, a tuple of values, or one of the classes below."""


@record(frozen=True, slots=True)
class Tensor:
    """A value of the region under construction; `ref` is its number there."""

    ref: int
    type: TensorType


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


@dataclass(frozen=True, slots=True)
class Late:
    """An arithmetic expression in `pos`, whose value is known when all residual blocks have been counted."""

    op: str = "pos"
    left: Value = None
    right: Value = None

    def at(self, pos: float) -> float:
        if self.op == "pos":
            return pos
        left, right = (v.at(pos) if isinstance(v, Late) else v for v in (self.left, self.right))
        return float(ARITHMETIC[self.op](left, right))

    def __str__(self) -> str:
        return "pos" if self.op == "pos" else f"{self.left} {self.op} {self.right}"


@record(frozen=True, eq=False, slots=True)
class Scope:
    """Names in reach: a dict, and the scope around it. The outermost parent is a Module."""

    names: dict[str, Value]
    parent: Scope | Module


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a built-in. A required one has no default."""

    name: str
    default: Value = None
    required: bool = False
    once: bool = False


@dataclass(frozen=True, eq=False)
class Builtin:
    """An op, or a compound of ops, that the language knows by itself.

    inputs: how many tensors it takes, None for one or more. like: built-ins whose `default` lines apply here too.
    build(arguments, types, span) makes the op of a built-in that is a single one, perhaps with a norm and an activation
    after it; emit(body, tensors, arguments, span, label) adds the nodes of any other, and returns the result.
    aliases: names that people try -> the parameter's name, for the help of errors.
    """

    name: str
    params: tuple[Parameter, ...]
    build: Callable[[dict[str, Value], Sequence[TensorType], Span], Op] | None = None
    emit: Callable[[Steps, tuple[Tensor, ...], dict[str, Value], Span, str], Value] | None = None
    inputs: int | None = 1
    like: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Of the parameters."""
        return [param.name for param in self.params]

    @cached_property
    def once(self) -> tuple[str, ...]:
        """The parameters that hold for the first of several repeats."""
        return tuple(param.name for param in self.params if param.once)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(param.name for param in self.params if param.required)

    def __repr__(self) -> str:
        return self.name


@record(frozen=True, slots=True)
class Made:
    """What a built-in is for certain arguments and inputs: the op, the type that it makes, and what follows."""

    op: Op
    type: TensorType
    norm: Value = None
    act: Value = None


@dataclass(frozen=True, eq=False)
class Function:
    """A built-in function on numbers and lists."""

    name: str
    call: Callable[..., Value]

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Block:
    """A block or cell of a file."""

    decl: tree.BlockDef = field(compare=False)
    module: Module = field(compare=False)
    identity: int

    @property
    def name(self) -> str:
        return self.decl.name.id

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class FnValue:
    """`fn`, closed over the names around it."""

    decl: tree.FnDef
    scope: Scope | Module


@dataclass(frozen=True, eq=False)
class ChoiceValue:
    """A `choice` definition: every mention is a decision of its own."""

    decl: tree.ChoiceDef
    module: Module


@dataclass(frozen=True)
class NetValue:
    """A net, perhaps with some arguments fixed (a variant, a call), and overrides by `with`.

    anew: where choices are in these, makes them anew in a body whose session has the picks; here they are those of the
    first alternatives.
    """

    decl: tree.NetDef = field(compare=False)
    module: Module = field(compare=False)
    identity: int
    args: tuple[tuple[str, Value], ...] = ()
    overrides: tuple[tuple[Value, str, Value], ...] = ()
    label: str = ""
    anew: Callable[[Any], NetValue] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.decl.name.id

    def __repr__(self) -> str:
        return self.label or self.name


Taken = tuple[tuple[str, int], ...]
"""Alternatives: decision key -> index."""


@record(frozen=True, slots=True)
class Applied:
    """A callee with arguments, waiting for its tensors; further calls add arguments (partial application).

    again: this is not the first repeat, so parameters marked `once` fall back to their defaults.
    taken: the alternatives of choices of steps that led to it, where somebody asks (`archlang.supernet.sites`).
    """

    callee: Builtin | Block | NetValue
    args: tuple[Value, ...]
    kwargs: tuple[tuple[str, Value], ...]
    span: Span = field(compare=False)
    again: bool = False
    taken: Taken = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for steps that do the same. The types of the arguments are part of it: 1 is equal to true."""
        kinds = (*map(type, self.args), *[type(value) for _, value in self.kwargs])
        return self.callee, self.again, self.args, self.kwargs, kinds

    def __repr__(self) -> str:
        parts = [show(v) for v in self.args] + [f"{k}={show(v)}" for k, v in self.kwargs]
        return f"{self.callee!r}({', '.join(parts)})" if parts else repr(self.callee)


@record(frozen=True)
class Chain:
    """Steps one after the other."""

    steps: tuple[Value, ...]
    span: Span = field(compare=False)

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self.steps))


@record(frozen=True)
class Repeat:
    """Runs of equal steps, each with its count; `once` has been applied to all but the very first step."""

    runs: tuple[tuple[Value, int], ...]
    span: Span = field(compare=False)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.runs)

    def steps(self) -> Iterator[Value]:
        for step, count in self.runs:
            for _ in range(count):
                yield step

    def __repr__(self) -> str:
        return f"{self.runs[0][0]!r} * {self.count}" if self.runs else "skip"


@dataclass(frozen=True, eq=False)
class Closure:
    """A step written with `_`, evaluated when the flow reaches it. taken: as of `Applied`."""

    expr: tree.Expr
    scope: Scope | Module
    taken: Taken = ()

    @property
    def span(self) -> Span:
        return self.expr.span

    def again(self) -> Closure:
        """The step as it is in every repeat but the first."""
        return self


STEPS = (Applied, Chain, Repeat, Closure, Builtin, Block, NetValue)


def is_step(value: Value) -> bool:
    return isinstance(value, STEPS)


def again(step: Value) -> Value:
    """The step as it is in every repeat but the first."""
    if isinstance(step, Applied):
        return Applied(step.callee, step.args, step.kwargs, step.span, again=True, taken=step.taken)
    if isinstance(step, Chain):
        return Chain(tuple(map(again, step.steps)), step.span)
    if isinstance(step, Repeat):
        runs = [(again(part), count) for part, count in step.runs]
        if len(runs) == 2 and runs[0][0] == runs[1][0]:
            runs = [(runs[0][0], runs[0][1] + runs[1][1])]
        return Repeat(tuple(runs), step.span)
    return step.again() if isinstance(step, Closure) else step


def kind_of(value: Value) -> str:
    """What a person would call the value, for messages."""
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "a truth value"),
        ((int, float), "a number"),
        (str, "a string"),
        (tuple, "a list"),
        (Tensor, "a tensor"),
        (Late, "an expression in `pos`"),
        (STEPS, "a step"),
        ((FnValue, Function), "a function"),
        (ChoiceValue, "a choice"),
    )
    return "nothing" if value is None else next((name for types, name in kinds if isinstance(value, types)), str(value))


def show(value: Value) -> str:
    """The value as the language writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, Tensor):
        return str(value.type)
    return str(value)
