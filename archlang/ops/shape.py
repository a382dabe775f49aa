"""Ops that move values without computing, and the network's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, ShapeError, attr, need_image, positive
from archlang.records import record


@record(frozen=True)
class Movement(Op):
    """An op without arithmetic."""

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost()


@record(frozen=True)
class Input(Movement, name="input"):
    """An input of the network."""

    shape: tuple[int, ...] = attr()
    arity: ClassVar[int | None] = 0

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType(self.shape)


@record(frozen=True)
class Flatten(Movement, name="flatten"):
    """All values in one vector, in the order channel, row, column. (C, H, W) -> (C * H * W)."""

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        return TensorType((x.size,))


@record(frozen=True)
class Slice(Movement, name="slice"):
    """Channels `start` to `stop` (exclusive). (C, H, W) -> (stop - start, H, W)."""

    start: int
    stop: int

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        if not 0 <= self.start < self.stop <= x.channels:
            raise ShapeError(f"channels {self.start} to {self.stop} are not within {x.channels}", code="E0306")
        count = self.stop - self.start
        return TensorType((count, *x.shape[1:]) if x.is_image else (*x.shape[:-1], count))


@record(frozen=True)
class Shuffle(Movement, name="shuffle"):
    """Channel shuffle (ShuffleNet, arXiv:1707.01083): channels as (groups, C / groups), transposed, flattened."""

    groups: int

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, groups=self.groups)
        if x.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {x.channels} channels", code="E0305")
        return x


@record(frozen=True)
class Upsample(Movement, name="upsample"):
    """Larger by a whole factor. (C, H, W) -> (C, factor * H, factor * W).

    mode: `nearest`, or `bilinear` with half-pixel centres (PyTorch's align_corners=False).
    """

    factor: int
    mode: str = "nearest"

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, factor=self.factor)
        if self.mode not in ("nearest", "bilinear"):
            raise ShapeError(f"`upsample` knows no mode `{self.mode}`", "use `nearest` or `bilinear`", code="E0304")
        return TensorType((x.channels, x.height * self.factor, x.width * self.factor))


@record(frozen=True)
class Subsample(Movement, name="subsample"):
    """Every `stride`-th row and column, from the first. (C, H, W) -> (C, ceil(H / stride), ceil(W / stride))."""

    stride: int = attr("s")

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, s=self.stride)
        return TensorType((x.channels, -(-x.height // self.stride), -(-x.width // self.stride)))


@record(frozen=True)
class Crop(Movement, name="crop"):
    """The middle of an image (U-Net, arXiv:1505.04597); an odd row or column more is cut off after it.
    (C, H, W) -> (C, height, width).
    """

    height: int = attr("h")
    width: int = attr("w")

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        if not (1 <= self.height <= x.height and 1 <= self.width <= x.width):
            raise ShapeError(f"{self.height} x {self.width} cannot be cropped from the image {x}", code="E0302")
        return TensorType((x.channels, self.height, self.width))

    def origin(self, x: TensorType) -> tuple[int, int]:
        """The first row and column that stay."""
        return (x.height - self.height) // 2, (x.width - self.width) // 2


@record(frozen=True)
class Shift(Movement, name="shift"):
    """The image moved up and left by `by` pixels, zeros coming in (NASNet's factorised reduction). Shape unchanged."""

    by: int = 1

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        if not 0 <= self.by < min(x.height, x.width):
            raise ShapeError(f"`shift` by {self.by} does not fit the image {x}", code="E0302")
        return x


@record(frozen=True)
class Zero(Movement, name="zero"):
    """Zeros of the input's shape (NAS-Bench-201's `none`); with a stride, of the subsampled shape."""

    stride: int = attr("s", 1)

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        positive(self, s=self.stride)
        return Subsample(self.stride).infer(x) if self.stride > 1 else x


@record(frozen=True)
class Tokens(Movement, name="tokens"):
    """An image as a sequence, row by row. (C, H, W) -> (H * W * parts, C / parts).

    parts: how many tokens the channels of each position hold, one after the other (a detector's boxes at a position).
    In einops: b (a c) h w -> b (h w a) c.
    """

    parts: int = 1

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        need_image(self, x)
        positive(self, parts=self.parts)
        if x.channels % self.parts:
            raise ShapeError(f"{x.channels} channels are not {self.parts} tokens at each position", code="E0305")
        return TensorType((x.height * x.width * self.parts, x.channels // self.parts))


@record(frozen=True)
class Take(Movement, name="take"):
    """One token of a sequence. (N, D) -> (D)."""

    index: int = 0

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        if not x.is_sequence:
            raise ShapeError(f"`take` needs a sequence, but its input is {x}", code="E0303")
        if not 0 <= self.index < x.shape[0]:
            raise ShapeError(f"there is no token {self.index} among {x.shape[0]}", code="E0306")
        return TensorType((x.shape[1],))
