"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, Param, ShapeError, attr, conv_out, need_image, positive
from archlang.records import record

Pad4 = tuple[int, int, int, int]
"""Padding in the order top, left, bottom, right."""


@record(frozen=True)
class Conv2d(Op, name="conv"):
    """2-D convolution (Caffe, PyTorch: cross-correlation). x: (C, H, W) -> (channels, H', W').

    Depthwise where groups == C. padding is explicit: top, left, bottom, right; zeros.
    """

    channels: int = attr("c")
    kernel: tuple[int, int] = attr("k", (3, 3))
    stride: tuple[int, int] = attr("s", (1, 1))
    padding: Pad4 = attr("pad", (0, 0, 0, 0))
    dilation: tuple[int, int] = attr(default=(1, 1))
    groups: int = attr(default=1)
    bias: bool = attr(default=True)

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(
            self,
            c=self.channels,
            groups=self.groups,
            k=min(self.kernel),
            s=min(self.stride),
            dilation=min(self.dilation),
        )
        c, h, w = x.shape
        if c % self.groups or self.channels % self.groups:
            raise ShapeError(
                f"{self.groups} groups must divide both the {c} channels in and the {self.channels} out", code="E0305"
            )
        top, left, bottom, right = self.padding
        kernel, stride, dilation = self.kernel, self.stride, self.dilation
        return TensorType(
            (
                self.channels,
                conv_out(h, kernel[0], stride[0], dilation[0], top, bottom),
                conv_out(w, kernel[1], stride[1], dilation[1], left, right),
            )
        )

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        weight = Param((self.channels, x.channels // self.groups, *self.kernel), "he")
        return {"weight": weight, "bias": Param((self.channels,), "zeros")} if self.bias else {"weight": weight}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        per_output = xs[0].channels // self.groups * self.kernel[0] * self.kernel[1]
        weights, macs = self.channels * per_output, y.size * per_output
        if self.bias:
            return Cost(weights + self.channels, macs, 2 * macs + y.size)
        return Cost(weights, macs, 2 * macs)

    def is_depthwise(self, x: TensorType) -> bool:
        return self.groups == x.channels and self.groups > 1 and self.channels % self.groups == 0


@record(frozen=True)
class ConvTranspose2d(Op, name="conv_transpose"):
    """Transposed convolution (arXiv:1603.07285, chapter 4; the "up-convolution" of U-Net). x: (C, H, W) ->
    (channels, (H - 1) * stride + kernel - 2 * padding, likewise for W).

    Each input pixel adds its value times the kernel to the output, `stride` further on for the next pixel. padding:
    rows and columns cut off from each side of the sum. weight: (C, channels, height, width), as in PyTorch.
    """

    channels: int = attr("c")
    kernel: tuple[int, int] = attr("k", (2, 2))
    stride: tuple[int, int] = attr("s", (2, 2))
    padding: tuple[int, int] = attr("pad", (0, 0))
    bias: bool = attr(default=True)

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, c=self.channels, k=min(self.kernel), s=min(self.stride))
        sizes = zip(x.shape[1:], self.kernel, self.stride, self.padding, strict=True)
        height, width = ((size - 1) * stride + kernel - 2 * pad for size, kernel, stride, pad in sizes)
        if min(height, width) < 1:
            raise ShapeError(f"`pad` of {self.padding} cuts off all of the output", "pad less", code="E0302")
        return TensorType((self.channels, height, width))

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        weight = Param((x.channels, self.channels, *self.kernel), "he")
        return {"weight": weight, "bias": Param((self.channels,), "zeros")} if self.bias else {"weight": weight}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        """The products of every input value with its part of the kernel, also those that the padding cuts off."""
        per_input = self.channels * self.kernel[0] * self.kernel[1]
        weights, macs = xs[0].channels * per_input, xs[0].size * per_input
        if self.bias:
            return Cost(weights + self.channels, macs, 2 * macs + y.size)
        return Cost(weights, macs, 2 * macs)


@record(frozen=True)
class Linear(Op, name="linear"):
    """Fully connected layer over the last axis. x: (D) -> (features), or (N, D) -> (N, features)."""

    features: int
    bias: bool = True

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        positive(self, features=self.features)
        if x.is_image:
            raise ShapeError(
                f"`linear` needs a vector or a sequence, but its input is the image {x}",
                "write `flatten -> linear(...)` or `gap -> linear(...)`",
                code="E0303",
            )
        return TensorType((*x.shape[:-1], self.features))

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        weight = Param((self.features, x.shape[-1]), "linear")
        return {"weight": weight, "bias": Param((self.features,), "zeros")} if self.bias else {"weight": weight}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        weights, macs = self.features * xs[0].shape[-1], y.size * xs[0].shape[-1]
        if self.bias:
            return Cost(weights + self.features, macs, 2 * macs + y.size)
        return Cost(weights, macs, 2 * macs)


@record(frozen=True)
class RadialBasis(Op, name="rbf"):
    """Squared Euclidean distances to fixed points: LeNet-5's output layer (LeCun et al. 1998, section II.B).

    x: (D) -> (features), y[i] = sum over j of (x[j] - weight[i, j])**2. The points are not trained. They start as
    random signs, which the paper proposes too; what it takes, drawings of the characters, can be given as weights.
    """

    features: int
    keeps_float: ClassVar[bool] = True

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        positive(self, features=self.features)
        if not x.is_vector:
            raise ShapeError(f"`rbf` needs a vector, but its input is {x}", "write `flatten -> rbf(...)`", code="E0303")
        return TensorType((self.features,))

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        return {"weight": Param((self.features, x.channels), "signs", trainable=False)}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=3 * y.size * xs[0].size)
