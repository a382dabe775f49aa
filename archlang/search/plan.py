"""From a `search` in a file and the command's options to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from archlang.device.predict import table
from archlang.errors import fail
from archlang.search import evaluators, strategies
from archlang.search.driver import DATABASE, Plan
from archlang.search.evaluators import CostEvaluator, Evaluator, Setting, TrainEvaluator
from archlang.search.fidelity import epochs_at
from archlang.search.objective import Constraint, Objective, restricted
from archlang.search.space import SearchSpec, Space
from archlang.search.strategies import Strategy
from archlang.train import Recipe

TRIALS = 100


@dataclass(frozen=True)
class Options:
    """What a caller asks for beside the file; None leaves it to the file.

    strategy: a name, or a name with arguments, `evolution(population=20)`. folder: the run's; without one it is
    runs/NAME, or a numbered neighbour where that is taken. evaluator: a name, one with arguments, `train(runs=50)`, or
    `module:function`. latency_table: a file or a device, by which latency is predicted instead of measured. workers:
    candidates at once; 0 where they are as many as the cluster has room for. cluster: its address.
    """

    evaluator: str = "train"
    data: str | None = None
    device: str | None = None
    trials: int | None = None
    seed: int | None = None
    strategy: str | None = None
    workers: int = 1
    cluster: str | None = None
    folder: Path | None = None
    resume: bool = False
    threads: int = 1
    latency_table: str | None = None
    timeout_secs: float = 900.0
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=5))
    command: str = "archlang search"


def plan_of(spec: SearchSpec, options: Options) -> tuple[Plan, list[str]]:
    """The plan, and what the user should know about it. Raises ArchError or OutsideError before anything is begun."""
    name, arguments = _method(spec, options.strategy)
    trials = _count("trials", options.trials, arguments.pop("trials", TRIALS), 1)
    seed = _count("seed", options.seed, arguments.pop("seed", 0), 0)
    strategy: Strategy = strategies.make(name, arguments)
    strategies.check_space(strategy, spec.space)
    folder = options.folder or _folder(spec.name, options.resume)
    wanted = Objective(tuple(Constraint(*each) for each in spec.require), spec.maximize, spec.minimize, spec.reward)
    evaluator = evaluators.make(options.evaluator, _setting(spec, options, folder, wanted.mentioned))
    objective, notes = restricted(wanted, evaluator.metrics, evaluator.name)
    if isinstance(evaluator, CostEvaluator):
        evaluator = replace(evaluator, peak_memory=objective.needs("peak_memory"))
        if isinstance(spec.space, Space) and evaluator.measure is not None:
            spec.space.measure(evaluator.measure)
    plan = Plan(
        space=spec.space,
        objective=objective,
        strategy=strategy,
        evaluator=evaluator,
        folder=folder,
        trials=trials,
        seed=seed,
        workers=_count("workers", options.workers, 1, 1 if options.cluster is None else 0),
        cluster=options.cluster,
        timeout_secs=options.timeout_secs,
        command=options.command,
        device=(options.latency_table or _device(spec, options)) if "latency" in evaluator.metrics else "",
        bundle=spec.bundle,
    )
    return plan, [*notes, *_fidelities(strategy, evaluator)]


def _fidelities(strategy: Strategy, evaluator: Evaluator) -> list[str]:
    """A note where a lower fidelity saves nothing, since there is no smaller number of epochs."""
    asked: Sequence[float] = getattr(strategy, "fidelities", ())
    if not isinstance(evaluator, TrainEvaluator) or evaluator.reduce != "epochs":
        return []
    epochs = evaluator.recipe.epochs
    enough = next(each for each in count(epochs) if len({epochs_at(share, each) for share in asked}) == len(asked))
    if enough == epochs:
        return []
    few = f"of {epochs} epochs there are not {len(asked)} different fidelities"
    return [f"{few}: give --epochs {enough}, or reduce=resolution"]


def _method(spec: SearchSpec, override: str | None) -> tuple[str, dict[str, Any]]:
    """The strategy's name and arguments. An override keeps those arguments of the file's that it takes, too."""
    name, arguments = spec.method or ("evolution", {})
    if override is None:
        return name, dict(arguments)
    chosen = strategies.parsed(override)
    known = {"trials", "seed", *strategies.takes(chosen.name)}
    return chosen.name, {**{key: value for key, value in arguments.items() if key in known}, **chosen.arguments}


def _count(name: str, given: int | None, otherwise: Any, least: int) -> int:
    value = otherwise if given is None else given
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise fail("E1202", f"`{name}` of a search cannot be {value!r}", help=f"a whole number from {least}")
    return value


def _device(spec: SearchSpec, options: Options) -> str:
    return options.device or spec.device or "host"


def _setting(spec: SearchSpec, options: Options, folder: Path, mentioned: tuple[str, ...]) -> Setting:
    """What the evaluator is told."""
    return Setting(
        folder,
        data=options.data or spec.data,
        trusted=options.data is not None,
        device=_device(spec, options),
        threads=options.threads,
        latency_table=options.latency_table,
        known_table=_latency_table(spec, options),
        recipe=options.recipe,
        mentioned=mentioned,
        space=spec.space,
        elsewhere=options.cluster is not None,
    )


def _latency_table(spec: SearchSpec, options: Options) -> str | None:
    """The table that predicts latency: that which is asked for, or that of the file's device where it has one."""
    if options.device is not None:
        return options.device
    return spec.device if spec.device is not None and table.exists(spec.device) else None


def _folder(name: str, resume: bool) -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that is free; with resume the last one that is not."""
    last, number = Path("runs", name), 1
    while True:
        folder = Path("runs", name if number == 1 else f"{name}-{number}")
        if not (folder / DATABASE).exists():
            return last if resume else folder
        last, number = folder, number + 1
