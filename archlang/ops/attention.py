"""Sequences: attention, class token, position embedding."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, Param, ShapeError, positive
from archlang.records import record


def _need_sequence(op: Op, x: TensorType) -> None:
    if not x.is_sequence:
        raise ShapeError(
            f"`{op.name}` needs a sequence (tokens, features), but its input is {x}",
            'turn an image into a sequence with `rearrange("b c h w -> b (h w) c")`' if x.is_image else "",
            code="E0303",
        )


@record(frozen=True)
class Attention(Op, name="attention"):
    """Multi-head self-attention (arXiv:1706.03762). x: (N, D) -> (N, D).

    qkv: D -> 3 D, rows ordered q, k, v and within each by head; scores scaled by (D / heads) ** -0.5; proj: D -> D.
    """

    heads: int

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        _need_sequence(self, x)
        positive(self, heads=self.heads)
        if x.shape[1] % self.heads:
            raise ShapeError(f"{self.heads} heads do not divide {x.shape[1]} features", code="E0305")
        return x

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        d = x.shape[1]
        return {
            "qkv.weight": Param((3 * d, d), "normal"),
            "qkv.bias": Param((3 * d,), "zeros"),
            "proj.weight": Param((d, d), "normal"),
            "proj.bias": Param((d,), "zeros"),
        }

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        n, d = xs[0].shape
        macs = 4 * n * d * d + 2 * n * n * d
        return Cost(4 * d * d + 4 * d, macs, 2 * macs + 4 * n * d + 5 * n * n * self.heads)


@record(frozen=True)
class ClassToken(Op, name="class_token"):
    """Puts one trainable token before the others. (N, D) -> (N + 1, D)."""

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        _need_sequence(self, x)
        return TensorType((x.shape[0] + 1, x.shape[1]))

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        return {"weight": Param((1, x.shape[1]), "normal")}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(params=y.shape[1])


@record(frozen=True)
class PosEmbed(Op, name="pos_embed"):
    """Adds a trainable value per token and feature. Shape unchanged."""

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        _need_sequence(self, x)
        return x

    def params(self, x: TensorType) -> dict[str, Param]:  # type: ignore[override]
        return {"weight": Param(x.shape, "normal")}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost(params=y.size, flops=y.size)
