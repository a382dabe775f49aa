"""REINFORCE and PPO with a recurrent controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from archlang.search.objective import Objective
from archlang.search.strategies.controller import Learner, Settings, torch_module
from archlang.search.strategies.kinds import Count, Nonnegative, Positive, Share
from archlang.search.strategies.protocol import Kept, has_decisions
from archlang.search.trial import Proposal, Space, Trial


@dataclass(frozen=True)
class Reinforce:
    """Policy gradients with a moving baseline, Williams 1992, as in Zoph and Le, arXiv:1611.01578: two LSTM layers of
    35 units, weights up to 0.08, Adam with a rate of 0.0006. Needs PyTorch.

    Their runs take thousands of candidates; with hundreds, a rate of 0.01 learns more. The controller is updated
    after each `batch` of trials; the first one is random.
    """

    batch: Count = 8
    learning_rate: Positive = 0.0006
    entropy: Nonnegative = 0.0001
    decay: Share = 0.95
    hidden: Count = 35
    layers: Count = 2

    needs_decisions = True
    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    @property
    def settings(self) -> Settings:
        return Settings(self.hidden, self.layers, 0.08, self.learning_rate, self.entropy, self.decay)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        torch_module()  # tells what is missing before anything is evaluated
        assert has_decisions(space)
        learner: Learner = self._kept.grown(
            space, objective, history, partial(Learner, space, objective, self.settings, self.batch)
        )
        learner.learn(history)
        if learner.controller is None:
            return Proposal(space.sample(rng), None, "sampled")
        return Proposal(learner.controller.sample(rng), None, "sampled by the controller")


@dataclass(frozen=True)
class Ppo(Reinforce):
    """Proximal policy optimisation, Schulman et al., arXiv:1707.06347, as in NASNet (arXiv:1707.07012) and MnasNet: an
    LSTM layer of 100 units, weights up to 0.1, Adam with a rate of 0.00035, entropy weighed 0.00001, batches of 20."""

    batch: Count = 20
    learning_rate: Positive = 0.00035
    entropy: Nonnegative = 0.00001
    hidden: Count = 100
    layers: Count = 1
    epochs: Count = 4
    clip: Positive = 0.2

    @property
    def settings(self) -> Settings:
        given = (self.hidden, self.layers, 0.1, self.learning_rate, self.entropy, self.decay)
        return Settings(*given, self.epochs, self.clip)
