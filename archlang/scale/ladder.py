"""The members of a family: coefficients to the power of an exponent, and the exponent that costs so much.

Rounding makes costs jump: channels go in steps of 8, repeats in whole ones. So the exponent of a member is searched, in
thousandths, by what the network really costs, and what was reached is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph
from archlang.scale.coefficients import Scales
from archlang.scale.scalable import Scalable, amounts

FINE = 1000
"""Exponents go in such parts of one."""

MOST = 40 * FINE
"""No exponent is searched beyond this, up or down."""


@dataclass(frozen=True)
class Meter:
    """What networks are scaled by. of: a network -> its figure. grain: exponents are searched in steps of so many
    thousandths: what is measured does not tell finer ones apart."""

    name: str
    of: Callable[[Graph], float]
    grain: int = 1


METERS: Mapping[str, Meter] = {
    name: Meter(name, lambda graph, name=name: amounts(graph)[name])  # type: ignore[misc]
    for name in ("flops", "macs", "params")
}
"""Those that the graph alone tells."""


def figure_text(value: float) -> str:
    """A figure for a person: counts whole, milliseconds in four digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class Member:
    """A network of a family. exponent: of the coefficients. scales: the multipliers, arguments: the parameters' values.
    metrics: params, macs, flops, and what it was scaled by. digest: of the network."""

    name: str
    exponent: float
    scales: Scales
    arguments: Mapping[str, int | float]
    metrics: Mapping[str, float]
    digest: str

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "exponent": self.exponent,
            "scales": self.scales.as_json(),
            "arguments": dict(self.arguments),
            "metrics": dict(self.metrics),
            "digest": self.digest,
        }


@dataclass
class Ladder:
    """The networks of some coefficients, by the exponent in thousandths. told: is called with each figure that was
    found, the exponent first. held: multipliers that all of them have besides."""

    net: Scalable
    coefficients: Scales
    meter: Meter
    told: Callable[[float, float], None] = lambda exponent, figure: None
    held: Scales = field(default_factory=Scales)
    _figures: dict[int, float] = field(default_factory=dict)

    def scales(self, step: int) -> Scales:
        """The multipliers of an exponent."""
        return self.held.times(self.coefficients.power(step / FINE))

    def graph(self, step: int) -> Graph:
        return self.net.graph(self.scales(step))

    def figure(self, step: int) -> float:
        """What the network costs. Raises ArchError where it does not fit together."""
        if step not in self._figures:
            self._figures[step] = self.meter.of(self.graph(step))
            self.told(step / FINE, self._figures[step])
        return self._figures[step]

    def largest(self, limit: float) -> int:
        """The largest exponent whose figure keeps to the limit: that of the next one does not.

        Raises ArchError E1406 where none keeps to it, or all do.
        """
        low, high = self._around(limit)
        grain = self.meter.grain
        while high - low > grain:
            middle = self._between(low, high, limit)
            if self.figure(middle) <= limit:
                low = middle
            else:
                high = middle
        return low

    def nearest(self, target: float) -> int:
        """The exponent whose figure is nearest to the target, in ratio."""
        low = self.largest(target)
        return min((low, low + self.meter.grain), key=lambda step: abs(math.log(self.figure(step) / target)))

    @property
    def monotone(self) -> bool:
        """Whether no larger network that was looked at costs less than a smaller one."""
        figures = [figure for _, figure in sorted(self._figures.items())]
        return all(a <= b for a, b in pairwise(figures))

    def _around(self, limit: float) -> tuple[int, int]:
        """Two exponents, the first of which keeps to the limit and the second does not."""
        sign = 1 if self.figure(0) <= limit else -1
        inner, step = 0, FINE // self.meter.grain * self.meter.grain
        while abs(inner) < MOST:
            outer = inner + sign * step
            try:
                keeps = self.figure(outer) <= limit
            except ArchError as error:
                raise self._unreached(limit, inner, error) from error
            if keeps != (sign > 0):
                return (inner, outer) if sign > 0 else (outer, inner)
            inner, step = outer, step * 2
        raise self._unreached(limit, inner, None)

    def _unreached(self, limit: float, last: int, error: ArchError | None) -> ArchError:
        size = "largest" if last >= 0 else "smallest"
        why = f": {error.diagnostics[0].message}" if error is not None else ""
        return fail(
            "E1406",
            f"no member of the family has {figure_text(limit)} {self.meter.name}: the {size} one that fits together "
            f"has {figure_text(self.figure(last))}",
            help=f"its coefficients are {self.coefficients}, to the power of {last / FINE:g}{why}",
        )

    def _between(self, low: int, high: int, limit: float) -> int:
        """Where the limit would lie if the logarithm were straight, at least a tenth away from both ends."""
        below, above = self.figure(low), self.figure(high)
        share = math.log(limit / below) / math.log(above / below) if 0 < below < limit < above else 0.5
        width = (high - low) // self.meter.grain
        return low + self.meter.grain * min(width - 1, max(1, round(width * min(0.9, max(0.1, share)))))

    def trimmed(self, step: int, target: float) -> Scales:
        """The multipliers of an exponent; where rounding leaves its figure off the target, the resolution, which goes
        in the finest steps, makes up for it."""
        scales = self.scales(step)
        if self.coefficients.resolution == 1 or abs(math.log(self.figure(step) / target)) <= math.log(1 + CLOSE):
            return scales
        finer = Ladder(self.net, Scales(resolution=self.coefficients.resolution), self.meter, held=scales)
        try:
            return finer.scales(finer.nearest(target))
        except ArchError:
            return scales

    def member(self, name: str, step: int, scales: Scales | None = None) -> Member:
        """The network of an exponent; scales: with other multipliers than those that follow from it."""
        scales = scales or self.scales(step)
        graph = self.net.graph(scales)
        metrics: dict[str, float] = {**amounts(graph), self.meter.name: self.meter.of(graph)}
        return Member(name, step / FINE, scales, self.net.arguments(scales), metrics, graph.digest)


CLOSE = 0.02
"""How far what a member costs may be from what it should, as a share, before its resolution is trimmed."""


def family(ladder: Ladder, last: int, by_formula: bool = False, prefix: str = "phi", first: int = 0) -> list[Member]:
    """Members phi `first` to `last`, each of which costs twice as much as the one before, as nearly as rounding allows.

    by_formula: the exponent is phi itself, whatever that costs.
    """
    base = ladder.figure(0)
    found = []
    for phi in range(first, last + 1):
        name, target = f"{prefix}{phi}", base * 2**phi
        if by_formula or phi == 0:
            found.append(ladder.member(name, phi * FINE))
            continue
        step = ladder.nearest(target)
        found.append(ladder.member(name, step, ladder.trimmed(step, target) if ladder.meter.grain == 1 else None))
    return found


@dataclass(frozen=True)
class Budget:
    """A limit on what a member costs. times: it is this many times what the original costs."""

    metric: str
    limit: float
    times: bool = False

    def of(self, base: float) -> float:
        return self.limit * base if self.times else self.limit


@dataclass(frozen=True)
class Reached:
    """What a budget allows. limit: in the metric's unit. exponent: of the largest member that keeps to it, which costs
    `reached`; the next one would cost `beyond`."""

    metric: str
    limit: float
    exponent: float
    reached: float
    beyond: float


def within(ladders: Mapping[str, Ladder], budgets: Sequence[Budget]) -> tuple[int, list[Reached]]:
    """The largest step under which all budgets hold, and what each of them allows. ladders: by metric."""
    steps, found = [], []
    for budget in budgets:
        ladder = ladders[budget.metric]
        limit = budget.of(ladder.figure(0))
        step = ladder.largest(limit)
        beyond = ladder.figure(step + ladder.meter.grain)
        steps.append(step)
        found.append(Reached(budget.metric, limit, step / FINE, ladder.figure(step), beyond))
    return min(steps), found
