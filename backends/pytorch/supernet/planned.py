"""What is known of a class of a supernet before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from archlang.backends.pytorch.supernet.dynamics import Dynamics, Variable
from archlang.backends.pytorch.supernet.elastic import Parts
from archlang.backends.pytorch.supernet.flow import Flow
from archlang.backends.pytorch.supernet.union import Column, Rows, Source
from archlang.backends.source.formulas import Formula
from archlang.backends.source.names import (
    MODULE_ATTRIBUTES,
    variable,
)
from archlang.backends.source.plan import ClassPlan
from archlang.backends.source.variables import POOL
from archlang.supernet.union import Union as SiteUnion


@dataclass
class Test:
    """When the first of two alternatives is taken: by a formula, by what the constructor left out (text), or where two
    values have one shape."""

    formula: Formula | None = None
    text: str = ""
    shapes: tuple[Source, Source] | None = None


@dataclass
class Choosing:
    """How a phi is written. kind: `places` (one of several values, by its number), `members` (one of several modules,
    by its name), `test` (of two), `names` (of several). labels: alternative -> its name."""

    kind: str
    sources: list[Source]
    formula: Formula | None = None
    test: Test | None = None
    labels: dict[Source, str] = field(default_factory=dict)


@dataclass
class Chain:
    """A sequence of which some members are active. active: in every row, how many of the first or the names."""

    module: str
    attribute: str
    active: Column


@dataclass
class Planned:
    """A class. arguments: what forward takes beside its inputs; settings: what is set from outside."""

    name: str
    paths: list[str]
    rows: Rows
    inputs: list[str]
    plan: ClassPlan
    flow: Flow
    parts: dict[str, Parts]
    dynamics: Dynamics
    forms: dict[str, Choosing]
    told: dict[tuple[str, str], Formula]
    chains: dict[str, Chain]
    arguments: list[str] = field(default_factory=list)

    @property
    def settings(self) -> list[Variable]:
        return [v for n, v in self.dynamics.used.items() if n not in self.arguments and v.kind != "input"]

    def helpers(self) -> set[str]:
        found: set[str] = set()
        for each in self.parts.values():
            found |= set(each.host.helpers)
        found |= {chain.module for chain in self.chains.values()}
        return found


def first_sites(union: SiteUnion) -> dict[str, int]:
    """Every site, and every path that sites begin with, by the number of the first."""
    found: dict[str, int] = {}
    for number, site in enumerate(union.sites):
        parts_ = site.split(".")
        for depth in range(len(parts_)):
            found.setdefault(".".join(parts_[: depth + 1]), number)
    return found


def base(rows: Rows) -> Dynamics:
    """What a class knows before anybody tells it anything: the widths of its inputs, and the numbers among the
    arguments of its block that differ between the candidates of an instance."""
    names = input_names(rows)
    known: dict[str, Variable] = {}
    for k, name in enumerate(names):
        known[f"{name}!"] = Variable(f"{name}!", "input", tuple(row.channels[k] for row in rows.rows))
    for name in dict.fromkeys(name for row in rows.rows if row.scope for name, _ in row.scope.arguments):
        column = tuple(_number(dict(row.scope.arguments).get(name)) if row.scope else None for row in rows.rows)
        if rows.varies(column) and None not in column:
            known[name] = Variable(variable(name, names), "setting", column)
    renamed = {each.name: each for each in known.values()}
    return Dynamics(rows, renamed, {*renamed, *MODULE_ATTRIBUTES}, {*renamed, *names, *POOL})


def _number(value: Any) -> Any:
    return value if type(value) in (int, float) else None


def input_names(rows: Rows) -> list[str]:
    declared = rows.inputs
    names: list[str] = []
    for name in declared:
        names.append(variable(name, names))
    return names
