"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, Param, ShapeError, attr, conv_out, need_image, positive

Pad4 = tuple[int, int, int, int]
"""Padding in the order top, left, bottom, right."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
