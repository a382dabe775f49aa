"""Ops that join several tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, ShapeError
from archlang.records import record


@record(frozen=True)
class Join(Op):
    """Elementwise over tensors of equal shape; an image may also meet one value per channel (C, 1, 1)."""

    arity: ClassVar[int | None] = None

    def infer(self, *xs: TensorType) -> TensorType:
        largest = max(xs, key=lambda x: x.size)
        for x in xs:
            if x.shape != largest.shape and not _broadcasts(x, largest):
                what = "channels do not" if x.channels != largest.channels else "shapes do not"
                raise ShapeError(f"{what} agree in `{self.name}`: " + " and ".join(map(str, xs)), code="E0312")
        return largest

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=(len(xs) - 1) * y.size)


def _broadcasts(x: TensorType, to: TensorType) -> bool:
    return to.is_image and x.is_image and x.shape == (to.channels, 1, 1)


@record(frozen=True)
class Add(Join, name="add"):
    """Sum."""


@record(frozen=True)
class Mul(Join, name="mul"):
    """Product."""


@record(frozen=True)
class Mean(Join, name="mean"):
    """Arithmetic mean of the inputs, some of which training may drop (FractalNet, arXiv:1605.07648, section 3).

    drop_path: the probability with which a mini-batch goes without an input (`local`); one input always stays, and
    the mean is that of those that stay. single_column: the probability with which a mini-batch goes through a single
    column of the whole network instead (`global`), which all joins share. A join's last input belongs to the
    network's last column, the one before it to the column before that, and so on.
    """

    drop_path: float = 0.0
    single_column: float = 0.0

    def infer(self, *xs: TensorType) -> TensorType:
        for name, chance in (("drop_path", self.drop_path), ("single_column", self.single_column)):
            if not 0 <= chance <= 1:
                message = f"`{name}` is a probability, from 0 to 1, not {chance:g}"
                raise ShapeError(message, f"`{name}=0.15` is 15 % of the mini-batches", code="E0304")
        if any(x.shape != xs[0].shape for x in xs):
            raise ShapeError("shapes do not agree in `mean`: " + " and ".join(map(str, xs)), code="E0312")
        return xs[0]

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(flops=len(xs) * y.size)


@record(frozen=True)
class Concat(Op, name="concat"):
    """Concatenation along the channels of images, the features of vectors, the features of sequences.

    axis: `channels`, or `tokens`, which puts sequences of equal features one after the other.
    """

    axis: str = "channels"
    arity: ClassVar[int | None] = None

    def infer(self, *xs: TensorType) -> TensorType:
        if self.axis not in ("channels", "tokens"):
            raise ShapeError(
                f"`concat` knows no axis `{self.axis}`", "leave it out, or write `axis=tokens`", code="E0304"
            )
        return self._tokens(*xs) if self.axis == "tokens" else self._channels(*xs)

    def _tokens(self, *xs: TensorType) -> TensorType:
        if not all(x.is_sequence and x.channels == xs[0].channels for x in xs):
            message = "`concat` of tokens needs sequences of equal features: " + " and ".join(map(str, xs))
            raise ShapeError(message, 'make them with `rearrange("b c h w -> b (h w) c")`', code="E0312")
        return TensorType((sum(x.shape[0] for x in xs), xs[0].channels))

    def _channels(self, *xs: TensorType) -> TensorType:
        first = xs[0]
        rest = first.shape[1:] if first.is_image else first.shape[:-1]
        for x in xs[1:]:
            if x.rank != first.rank or (x.shape[1:] if x.is_image else x.shape[:-1]) != rest:
                raise ShapeError("sizes do not agree in `concat`: " + " and ".join(map(str, xs)), code="E0312")
        channels = sum(x.channels for x in xs)
        return TensorType((channels, *rest) if first.is_image else (*rest, channels))

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost()
