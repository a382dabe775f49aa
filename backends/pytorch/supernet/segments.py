"""A planned class as text: its forward, and what is set from outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from archlang.backends.pytorch.constructor import constructor_lines
from archlang.backends.pytorch.forward import MARGIN
from archlang.backends.pytorch.supernet.dynamics import Variable
from archlang.backends.pytorch.supernet.flow import Place
from archlang.backends.pytorch.supernet.planned import Choosing, Planned
from archlang.backends.pytorch.supernet.union import Source
from archlang.backends.pytorch.supernet.writer import BRANCH, Alternative, Choice, Segment, segment_lines
from archlang.backends.source.body import INPUT, Body, Item, Value
from archlang.backends.source.formulas import Formula
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import INDENT, Call, call, definition, joined
from archlang.backends.source.plan import Slot


@dataclass(frozen=True)
class ElasticText:
    """What the class template shows: see constructor.ClassText. settings: the lines that declare them."""

    name: str
    doc: tuple[str, ...]
    settings: tuple[str, ...]
    constructor: tuple[str, ...]
    forward: tuple[str, ...]


def elastic_text(planned: Planned, doc: Sequence[str], tail: Sequence[str] = ()) -> ElasticText:
    """tail: statements at the constructor's end."""
    return ElasticText(
        planned.name,
        tuple(doc),
        tuple(f"{known.name}: {type_name(known)}" for known in planned.settings),
        constructor_lines(planned.plan, tail),
        tuple(_forward(planned)),
    )


def type_name(known: Variable) -> str:
    """The annotation for a variable's values."""
    values = [value for value in known.column if value is not None]
    if any(isinstance(value, tuple) for value in values):
        return "tuple[int, ...]"
    names = {type(value).__name__ for value in values}
    return "float" if names == {"float", "int"} else " | ".join(sorted(names))


def _forward(planned: Planned) -> list[str]:
    arguments = [f"{name}: {type_name(planned.dynamics.used[name])}" for name in planned.arguments]
    count = len(planned.flow.outputs)
    returns = "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"
    settled = planned.dynamics.locals.items()
    lines = [f"{' ' * MARGIN}{local} = {rendered(planned, formula)}" for local, formula in settled]
    kept = frozenset({*planned.dynamics.locals, *planned.arguments})
    places = [("", k) for k in range(len(planned.inputs))]
    whole = _Segments(planned).segment((), places, planned.flow.outputs)
    lines += segment_lines(whole, planned.inputs, MARGIN, kept=kept)
    words = set(re.findall(r"\w+", " ".join(lines)))
    # An input of which a block wants the size alone, which is a number here, is there for its place.
    inputs = [f"{name if name in words else f'_{name}'}: Tensor" for name in planned.inputs]
    return [*definition("forward", ["self", *inputs, *arguments], returns, INDENT), *lines]


def rendered(planned: Planned, formula: Formula) -> str:
    """A formula of forward: widths are read off the inputs, settings are attributes."""
    return "".join(part if isinstance(part, str) else _name(planned, part[0]) for part in formula.parts)


def _name(planned: Planned, name: str) -> str:
    if name in planned.dynamics.locals or name in planned.arguments:
        return name
    known = planned.dynamics.known[name]
    return f"{name.rstrip('!')}.shape[1]" if known.kind == "input" else f"self.{name}"


class _Segments:
    def __init__(self, planned: Planned) -> None:
        self.planned, self.flow = planned, planned.flow
        self.numbers = {item.name: k for k, item in enumerate(planned.plan.body.items)}

    def segment(self, place: Place, inputs: Sequence[Source], outputs: Sequence[Source]) -> Segment:
        values: dict[Source, Value] = {source: (INPUT, k) for k, source in enumerate(inputs)}
        items: list[Item] = []
        formulas: dict[Slot, Formula | None] = {}
        choices: dict[int, Choice] = {}
        for name in self.flow.directly(place):
            number = len(items)
            item, choice = self._item(name, place) if name in self.flow.phis else (self._step(name), None)
            reads = self._reads(name, choice is not None)
            items.append(replace(item, inputs=tuple(values[source] for source in reads)))
            if choice:
                choices[number] = choice
            for argument in item.layer.call_arguments:
                formulas[number, argument.name] = self._argument(name, argument.name)
            values.update({(name, k): (number, k) for k in range(item.layer.outputs)})
        wanted = tuple(values[source] for source in outputs)
        body = Body(len(inputs), tuple(items), wanted, (), tuple(range(len(inputs))))
        return Segment(body, formulas, choices)

    def _step(self, name: str) -> Item:
        return Item(name, self.planned.parts[name].host, ())

    def _argument(self, step: str, argument: str) -> Formula | None:
        told = self.planned.told.get((step, argument))
        if told:
            return Formula((rendered(self.planned, told),))
        return self.planned.plan.formulas[self.numbers[step], argument]

    def _reads(self, name: str, branches: bool) -> Sequence[Source]:
        if name not in self.flow.phis:
            return self.flow.reads[name]
        form = self.planned.forms[name]
        if form.kind == "places":
            return form.sources
        if form.kind == "members":
            return [self._operand(form)]
        return self._outside(name, form)

    def _operand(self, form: Choosing) -> Source:
        step = next(
            source[0]
            for source in form.sources
            if source[0] in self.flow.reads and source in form.labels and form.labels[source] != "skip"
        )
        return self.flow.reads[step][0]

    def _outside(self, phi: str, form: Choosing) -> list[Source]:
        """What the alternatives read, and the values whose shapes are compared."""
        found = [source for alternative in form.sources for source in self._needs(phi, alternative)]
        if form.test and form.test.shapes:
            found += form.test.shapes
        return list(dict.fromkeys(found))

    def _needs(self, phi: str, alternative: Source) -> list[Source]:
        inside = self.flow.inside(phi, alternative)
        if not inside:
            return [alternative]
        read = [source for name in inside for source in self._sources(name)]
        return list(dict.fromkeys(source for source in read if source[0] not in inside))

    def _sources(self, name: str) -> Sequence[Source]:
        return self.flow.phis[name].sources if name in self.flow.phis else self.flow.reads[name]

    def _item(self, phi: str, place: Place) -> tuple[Item, Choice | None]:
        form = self.planned.forms[phi]
        if form.kind == "places":
            return Item("", self._places(form), ()), None
        if form.kind == "members":
            return Item("", self._members(form), ()), None
        outside = self._outside(phi, form)
        alternatives = tuple(self._alternative(phi, form, source, outside, place) for source in form.sources)
        return Item("", BRANCH, ()), Choice(alternatives)

    def _places(self, form: Choosing) -> Layer:
        """`(a, b, c)[self.source]`."""
        assert form.formula
        text = rendered(self.planned, form.formula)
        return Layer("places", apply=lambda m, a, xs: joined(Call("", tuple(xs)), f"[{text}]"), weight="light")

    def _members(self, form: Choosing) -> Layer:
        """`chosen(self, self.edge, x)`."""
        assert form.formula
        text = rendered(self.planned, form.formula)
        return Layer("members", apply=lambda m, a, xs: call("chosen", "self", text, *xs))

    def _alternative(
        self, phi: str, form: Choosing, source: Source, outside: Sequence[Source], place: Place
    ) -> Alternative:
        needs = self._needs(phi, source)
        segment = self.segment((*place, (phi, source)), needs, [source])
        return Alternative(self._test(form, source, outside), segment, tuple(outside.index(each) for each in needs))

    def _test(self, form: Choosing, source: Source, outside: Sequence[Source]) -> Callable[[Sequence[str]], str]:
        if form.test and form.test.shapes:
            a, b = (outside.index(each) for each in form.test.shapes)
            return lambda names: f"{names[a]}.shape == {names[b]}.shape"
        if form.test:
            formula = rendered(self.planned, form.test.formula) if form.test.formula else ""
            return lambda names: " and ".join(filter(None, [formula, form.test.text if form.test else ""]))
        assert form.formula
        variable, label = rendered(self.planned, form.formula), form.labels[source]
        return lambda names: f'{variable} == "{label}"'
