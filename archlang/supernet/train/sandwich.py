"""The sandwich rule with in-place distillation (Yu and Huang, arXiv:1903.05134)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archlang.search.strategies.kinds import Count
from archlang.supernet.train.drawing import drawn
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run, soft_loss, total

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet


@dataclass(frozen=True)
class Sandwich:
    """Every step trains the largest sub-network on the labels, and the smallest and `sampled` random ones on what the
    largest says of the same images (`distill`), or on the labels too. Their gradients are added, as in the paper."""

    sampled: Count = 2
    distill: bool = True

    held = 0.0

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        return (Stage("sandwich", epochs),)

    def course(self, run: Run) -> Course:
        return _Course(run, self)


class _Course(Course):
    def __init__(self, run: Run, method: Sandwich) -> None:
        super().__init__(run)
        self._method = method
        self._largest, self._smallest = run.net.largest(), run.net.smallest()

    def step(self, batch: Batch) -> torch.Tensor:
        run, method = self.run, self._method
        scores = run.scores(batch.x, self._largest)
        losses = [run.backward(run.loss(scores, batch.y))]
        others = [drawn(run.net.space, {}, batch.rng) for _ in range(method.sampled)]
        for picks in (*others, self._smallest):
            found = run.scores(batch.x, picks)
            losses.append(
                run.backward(soft_loss(found, scores.detach()) if method.distill else run.loss(found, batch.y))
            )
        return total(losses) / len(losses)
