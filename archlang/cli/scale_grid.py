"""`archlang scale --evaluator`: the options, and the runs that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import Decorated, data_option, recipe_option

if TYPE_CHECKING:
    from archlang.scale.coefficients import Scales
    from archlang.scale.points import Asked
    from archlang.scale.scalable import Scalable
    from archlang.scale.scale import Scaled
    from archlang.search.driver import Plan, SearchResult

_PROGRESS = ("auto", "live", "lines", "json", "none")

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--evaluator",
        metavar="E",
        shell_complete=complete.evaluators,
        help="Find the coefficients in a grid: train, proxy, table(...), module:function. With --compare: evaluate "
        "the members.",
    ),
    click.option("--maximize", metavar="METRIC", help="What is best in the grid; accuracy if not given."),
    data_option(help="What the evaluator trains on, or looks at."),
    click.option("--epochs", default=5, show_default=True, type=click.IntRange(1), help="Of each training."),
    recipe_option,
    click.option(
        "--step", default=0.05, show_default=True, type=click.FloatRange(0.01, 0.5), help="Of the grid's coefficients."
    ),
    click.option(
        "--tolerance",
        default=0.05,
        show_default=True,
        type=click.FloatRange(0, 0.5),
        help="How far depth * width**2 * resolution**2 may be from 2, as a share.",
    ),
    click.option("--trials", type=click.IntRange(1), help="So many points of the grid, drawn at random; all of them."),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0)),
    click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Points at once."),
    click.option("--timeout", default=900.0, show_default=True, type=click.FloatRange(1), help="Seconds for a point."),
    click.option("--run", "folder", type=click.Path(path_type=Path), metavar="DIR", help="runs/NET-scale by default."),
    click.option("--resume", is_flag=True, help="Go on with the run in DIR."),
    click.option("--progress", default="auto", show_default=True, type=click.Choice(_PROGRESS), help="On stderr."),
)


def options(function: Decorated) -> Decorated:
    """The options of `scale` that are about evaluators."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass(frozen=True)
class Grid:
    """What a grid search found. metric: that was maximized. rows: each point with its metrics."""

    best: Scales
    metric: str
    worth: float
    rows: Sequence[tuple[Scales, Mapping[str, float]]]
    folder: Path
    interrupted: bool = False

    @property
    def count(self) -> int:
        return len(self.rows)

    def as_json(self) -> dict[str, Any]:
        points = [{"coefficients": scales.as_json(), "metrics": dict(metrics)} for scales, metrics in self.rows]
        return {"run": str(self.folder), "maximize": self.metric, "best": self.best.as_json(), "points": points}


def search(net: Scalable, given: Mapping[str, Any], words: str) -> Grid:
    """The best coefficients of the grid.

    Raises ArchError E1402 for an empty grid, E1408 where no point could be evaluated.
    """
    from archlang.errors import fail
    from archlang.scale.coefficients import grid
    from archlang.scale.points import Points, distinct, evaluated, plan, scales_of

    space = Points(net, tuple(distinct(net, grid(given["step"], given["tolerance"], net.scaled))))
    run = plan(space, _asked(net, given, words))
    result = _run(run, given)
    best = result.progress.best
    if best is None:
        if result.interrupted:
            return Grid(space.points[0], "", 0.0, (), run.folder, True)
        last = result.progress.last
        why = f": {last.reason}" if last is not None and last.reason else ""
        raise fail("E1408", f"no point of the grid could be evaluated{why}")
    metric = run.objective.maximize[0]
    rows = sorted(evaluated(run).items(), key=lambda row: -row[1][metric])
    return Grid(scales_of(best.picks), metric, best.metrics[metric], rows, run.folder, result.interrupted)


def evaluate(result: Scaled, given: Mapping[str, Any], words: str) -> tuple[Scaled, bool]:
    """The families with what the evaluator tells of their members; and whether that was interrupted."""
    from archlang.scale.coefficients import Scales
    from archlang.scale.points import Points, distinct, evaluated, plan
    from archlang.scale.scale import with_metrics

    points = [Scales(), *distinct(result.net, [member.scales for member in result.members])]
    run = plan(Points(result.net, tuple(points)), _asked(result.net, given, words))
    ended = _run(run, given)
    return with_metrics(result, evaluated(run)), ended.interrupted


def _asked(net: Scalable, given: Mapping[str, Any], words: str) -> Asked:
    from archlang.scale.points import Asked
    from archlang.search.evaluators import Setting
    from archlang.train import Recipe

    recipe = Recipe(epochs=given["epochs"]).with_text(given["settings"])
    folder = given["folder"] or Path("runs", f"{net.net.name}-scale")
    setting = Setting(
        folder,
        data=given["data"],
        trusted=given["data"] is not None,
        device=given["device"] or "host",
        threads=given["threads"],
        latency_table=given["latency_table"],
        recipe=recipe,
    )
    passed = {name: given[name] for name in ("maximize", "trials", "seed", "workers")}
    return Asked(given["evaluator"], setting, **passed, timeout_secs=given["timeout"], command=words)


def _run(plan: Plan, given: Mapping[str, Any]) -> SearchResult:
    from archlang.cli.search_view import live
    from archlang.search.driver import run

    with live(plan, given["progress"]) as progress:
        return run(plan, given["resume"], progress)
