"""A recurrent controller that makes candidates decision by decision, and learns from what they are worth."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from archlang.errors import missing_extra
from archlang.search.objective import Objective
from archlang.search.strategies.protocol import Decisions
from archlang.search.trial import Picks, Trial

if TYPE_CHECKING:
    import torch

_SAMPLES = 64
"""Candidates that are looked at to learn which decisions there are; one that none of them met is left to chance."""


@dataclass(frozen=True)
class Step:
    """A decision that was met."""

    key: str
    count: int
    taken: int


@dataclass(frozen=True)
class Settings:
    """hidden, layers: of the LSTM. spread: initial weights are uniform up to it. learning_rate: Adam's. entropy: the
    weight of the policy's entropy. decay: of the moving baseline. epochs: over each batch. clip: of the ratio of new
    and old probabilities (PPO), None: REINFORCE. squash: logits are kept within it by tanh; None: they are free."""

    hidden: int
    layers: int
    spread: float
    learning_rate: float
    entropy: float
    decay: float
    epochs: int = 1
    clip: float | None = None
    squash: float | None = None


def torch_module() -> Any:
    """PyTorch. Raises OutsideError where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise missing_extra("a strategy with a controller", "torch") from error
    return torch


class Controller:
    """An LSTM reads the decisions in the order in which they are met, each as the embedding of what was taken last;
    a linear layer for each gives the logits of its alternatives (Zoph and Le, arXiv:1611.01578)."""

    def __init__(self, space: Decisions, settings: Settings, seed: int) -> None:
        self._torch: Any = torch_module()
        self._space, self._settings = space, settings
        self._heads = {key: (i, count) for i, (key, count) in enumerate(_decisions(space).items())}
        self._modules = self._made(seed)
        self._optimizer = self._torch.optim.Adam(self._modules.parameters(), settings.learning_rate)

    def _made(self, seed: int) -> Any:
        torch, settings = self._torch, self._settings
        counts = [count for _, count in self._heads.values()]
        self._offsets = [sum(counts[:i]) for i in range(len(counts))]
        modules = torch.nn.ModuleDict(
            {
                "taken": torch.nn.Embedding(1 + sum(counts), settings.hidden),
                "cells": torch.nn.ModuleList(
                    torch.nn.LSTMCell(settings.hidden, settings.hidden) for _ in range(settings.layers)
                ),
                "heads": torch.nn.ModuleList(torch.nn.Linear(settings.hidden, count) for count in counts),
            }
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in modules.parameters():
            torch.nn.init.uniform_(parameter, -settings.spread, settings.spread, generator=generator)
        return modules

    def sample(self, rng: Random) -> Picks:
        """A candidate, drawn from the policy."""
        with self._torch.no_grad():
            reading = _Reading(self)

            def choose(key: str, count: int) -> int:
                if key not in self._heads:
                    return rng.randrange(count)
                weights = reading.logits(key).softmax(0).tolist()
                taken = rng.choices(range(count), weights)[0]
                reading.take(key, taken)
                return taken

            return self._space.decided(choose)

    def likelihood(self, steps: Sequence[Step]) -> tuple[torch.Tensor, torch.Tensor]:
        """The logarithm of the probability that the policy takes these steps, and its mean entropy on the way."""
        reading = _Reading(self)
        chosen, entropies = [], []
        for step in steps:
            logs = reading.logits(step.key).log_softmax(0)
            chosen.append(logs[step.taken])
            entropies.append(-(logs.exp() * logs).sum())
            reading.take(step.key, step.taken)
        return self._torch.stack(chosen).sum(), self._torch.stack(entropies).mean()

    def steps(self, picks: Picks) -> list[Step]:
        """The decisions of a candidate in the order in which they are met."""
        found: list[Step] = []

        def taken(key: str, count: int) -> int:
            if key in self._heads:
                found.append(Step(key, count, picks[key]))
            return int(picks[key])

        self._space.decided(taken)
        return found

    def update(self, batch: Sequence[Sequence[Step]], advantages: Sequence[float]) -> None:
        """Make what was better than expected likelier."""
        torch, settings = self._torch, self._settings
        gain = torch.tensor(advantages)
        with torch.no_grad():
            before = torch.stack([self.likelihood(steps)[0] for steps in batch])
        for _ in range(settings.epochs):
            found = [self.likelihood(steps) for steps in batch]
            logs, entropy = (torch.stack(each) for each in zip(*found, strict=True))
            loss = -(self._gained(logs, before, gain) + settings.entropy * entropy).mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()

    def state(self) -> dict[str, Any]:
        """What it has learnt, for `load`."""
        return {"modules": self._modules.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._modules.load_state_dict(state["modules"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _gained(self, logs: torch.Tensor, before: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        clip = self._settings.clip
        if clip is None:
            return logs * gain
        ratio = (logs - before).exp()
        clipped: torch.Tensor = self._torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
        return clipped


class _Reading:
    """The controller on its way through a candidate."""

    def __init__(self, controller: Controller) -> None:
        torch, settings = controller._torch, controller._settings
        self._controller, self._modules = controller, controller._modules
        self._states = [(torch.zeros(1, settings.hidden),) * 2 for _ in range(settings.layers)]
        self._last = torch.zeros(1, dtype=torch.long)

    def logits(self, key: str) -> torch.Tensor:
        x = self._modules["taken"](self._last)
        for i, cell in enumerate(self._modules["cells"]):
            self._states[i] = cell(x, self._states[i])
            x = self._states[i][0]
        found: torch.Tensor = self._modules["heads"][self._controller._heads[key][0]](x)[0]
        squash = self._controller._settings.squash
        return found if squash is None else squash * found.tanh()

    def take(self, key: str, index: int) -> None:
        offset = self._controller._offsets[self._controller._heads[key][0]]
        self._last = self._last.new_tensor([1 + offset + index])


def _decisions(space: Decisions) -> dict[str, int]:
    """The decisions that samples meet, and how many alternatives they have."""
    rng, found = Random(0), dict[str, int]()

    def drawn(key: str, count: int) -> int:
        found[key] = count
        return rng.randrange(count)

    for _ in range(_SAMPLES):
        space.decided(drawn)
    return found


class Learner:
    """A controller that has learnt from the history, batch by batch; the rest of a batch waits."""

    def __init__(self, space: Decisions, objective: Objective, settings: Settings, batch: int) -> None:
        self._space, self._objective, self._settings, self._batch = space, objective, settings, batch
        self._read = 0
        self._baseline = self._scale = 0.0
        self.controller: Controller | None = None

    def learn(self, history: Sequence[Trial]) -> None:
        while len(history) >= self._read + self._batch:
            self._learn(history[self._read : self._read + self._batch])
            self._read += self._batch

    def _learn(self, trials: Sequence[Trial]) -> None:
        if self.controller is None:
            # The generator of one call must not decide about the weights, which all calls share.
            seed = zlib.crc32("".join(trial.key for trial in trials).encode())
            self.controller = Controller(self._space, self._settings, seed)
        gains = self._gains(self._objective.fitness([trial.metrics for trial in trials]))
        self.controller.update([self.controller.steps(trial.picks) for trial in trials], gains)

    def _gains(self, rewards: Sequence[float]) -> list[float]:
        """How much better than the moving baseline, in moving standard deviations: a reward has any unit."""
        finite = [reward for reward in rewards if abs(reward) != float("inf")] or [0.0]
        worst = min(finite)
        rewards = [reward if abs(reward) != float("inf") else worst for reward in rewards]
        mean = sum(rewards) / len(rewards)
        if not self._read:
            self._baseline, self._scale = mean, _deviation(rewards, mean)
        gains = [(reward - self._baseline) / (self._scale or 1.0) for reward in rewards]
        decay = self._settings.decay
        self._scale = decay * self._scale + (1 - decay) * _deviation(rewards, self._baseline)
        self._baseline = decay * self._baseline + (1 - decay) * mean
        return gains


def _deviation(values: Sequence[float], center: float) -> float:
    return float((sum((value - center) ** 2 for value in values) / len(values)) ** 0.5)
