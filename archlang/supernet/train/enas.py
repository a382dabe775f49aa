"""Shared weights and a controller that take turns (ENAS, Pham et al., arXiv:1802.03268)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from archlang.search.space import Picks
from archlang.search.strategies.controller import Controller, Settings
from archlang.search.strategies.kinds import Count, Nonnegative, Positive, Share
from archlang.supernet.judge import Judge
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet


@dataclass(frozen=True)
class Enas:
    """In an epoch every step trains a sub-network that the controller draws; after it the controller is updated
    `updates` times by REINFORCE, each time by `batch` sub-networks, whose reward is the accuracy on a batch of held
    images over a moving baseline. At the end the best of `candidates` that the controller draws is taken.

    The release's figures: an LSTM of 64 units, logits within 1.1 / 2.5 by tanh, Adam with a rate of 0.0035, entropy
    weighed 0.0001, a baseline that keeps 0.99, 30 updates by 10 sub-networks each.
    held: the share of the training images that rewards are measured on, and never the shared weights.
    """

    updates: Count = 30
    batch: Count = 10
    learning_rate: Positive = 0.0035
    entropy: Nonnegative = 0.0001
    decay: Share = 0.99
    hidden: Count = 64
    candidates: Count = 10
    held: Share = 0.1

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        return (Stage("enas", epochs),)

    def course(self, run: Run) -> Course:
        return _Course(run, self)

    @property
    def settings(self) -> Settings:
        return Settings(self.hidden, 1, 0.1, self.learning_rate, self.entropy, self.decay, squash=1.1 / 2.5)


class _Course(Course):
    def __init__(self, run: Run, method: Enas) -> None:
        super().__init__(run)
        self._method = method
        self._controller = Controller(run.net.space, method.settings, run.recipe.seed)
        self._baseline: float | None = None

    def step(self, batch: Batch) -> torch.Tensor:
        scores = self.run.scores(batch.x, self._controller.sample(batch.rng))
        return self.run.backward(self.run.loss(scores, batch.y))

    def close_epoch(self, rng: Random) -> None:
        for _ in range(self._method.updates):
            drawn = [self._controller.sample(rng) for _ in range(self._method.batch)]
            rewards = [self._reward(picks, rng) for picks in drawn]
            gains = [self._gain(reward) for reward in rewards]
            self._controller.update([self._controller.steps(picks) for picks in drawn], gains)

    def _reward(self, picks: Mapping[str, int], rng: Random) -> float:
        """The accuracy on a batch of held images, normalised by that batch, as in the release."""
        import torch

        x, y = self.run.held_batch(rng)
        with torch.no_grad():
            hits = (self.run.scores(x, picks).argmax(1) == y).float().mean()
        return self.run.processes.mean(float(hits))

    def _gain(self, reward: float) -> float:
        """How much better than the moving baseline, which the reward then moves."""
        before = reward if self._baseline is None else self._baseline
        self._baseline = before + (1 - self._method.decay) * (reward - before)
        return reward - self._baseline

    def found(self) -> Picks | None:
        run = self.run
        assert run.held is not None
        judge = Judge(run.net, replace(run.data, x_test=run.held.x_test, y_test=run.held.y_test))
        rng = Random(run.recipe.seed)
        drawn = [dict(self._controller.sample(rng)) for _ in range(self._method.candidates)]
        return max(drawn, key=judge.accuracy)

    def state(self) -> dict[str, Any]:
        return {"controller": self._controller.state(), "baseline": self._baseline}

    def load(self, state: Mapping[str, Any]) -> None:
        self._controller.load(state["controller"])
        self._baseline = state["baseline"]
