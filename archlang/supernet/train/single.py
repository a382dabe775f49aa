"""Uniform single-path sampling (Guo et al., arXiv:1904.00420)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archlang.search.strategies.kinds import Count
from archlang.supernet.train.drawing import drawn
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run, total

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet


@dataclass(frozen=True)
class Single:
    """Every step trains a sub-network that is drawn at random, each alternative equally likely. sampled: over how
    many of them its gradients are averaged."""

    sampled: Count = 1

    held = 0.0

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        return (Stage("single", epochs),)

    def course(self, run: Run) -> Course:
        return _Course(run, self.sampled)


class _Course(Course):
    def __init__(self, run: Run, sampled: int) -> None:
        super().__init__(run)
        self._sampled = sampled

    def step(self, batch: Batch) -> torch.Tensor:
        run, losses = self.run, []
        for _ in range(self._sampled):
            scores = run.scores(batch.x, drawn(run.net.space, {}, batch.rng))
            losses.append(run.backward(run.loss(scores, batch.y) / self._sampled))
        return total(losses)
