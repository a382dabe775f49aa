"""Where operators are emitted: the model that grows, and the node that is being lowered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archlang.backends.tflite.model import FLOAT, Operator, Tensor
from archlang.backends.tflite.schema import RESHAPE, Activation, Builtin
from archlang.errors import fail
from archlang.ir.graph import Node
from archlang.ir.types import TensorType
from archlang.ops.activation import HardSigmoid, Relu, Relu6
from archlang.ops.base import Op
from archlang.weights import Weights

_ACTIVATIONS: dict[type[Op], Activation] = {
    Relu: Activation.RELU,
    Relu6: Activation.RELU6,
    HardSigmoid: Activation.RELU6,
}


def shape_of(type_: TensorType) -> tuple[int, ...]:
    """A value's shape in TFLite, with its batch of 1: images (1, H, W, C), sequences (1, N, D), vectors (1, D)."""
    if type_.is_image:
        return (1, type_.height, type_.width, type_.channels)
    return (1, *type_.shape)


class Growing:
    """A model while it grows: tensors and operators in order."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self._indices: dict[bytes, int] = {}

    def tensor(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def index_constant(self, values: ArrayLike) -> int:
        """An int32 constant: a shape, axes, paddings. Equal ones are one tensor."""
        data = np.asarray(values, np.int32)
        key = repr(data.shape).encode() + data.tobytes()
        if key not in self._indices:
            name = f"indices/{len(self._indices)}"
            self._indices[key] = self.tensor(Tensor(name, data.shape, data.dtype, data))
        return self._indices[key]

    def rename(self, index: int, name: str) -> None:
        self.tensors[index] = replace(self.tensors[index], name=name)


@dataclass(frozen=True)
class Site:
    """One node and the model that it is lowered into.

    inputs: the tensors that hold its inputs; types: their types in the Graph.
    layout: (C, H, W) where the input is a flattened image that still lies in the order H, W, C.
    precise: what is emitted keeps floats where the rest is quantized.
    """

    model: Growing
    node: Node
    inputs: tuple[int, ...]
    types: tuple[TensorType, ...]
    weights: Weights
    layout: tuple[int, int, int] | None = None
    precise: bool = False

    @property
    def x(self) -> int:
        return self.inputs[0]

    @property
    def type(self) -> TensorType:
        """Of the first input."""
        return self.types[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output."""
        return shape_of(self.node.type)

    @property
    def activation(self) -> Activation:
        """What a pass has fused behind the op."""
        kinds = [_ACTIVATIONS[type(part.op)] for part in self.node.fused if type(part.op) in _ACTIVATIONS]
        return kinds[0] if kinds else Activation.NONE

    @property
    def is_hard_sigmoid(self) -> bool:
        """Whether a pass has fused one behind the op."""
        return any(isinstance(part.op, HardSigmoid) for part in self.node.fused)

    def precisely(self) -> Site:
        """The same place; what is emitted there keeps floats where the rest is quantized."""
        return replace(self, precise=True)

    def param(self, local: str) -> NDArray[np.float32]:
        return self.weights[f"{self.node.name}.{local}"]

    def shape_at(self, tensor: int) -> tuple[int, ...]:
        return self.model.tensors[tensor].shape

    def constant(self, label: str, values: ArrayLike) -> int:
        """A float constant, called `label` below the node's name. Raises ArchError where it is not finite."""
        with np.errstate(over="ignore"):
            data = np.ascontiguousarray(values, np.float32)
        if not np.isfinite(data).all():
            raise fail(
                "E0814",
                f"the {label} of `{self.node.name}` is not finite in float32, a BatchNorm behind it counted in",
                self.node.span,
                help="look at its arrays, and at the running variance, which must not be negative",
            )
        return self.model.tensor(Tensor(f"{self.node.name}/{label}", data.shape, FLOAT, data))

    def indices(self, values: ArrayLike) -> int:
        return self.model.index_constant(values)

    def emit(
        self, kind: Builtin, inputs: Sequence[int], shape: Sequence[int], options: Mapping[str, Any] | None = None
    ) -> int:
        """An operator; the tensor that it makes."""
        model = self.model
        name = f"{self.node.name}/{kind.name.lower()}_{len(model.operators)}"
        output = model.tensor(Tensor(name, tuple(shape)))
        model.operators.append(Operator(kind, tuple(inputs), output, options or {}, self.node, self.precise))
        return output

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        if self.shape_at(x) == tuple(shape):
            return x
        return self.emit(RESHAPE, (x, self.indices(shape)), shape)
