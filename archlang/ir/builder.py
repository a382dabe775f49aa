"""Builds a Graph node by node."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node, Output
from archlang.ir.types import TensorType
from archlang.ops.base import Op
from archlang.ops.shape import Input
from archlang.source import Span


class Builder:
    """A mutable list of nodes. `add` infers the type and finds a free name where none is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.outputs: list[Output] = []
        self._counts: dict[str, int] = {}

    def input(self, *shape: int, name: str = "x") -> int:
        return self.add(Input(tuple(shape)), name=name)

    def add(self, op: Op, *inputs: int, name: str = "", span: Span | None = None) -> int:
        """Append `op` applied to the values `inputs`; the new value. Raises ShapeError where they do not fit."""
        if not name:
            self._counts[op.name] = self._counts.get(op.name, 0) + 1
            name = f"{op.name}{self._counts[op.name]}"
        type_ = op.infer(*(self.nodes[i].type for i in inputs))
        self.nodes.append(Node(op, inputs, type_, name, span))
        return len(self.nodes) - 1

    def type(self, value: int) -> TensorType:
        return self.nodes[value].type

    def output(self, value: int, name: str = "y", aux: bool = False) -> None:
        self.outputs.append(Output(name, value, aux))

    def build(self) -> Graph:
        return Graph(self.name, tuple(self.nodes), tuple(self.outputs))
