"""Tree-structured Parzen estimators, by Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from archlang.errors import missing_extra
from archlang.search.objective import Objective
from archlang.search.strategies.kinds import Count
from archlang.search.strategies.protocol import Decisions, Kept, has_decisions
from archlang.search.trial import Proposal, Space, Trial


@dataclass(frozen=True)
class Tpe:
    """Optuna's TPE sampler, which models decisions jointly, on a study of the history. Needs the extra `optuna`.

    initial: random candidates at the beginning. considered: candidates of which the likeliest to be good is taken.
    """

    initial: Count = 10
    considered: Count = 24

    needs_decisions = True
    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        if len(history) < self.initial:
            return Proposal(space.sample(rng), None, "sampled")
        assert has_decisions(space)
        study: _Study = self._kept.grown(space, objective, history, partial(_Study, space, objective))
        study.learn(history)
        return Proposal(study.picks(self._sampler(rng)), None, "sampled by TPE")

    def _sampler(self, rng: Random) -> Any:
        seed = rng.getrandbits(32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` and `group` are called experimental, release after release
            return optuna().samplers.TPESampler(
                seed=seed, n_startup_trials=1, n_ei_candidates=self.considered, multivariate=True, group=True
            )


def optuna() -> Any:
    """The module, quiet. Raises OutsideError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("the strategy `tpe`", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class _Study:
    """The history as Optuna knows it."""

    def __init__(self, space: Decisions, objective: Objective) -> None:
        self._space, self._objective, self._read = space, objective, 0
        self._trials: list[Any] = []

    def learn(self, history: Sequence[Trial]) -> None:
        self._trials += [self._trial(trial) for trial in history[self._read :]]
        self._read = len(history)

    def _trial(self, trial: Trial) -> Any:
        module, choices = optuna(), {}

        def taken(key: str, count: int) -> int:
            choices[key] = module.distributions.CategoricalDistribution(range(count))
            return int(trial.picks[key])

        picks = self._space.decided(taken)
        values = self._objective.worth(trial.metrics)
        return module.trial.create_trial(values=list(values), params=dict(picks), distributions=choices)

    def picks(self, sampler: Any) -> Any:
        """A new candidate; its decisions are suggested in the order in which they are met."""
        directions = ["maximize"] * len(self._trials[0].values)
        study = optuna().create_study(sampler=sampler, directions=directions)
        study.add_trials(self._trials)
        trial = study.ask()
        return self._space.decided(lambda key, count: int(trial.suggest_categorical(key, range(count))))
