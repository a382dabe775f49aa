"""`archlang search --dry-run`: what would be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from archlang.cli.common import emit_json
from archlang.cli.search_view import duration

if TYPE_CHECKING:
    from archlang.search.driver import Plan
    from archlang.search.preview import Preview


def show_preview(plan: Plan, as_json: bool) -> None:
    """Print the preview of a search on stdout."""
    from archlang.search.preview import preview

    found = preview(plan)
    if as_json:
        emit_json(_document(plan, found))
        return
    for name, text in _lines(plan, found):
        click.echo(f"{name:<12} {text}")


def _document(plan: Plan, found: Preview) -> dict[str, Any]:
    return {
        "run": str(plan.folder),
        "space": plan.space.name,
        "decisions": found.decisions,
        "log10_size": found.log10_size,
        "drawn": found.drawn,
        "fitting": found.fitting,
        "require": [str(constraint) for constraint in plan.objective.require],
        "maximize": list(plan.objective.maximize),
        "minimize": list(plan.objective.minimize),
        "reward": plan.objective.reward is not None,
        "strategy": repr(plan.strategy),
        "evaluator": plan.evaluator.identity(),
        "trials": plan.trials,
        "seed": plan.seed,
        "workers": plan.workers,
        "seconds_each": found.seconds_each,
        "seconds": found.seconds(plan),
    }


def _lines(plan: Plan, found: Preview) -> list[tuple[str, str]]:
    objective = plan.objective
    goals = [*(f"maximize {name}" for name in objective.maximize), *(f"minimize {name}" for name in objective.minimize)]
    goals += ["reward"] if objective.reward is not None else []
    settings = [f"{key} {value}" for key, value in plan.evaluator.identity().items() if key != "name"]
    return [
        ("space", _space(plan, found)),
        ("goals", ", ".join(goals)),
        ("require", ", ".join(map(str, objective.require)) or "nothing"),
        ("", f"{found.fitting} of {found.drawn} random candidates keep to what a network alone tells"),
        ("strategy", repr(plan.strategy)),
        ("evaluator", ", ".join([plan.evaluator.name, *settings])),
        ("trials", f"{plan.trials}, seed {plan.seed}, {plan.workers or 'as many as the cluster has room for'} at once"),
        ("time", _time(plan, found)),
        ("run", str(plan.folder)),
    ]


def _space(plan: Plan, found: Preview) -> str:
    if found.decisions is None:
        return plan.space.name
    size = "too many to be counted" if found.log10_size is None else f"about 10^{found.log10_size:.1f} candidates"
    return f"{plan.space.name}: {found.decisions} decisions, {size}"


def _time(plan: Plan, found: Preview) -> str:
    total = found.seconds(plan)
    if total is None:
        return "not known before the first candidates are evaluated"
    about = f"about {duration(total)}" if total >= 1 else "less than a second"
    return f"{about}, {found.seconds_each:.2g} s for a candidate"
