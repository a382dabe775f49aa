"""Normalisations and per-channel affine maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, Param, attr, need_image, positive
from archlang.records import record


@record(frozen=True)
class BatchNorm(Op, name="bn"):
    """Batch normalisation (arXiv:1502.03167) over the channels, or the features of a vector. Shape unchanged.

    In evaluation mode: weight * (x - running_mean) / sqrt(running_var + eps) + bias.
    momentum is PyTorch's: running = (1 - momentum) * running + momentum * batch.
    """

    eps: float = 1e-5
    momentum: float = 0.1

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        shape = (x.channels,)
        return {
            "weight": Param(shape, "ones"),
            "bias": Param(shape, "zeros"),
            "running_mean": Param(shape, "zeros", trainable=False),
            "running_var": Param(shape, "ones", trainable=False),
        }

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(params=2 * xs[0].channels, flops=2 * y.size)


@record(frozen=True)
class LayerNorm(Op, name="layernorm"):
    """Layer normalisation (arXiv:1607.06450) over the features, of an image over the channels at each position."""

    eps: float = 1e-6
    keeps_float: ClassVar[bool] = True

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        return {"weight": Param((x.channels,), "ones"), "bias": Param((x.channels,), "zeros")}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(params=2 * xs[0].channels, flops=7 * y.size)


@record(frozen=True)
class LocalResponseNorm(Op, name="lrn"):
    """Local response normalisation across channels (AlexNet, section 3.3), with PyTorch's and Caffe's alpha / size.

    y = x / (bias + alpha / size * sum of x**2 over `size` neighbouring channels) ** beta.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0
    keeps_float: ClassVar[bool] = True

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, size=self.size)
        return x

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=(2 * self.size + 4) * y.size)


@record(frozen=True)
class L2Norm(Op, name="l2norm"):
    """Each position's channels (an image), or the features, at Euclidean length 1 (ParseNet, arXiv:1506.04579).

    y = x / max(sqrt(sum of x**2), eps). SSD's `l2norm -> scale(20)`, arXiv:1512.02325, section 3.1. Shape unchanged.
    """

    eps: float = 1e-12

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=3 * y.size)


@record(frozen=True)
class Scale(Op, name="scale"):
    """A trainable factor per channel, `init` at first (layer scale, arXiv:2103.17239). Shape unchanged."""

    init: float = attr(default=1.0)

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        return {"weight": Param((x.channels,), repr(float(self.init)))}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(params=xs[0].channels, flops=y.size)
