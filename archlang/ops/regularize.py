"""Ops that act in training only and are the identity in evaluation mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archlang.ir.types import TensorType
from archlang.ops.base import Cost, Op, ShapeError
from archlang.records import record


@record(frozen=True)
class Regularizer(Op):
    """Drops with probability `p` in training, and scales what stays by 1 / (1 - p)."""

    p: float
    training_only: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        if not 0 <= self.p < 1:
            raise ShapeError(
                f"the probability of `{self.name}` must be at least 0 and under 1, not {self.p:g}", code="E0304"
            )
        return x

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        return Cost()


@record(frozen=True)
class Dropout(Regularizer, name="dropout"):
    """Drops single values (Srivastava et al. 2014)."""


@record(frozen=True)
class DropPath(Regularizer, name="drop_path"):
    """Stochastic depth (arXiv:1603.09382): drops the whole tensor, one decision a sample."""
