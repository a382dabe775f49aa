"""A run as an Optuna study, for optuna-dashboard and whatever else reads one."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from archlang.errors import fail, missing_extra
from archlang.report.columns import decisions
from archlang.report.run import Run, read
from archlang.search.trial import Status, Trial

if TYPE_CHECKING:
    import optuna

_SHARE = 0.05
"""Of the time of a search that copying may take."""

_LEAST_SECS = 5.0


class Mirror:
    """The study that follows the run in `folder`, of the name of the folder.

    Raises OutsideError where Optuna is missing, ArchError where `storage` cannot be opened.
    """

    def __init__(self, storage: str, folder: Path) -> None:
        self._folder = folder
        self._storage = _opened(storage)
        self._next = 0.0

    def follow(self) -> None:
        """Bring the study up to date, unless that was done a moment ago."""
        begun = time.monotonic()
        if begun < self._next:
            return
        self.update()
        spent = time.monotonic() - begun
        self._next = time.monotonic() + max(_LEAST_SECS, spent / _SHARE)

    def update(self) -> None:
        """Bring the study up to date: trials that have ended since are added, in their order."""
        run = read(self._folder)
        study = _study(self._storage, run)
        known = {trial.user_attrs.get("trial") for trial in study.get_trials(deepcopy=False)}
        study.add_trials(_frozen(run, [trial for trial in run.trials if trial.id not in known]))


def _opened(storage: str) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("a study", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.storages.get_storage(storage)
    except Exception as error:  # of SQLAlchemy, of a driver, of Optuna
        text = str(error).strip().splitlines()
        raise fail(
            "E1240",
            f"cannot open {storage}: {text[0] if text else type(error).__name__}",
            help="such as sqlite:///study.db",
        ) from error


def _study(storage: Any, run: Run) -> optuna.Study:
    """The study of the run's folder. A trial's values are the objectives, or the reward alone."""
    import optuna

    objective = run.objective
    directions: list[Literal["minimize", "maximize"]] = ["maximize" for _ in objective.maximize]
    directions += ["minimize" for _ in objective.minimize]
    name = str(run.folder)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["maximize"] if objective.reward else directions,
        load_if_exists=True,
    )
    identity = {key: run.facts.get(key) for key in ("space", "seed", "strategy", "evaluator", "objective")}
    if study.user_attrs.setdefault("identity", identity) != identity:
        raise fail("E1241", f"the study `{name}` is of another run", help="give another storage, or another --run")
    _describe(study, run, identity)
    return study


def _describe(study: optuna.Study, run: Run, identity: dict[str, Any]) -> None:
    if "command" in study.user_attrs:
        return
    study.set_user_attr("identity", identity)
    study.set_user_attr("command", str(run.facts.get("command", "")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        study.set_metric_names(["reward"] if run.objective.reward else list(run.objective.axes))


def _frozen(run: Run, trials: list[Trial]) -> list[optuna.trial.FrozenTrial]:
    """The trials that have ended, as Optuna has them: those evaluated in full are complete, rejected ones and those at
    a lower fidelity pruned."""
    places = {trial.id: i for i, trial in enumerate(run.trials)}
    made = decisions(run)
    rewards = dict(zip((trial.id for trial in run.done), _values(run), strict=True))
    ended = [trial for trial in trials if trial.status is not Status.RUNNING]
    return [_one(trial, places[trial.id], made, rewards.get(trial.id)) for trial in ended]


def _values(run: Run) -> list[list[float]]:
    objective, metrics = run.objective, [trial.metrics for trial in run.done]
    if objective.reward is not None:
        return [[value] for value in objective.fitness(metrics)]
    return [[found[name] for name in objective.axes] for found in metrics]


def _one(trial: Trial, place: int, made: list[dict[str, Any]], values: list[float] | None) -> optuna.trial.FrozenTrial:
    import optuna

    State = optuna.trial.TrialState
    taken = {each["label"]: each for each in made if each["picks"][place] is not None}
    state = {Status.DONE: State.PRUNED, Status.REJECTED: State.PRUNED, Status.FAILED: State.FAIL}[trial.status]
    about: dict[str, Any] = {"trial": trial.id, "parent": trial.parent, "origin": trial.origin, "reason": trial.reason}
    about |= {"fidelity": trial.fidelity, "seconds": trial.seconds, "digest": trial.digest, **trial.metrics}
    return optuna.trial.create_trial(
        state=State.COMPLETE if values is not None else state,
        values=values,
        params={label: each["values"][each["picks"][place]] for label, each in taken.items()},
        distributions={
            label: optuna.distributions.CategoricalDistribution(each["values"]) for label, each in taken.items()
        },
        user_attrs={key: value for key, value in about.items() if value not in (None, "")},
    )
