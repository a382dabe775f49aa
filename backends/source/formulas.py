"""Python expressions over a constructor's parameters, and numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Formula:
    """A Python expression over variables: pieces of text and, as one-element tuples, names."""

    parts: tuple[str | tuple[str], ...]

    @property
    def names(self) -> Iterator[str]:
        return (part[0] for part in self.parts if isinstance(part, tuple))

    def text(self, prefix: str = "") -> str:
        """With `prefix` before each name: `self.` outside the constructor."""
        return "".join(part if isinstance(part, str) else prefix + part[0] for part in self.parts)


def literal(value: Any) -> Formula:
    return Formula((literal_text(value),))


def name(identifier: str) -> Formula:
    return Formula(((identifier,),))


def literal_text(value: Any) -> str:
    """Numbers and tuples of them; text stands for itself."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal_text, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    """The shortest exact text: 1e-6, or 1 / 75 for 0.013333333333333334."""
    text = repr(value).replace("e-0", "e-")
    if len(text) > 8:
        ratio = Fraction(value).limit_denominator(1000)
        if ratio.denominator > 1 and ratio.numerator / ratio.denominator == value:
            return f"{ratio.numerator} / {ratio.denominator}"
    return text


def replaced(formula: Formula, old: Formula, new: Formula) -> Formula:
    """With `new` wherever `old` stands in the formula."""
    size = len(old.parts)
    for i in range(len(formula.parts) - size + 1):
        if formula.parts[i : i + size] == old.parts:
            return Formula((*formula.parts[:i], *new.parts, *formula.parts[i + size :]))
    return formula


@dataclass(frozen=True)
class Schedule:
    """Drop probabilities that grow in equal steps: `top * k / steps`."""

    top: float
    steps: int

    def text(self, value: float) -> str:
        k = round(value * self.steps / self.top)
        return literal_text(value) if k in (0, self.steps) else f"{literal_text(self.top)} * {k} / {self.steps}"


def schedule(probabilities: Iterable[float]) -> Schedule | None:
    """The steps in which the probabilities grow, up to a round number; None where they do not grow so."""
    found = {p for p in probabilities if p > 0}
    if len(found) < 3:
        return None
    top = max(found)
    for steps in range(2, 1000):
        if all(abs(p * steps / top - round(p * steps / top)) < 1e-9 for p in found):
            return _rounded(top / steps, steps)
    return None


def _rounded(step: float, steps: int) -> Schedule | None:
    """The schedule's end may lie beyond its last block: 0.2 where that has 14 / 15 of it."""
    for count in range(steps, 2 * steps + 2):
        top = round(step * count, 12)
        if len(repr(top)) <= 4:
            return Schedule(top, count)
    return None
