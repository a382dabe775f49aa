"""Regions: a body elaborated once. An instance of a block is a region called with tensors; the Graph is the net's
region with all calls put in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from archlang.errors import ArchError, Diagnostic, fail
from archlang.ir.graph import Graph, Node, Output, Scope
from archlang.ir.types import TensorType
from archlang.lower.values import Late
from archlang.ops.base import Op, ShapeError
from archlang.ops.shape import Input
from archlang.passes.dead_code import dead_code
from archlang.records import record
from archlang.source import Span


@record(frozen=True, slots=True)
class Step:
    """An op on values of the region. residual: the number, within the region, of the residual block it stands in."""

    op: Op
    inputs: tuple[int, ...]
    type: TensorType
    name: str
    span: Span
    residual: int


@record(frozen=True, slots=True)
class CallStep:
    """An instance of another region."""

    region: Region
    inputs: tuple[int, ...]
    name: str
    scope: Scope
    residual: int


@dataclass(frozen=True, eq=False)
class Region:
    """A body in terms of its own values: inputs first, then one for each op and each output of a call, in order.

    reads: the decisions that its elaboration read, key -> picked index; residuals: how many residual blocks it holds.
    """

    name: str
    inputs: int
    steps: tuple[Step | CallStep, ...]
    outputs: tuple[int, ...]
    types: tuple[TensorType, ...]
    scopes: Mapping[str, Scope]
    residuals: int
    ops: int
    reads: dict[str, int] = field(default_factory=dict)
    names: tuple[tuple[str, int | float], ...] = ()
    aux: tuple[tuple[str, int], ...] = ()


class _Flattener:
    def __init__(self, total: int) -> None:
        self.total = total
        self.nodes: list[Node] = []
        self.scopes: dict[str, Scope] = {}

    def place(self, region: Region, values: list[int], prefix: str, residual: int) -> list[int]:
        """Append the region's nodes; `values` maps its values to the graph's, `residual` counts the blocks before."""
        for path, scope in region.scopes.items():
            self.scopes[prefix + path] = scope
        for step in region.steps:
            inputs = tuple([values[i] for i in step.inputs])
            if isinstance(step, Step):
                values.append(self._op(step, inputs, prefix, residual + step.residual))
                continue
            path = prefix + step.name
            self.scopes[path] = self._scope(step.scope, inputs, residual + step.residual)
            inner = self.place(step.region, list(inputs), path + ".", residual + step.residual)
            values.extend(inner[i] for i in step.region.outputs)
        return values

    def _scope(self, scope: Scope, values: tuple[int, ...], residual: int) -> Scope:
        """The scope of one instance: with the nodes that feed a cell, and with the values of arguments in `pos`."""
        if scope.inputs:
            fed = ((name, self.nodes[value].name) for (name, _), value in zip(scope.inputs, values, strict=True))
            scope = replace(scope, inputs=tuple(fed))
        if any(isinstance(value, Late) for _, value in scope.arguments):
            pos = self._pos(residual)
            known = ((name, value_at(v, pos, scope.span) if isinstance(v, Late) else v) for name, v in scope.arguments)
            scope = replace(scope, arguments=tuple(known))
        return scope

    def _pos(self, residual: int) -> float:
        return residual / (self.total - 1) if self.total > 1 else 0.0

    def _op(self, step: Step, inputs: tuple[int, ...], prefix: str, residual: int) -> int:
        op = step.op
        if op.training_only:
            op = self._settled(op, step, residual)
            if getattr(op, "p", 1) == 0:
                return inputs[0]
        self.nodes.append(Node(op, inputs, step.type, prefix + step.name, step.span))
        return len(self.nodes) - 1

    def _settled(self, op: Op, step: Step, residual: int) -> Op:
        """The op with the values of its arguments in `pos`. Raises ArchError where they have none that it allows."""
        pos = self._pos(residual)
        late = {f.name: value_at(v, pos, step.span) for f in fields(op) if isinstance(v := getattr(op, f.name), Late)}
        if not late:
            return op
        settled = replace(op, **late)
        try:
            settled.infer(step.type)
        except ShapeError as error:
            raise ArchError(Diagnostic(error.code, error.message, step.span, help=error.help)) from None
        return settled


def value_at(value: Late, pos: float, span: Span | None) -> float:
    """The value of an expression in `pos`. Raises ArchError where it has none."""
    try:
        result = value.at(pos)
    except ZeroDivisionError:
        raise fail("E0404", f"division by zero where `pos` is {pos:g}", span) from None
    except OverflowError:
        raise fail("E0403", f"this number is too large where `pos` is {pos:g}", span) from None
    except TypeError:
        raise fail("E0404", f"this has no real value where `pos` is {pos:g}", span) from None
    return result


def flatten(region: Region, outputs: Sequence[str], name: str, doc: str) -> Graph:
    """The Graph of a net's region. outputs: the names of the region's outputs."""
    flattener = _Flattener(region.residuals)
    values = flattener.place(region, [], "", 0)
    named = [Output(label, values[ref]) for label, ref in zip(outputs, region.outputs, strict=True)]
    named += [Output(label, values[ref], aux=True) for label, ref in region.aux]
    return Graph(name, tuple(flattener.nodes), tuple(named), flattener.scopes, doc)


def standalone(region: Region, types: Sequence[TensorType]) -> Graph:
    """A region as a network of its own. types: of its inputs."""
    flattener = _Flattener(region.residuals)
    flattener.nodes = [Node(Input(type_.shape), (), type_, f"input{i}") for i, type_ in enumerate(types)]
    values = flattener.place(region, list(range(len(types))), "", 0)
    named = [Output(f"output{i}", values[ref]) for i, ref in enumerate(region.outputs)]
    named += [Output(label, values[ref], aux=True) for label, ref in region.aux]
    return dead_code(Graph(region.name, tuple(flattener.nodes), tuple(named), flattener.scopes))
