"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, ShapeError, attr, conv_out, need_image, positive
from archlang.ops.conv import Pad4
from archlang.records import record


@record(frozen=True)
class Pool2d(Op):
    """A sliding window over an image. x: (C, H, W) -> (C, H', W'). padding: top, left, bottom, right."""

    kernel: tuple[int, int] = attr("k")
    stride: tuple[int, int] = attr("s", (1, 1))
    padding: Pad4 = attr("pad", (0, 0, 0, 0))
    ceil: bool = attr(default=False)

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, k=min(self.kernel), s=min(self.stride))
        top, left, bottom, right = self.padding
        if max(top, bottom) >= self.kernel[0] or max(left, right) >= self.kernel[1]:
            raise ShapeError(
                f"`{self.name}` pads {max(self.padding)}, as much as its kernel: a window would see padding alone",
                "pad less than the kernel",
                code="E0302",
            )
        c, h, w = x.shape
        out_h = conv_out(h, self.kernel[0], self.stride[0], 1, top, bottom, self.ceil)
        return TensorType((c, out_h, conv_out(w, self.kernel[1], self.stride[1], 1, left, right, self.ceil)))

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=y.size * self.kernel[0] * self.kernel[1])


@record(frozen=True)
class MaxPool2d(Pool2d, name="maxpool"):
    """Largest value under the window; padding never wins."""


@record(frozen=True)
class AvgPool2d(Pool2d, name="avgpool"):
    """Mean under the window. count_pad: whether padding counts as zeros (PyTorch's count_include_pad)."""

    count_pad: bool = attr(default=False)


@record(frozen=True)
class GlobalAvgPool(Op, name="gap"):
    """Mean over all positions. Image (C, H, W) -> (C, 1, 1), sequence (N, D) -> (D)."""

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        if x.is_vector:
            raise ShapeError(f"`gap` needs an image or a sequence, but its input is the vector {x}", code="E0303")
        return TensorType((x.channels, 1, 1) if x.is_image else (x.channels,))

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=xs[0].size)
