"""From a `search` in a file and the command's options to a plan."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from archlang.device import transport
from archlang.device.predict import table
from archlang.errors import fail, nearest
from archlang.search import strategies
from archlang.search.driver import DATABASE, Plan
from archlang.search.evaluators import CostEvaluator, Evaluator, TrainEvaluator
from archlang.search.objective import Constraint, Objective, restricted
from archlang.search.space import SearchSpec
from archlang.search.strategies import Strategy
from archlang.train import Recipe

TRIALS = 100
EVALUATORS = ("train", "cost")


@dataclass(frozen=True)
class Options:
    """What a caller asks for beside the file; None leaves it to the file.

    strategy: a name, or a name with arguments, `evolution(population=20)`. folder: the run's; without one it is
    runs/NAME, or a numbered neighbour where that is taken.
    """

    evaluator: str = "train"
    data: str | None = None
    device: str | None = None
    trials: int | None = None
    seed: int | None = None
    strategy: str | None = None
    workers: int = 1
    folder: Path | None = None
    resume: bool = False
    threads: int = 1
    timeout_secs: float = 900.0
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=5))
    command: str = "archlang search"


def plan_of(spec: SearchSpec, options: Options) -> tuple[Plan, list[str]]:
    """The plan, and what the user should know about it. Raises ArchError or OutsideError before anything is begun."""
    name, arguments = _method(spec, options.strategy)
    trials = _count("trials", options.trials, arguments.pop("trials", TRIALS), 1)
    seed = _count("seed", options.seed, arguments.pop("seed", 0), 0)
    strategy: Strategy = strategies.make(name, arguments)
    folder = options.folder or _folder(spec.name, options.resume)
    evaluator = _evaluator(spec, options, folder)
    wanted = Objective(tuple(Constraint(*each) for each in spec.require), spec.maximize, spec.minimize, spec.reward)
    objective, notes = restricted(wanted, evaluator.metrics, evaluator.name)
    if isinstance(evaluator, CostEvaluator):
        evaluator = replace(evaluator, peak_memory=objective.needs("peak_memory"))
    plan = Plan(
        space=spec.space,
        objective=objective,
        strategy=strategy,
        evaluator=evaluator,
        folder=folder,
        trials=trials,
        seed=seed,
        workers=_count("workers", options.workers, 1, 1),
        timeout_secs=options.timeout_secs,
        command=options.command,
        device=_device(spec, options) if "latency" in evaluator.metrics else "",
        bundle=spec.bundle,
    )
    return plan, notes


def _method(spec: SearchSpec, override: str | None) -> tuple[str, dict[str, Any]]:
    """The strategy's name and arguments. An override keeps those arguments of the file's that it takes, too."""
    name, arguments = spec.method or ("evolution", {})
    if override is None:
        return name, dict(arguments)
    chosen, given = _parsed(override)
    known = {"trials", "seed"}
    if chosen in strategies.STRATEGIES:
        known |= {each.name for each in fields(strategies.STRATEGIES[chosen])}  # type: ignore[arg-type]
    return chosen, {**{key: value for key, value in arguments.items() if key in known}, **given}


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """`evolution(population=20)` as a name and its arguments, which are literals."""
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
    except (SyntaxError, ValueError):
        pass
    raise fail("E1201", f"`{text}` is not a search strategy", help="such as `evolution(population=20)`")


def _count(name: str, given: int | None, otherwise: Any, least: int) -> int:
    value = otherwise if given is None else given
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise fail("E1202", f"`{name}` of a search cannot be {value!r}", help=f"a whole number from {least}")
    return value


def _device(spec: SearchSpec, options: Options) -> str:
    return options.device or spec.device or "host"


def _evaluator(spec: SearchSpec, options: Options, folder: Path) -> Evaluator:
    if options.evaluator not in EVALUATORS:
        raise fail("E1205", f"there is no evaluator `{options.evaluator}`", help=nearest(options.evaluator, EVALUATORS))
    if options.evaluator == "cost":
        return CostEvaluator(_latency_table(spec, options))
    data = options.data or spec.data
    if data is None:
        help = "give --data digits, or write `data digits` in the search; --evaluator cost needs none"
        raise fail("E1211", "this search trains its candidates, and has no data", help=help)
    device = _device(spec, options)
    transport.get(device)
    return TrainEvaluator(
        data,
        folder,
        options.recipe,
        device=device,
        threads=options.threads,
        trusted=options.data is not None,
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
