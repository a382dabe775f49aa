"""Scaling a network: which members its families have, which of them meet a budget, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from archlang.errors import ArchError
from archlang.scale.coefficients import DIMENSIONS, METHODS, Scales, checked
from archlang.scale.ladder import METERS, Budget, Ladder, Member, Meter, Reached, family, within
from archlang.scale.plot import Series
from archlang.scale.scalable import Scalable

Told = Callable[[str, float, float], None]
"""Is called with a method, an exponent and a figure that was measured for it."""

LEAST, LARGEST = 1.8, 2.2
"""The work of coefficients that twice it, about."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for. methods: by name, each with its coefficients. by: a meter, or `formula`: then the exponent is
    phi itself. last: the largest phi. meters: of the metrics that are told; with those of `by` and of the budgets."""

    methods: Mapping[str, Scales]
    by: str = "flops"
    last: int = 7
    budgets: tuple[Budget, ...] = ()
    meters: Mapping[str, Meter] = field(default_factory=lambda: METERS)

    @property
    def meter(self) -> Meter:
        return self.meters["flops" if self.by == "formula" else self.by]


@dataclass(frozen=True)
class Family:
    """The members that one method made, the original first. budget: the member that meets the budgets, and what each
    of them allows."""

    method: str
    coefficients: Scales
    members: tuple[Member, ...]
    budget: Member | None = None
    reached: tuple[Reached, ...] = ()
    monotone: bool = True

    @property
    def every(self) -> list[Member]:
        return [*self.members, *([self.budget] if self.budget is not None else [])]


@dataclass(frozen=True)
class Scaled:
    """What came of it. notes: what the user should know."""

    net: Scalable
    wanted: Wanted
    families: tuple[Family, ...]
    notes: tuple[str, ...] = ()

    @property
    def members(self) -> list[Member]:
        """Every member of every family, each name once."""
        return list({member.name: member for family in self.families for member in family.every}.values())

    def series(self) -> list[Series]:
        """The families as a drawing shows them."""
        return [Series(family.method, family.every) for family in self.families]

    def as_json(self) -> dict[str, Any]:
        base = self.families[0].members[0].metrics
        return {
            "net": self.net.net.name,
            "by": self.wanted.by,
            "parameters": {dimension: knob.name for dimension, knob in self.net.knobs.items()},
            "families": [_family_json(family, self.wanted.meter.name, base) for family in self.families],
            "notes": list(self.notes),
        }


def _family_json(family: Family, metric: str, base: Mapping[str, float]) -> dict[str, Any]:
    members = [{**member.as_json(), "ratio": member.metrics[metric] / base[metric]} for member in family.every]
    return {
        "method": family.method,
        "coefficients": family.coefficients.as_json(),
        "members": members,
        "budgets": [asdict(each) for each in family.reached],
    }


def scaled(net: Scalable, wanted: Wanted, told: Told = lambda method, exponent, figure: None) -> Scaled:
    """The families. With several methods, those that need a dimension which cannot be scaled are left out.

    Raises ArchError E1401 for coefficients that cannot be, E1404 where a dimension cannot be scaled, E1406 where no
    member meets a budget.
    """
    families, notes = [], list(net.notes)
    alone = len(wanted.methods) == 1
    for method, coefficients in wanted.methods.items():
        try:
            net.require(checked(coefficients))
        except ArchError as error:
            if alone:
                raise
            notes.append(f"without `{method}`: {error.diagnostics[0].message}")
            continue
        made = _family(net, wanted, method, coefficients, told)
        families.append(made)
        notes += _notes(wanted, made)
    if not families:
        raise net.refused[next(iter(net.refused))]
    return Scaled(net, wanted, tuple(families), tuple(notes))


def _family(net: Scalable, wanted: Wanted, method: str, coefficients: Scales, told: Told) -> Family:
    names = dict.fromkeys((wanted.meter.name, *(budget.metric for budget in wanted.budgets)))
    ladders = {
        name: Ladder(net, coefficients, wanted.meters[name], lambda exponent, figure: told(method, exponent, figure))
        for name in names
    }
    ladder = ladders[wanted.meter.name]
    prefix = "phi" if len(wanted.methods) == 1 else method
    members = [ladder.member("phi0", 0), *family(ladder, wanted.last, wanted.by == "formula", prefix, 1)]
    budget, reached = None, list[Reached]()
    if wanted.budgets:
        step, reached = within(ladders, wanted.budgets)
        budget = ladder.member("budget" if prefix == "phi" else f"{method}_budget", step)
    known = [_with_metrics(net, wanted, member) for member in members]
    last = _with_metrics(net, wanted, budget) if budget is not None else None
    monotone = all(each.monotone for each in ladders.values() if each.meter.grain == 1)
    return Family(method, coefficients, tuple(known), last, tuple(reached), monotone)


def _with_metrics(net: Scalable, wanted: Wanted, member: Member) -> Member:
    """The member with every metric that is told."""
    graph = net.graph(member.scales)
    missing = {name: meter.of(graph) for name, meter in wanted.meters.items() if name not in member.metrics}
    return replace(member, metrics={**member.metrics, **missing})


def _notes(wanted: Wanted, made: Family) -> Iterator[str]:
    work = made.coefficients.work
    if made.method == "compound" and wanted.by == "formula" and not LEAST <= work <= LARGEST:
        yield f"depth * width**2 * resolution**2 is {work:.3g}, not about 2: members do not double"
    if not made.monotone:
        yield f"`{made.method}`: a larger exponent does not always cost more; other exponents may fit, too"
    equal = [b.name for a, b in zip(made.members, made.members[1:], strict=False) if a.digest == b.digest]
    if equal:
        yield f"rounding makes {', '.join(equal)} the same network as the member before"


def methods(given: Mapping[str, float], only: str | None, compare: bool, fixed: Sequence[str]) -> dict[str, Scales]:
    """The methods that are asked for. given: coefficients by dimension; without any they are EfficientNet's. fixed:
    dimensions that stay as they are.

    Raises ArchError E1401 where a coefficient cannot be.
    """
    compound = replace(Scales(**given) if given else METHODS["compound"], **dict.fromkeys(fixed, 1.0))
    if compare:
        return {**{name: METHODS[name] for name in DIMENSIONS if name not in fixed}, "compound": checked(compound)}
    if only is not None:
        return {only: METHODS[only]}
    return {"compound": checked(compound)}


def with_metrics(found: Scaled, known: Mapping[Scales, Mapping[str, float]]) -> Scaled:
    """The families with what an evaluator found of their members."""
    families = []
    for each in found.families:
        members = [replace(m, metrics={**known.get(m.scales, {}), **m.metrics}) for m in each.every]
        count = len(each.members)
        families.append(
            replace(each, members=tuple(members[:count]), budget=members[count] if each.budget is not None else None)
        )
    return replace(found, families=tuple(families))
