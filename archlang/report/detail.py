"""What the page shows of one candidate: its source, what changed from its parent, its layers, its drawing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any

from archlang.breakdown import by_layer
from archlang.cost import cost
from archlang.draw import boxes
from archlang.errors import ArchError, OutsideError
from archlang.ir.graph import Graph
from archlang.report.run import Run
from archlang.search.program_space import ProgramSpace
from archlang.search.trial import Picks, Space, Status, Trial
from archlang.search.winners import ancestry

MOST = 300
"""Candidates with a source and layers; of the others the page has the metrics and the decisions."""

MOST_DRAWN = 60
"""Candidates with a drawing, which take the longest to make."""

MOST_BYTES = 2_500_000
"""Of all of it, so that a page stays one that mail takes and that opens at once."""

_FAILED = 20
"""Candidates that failed, among those with a source."""

Detail = dict[str, Any]
"""source: the .arch text. diff: lines of a unified diff from the parent's, or from the
program that is mutated; absent where every decision was drawn. layers: rows of name, op, output, count, parameters,
MACs. drawing: an <svg> element. Absent is what there is none of."""


def details(run: Run) -> dict[str, Detail]:
    """Trial -> what there is to see of it, for as many as the limits let through: the front, best first, what it came
    from, then the others."""
    if run.space is None:
        return {str(trial.id): read for trial in run.front if (read := _from_file(run, trial))}
    found: dict[str, Detail] = {}
    left = MOST_BYTES
    for trial in _wanted(run)[:MOST]:
        detail = _detail(run, run.space, trial, drawn=len(found) < MOST_DRAWN)
        left -= len(json.dumps(detail))
        if left < 0:
            break
        found[str(trial.id)] = detail
    return found


def _wanted(run: Run) -> list[Trial]:
    """Those that have a network, the most interesting first."""
    ancestors = [parent for trial in run.front for parent in ancestry(run.by_id, trial)[1:]]
    failed = [trial for trial in run.trials if trial.status is Status.FAILED][:_FAILED]
    ordered = {trial.id: trial for trial in (*run.front, *ancestors, *failed, *_best_first(run), *run.trials)}
    return [trial for trial in ordered.values() if trial.digest is not None]


def _best_first(run: Run) -> list[Trial]:
    """By the reward, or the objective that is named first."""
    axes = run.objective.maximize or run.objective.minimize
    if not axes:
        return run.done
    return sorted(run.done, key=lambda trial: trial.metrics[axes[0]], reverse=bool(run.objective.maximize))


def _detail(run: Run, space: Space, trial: Trial, drawn: bool) -> Detail:
    try:
        graph = space.graph(trial.picks)
        source = space.source(trial.picks, f"{space.name}_{trial.id:03d}", [])
    except ArchError as error:
        return {"error": error.diagnostics[0].message}
    detail: Detail = {"source": source, "layers": list(_layers(graph))}
    parent = run.by_id.get(trial.parent or 0)
    if parent is not None:
        detail["diff"] = _diff(space, parent.picks, f"trial {parent.id}", trial)
    elif isinstance(space, ProgramSpace):
        detail["diff"] = _diff(space, {"program": space.base}, "as it was written", trial)
    if drawn and (drawing := _drawing(graph)):
        detail["drawing"] = drawing
    return detail


def _from_file(run: Run, trial: Trial) -> Detail | None:
    """Of a space that only the program that made it knows: the source as it lies in the run's folder."""
    try:
        (path,) = (run.folder / "front").glob(f"*_{trial.id:03d}.arch")
        return {"source": path.read_text(encoding="utf-8")}
    except (OSError, ValueError):
        return None


def _layers(graph: Graph) -> Iterator[list[Any]]:
    for line in by_layer(graph, cost(graph)):
        yield [line.name, line.op, line.output, line.n, line.cost.params, line.cost.macs]


def _diff(space: Space, picks: Picks, title: str, trial: Trial) -> list[str]:
    """From the picks that it was made of. Under one name, so that only what matters differs."""
    try:
        before = space.source(picks, space.name, []).splitlines()
    except ArchError:
        return []
    after = space.source(trial.picks, space.name, []).splitlines()
    return list(unified_diff(before, after, title, f"trial {trial.id}", lineterm=""))


def _drawing(graph: Graph) -> str:
    """Empty where the extra that places boxes is not installed."""
    from archlang.draw import layout, svg

    try:
        return svg.inside(layout.place(boxes(graph), 0))
    except OutsideError:
        return ""
