"""What differs between the instances of a class, as constructor parameters and expressions over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archlang.backends.source.formulas import Formula, Schedule, literal, literal_text, name
from archlang.backends.source.layer import ABSENT, REQUIRED, Argument
from archlang.backends.source.names import unique, variable

Values = tuple[Any, ...]
"""One value for each instance of a class; ABSENT where the instance has no use for it."""

DROPS = ("drop", "drop_path")
"""Roles of drop probabilities."""

PARAMETER_NAMES = {"drop": "dropout", "drop_path": "drop_path", "function": "act"}
"""Role -> how a parameter for it is called whatever op it belongs to."""

CHANNELS = ("in", "out", "groups")


def is_constant(values: Values) -> bool:
    return len({_typed(value) for value in values if value is not ABSENT}) <= 1


def _typed(value: Any) -> Any:
    """True is not 1 here, nor is 1.0."""
    return (type(value), value)


def _equal(values: Values, other: Values) -> bool:
    return all(v is ABSENT or (w is not ABSENT and _typed(v) == _typed(w)) for v, w in zip(values, other, strict=True))


@dataclass(frozen=True)
class Variable:
    """Something that an instance is known by before its class has parameters.

    kind: `input` (channels of an input), `argument` (of the block's call) or `local` (a name in the block's body).
    """

    name: str
    kind: str
    values: Values

    @property
    def is_whole(self) -> bool:
        return all(type(value) is int for value in self.values)


@dataclass(frozen=True)
class Parameter:
    """A constructor parameter. default: REQUIRED where every call gives it. values: what each instance passes."""

    name: str
    type: str
    values: Values
    role: str
    default: Any = REQUIRED
    by_keyword: bool = False

    @property
    def text(self) -> str:
        head = f"{self.name}: {self.type}"
        return head if self.default is REQUIRED else f"{head} = {literal_text(self.default)}"

    def argument(self, instance: int) -> Argument:
        """What the parent writes for one instance."""
        keyword = self.name if self.by_keyword else ""
        return Argument(self.values[instance], keyword, self.default, self.name, self.role)


@dataclass
class Solver:
    """Finds an expression for each slot of a class's text; what no known variable explains becomes a parameter.

    taken: names that are not free. schedule: of the network's drop probabilities.
    """

    variables: list[Variable]
    taken: set[str]
    schedule: Schedule | None = None
    roles: dict[str, str] = field(default_factory=dict)
    locals: dict[str, Formula] = field(default_factory=dict)
    formulas: list[Formula] = field(default_factory=list)
    wanted: dict[str, list[bool]] = field(default_factory=dict)
    fillers: dict[str, Any] = field(default_factory=dict)
    channels: list[tuple[Values, Formula]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Drop what is not known of all instances, and second names of the same numbers."""
        kept: list[Variable] = []
        for known in self.variables:
            others = [other for other in kept if known.kind == "local" or other.kind == "input"]
            twin = any(_equal(known.values, other.values) for other in others)
            if not twin and not is_constant(known.values) and ABSENT not in known.values:
                kept.append(Variable(variable(known.name, self.taken), known.kind, known.values))
                self.taken.add(kept[-1].name)
        self.variables = kept

    def solve(self, values: Values, argument: Argument, siblings: Mapping[str, tuple[Values, Formula]]) -> Formula:
        """The expression for a slot. siblings: role -> the slots of the same layer that are solved already."""
        formula = self._solve(values, argument, siblings)
        self.formulas.append(formula)
        if argument.role in CHANNELS and len(formula.parts) > 1:
            self.channels.append((values, formula))
        for used in formula.names:
            self.roles.setdefault(used, argument.role)
            before = self.wanted.setdefault(used, [False] * len(values))
            self.wanted[used] = [b or value is not ABSENT for b, value in zip(before, values, strict=True)]
        return formula

    def _solve(self, values: Values, argument: Argument, siblings: Mapping[str, tuple[Values, Formula]]) -> Formula:
        if is_constant(values):
            return self._same_use(values, argument.role) or self._literal(values, argument)
        found = self.known(values, argument.role)
        return found or _from_sibling(values, argument.role, siblings) or name(self._add(values, argument))

    def _same_use(self, values: Values, role: str) -> Formula | None:
        """What only some instances have, and equal in those: better said by a parameter that says it already."""
        if not role or ABSENT not in values:
            return None
        roles = CHANNELS if role in CHANNELS else (role,)
        for known in sorted(self.variables, key=_preference(role)):
            if self.roles.get(known.name) in roles and _equal(values, known.values):
                return name(known.name)
        return self._solved_before(values, role)

    def _solved_before(self, values: Values, role: str) -> Formula | None:
        """A sum or product that stands for the same number of channels elsewhere."""
        if role not in CHANNELS or ABSENT not in values:
            return None
        return next((formula for other, formula in self.channels if _equal(values, other)), None)

    def _literal(self, values: Values, argument: Argument) -> Formula:
        value = next((value for value in values if value is not ABSENT), argument.default)
        if argument.role == "drop_path" and self.schedule and value is not REQUIRED:
            return Formula((self.schedule.text(value),))
        return literal(value)

    def known(self, values: Values, role: str) -> Formula | None:
        """The values in terms of the known variables, None where they say nothing about them."""
        if is_constant(values):
            return literal(next(value for value in values if value is not ABSENT))
        for candidate in sorted(self.variables, key=_preference(role)):
            if _equal(values, candidate.values):
                return name(self._use(candidate))
        if role not in CHANNELS:
            return None
        return self._solved_before(values, role) or self._derived(values)

    def _use(self, used: Variable) -> str:
        """A local name is computed in the constructor where it follows from the arguments."""
        if used.kind == "local" and used.name not in self.locals:
            formula = self._derived(used.values, [v for v in self.variables if v.kind != "local"])
            if formula:
                self.locals[used.name] = formula
        return used.name

    def _derived(self, values: Values, variables: Sequence[Variable] | None = None) -> Formula | None:
        """A multiple, a part, or a product of variables."""
        pool = [v for v in (self.variables if variables is None else variables) if v.is_whole]
        present = [i for i, value in enumerate(values) if value is not ABSENT]
        wanted = [values[i] for i in present]
        if not all(type(value) is int for value in wanted):
            return None
        for one in pool:
            formula = _multiple(wanted, [one.values[i] for i in present], one.name)
            if formula:
                self._use(one)
                return formula
        return self._product(wanted, present, pool)

    def _product(self, wanted: list[int], present: list[int], pool: list[Variable]) -> Formula | None:
        inputs = [v for v in pool if v.kind == "input"]
        for one in inputs:
            for other in pool:
                if other.kind == "argument" and wanted == [one.values[i] * other.values[i] for i in present]:
                    return Formula(((one.name,), " * ", (other.name,)))
        return None

    def _add(self, values: Values, argument: Argument) -> str:
        """A new parameter. An instance without use for it is given nothing, which is 0 where that is a number."""
        common = Counter(value for value in values if value is not ABSENT).most_common(1)[0][0]
        filler = type(common)(0) if isinstance(common, int | float) else common
        filled = tuple(filler if value is ABSENT else value for value in values)
        identifier = unique(variable(argument.label, self.taken), self.taken)
        self.taken.add(identifier)
        self.variables.append(Variable(identifier, "argument", filled))
        if ABSENT in values:
            self.fillers[identifier] = filler
        return identifier

    def flag(self, values: tuple[bool, ...], wanted_channels: Values, label: str) -> Formula:
        """A condition that is true for exactly the instances in `values`; a bool parameter where none is known."""
        known = (condition for condition, truth in self._conditions(wanted_channels) if truth == values)
        condition = next(known, None) or name(self._add(values, Argument(values[0], label=label)))
        self.formulas.append(condition)
        return condition

    def _conditions(self, out: Values) -> Iterator[tuple[Formula, tuple[bool, ...]]]:
        strides = [v for v in self.variables if self.roles.get(v.name) == "stride"]
        drops = [v for v in self.variables if self.roles.get(v.name) in DROPS]
        arguments = [v for v in self.variables if v.kind == "argument" and self.roles.get(v.name) != "padding"]
        others = [v for v in arguments if v not in strides and v not in drops]
        yield from _switches(sorted(others, key=lambda v: v.name not in self.roles))
        yield from self._shape_conditions(strides, out)
        yield from _switches(strides)

    def _shape_conditions(self, strides: list[Variable], out: Values) -> Iterator[tuple[Formula, tuple[bool, ...]]]:
        """Whether the block keeps its input's shape, as residual blocks ask."""
        inputs = [v for v in self.variables if v.kind == "input"][:1]
        channels = self.known(out, "out") if inputs else None
        if channels is None:
            return
        source = inputs[0]
        if channels == name(source.name):
            return
        same = tuple(a == b for a, b in zip(source.values, out, strict=True))
        differ = tuple(not s for s in same)
        for stride in strides:
            one = tuple(s == 1 for s in stride.values)
            equal = ((stride.name,), " == 1 and ", (source.name,), " == ", *channels.parts)
            yield Formula(equal), tuple(a and b for a, b in zip(one, same, strict=True))
            unequal = ((stride.name,), " != 1 or ", (source.name,), " != ", *channels.parts)
            yield Formula(unequal), tuple(not a or b for a, b in zip(one, differ, strict=True))
        yield Formula(((source.name,), " == ", *channels.parts)), same
        yield Formula(((source.name,), " != ", *channels.parts)), differ

    def parameters(self) -> list[Parameter]:
        """The constructor's parameters: those that every call gives first."""
        used = self.used()
        found = [self._parameter(v) for v in self.variables if v.name in used and v.name not in self.locals]
        return sorted(found, key=lambda parameter: (parameter.default is not REQUIRED, parameter.by_keyword))

    def used(self) -> set[str]:
        """The names in all expressions, and in those of the local names among them."""
        found = {used for formula in self.formulas for used in formula.names}
        return found | {used for local in found & set(self.locals) for used in self.locals[local].names}

    def _parameter(self, known: Variable) -> Parameter:
        role = self.roles.get(known.name, "")
        if known.kind == "input":
            role = "in"
        default = REQUIRED if role in CHANNELS else _default(known.values, role)
        default = self.fillers.get(known.name, default)
        values = known.values
        if role in DROPS:
            values = tuple(v if wanted else 0.0 for v, wanted in zip(values, self.wanted[known.name], strict=True))
        plain = all(type(v) is int or (role == "kernel" and isinstance(v, tuple)) for v in values)
        by_keyword = default is not REQUIRED or not plain
        return Parameter(known.name, _type(values, role), values, role, default, by_keyword)


def _preference(role: str) -> Callable[[Variable], int]:
    order = ("input", "local", "argument") if role in ("in", "groups") else ("argument", "local", "input")
    return lambda known: order.index(known.kind)


def _from_sibling(values: Values, role: str, siblings: Mapping[str, tuple[Values, Formula]]) -> Formula | None:
    if role == "padding" and "kernel" in siblings:
        kernels, formula = siblings["kernel"]
        if all(v is ABSENT or (type(k) is int and v == k // 2) for v, k in zip(values, kernels, strict=True)):
            return Formula((*formula.parts, " // 2"))
    if role == "groups" and "in" in siblings and _equal(values, siblings["in"][0]):
        return siblings["in"][1]
    return None


def _multiple(wanted: list[int], known: list[int], identifier: str) -> Formula | None:
    first, base = wanted[0], known[0]
    if base and first % base == 0 and wanted == [first // base * k for k in known]:
        return Formula((f"{first // base} * ", (identifier,)))
    if first and base and base % first == 0 and wanted == [k // (base // first) for k in known]:
        return Formula(((identifier,), f" // {base // first}"))
    return None


def _switches(variables: Iterable[Variable]) -> Iterator[tuple[Formula, tuple[bool, ...]]]:
    """Conditions such as `e != 1`: the values 0 and 1 mean that something is left out."""
    for known in variables:
        if all(isinstance(value, bool) for value in known.values):
            yield name(known.name), known.values
            continue
        for bound in (1, 0):
            if bound in known.values:
                yield Formula(((known.name,), f" != {bound}")), tuple(value != bound for value in known.values)
                yield Formula(((known.name,), f" == {bound}")), tuple(value == bound for value in known.values)


def _default(values: Values, role: str) -> Any:
    """The value that most calls share, where most do."""
    if role in DROPS:
        return 0.0
    value, count = Counter(values).most_common(1)[0]
    return value if len(values) > 2 and count >= 0.6 * len(values) else REQUIRED


def _type(values: Values, role: str) -> str:
    if role == "function":
        return "Callable[[Tensor], Tensor]"
    names = {_type_name(value) for value in values}
    return "float" if names == {"float", "int"} else " | ".join(sorted(names))


def _type_name(value: Any) -> str:
    if isinstance(value, tuple):
        return f"tuple[{', '.join(map(_type_name, value))}]"
    return type(value).__name__
