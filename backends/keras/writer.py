"""The lines of a function: of a block, or of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from archlang.backends.keras.layer import Given, KerasLayer, Site, Step
from archlang.backends.keras.layout import lines, text
from archlang.backends.keras.names import COUNTERS, local, quoted, safe
from archlang.backends.keras.variables import Variables
from archlang.backends.source.body import INPUT, Attribute, Value
from archlang.backends.source.formulas import Formula
from archlang.backends.source.initialisation import last_norms
from archlang.backends.source.layer import Argument, Layer
from archlang.backends.source.layout import INDENT, Call, Expression, Keyword, fits
from archlang.backends.source.nesting import bypass
from archlang.backends.source.plan import ClassPlan, Option, Slot

_GAMMA = "gamma_initializer"


@dataclass(frozen=True)
class Results:
    """What the function makes.

    auxiliary: values that are made only where they are asked for. names: of those. returned: whether the function
    returns its one value as soon as it is made; where it makes a model of them, that needs the inputs again.
    """

    values: tuple[Value, ...]
    auxiliary: tuple[Value, ...] = ()
    names: Mapping[Value, str] | None = None
    returned: bool = True


@dataclass(frozen=True)
class _Statement:
    """An item of the body. option, training: the conditions under which it runs."""

    item: int
    option: Option | None
    training: bool


class Writer:
    """functions: class name -> the function's name. prefix: of layer names, `{name}-` in a block. zero_init: the last
    BatchNorms of residual branches begin as 0."""

    def __init__(
        self,
        plan: ClassPlan,
        inputs: Sequence[str],
        results: Results,
        functions: Mapping[str, str],
        prefix: str,
        zero_init: bool = False,
    ) -> None:
        self.plan, self.body, self.results = plan, plan.body, results
        self.functions, self.prefix = functions, prefix
        self.slots = dict(_accesses(plan.body.attributes))
        part = {i: option for option in plan.options for i in option.items}
        training = _training_only(plan, results)
        self.statements = [_Statement(i, part.get(i), i in training) for i in range(len(self.body.items))]
        taken = {safe(p.name) for p in plan.parameters} | {safe(n) for n in plan.locals} | set(functions.values())
        self.variables = Variables(self.body, inputs, self._last_reads(), taken)
        self.inputs, self.taken = inputs, taken
        self.zeroed = dict(self._zeroed()) if zero_init else {}
        self.returned = False

    def lines(self) -> list[str]:
        out = self._lines()
        if not self.variables.crowded:
            return out
        self.variables = Variables(self.body, self.inputs, self.variables.last, self.taken, crowded=True)
        self.returned = False
        return self._lines()

    def _lines(self) -> list[str]:
        out: list[str] = []
        k = 0
        for (option, training), group in groupby(self.statements, key=lambda s: (s.option, s.training)):
            count = len(list(group))
            if option:
                out += self._optional(k, count, option, INDENT)
            elif training:
                out.append(f"{' ' * INDENT}if auxiliary:")
                out += self._plain(k, count, 2 * INDENT)
            else:
                out += self._plain(k, count, INDENT)
            k += count
        return out

    def names(self, values: Sequence[Value]) -> list[str]:
        return [self.variables[value] for value in values]

    # ---- statements ----

    def _last_reads(self) -> dict[Value, int]:
        """The last statement that reads each value; the number of statements stands for the results."""
        last = {value: k for k, statement in enumerate(self.statements) for value in self._reads(statement)}
        kept = [*self.results.values, *self.results.auxiliary]
        if not self.results.returned:
            kept += [(INPUT, number) for number in range(self.body.inputs)]
        last.update(dict.fromkeys(kept, len(self.statements)))
        return last

    def _reads(self, statement: _Statement) -> tuple[Value, ...]:
        reads = tuple(dict.fromkeys(self.body.items[statement.item].inputs))
        option = statement.option
        if option and statement.item == option.items[-1]:
            reads += (bypass(self.plan, option),)
        return reads

    def _plain(self, k: int, count: int, indent: int) -> list[str]:
        out: list[str] = []
        for number in range(k, k + count):
            item, reads = self.statements[number].item, self._reads(self.statements[number])
            inputs = self._inputs(item)
            targets = self._targets(number, item, reads)
            out += self._item(item, inputs, targets, indent, last=number == len(self.statements) - 1)
        return out

    def _inputs(self, item: int) -> list[str]:
        return [self.variables[value] for value in self.body.items[item].inputs]

    def _targets(self, k: int, item: int, reads: Sequence[Value]) -> str:
        names = self.results.names or {}
        results = range(self.body.items[item].layer.outputs)
        return ", ".join(self.variables.assign(k, (item, r), reads, names.get((item, r), "")) for r in results)

    def _optional(self, k: int, count: int, option: Option, indent: int) -> list[str]:
        """A part that some instances leave out: another value then stands in its place."""
        last = self.statements[k + count - 1]
        whole = last.item == option.items[-1]
        other = bypass(self.plan, option)
        name = self.variables[other] if whole else ""
        condition = self.formula(option.condition)
        if whole and count == 1 and (line := self._conditional(k, condition, name, indent)):
            return [line]
        before = self._plain(k, count - 1, indent + INDENT)
        inputs, reads = self._inputs(last.item), self._reads(last)
        target = name if whole and self._dies(other, k + count - 1) else self._part_target(k, k + count - 1, reads)
        self.variables.names[(last.item, 0)] = target
        out = [f"{' ' * indent}{target} = {name}"] if whole and target != name else []
        out += [f"{' ' * indent}if {condition}:", *before]
        return out + self._item(last.item, inputs, target, indent + INDENT, last=False)

    def _dies(self, value: Value, k: int) -> bool:
        """Whether nothing reads the value after statement k."""
        return self.variables.last[value] <= k

    def _part_target(self, first: int, k: int, reads: Sequence[Value]) -> str:
        """The name of a part's result: that of a value made in the part which statement k is the last to read."""
        inside = {statement.item for statement in self.statements[first:k]}
        free = [self.variables[read] for read in reads if read[0] in inside and self._dies(read, k)]
        return free[0] if free else self.variables.fresh(k, reads)

    def _conditional(self, k: int, condition: str, other: str, indent: int) -> str:
        """`y = ... if s == 1 else x` where that is a line; else nothing."""
        item = self.statements[k].item
        steps = list(self._steps(item, self._inputs(item), other))
        if len(steps) != 1 or steps[0].condition:
            return ""
        line = f"{text(steps[0].term)} if {condition} else {other}"
        if not fits(f"branch1 = {line}", indent):
            return ""
        if self._returns(k):
            self.returned = True
            return f"{' ' * indent}return {line}"
        return f"{' ' * indent}{self._targets(k, item, self._reads(self.statements[k]))} = {line}"

    def _returns(self, k: int) -> bool:
        """Whether statement k may be the return statement."""
        value = (self.statements[k].item, 0)
        return self.results.returned and k == len(self.statements) - 1 and self.results.values == (value,)

    # ---- items ----

    def _item(self, i: int, inputs: Sequence[str], target: str, indent: int, last: bool) -> list[str]:
        layer, name = self.body.items[i].layer, self.prefix + local(self.body.items[i].name)
        last = last and self._returns(len(self.statements) - 1)
        if layer.kind == "chain":
            return self._chain(layer, self._slot(i), name, inputs[0], target, indent, last=last)
        return self._written(list(self._steps(i, inputs, target)), inputs[0], target, indent, last)

    def _steps(self, i: int, inputs: Sequence[str], target: str) -> Iterator[Step]:
        layer, name = self.body.items[i].layer, self.prefix + local(self.body.items[i].name)
        if layer.kind != "chain":
            yield from self._layer_steps(layer, self._slot(i), name, inputs, target)

    def _slot(self, i: int) -> Slot:
        """Where the arguments of item i stand in the plan."""
        item = self.body.items[i]
        return self.slots[item.name] if item.layer.module else (i,)

    def _layer_steps(self, layer: Layer, slot: Slot, name: str, inputs: Sequence[str], target: str) -> Iterator[Step]:
        if layer.module in self.functions and not isinstance(layer, KerasLayer):
            yield Step(self._function_call(layer, slot, name, inputs))
            return
        assert isinstance(layer, KerasLayer), layer.kind
        given = dict(self._given(layer, slot))
        if slot in self.zeroed:
            given[_GAMMA] = Given(_GAMMA, self.zeroed[slot])
        yield from layer.steps(Site(given, quoted(name), tuple(inputs), target))

    def _zeroed(self) -> Iterator[tuple[Slot, str]]:
        """The slots of the BatchNorms whose factors begin as 0, with the initialiser's name."""
        for norm in last_norms(self.plan, "layers.BatchNormalization"):
            slot, layer = self._slot(norm.item), self.body.items[norm.item].layer
            name = f'"zeros" if {self.formula(norm.option.condition)} else "ones"' if norm.option else '"zeros"'
            yield ((*slot, len(layer.arguments) - 1) if norm.in_chain else slot), name

    def _given(self, layer: Layer, slot: Slot) -> Iterator[tuple[str, Given]]:
        for position, argument in enumerate(layer.arguments):
            assert isinstance(argument, Argument)
            yield argument.name, self._argument(argument, (*slot, position))
        for argument in layer.call_arguments:
            yield argument.name, self._argument(argument, (*slot, argument.name))

    def _argument(self, argument: Argument, slot: Slot) -> Given:
        formula = self.plan.formulas[slot]
        return Given(argument.keyword, self.formula(formula) if formula else None)

    def _function_call(self, layer: Layer, slot: Slot, name: str, inputs: Sequence[str]) -> Call:
        arguments: list[Expression] = list(inputs)
        for given in dict(self._given(layer, slot)).values():
            if given.text is not None:
                arguments.append(Keyword(safe(given.keyword), given.text) if given.keyword else given.text)
        if layer.stateful:
            arguments.append(Keyword("name", quoted(name)))
        return Call(self.functions[layer.module], tuple(arguments))

    def formula(self, formula: Formula) -> str:
        return "".join(part if isinstance(part, str) else safe(part[0]) for part in formula.parts)

    # ---- lines ----

    def _written(self, steps: Sequence[Step], source: str, target: str, indent: int, last: bool = False) -> list[str]:
        """Each step as an assignment; one under a condition leaves its input as it is where that does not hold. last:
        the last step may be the return statement."""
        if last and not steps[-1].condition:
            self.returned = True
            return [*self._written(steps[:-1], source, target, indent), *lines("return ", steps[-1].term, indent)]
        out: list[str] = []
        for step in steps:
            out += self._assignment(step, source, target, indent)
            source = target
        return out

    def _assignment(self, step: Step, source: str, target: str, indent: int) -> list[str]:
        if not step.condition:
            return lines(f"{target} = ", step.term, indent)
        if source == target:
            return [f"{' ' * indent}if {step.condition}:", *lines(f"{target} = ", step.term, indent + INDENT)]
        line = f"{target} = {text(step.term)} if {step.condition} else {source}"
        if fits(line, indent):
            return [" " * indent + line]
        first = f"{' ' * indent}{target} = {source}"
        return [first, f"{' ' * indent}if {step.condition}:", *lines(f"{target} = ", step.term, indent + INDENT)]

    def _chain(
        self,
        layer: Layer,
        slot: Slot,
        name: str,
        source: str,
        target: str,
        indent: int,
        depth: int = 0,
        last: bool = False,
    ) -> list[str]:
        """The members one after the other; members that follow each other alike in a loop."""
        out: list[str] = []
        position, members = 0, layer.arguments
        while position < len(members):
            counter = COUNTERS[min(depth, len(COUNTERS) - 1)]
            current = target if out else source

            def member(at: int, inner: int, label: str, source: str = current, last: bool = False) -> list[str]:
                place = (*slot, at), f"{name}-{label}", source
                return self._member(members[at], *place, target, inner, depth + 1, last)

            count = 1
            looped = member(position, indent + INDENT, f"{{{counter}}}", target)
            while position + count < len(members) and looped == member(
                position + count, indent + INDENT, f"{{{counter}}}", target
            ):
                count += 1
            if count > 1 and looped and depth < len(COUNTERS):
                out += [f"{' ' * indent}{target} = {current}"] if current != target else []
                ends = f"{position}, {position + count}" if position else f"{count}"
                out += [f"{' ' * indent}for {counter} in range({ends}):", *looped]
            else:
                count = 1
                out += member(position, indent, str(position), last=last and position + 1 == len(members))
            position += count
        return out or ([f"{' ' * indent}{target} = {source}"] if source != target else [])

    def _member(
        self,
        layer: Layer | Argument,
        slot: Slot,
        name: str,
        source: str,
        target: str,
        indent: int,
        depth: int,
        last: bool,
    ) -> list[str]:
        assert isinstance(layer, Layer)
        if layer.kind == "chain":
            return self._chain(layer, slot, name, source, target, indent, depth, last)
        steps = list(self._layer_steps(layer, slot, name, [source], target))
        return self._written(steps, source, target, indent, last)


def _accesses(attributes: Sequence[Attribute]) -> Iterator[tuple[str, Slot]]:
    """The slot of every module by the name of the items that call it: those in open containers too."""
    for attribute in attributes:
        yield from _contained(attribute.layer, attribute.name, (attribute.name,))


def _contained(layer: Layer, name: str, slot: Slot) -> Iterator[tuple[str, Slot]]:
    if layer.kind not in ("list", "dict"):
        yield name, slot
        return
    keys = [f"[{i}]" for i in range(len(layer.arguments))] if layer.kind == "list" else [f'["{k}"]' for k in layer.keys]
    for position, (key, inner) in enumerate(zip(keys, layer.arguments, strict=True)):
        assert isinstance(inner, Layer)
        yield from _contained(inner, name + key, (*slot, position))


def _training_only(plan: ClassPlan, results: Results) -> set[int]:
    """The items that only auxiliary results need."""
    if not results.auxiliary:
        return set()
    items = plan.body.items
    live = {item for item, _ in results.values}
    for i in reversed(range(len(items))):
        if i in live:
            live.update(j for j, _ in items[i].inputs)
    return {i for i in range(len(items)) if i not in live}
