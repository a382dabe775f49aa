"""The lines of a class's forward: which calls are nested, how the values between them are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from archlang.backends.source.body import INPUT, Item, Value
from archlang.backends.source.formulas import Formula
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import INDENT, WIDTH, Call, Expression, Keyword, fits, flat, laid_out
from archlang.backends.source.names import unique, variable
from archlang.backends.source.nesting import Nesting, Results, bypass
from archlang.backends.source.plan import ClassPlan, Option
from archlang.backends.source.variables import POOL, own_name, place_in_join

MARGIN = 2 * INDENT
"""Indentation of a method's body."""


def forward_lines(plan: ClassPlan, inputs: Sequence[str], results: Results) -> list[str]:
    """The body of forward, indented for its class."""
    apart: set[int] = set()
    crowded = False
    while True:
        writer = Writer(plan, inputs, results, apart, crowded)
        lines = writer.lines()
        too_long = writer.too_long - apart
        if not too_long and writer.crowded == crowded:
            return lines
        apart |= too_long
        crowded = writer.crowded


@dataclass(frozen=True)
class _Statement:
    """An item that gets a line of its own. reads: the variables' values in it; last: in its optional part."""

    item: int
    reads: tuple[Value, ...]
    option: Option | None
    training: bool


class Writer:
    """apart: items that are not nested in others. crowded: whether more values are alive at once than have a letter."""

    margin = MARGIN
    result = "return "

    def __init__(
        self, plan: ClassPlan, inputs: Sequence[str], results: Results, apart: set[int], crowded: bool
    ) -> None:
        self.plan, self.body, self.results = plan, plan.body, results
        self.nesting = Nesting(plan, results, apart)
        self.names: dict[Value, str] = {(INPUT, i): name for i, name in enumerate(inputs)}
        self.crowded = crowded
        self.too_long: set[int] = set()
        statements = [self._statement(i) for i in range(len(self.body.items)) if i not in self.nesting.nested]
        self.statements = sorted(statements, key=lambda statement: statement.training)
        self.last = self._last_reads()
        self.ending: dict[int, list[Value]] = {}
        for value, k in self.last.items():
            self.ending.setdefault(k, []).append(value)
        self.branches: dict[Value, str] = {}
        self.returned = False
        self.out: list[str] = []

    def lines(self) -> list[str]:
        k = 0
        while k < len(self.statements):
            run = self._run(k)
            if run[0].option:
                self._optional(k, run)
            elif run[0].training:
                self._in_training(k, run)
            else:
                self._plain(k)
            k += len(run)
        self._return()
        return self.out

    # ---- statements ----

    def _statement(self, i: int) -> _Statement:
        option = self.nesting.part.get(i)
        reads = tuple(dict.fromkeys(self._reads(i)))
        if option and i == option.items[-1]:
            reads += (bypass(self.plan, option),)
        return _Statement(i, reads, option, i in self.nesting.training)

    def _reads(self, i: int) -> Iterator[Value]:
        for value in self.body.items[i].inputs:
            if value[0] in self.nesting.nested:
                yield from self._reads(value[0])
            else:
                yield value

    def _last_reads(self) -> dict[Value, int]:
        """The last statement that reads each value; the number of statements stands for the return."""
        last = {value: k for k, statement in enumerate(self.statements) for value in statement.reads}
        last.update(dict.fromkeys((*self.results.always, *self.results.training), len(self.statements)))
        return last

    def _run(self, k: int) -> list[_Statement]:
        """The statements from k on that stand under the same condition; one where there is none."""
        first = self.statements[k]
        run = [first]
        if first.option or first.training:
            for other in self.statements[k + 1 :]:
                if other.option is not first.option or other.training != first.training:
                    break
                run.append(other)
        return run

    def _plain(self, k: int) -> None:
        statement = self.statements[k]
        for value in self.ending.get(k - 1, ()):
            self.names.pop(value, None)
        expression = self._expression(statement.item)
        if self._is_returned(k):
            self.returned = True
            self._write(self.result, expression, statement.item)
        else:
            self._write(f"{self._targets(k)} = ", expression, statement.item)

    def _is_returned(self, k: int) -> bool:
        """Whether statement k can be the return statement itself."""
        value = (self.statements[k].item, 0)
        alone = self.results.always == (value,) and not self.results.training
        return alone and k == len(self.statements) - 1 and self.nesting.uses[value] == 1

    def _write(self, before: str, expression: Expression, item: int, indent: int = 0) -> None:
        lines = laid_out(before, expression, "", self.margin + indent)
        if any(len(line) > WIDTH for line in lines):
            self.too_long |= set(self._nested_operands(item))
        self.out += lines

    def _nested_operands(self, i: int) -> list[int]:
        """What to give lines of its own where the line of item i is too long: operands of joins within it, if any."""
        nested = [j for j, _ in self.body.items[i].inputs if j in self.nesting.nested]
        if self.body.items[i].layer.weight == "join":
            return nested
        return [k for j in nested for k in self._operands_within(j)] or nested

    def _operands_within(self, i: int) -> list[int]:
        nested = [j for j, _ in self.body.items[i].inputs if j in self.nesting.nested]
        inner = [k for j in nested for k in self._operands_within(j)]
        return nested + inner if self.body.items[i].layer.weight == "join" else inner

    def _optional(self, k: int, run: list[_Statement]) -> None:
        option = run[0].option
        assert option is not None
        other = self.names[bypass(self.plan, option)]
        if len(run) == 1 and self._conditional(k, option, other):
            return
        last = k + len(run) - 1
        value = (run[-1].item, 0)
        target = other if self.last[bypass(self.plan, option)] <= last else self._fresh(k, value)
        if target != other:
            self.out.append(f"{' ' * MARGIN}{target} = {other}")
        self.out.append(f"{' ' * MARGIN}if {option.test}:")
        for number, statement in enumerate(run):
            name = target if statement is run[-1] else self._targets(k + number)
            self._write(f"{name} = ", self._expression(statement.item), statement.item, INDENT)
        self.names[value] = target

    def _conditional(self, k: int, option: Option, other: str) -> bool:
        """Write `y = ... if self.is_residual else x` where that fits on a line."""
        text = f"{flat(self._expression(self.statements[k].item))} if {option.test} else {other}"
        saved = dict(self.names)
        before = "return " if self._is_returned(k) else f"{self._targets(k)} = "
        if fits(before + text, MARGIN):
            self.out.append(" " * MARGIN + before + text)
            self.returned = before == "return "
            return True
        self.names = saved
        return False

    def _in_training(self, k: int, run: list[_Statement]) -> None:
        """What only training needs is made last, where it is returned: every variable has a value wherever it is read,
        as torch.jit.script demands."""
        self.out.append(f"{' ' * MARGIN}if self.training:")
        for number, statement in enumerate(run):
            expression = self._expression(statement.item)
            self._write(f"{self._targets(k + number)} = ", expression, statement.item, INDENT)

    def _return(self) -> None:
        if self.returned:
            return
        always = [self.names[value] for value in self.results.always]
        if self.results.training:
            everything = always + [self.names[value] for value in self.results.training]
            if not (self.statements and self.statements[-1].training):
                self.out.append(f"{' ' * MARGIN}if self.training:")
            self.out += _return_lines(everything, MARGIN + INDENT)
        self.out += _return_lines(always, MARGIN)

    # ---- expressions ----

    def _expression(self, i: int) -> Expression:
        item = self.body.items[i]
        inputs = [self._operand(value) for value in item.inputs]
        texts: dict[str, Expression | None] = {}
        for argument in item.layer.call_arguments:
            formula = self.plan.formulas[(i, argument.name)]
            texts[argument.name] = formula.text("self.") if formula else None
        expression = item.layer.apply(f"self.{item.name}", texts, inputs)
        if isinstance(expression, Call) and self._may_overwrite(i, item):
            return replace(expression, arguments=(*expression.arguments, Keyword("inplace", "True")))
        return expression

    def _operand(self, value: Value) -> Expression:
        return self._expression(value[0]) if value[0] in self.nesting.nested else self.names[value]

    def _may_overwrite(self, i: int, item: Item) -> bool:
        """Whether the activation may write over its input: nothing else reads it, no gradient needs it."""
        if not item.layer.in_place or any(any(f.names) for f in self._formulas(i, item.layer)):
            return False
        maker = item.inputs[0][0]
        optional = {j for option in self.plan.options for j in option.items}
        if maker == INPUT or self.nesting.uses[item.inputs[0]] != 1:
            return False
        if maker in optional and self.nesting.part.get(maker) is not self.nesting.part.get(i):
            return False
        return self.body.items[maker].layer.writable

    def _formulas(self, i: int, layer: Layer) -> list[Formula]:
        return [f for a in layer.call_arguments if (f := self.plan.formulas[(i, a.name)])]

    # ---- names of variables ----

    def _targets(self, k: int) -> str:
        i = self.statements[k].item
        for result in range(self.body.items[i].layer.outputs):
            self.names[(i, result)] = self._name(k, (i, result))
        return ", ".join(self.names[(i, result)] for result in range(self.body.items[i].layer.outputs))

    def _name(self, k: int, value: Value) -> str:
        many = len(self.body.readers.get(value, ())) > 1
        own, item = self._own_name(value, many), self.body.items[value[0]]
        returned = value in self.results.names or (value in self.results.always and len(self.results.always) > 1)
        if own and (many or item.layer.weight == "join" or returned):
            return unique(own, self._alive(k))
        branch = self._branch(value)
        if branch:
            return unique(branch, self._alive(k))
        for read in self.statements[k].reads:
            free = self.last[read] == k and self.names[read] not in self._alive(k)
            if free and self.names[read] in POOL:
                return self.names[read]
        return self._fresh(k, value)

    def _fresh(self, k: int, value: Value) -> str:
        alive = self._alive(k) | {self.names[read] for read in self.statements[k].reads}
        free = [name for name in POOL if name not in alive]
        self.crowded |= not free
        return free[0] if free else unique("value", alive)

    def _alive(self, k: int) -> set[str]:
        """The names of values that are still read after statement k."""
        return {name for value, name in self.names.items() if self.last.get(value, -1) > k}

    def _own_name(self, value: Value, many: bool) -> str:
        """The name that the source gives the value, empty where it gives none."""
        if value in self.results.names:
            return variable(self.results.names[value])
        return own_name(self.body, value, numbered=self.crowded and many)

    def _branch(self, value: Value) -> str:
        """`branch2` where the value, alone and step by step, becomes operand 2 of a join of three or more."""
        path = [value]
        while path[-1] not in self.branches and (following := self._following(path[-1])):
            path.append(following)
        found = self.branches.get(path[-1]) or self._place_in_join(path[-1])
        self.branches.update(dict.fromkeys(path, found))
        return found

    def _following(self, value: Value) -> Value | None:
        """What becomes of a value that one step alone reads; None where that is a join or the end."""
        reader = self._reader(value)
        return None if reader is None or len(self.body.items[reader].inputs) != 1 else (reader, 0)

    def _place_in_join(self, value: Value) -> str:
        reader = self._reader(value)
        return "" if reader is None else place_in_join(self.body, value, reader)

    def _reader(self, value: Value) -> int | None:
        """The only item that reads a value, where it is not an output."""
        readers = self.body.readers.get(value, [])
        only = self.nesting.uses.get(value, 0) == 1 and len(readers) > 0 and readers[0] < len(self.body.items)
        return readers[0] if only else None


def _return_lines(names: Sequence[str], indent: int) -> list[str]:
    """`return a, b`, in parentheses where one line is too long."""
    text = "return " + ", ".join(names)
    return [" " * indent + text] if fits(text, indent) else laid_out("return ", Call("", tuple(names)), "", indent)
