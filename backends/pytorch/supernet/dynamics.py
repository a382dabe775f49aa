"""What forward must be told, in terms of what it knows: widths read off its input, and the settings of the instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archlang.backends.pytorch.supernet.union import Column, Rows
from archlang.backends.source.formulas import Formula, literal, name
from archlang.backends.source.names import unique, variable
from archlang.lower.builtins import round_to

MULTIPLES = (8, 4, 16)
"""Multiples that numbers of channels are rounded to."""


@dataclass(frozen=True)
class Variable:
    """Something with a value in every row. kind: `input` (the width of an input, `name` being the input's), `setting`
    (it differs between the candidates of an instance), `argument` (passed by the caller of forward)."""

    name: str
    kind: str
    column: Column

    @property
    def numeric(self) -> bool:
        return all(type(value) in (int, float) for value in self.column if value is not None)


@dataclass
class Dynamics:
    """Of one class. known: by name. taken, local_names: what attributes and local variables must not be called.

    locals: what forward computes first; local_columns: their values. used: the settings and arguments in formulas, in
    the order in which they came up.
    """

    rows: Rows
    known: dict[str, Variable]
    taken: set[str]
    local_names: set[str]
    locals: dict[str, Formula] = field(default_factory=dict)
    used: dict[str, Variable] = field(default_factory=dict)
    local_columns: dict[str, Column] = field(default_factory=dict)

    def solve(self, column: Sequence[Any], label: str) -> Formula:
        """The expression for a slot: None in the column where a row has no use for it."""
        formula = self.find(tuple(column))
        if formula is None:
            return self._used(self._new(tuple(column), label))
        for each in formula.names:
            if self.known.get(each) and self.known[each].kind != "input":
                self.used.setdefault(each, self.known[each])
        plain_input = len(formula.parts) == 1 and self.known.get(next(formula.names, ""), None) in self._inputs()
        label = "in_channels" if plain_input else label
        reads_input = any(self.known[each].kind == "input" for each in formula.names if each in self.known)
        return name(self._local(formula, tuple(column), label)) if reads_input else formula

    def find(self, column: Column) -> Formula | None:
        """In terms of what is known, None where that does not say it."""
        wanted = [value for value in column if value is not None]
        if len({repr(value) for value in wanted}) == 1:
            return literal(_quoted(wanted[0]))
        for local, values in self.local_columns.items():
            if _agrees(values, column):
                return name(local)
        for known in self._sorted():
            if _agrees(known.column, column):
                return name(known.name)
        return self._derived(column) if all(type(value) is int for value in wanted) else None

    def test(self, present: Sequence[bool | None], label: str) -> Formula:
        """A condition that is true in exactly the rows of `present`."""
        for formula, truth in self._conditions():
            if all(p is None or t == p for t, p in zip(truth, present, strict=True)):
                for each in formula.names:
                    self.used.setdefault(each, self.known[each])
                return formula
        return self.solve(present, label)

    # ---- inside ----

    def _inputs(self) -> list[Variable]:
        return [known for known in self.known.values() if known.kind == "input"]

    def _sorted(self) -> list[Variable]:
        return sorted(self.known.values(), key=lambda known: ("setting", "argument", "input").index(known.kind))

    def _new(self, column: Column, label: str) -> Variable:
        found = Variable(unique(variable(label, self.taken), self.taken), "setting", column)
        self.taken.add(found.name)
        self.known[found.name] = found
        return found

    def _used(self, found: Variable) -> Formula:
        self.used.setdefault(found.name, found)
        return name(found.name)

    def _local(self, formula: Formula, column: Column, label: str) -> str:
        """A name for what is computed from the input's width: the input's own name may mean another value later."""
        found = next((local for local, known in self.locals.items() if known == formula), None)
        if found is None:
            found = unique(variable(label, self.local_names), self.local_names)
            self.local_names.add(found)
            self.locals[found] = formula
            self.local_columns[found] = column
        return found

    def _derived(self, column: Column) -> Formula | None:
        numeric = [known for known in self._sorted() if known.numeric]
        for formula, compute in _formulas(numeric):
            if _holds(compute, numeric, column):
                return formula
        return None

    def _conditions(self) -> Iterator[tuple[Formula, tuple[bool | None, ...]]]:
        for known in self._sorted():
            if known.kind == "input" or not known.numeric:
                continue
            for text, holds in TESTS.items():
                yield (
                    Formula(((known.name,), text)),
                    tuple(None if v is None else holds(v) for v in known.column),
                )


TESTS: dict[str, Callable[[float], bool]] = {
    " > 0": lambda value: value > 0,
    " > 1": lambda value: value > 1,
    " == 0": lambda value: value == 0,
    " == 1": lambda value: value == 1,
}

Compute = tuple[tuple[str, ...], Callable[..., int]]


def _formulas(known: Sequence[Variable]) -> Iterator[tuple[Formula, Compute]]:
    """Products of two variables and fractions of one, as they are and rounded as the language's functions do."""
    names = [each.name for each in known]
    for a in names:
        yield from _of_one(a)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            yield from _of_two(a, b)
            yield from _of_two(b, a)


def _of_one(a: str) -> Iterator[tuple[Formula, Compute]]:
    for n in (2, 3, 4, 6, 8, 16):
        yield Formula(((a,), f" * {n}")), ((a,), lambda v, n=n: v * n)
        yield Formula(((a,), f" // {n}")), ((a,), lambda v, n=n: v // n)
        for m in MULTIPLES:
            yield Formula(("round_to(", (a,), f" // {n}, {m})")), ((a,), lambda v, n=n, m=m: round_to(v // n, m))


def _of_two(a: str, b: str) -> Iterator[tuple[Formula, Compute]]:
    yield Formula(((a,), " * ", (b,))), ((a, b), lambda v, w: v * w)
    for m in MULTIPLES:
        yield Formula(("round_to(", (a,), " * ", (b,), f", {m})")), ((a, b), lambda v, w, m=m: round_to(v * w, m))
    yield Formula(("int(", (a,), " * ", (b,), ")")), ((a, b), lambda v, w: int(v * w))
    yield Formula(("max(1, int(", (a,), " * ", (b,), "))")), ((a, b), lambda v, w: max(1, int(v * w)))


def _holds(compute: Compute, known: Sequence[Variable], column: Column) -> bool:
    names, function = compute
    columns: Mapping[str, Column] = {each.name: each.column for each in known}
    for values in zip(column, *(columns[each] for each in names), strict=True):
        if values[0] is not None and (None in values or function(*values[1:]) != values[0]):
            return False
    return True


def _agrees(known: Column, column: Column) -> bool:
    return all(
        value is None or (type(value), value) == (type(other), other)
        for other, value in zip(known, column, strict=True)
    )


def _quoted(value: Any) -> Any:
    """Text as Python writes it; numbers and pairs as they are."""
    return f'"{value}"' if isinstance(value, str) else value
