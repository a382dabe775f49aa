"""Activations: elementwise, without parameters, but softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op
from archlang.records import record


@record(frozen=True)
class Activation(Op):
    """An elementwise function of one tensor. flops_each: operations per element, as counted by `cost`."""

    elementwise: ClassVar[bool] = True
    flops_each: ClassVar[int] = 1

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=self.flops_each * y.size)


@record(frozen=True)
class Relu(Activation, name="relu"):
    """max(x, 0)."""


@record(frozen=True)
class Relu6(Activation, name="relu6"):
    """min(max(x, 0), 6)."""

    flops_each: ClassVar[int] = 2


@record(frozen=True)
class LeakyRelu(Activation, name="leaky_relu"):
    """x where x >= 0, slope * x elsewhere."""

    slope: float = 0.01
    flops_each: ClassVar[int] = 2


@record(frozen=True)
class Sigmoid(Activation, name="sigmoid"):
    """1 / (1 + exp(-x))."""

    flops_each: ClassVar[int] = 3


@record(frozen=True)
class Tanh(Activation, name="tanh"):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""

    flops_each: ClassVar[int] = 5


@record(frozen=True)
class Swish(Activation, name="swish"):
    """x * sigmoid(x) (arXiv:1710.05941; SiLU)."""

    flops_each: ClassVar[int] = 4


@record(frozen=True)
class HardSigmoid(Activation, name="hsigmoid"):
    """relu6(x + 3) / 6 (arXiv:1905.02244)."""

    flops_each: ClassVar[int] = 4


@record(frozen=True)
class HardSwish(Activation, name="hswish"):
    """x * relu6(x + 3) / 6 (arXiv:1905.02244)."""

    flops_each: ClassVar[int] = 5


@record(frozen=True)
class Gelu(Activation, name="gelu"):
    """x * Phi(x), Phi the normal distribution's function, exact (erf), as in arXiv:1606.08415."""

    flops_each: ClassVar[int] = 5


@record(frozen=True)
class Rescale(Activation, name="rescale"):
    """factor * x, the factor a constant (the scaled residuals of arXiv:1602.07261, section 3.3)."""

    factor: float


@record(frozen=True)
class Softmax(Op, name="softmax"):
    """Softmax over the channels of an image, the features of a sequence or a vector. Shape unchanged."""

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=4 * y.size)
