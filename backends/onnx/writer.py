"""Collects the nodes and initializers of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.onnx.wire import Initializer
from archlang.ir.graph import Node
from archlang.ir.types import TensorType
from archlang.weights import Weights

if TYPE_CHECKING:
    from onnx import NodeProto

Number = float | int


@dataclass
class Writer:
    """What is written so far. taken: names of values, which must be unique in an ONNX graph."""

    weights: Weights
    opset: int
    taken: set[str]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, Initializer] = field(default_factory=dict)
    ops: Counter[str] = field(default_factory=Counter)

    def fresh(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, ... where it is taken."""
        number, candidate = 1, name
        while candidate in self.taken:
            number += 1
            candidate = f"{name}_{number}"
        self.taken.add(candidate)
        return candidate

    def node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node; the name of its only output."""
        self.nodes.append(_node(op_type, inputs, output, attributes))
        self.ops[op_type] += 1
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An initializer, float32 or int64; the name that it got."""
        return self.initializer(name, Initializer(array.shape, array.dtype, lambda: (array,)))

    def initializer(self, name: str, initializer: Initializer) -> str:
        name = self.fresh(name)
        self.initializers[name] = initializer
        return name


def _node(op_type: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]) -> NodeProto:
    """`onnx.helper.make_node` without its guesses at the types of attributes, which take most of its time."""
    from onnx import NodeProto

    node = NodeProto(op_type=op_type, input=inputs, output=[output], name=f"{output}:{op_type}")
    for name in sorted(attributes):
        value = attributes[name]
        first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value
        single, several = _FIELDS[type(first)]
        field_name, kind = single if first is value else several
        setting = value.encode() if isinstance(value, str) else value
        node.attribute.add(name=name, type=kind, **{field_name: setting})
    return node


_FIELDS = {int: (("i", 2), ("ints", 7)), float: (("f", 1), ("floats", 6)), str: (("s", 3), ("strings", 8))}
"""Type of a value -> field and AttributeProto.AttributeType of one such value, and of several (onnx.proto)."""


@dataclass(frozen=True)
class Place:
    """One node of the Graph being written: where its inputs are and what its output must be called."""

    writer: Writer
    node: Node
    types: Sequence[TensorType]
    inputs: Sequence[str]
    output: str

    @property
    def x(self) -> str:
        return self.inputs[0]

    def last(self, op_type: str, *inputs: str, **attributes: Any) -> None:
        """The ONNX node that makes the value."""
        self.writer.node(op_type, inputs, self.output, **attributes)

    def step(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """An ONNX node on the way to the value."""
        name = self.writer.fresh(f"{self.node.name}/{op_type.lower()}")
        return self.writer.node(op_type, inputs, name, **attributes)

    def array(self, local: str) -> NDArray[np.float32]:
        return self.writer.weights[f"{self.node.name}.{local}"]

    def weight(self, local: str, array: NDArray[Any] | None = None) -> str:
        """The node's parameter `local` as an initializer, or `array` under its name."""
        return self.writer.constant(f"{self.node.name}.{local}", self.array(local) if array is None else array)

    def floats(self, name: str, values: Number | NDArray[Any]) -> str:
        return self.writer.constant(f"{self.node.name}/{name}", np.asarray(values, np.float32))

    def ints(self, name: str, *values: int) -> str:
        return self.writer.constant(f"{self.node.name}/{name}", np.asarray(values, np.int64))

    def index(self, value: int) -> str:
        """A single position, as Gather takes it to drop the axis."""
        return self.writer.constant(f"{self.node.name}/{value}", np.asarray(value, np.int64))
