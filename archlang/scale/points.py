"""Some scaled networks as a search space: the search's evaluators tell what they are worth, and its runs resume.

Each point is evaluated once, in an order that the seed draws; networks that rounding makes equal count once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from archlang.errors import fail, nearest
from archlang.ir.graph import Graph
from archlang.scale.coefficients import DIMENSIONS, Scales
from archlang.scale.scalable import Scalable
from archlang.search import evaluators
from archlang.search.driver import DATABASE, Plan
from archlang.search.evaluators import Setting
from archlang.search.objective import Objective
from archlang.search.program_space import named
from archlang.search.store import Store
from archlang.search.trial import Picks, Proposal, Sketch, Status, Trial, key_of, sketch_of
from archlang.source import Source
from archlang.syntax import parse, tree
from archlang.syntax.parser import parse_expression
from archlang.syntax.printer import print_program
from archlang.syntax.tree import replace


@dataclass(frozen=True)
class Points:
    """A space whose candidates are one net under these multipliers. Picks are the multipliers by dimension."""

    net: Scalable
    points: tuple[Scales, ...]

    @property
    def name(self) -> str:
        return self.net.net.name

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.net.text}\n{self.points}".encode()).hexdigest()

    def sample(self, rng: Random) -> Picks:
        return rng.choice(self.points).as_json()

    def mutate(self, picks: Picks, rng: Random) -> tuple[Picks, str]:
        return self.sample(rng), "another point"

    def crossover(self, a: Picks, b: Picks, rng: Random) -> Picks:
        return rng.choice((a, b))

    def canonical(self, picks: Picks) -> Picks:
        return picks

    def graph(self, picks: Picks) -> Graph:
        return self.net.graph(scales_of(picks))

    def sketch(self, picks: Picks) -> Sketch:
        return sketch_of(picks, self.graph(picks))

    def source(self, picks: Picks, name: str, header: list[str]) -> str:
        """The scaled net, its parameters' defaults being the values."""
        program = parse(Source("<point>", self.net.text))
        net, values = program.items[-1], self.net.arguments(scales_of(picks))
        assert isinstance(net, tree.NetDef)
        params = tuple(
            replace(param, default=parse_expression(str(values[param.name.id]))) if param.name.id in values else param
            for param in net.params or ()
        )
        items = (*program.items[:-1], replace(net, params=params))
        return named(print_program(tree.Program(program.source, items, program.comments)), name, header)

    def taken(self, picks: Picks) -> list[tuple[int, str]]:
        """The multipliers as decisions, for tables of results: `{1}` is the depth, `{2}` the width, `{3}` the
        resolution."""
        columns = [sorted({getattr(point, name) for point in self.points}) for name in DIMENSIONS]
        return [
            (values.index(picks[name]), f"{picks[name]:g}") for name, values in zip(DIMENSIONS, columns, strict=True)
        ]


@dataclass(frozen=True)
class Sweep:
    """The strategy of a grid: a point that was not evaluated yet."""

    def ask(self, space: Points, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        known = {trial.key for trial in history}
        left = [point.as_json() for point in space.points if key_of(point.as_json()) not in known]
        return Proposal(rng.choice(left or [point.as_json() for point in space.points]), None, "a point of the grid")


def scales_of(picks: Picks) -> Scales:
    """The multipliers that picks say."""
    return Scales(**{name: float(picks[name]) for name in DIMENSIONS})


def distinct(net: Scalable, points: Sequence[Scales]) -> list[Scales]:
    """The points without those whose network is that of an earlier one, or the original."""
    seen = {net.graph(Scales()).digest}
    found = []
    for point in points:
        digest = net.graph(point).digest
        if digest not in seen:
            seen.add(digest)
            found.append(point)
    return found


@dataclass(frozen=True)
class Asked:
    """How points are evaluated. evaluator: as `archlang search` takes it. maximize: the metric that tells which is
    best; None: `accuracy`, where the evaluator gives it. trials: so many of the points, drawn at random."""

    evaluator: str
    setting: Setting
    maximize: str | None = None
    trials: int | None = None
    seed: int = 0
    workers: int = 1
    timeout_secs: float = 900.0
    command: str = "archlang scale"


def plan(space: Points, asked: Asked) -> Plan:
    """A run that evaluates the points in the setting's folder.

    Raises ArchError E1407 where it does not say which is best, and what the evaluator raises.
    """
    setting = Setting(**{**vars(asked.setting), "space": space, "mentioned": (asked.maximize or "accuracy",)})
    evaluator = evaluators.make(asked.evaluator, setting)
    wanted = asked.maximize or "accuracy"
    if wanted not in evaluator.metrics:
        given = ", ".join(f"`{name}`" for name in evaluator.metrics)
        help = nearest(wanted, evaluator.metrics) or f"--maximize one of {given}"
        raise fail("E1407", f"the evaluator `{asked.evaluator}` does not give `{wanted}`", help=help)
    return Plan(
        space=space,
        objective=Objective(maximize=(wanted,)),
        strategy=Sweep(),  # type: ignore[arg-type]  # for Points alone
        evaluator=evaluator,
        folder=asked.setting.folder,
        trials=min(len(space.points), asked.trials or len(space.points)),
        seed=asked.seed,
        workers=asked.workers,
        timeout_secs=asked.timeout_secs,
        command=asked.command,
    )


def evaluated(run: Plan) -> dict[Scales, dict[str, float]]:
    """The metrics of each point that a run has evaluated so far."""
    with Store.reading(run.folder / DATABASE) as store:
        return {scales_of(trial.picks): dict(trial.metrics) for trial in store.trials() if trial.status is Status.DONE}
