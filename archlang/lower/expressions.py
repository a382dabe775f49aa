"""Evaluates expressions. A call with tensors adds nodes; everything else is pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from archlang.errors import fail, nearest
from archlang.lower import builtins
from archlang.lower.module import Imported, Module
from archlang.lower.session import MAX_INTEGER, MAX_REPEAT, Decision, Session
from archlang.lower.values import (
    ARITHMETIC,
    Applied,
    Block,
    Builtin,
    Chain,
    ChoiceValue,
    Closure,
    FnValue,
    Function,
    Late,
    NetValue,
    Repeat,
    Scope,
    Tensor,
    Value,
    again,
    is_step,
    kind_of,
)
from archlang.source import Span
from archlang.syntax import tree

_UNITS: dict[str, float] = {
    "%": 0.01,
    "us": 0.001,
    "ms": 1,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2**10,
    "MiB": 2**20,
}
"""Times are in milliseconds, memory in bytes."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<=": lambda a, b: bool(a <= b),
    ">=": lambda a, b: bool(a >= b),
    "<": lambda a, b: bool(a < b),
    ">": lambda a, b: bool(a > b),
    "~": lambda a, b: bool(abs(a - b) <= 0.01 * abs(b)),
}


@lru_cache(maxsize=4096)
def number(text: str) -> int | float:
    """The value of a number with its unit: `3M` is 3,000,000, `80ms` is 80, `500us` is 0.5."""
    digits = text.rstrip("%usmkMGKiB")
    if len(digits) > MAX_DIGITS:
        raise OverflowError
    unit = text[len(digits) :]
    value = float(digits) * _UNITS[unit] if unit else float(digits)
    plain = "." not in digits and "e" not in digits.lower()
    if plain and not unit:
        return int(digits)
    return int(value) if unit and value.is_integer() else value


MAX_DIGITS = 1000
"""Of a number as written."""

STEPS_OF_A_MENTION = 8
"""How much work a decision is beside the evaluation of an expression."""


class Expressions:
    """The expression half of a Body. `scope` is where names are looked up, `flow` the current value `_`."""

    session: Session
    scope: Scope | Module
    flow: Tensor | None
    repeat: str = ""
    deciding: str = ""
    mentions: tuple[str, ...] = ()

    def eval(self, node: tree.Expr) -> Value:
        self.session.spend(node.span)
        return _EVAL[type(node)](self, node)

    def eval_in(self, node: tree.Expr, scope: Scope | Module) -> Value:
        """The value of `node` with the names of another scope."""
        before, self.scope = self.scope, scope
        try:
            return self.eval(node)
        finally:
            self.scope = before

    @contextmanager
    def decides(self, what: str) -> Iterator[None]:
        """Choices that are met within are about this, for people."""
        before, self.deciding = self.deciding, what
        try:
            yield
        finally:
            self.deciding = before

    # names

    def lookup(self, name: str, span: Span) -> Value:
        scope: Scope | Module = self.scope
        while isinstance(scope, Scope):
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return self.module_name(scope, name, span)

    def module_name(self, module: Module, name: str, span: Span) -> Value:
        if name in module.names:
            value = module.names[name]
            return self.module_name(value.module, value.name, span) if isinstance(value, Imported) else value
        if name in module.constants:
            return self._constant(module, name, span)
        if name in module.aliases:
            return self._alias(module, module.aliases[name])
        if name in builtins.NAMES:
            return builtins.NAMES[name]
        raise fail("E0201", f"nothing is called `{name}`", span, help=self._suggest(name, module))

    def _suggest(self, name: str, module: Module) -> str:
        known = [*module.known(), *builtins.NAMES]
        scope: Scope | Module = self.scope
        while isinstance(scope, Scope):
            known += scope.names
            scope = scope.parent
        return nearest(name, known)

    def _constant(self, module: Module, name: str, span: Span) -> Value:
        if name in self.session.evaluating:
            raise fail("E0205", f"`{name}` is defined by itself", span)
        self.session.evaluating.append(name)
        try:
            return self.eval_in(module.constants[name].value, module)
        finally:
            self.session.evaluating.pop()

    def _alias(self, module: Module, item: tree.NetAlias) -> Value:
        name = item.name.id
        if name in self.session.evaluating:
            raise fail("E0205", f"`{name}` is defined by itself", item.span)
        self.session.evaluating.append(name)
        try:
            with self.decides(f"an argument of `{name}`"):
                net = as_net(self.eval_in(item.value, module), item.value.span)
            overrides = net.overrides
            with self.decides(f"a setting of `{name}`"):
                for arg in item.overrides:
                    overrides += self._override(arg, module)
        finally:
            self.session.evaluating.pop()
        return NetValue(net.decl, net.module, net.identity, net.args, overrides, name)

    def _override(self, arg: tree.Arg, module: Module) -> tuple[tuple[Value, str, Value], ...]:
        before, self.scope = self.scope, module
        try:
            callee, values = self.settings(arg.value)
        finally:
            self.scope = before
        key = callee.name if isinstance(callee, Builtin) else callee
        return tuple((key, name, value) for name, value in values.items())

    # atoms

    def _name(self, node: tree.Name) -> Value:
        value = self.lookup(node.id, node.span)
        return self.mention(value, node.span, ()) if isinstance(value, ChoiceValue) else value

    def _flow(self, node: tree.FlowValue) -> Value:
        if self.flow is None:
            raise fail(
                "E0209", "`_` has no value here: nothing flows yet", node.span, help="start with `input 3x224x224`"
            )
        return self.flow

    def _number(self, node: tree.Number) -> Value:
        return self._written(node.text, node.span)

    def _dims(self, node: tree.Dims) -> Value:
        return tuple([self._written(part, node.span) for part in node.text.split("x")])

    def _written(self, text: str, span: Span) -> Value:
        try:
            return self._bounded(number(text), span)
        except OverflowError:
            raise fail("E0403", f"this number has more than {MAX_DIGITS:,} digits", span) from None

    def _items(self, node: tree.Tuple | tree.List) -> Value:
        values = tuple(self.eval(item) for item in node.items)
        return self.weighed(values, values, node.span)

    def _comprehension(self, node: tree.Comprehension) -> Value:
        found = []
        for i, value in enumerate(self.iterate(node.iterable)):
            scope = Scope({}, self.scope)
            self.bind_names(node.names, value, scope, node.iterable.span)
            with self.turn(i):
                found.append(self.eval_in(node.item, scope))
        return self.weighed(tuple(found), found, node.span)

    def weighed(self, value: Value, parts: Iterable[Value], span: Span) -> Value:
        """A compound value, refused where it is too large: `x = [x, x]`, sixty times over, would be."""
        self.session.weigh(value, parts, span)
        return value

    def iterate(self, node: tree.Expr) -> Sequence[Value]:
        values = self.eval(node)
        if not isinstance(values, tuple):
            raise fail("E0208", f"expected a list, but this is {kind_of(values)}", node.span)
        return values

    def turn(self, index: int) -> AbstractContextManager[None]:
        """Around the `index`-th of several steps that may be written at one place."""
        return nullcontext()

    def bind_names(self, names: Sequence[tree.Name], value: Value, scope: Scope, span: Span) -> None:
        if len(names) == 1:
            scope.names[names[0].id] = value
            return
        if not isinstance(value, tuple) or len(value) != len(names):
            count = f"{len(value)} values" if isinstance(value, tuple) else kind_of(value)
            raise fail("E0208", f"{len(names)} names for {count}", span)
        scope.names.update(zip((name.id for name in names), value, strict=True))

    # operators

    def _prefix(self, node: tree.Prefix) -> Value:
        if node.op == "each":
            return self._each(node)
        value = self.eval(node.value)
        if node.op == "not":
            return not self.truth(value, node.value.span)
        if node.op == "-":
            return self.arithmetic("*", -1, value, node)
        return value

    def _infix(self, node: tree.Infix) -> Value:
        if node.op in ("and", "or"):
            left = self.truth(self.eval(node.left), node.left.span)
            return self.truth(self.eval(node.right), node.right.span) if left == (node.op == "and") else left
        if node.op == "*" and has_each(node.left):
            return self._repeat_each(node)
        left, right = self.eval(node.left), self.eval(node.right)
        if node.op in _COMPARE:
            return self._compare(node, left, right)
        if is_step(left) and node.op == "*":
            return self.repeated(left, right, node)
        return self.arithmetic(node.op, left, right, node)

    def _compare(self, node: tree.Infix, left: Value, right: Value) -> bool:
        if isinstance(left, Late) or isinstance(right, Late):
            help_ = "it is known only when the whole net is: use it in an argument such as `drop=0.2 * pos`"
            raise fail("E0210", "`pos` cannot be compared", node.span, help=help_)
        try:
            return _COMPARE[node.op](left, right)
        except TypeError:
            seen = f"{kind_of(left)} with {kind_of(right)}"
            raise fail("E0208", f"`{node.op}` cannot compare {seen}", node.span) from None

    def arithmetic(self, op: str, left: Value, right: Value, node: tree.Expr) -> Value:
        span = node.span
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            return self.tensor_arithmetic(op, left, right, span)
        for value in (left, right):
            if isinstance(value, tuple) and op == "+" and isinstance(left, tuple) and isinstance(right, tuple):
                return self.weighed(left + right, left + right, span)
            if not isinstance(value, int | float | Late):
                raise fail("E0208", f"`{op}` does not work on {kind_of(value)}", span)
        if isinstance(left, Late) or isinstance(right, Late):
            return self.weighed(Late(op, left, right), (left, right), span)
        if op == "**" and isinstance(left, int) and isinstance(right, int) and right * left.bit_length() > 200:
            raise fail("E0403", "this power is too large", span)
        try:
            return self._bounded(ARITHMETIC[op](left, right), span)
        except ZeroDivisionError:
            raise fail("E0404", "division by zero", span) from None
        except OverflowError:
            raise fail("E0403", "this number is too large", span) from None

    def tensor_arithmetic(self, op: str, left: Value, right: Value, span: Span) -> Value:
        raise NotImplementedError

    def _bounded(self, value: Value, span: Span) -> Value:
        if isinstance(value, complex) or (isinstance(value, float) and value != value):
            raise fail("E0404", "this has no real value", span)
        if isinstance(value, int | float) and abs(value) >= MAX_INTEGER:
            raise fail("E0403", "this number is too large: numbers stay under 2**63", span)
        return value

    def truth(self, value: Value, span: Span) -> bool:
        if isinstance(value, Late):
            raise fail(
                "E0210", "`pos` cannot be asked here", span, help="use it in an argument such as `drop=0.2 * pos`"
            )
        if isinstance(value, bool | int | float | tuple) or value is None:
            return bool(value)
        raise fail("E0208", f"expected true or false, but this is {kind_of(value)}", span)

    def _range(self, node: tree.Range) -> Value:
        bounds = [self.eval(part) for part in (node.first, node.last, node.step) if part is not None]
        if not all(isinstance(bound, int) for bound in bounds):
            raise fail("E0206", "the ends of a range are whole numbers", node.span)
        first, last, step = (*bounds, 1)[:3]
        if step < 1 or last < first:
            raise fail("E0404", f"the range {first}..{last} step {step} is empty", node.span)
        if (last - first) // step > builtins.MAX_LIST:
            raise fail("E0403", f"this range has more than {builtins.MAX_LIST:,} values", node.span)
        self.session.spend(node.span, (last - first) // step // 16)
        return tuple(range(first, last + 1, step))

    def _ternary(self, node: tree.Ternary) -> Value:
        chosen = self.truth(self.eval(node.condition), node.condition.span)
        return self.eval(node.yes if chosen else node.no)

    def _index(self, node: tree.Index) -> Value:
        values, index = self.eval(node.value), self.eval(node.index)
        if not isinstance(values, tuple):
            raise fail("E0208", f"only lists have elements, but this is {kind_of(values)}", node.value.span)
        index = builtins.whole(index, "an index", node.index.span)
        if not -len(values) <= index < len(values):
            raise fail("E0405", f"there is no element {index} in a list of {len(values)}", node.span)
        return values[index]

    def _attribute(self, node: tree.Attribute) -> Value:
        value, name = self.eval(node.value), node.name.id
        if isinstance(value, Tensor):
            return _size(value, name, node)
        if isinstance(value, NetValue | Applied):
            return self.net_attribute(as_net(value, node.value.span), node)
        raise fail("E0208", f"{kind_of(value)} has no `.{name}`", node.span)

    def net_attribute(self, net: NetValue, node: tree.Attribute) -> Value:
        raise NotImplementedError

    # steps

    def repeated(self, step: Value, count: Value, node: tree.Infix) -> Value:
        times = builtins.whole(count, "the number of repeats", node.right.span)
        if times < 0:
            raise fail("E0404", f"a step cannot be repeated {times} times", node.right.span)
        if times > MAX_REPEAT:
            raise fail("E0401", f"{times:,} repeats are more than {MAX_REPEAT:,}", node.right.span)
        first = self.step(step, node.left.span)
        if times == 0:
            return Repeat((), node.span)
        runs = ((first, 1), (again(first), times - 1))
        return self.weighed(Repeat(runs[: min(times, 2)], node.span), (first,), node.span)

    def _repeat_each(self, node: tree.Infix) -> Value:
        """A step with `each` in it: evaluated anew for every repeat."""
        times = builtins.whole(self.eval(node.right), "the number of repeats", node.right.span)
        steps = []
        for i in range(min(times, MAX_REPEAT)):
            value = self.with_repeat(i, lambda: self.eval(node.left))
            steps.append(self.step(value, node.left.span) if i == 0 else again(self.step(value, node.left.span)))
        return Repeat(tuple((step, 1) for step in steps), node.span)

    def with_repeat(self, index: int, compute: Callable[[], Value]) -> Value:
        before, self.repeat = self.repeat, f"{self.repeat}#{index}"
        try:
            return compute()
        finally:
            self.repeat = before

    def step(self, value: Value, span: Span) -> Value:
        """The value as a step: an op or block by name alone is a call without arguments."""
        if isinstance(value, Builtin | Block | NetValue):
            return Applied(value, (), (), span)
        if is_step(value):
            return value
        raise fail("E0208", f"expected a step, but this is {kind_of(value)}", span)

    def _pipe(self, node: tree.Pipe) -> Value:
        left = self.eval(node.left)
        if isinstance(left, Tensor):
            return self.through(left, node.right)
        return self._chain(self.step(left, node.left.span), node)

    def _chain(self, left: Value, node: tree.Pipe) -> Value:
        right: Value
        if _has_flow(node.right):
            right = Closure(node.right, self.scope)
        else:
            right = self.step(self.eval(node.right), node.right.span)
        steps = (*left.steps, right) if isinstance(left, Chain) else (left, right)
        return self.weighed(Chain(steps, node.span), steps, node.span)

    def through(self, value: Tensor, node: tree.Expr, label: str = "") -> Value:
        raise NotImplementedError

    # calls

    def _call(self, node: tree.Call, label: str = "") -> Value:
        """label: what the module is called, where the call is applied to tensors."""
        function: Value
        if isinstance(node.function, tree.Name):
            function = self.lookup(node.function.id, node.function.span)
        else:
            function = self.eval(node.function)
        positional, keywords = self.arguments(node.args)
        if isinstance(function, Function):
            return self._builtin_function(function, positional, keywords, node)
        if isinstance(function, FnValue):
            return self._fn(function, positional, keywords, node)
        tensors, positional = _leading_tensors(positional)
        if isinstance(function, ChoiceValue):
            step = self.mention(function, node.function.span, positional, keywords)
        else:
            step = self._applied(function, positional, keywords, node)
        return self.apply(self.step(step, node.span), tensors, node.span, label) if tensors else step

    def arguments(self, args: Sequence[tree.Arg]) -> tuple[tuple[Value, ...], dict[str, Value]]:
        positional: list[Value] = []
        keywords: dict[str, Value] = {}
        for arg in args:
            if isinstance(arg.value, tree.Blank):
                continue
            if arg.name is None:
                if keywords:
                    raise fail("E0211", "a positional argument stands after a named one", arg.span)
                positional.append(self.eval(arg.value))
            elif arg.name.id in keywords:
                raise fail("E0211", f"`{arg.name.id}` is given twice", arg.span)
            else:
                keywords[arg.name.id] = self.eval(arg.value)
        return tuple(positional), keywords

    def _builtin_function(
        self, function: Function, args: tuple[Value, ...], keywords: dict[str, Value], node: tree.Call
    ) -> Value:
        if keywords:
            raise fail("E0211", f"`{function.name}` takes no named arguments", node.span)
        if any(isinstance(arg, Late) for arg in args):
            raise fail("E0210", f"`{function.name}` cannot be applied to `pos`", node.span)
        try:
            return self._made(function.call(*args), node.span)
        except ZeroDivisionError:
            raise fail("E0404", "division by zero", node.span) from None
        except OverflowError:
            raise fail("E0403", "this number or list is too large", node.span) from None
        except (TypeError, ValueError):
            given = ", ".join(kind_of(arg) for arg in args) or "nothing"
            raise fail("E0211", f"`{function.name}` does not work on {given}", node.span) from None

    def _made(self, value: Value, span: Span) -> Value:
        """What a built-in function gave: a number within the limits, or a list, perhaps of pairs, within them."""
        if not isinstance(value, tuple):
            return self._bounded(value, span)
        for part in value:
            if isinstance(part, tuple):
                self.session.weigh(part, part, span)
        return self.weighed(value, value, span)

    def _fn(self, fn: FnValue, args: tuple[Value, ...], keywords: dict[str, Value], node: tree.Call) -> Value:
        name = fn.decl.name.id
        self.session.depth += 1
        try:
            if self.session.depth > 64:
                raise fail("E0402", f"`{name}` calls itself without an end", node.span)
            scope = self.bind_params(name, fn.decl.params, args, keywords, fn.scope, node.span)
            return self.eval_in(fn.decl.body, scope)
        except RecursionError:
            raise fail("E0402", f"`{name}` calls itself too often, in too many brackets", node.span) from None
        finally:
            self.session.depth -= 1

    def bind_params(
        self,
        what: str,
        params: Sequence[tree.Param],
        args: tuple[Value, ...],
        keywords: dict[str, Value],
        outer: Scope | Module,
        span: Span,
    ) -> Scope:
        """A scope with the parameters of a function or choice bound."""
        names = [param.name.id for param in params]
        given = named(what, names, args, keywords, span)
        scope = Scope({}, outer)
        for param in params:
            if param.name.id in given:
                scope.names[param.name.id] = given[param.name.id]
            elif param.default is not None:
                scope.names[param.name.id] = self.eval_in(param.default, scope)
            else:
                raise fail("E0212", f"`{what}` needs `{param.name.id}`", span)
        return scope

    def _applied(
        self, function: Value, args: tuple[Value, ...], keywords: dict[str, Value], node: tree.Call
    ) -> Applied:
        span = node.span
        if isinstance(function, Applied):
            merged = {**dict(function.kwargs), **keywords}
            step = Applied(function.callee, (*function.args, *args), tuple(merged.items()), span, taken=function.taken)
        elif isinstance(function, Builtin | Block | NetValue):
            step = Applied(function, args, tuple(keywords.items()), span)
        else:
            raise fail("E0208", f"{kind_of(function)} cannot be called", node.function.span)
        self.session.weigh(step, (*step.args, *dict(step.kwargs).values()), span)
        keyword_spans = {arg.name.id: arg.span for arg in node.args if arg.name is not None}
        check_names(step, keyword_spans)
        return step

    def settings(self, node: tree.Expr) -> tuple[Builtin | Block, dict[str, Value]]:
        """`conv(norm=bn, act=relu)` as a `default` line or a `with` means it: the callee, and the values by name."""
        if not isinstance(node, tree.Call):
            raise fail("E0213", "expected settings such as `conv(norm=bn)`", node.span)
        callee = self.eval(node.function)
        if isinstance(callee, Applied) or not isinstance(callee, Builtin | Block):
            raise fail("E0213", f"settings are for a block or an op, but this is {kind_of(callee)}", node.function.span)
        args, keywords = self.arguments(node.args)
        if args:
            raise fail("E0213", "settings are given by name: `conv(norm=bn)`", node.args[0].span)
        check_names(Applied(callee, (), tuple(keywords.items()), node.span), {})
        return callee, keywords

    def apply(self, step: Value, tensors: tuple[Tensor, ...], span: Span, label: str = "") -> Value:
        raise NotImplementedError

    # choices

    def _choice(self, node: tree.Choice) -> Value:
        return self._decide(node, node.span, per_repeat=False)

    def _each(self, node: tree.Prefix) -> Value:
        """`each {a, b}`: a decision for every repeat; `each [a, b]`: the repeats' own values, in order."""
        inner = node.value
        if isinstance(inner, tree.Choice):
            return self._decide(inner, inner.span, per_repeat=True)
        values = self.eval(inner)
        if not isinstance(values, tuple):
            raise fail("E0502", "`each` takes a choice `{...}`, or a list with a value for every repeat", node.span)
        index = int(self.repeat.rsplit("#", 1)[-1]) if self.repeat else 0
        if index >= len(values):
            raise fail("E0405", f"`each` has {len(values)} values, but there is a repeat {index + 1}", node.span)
        return values[index]

    def mention(
        self, choice: ChoiceValue, span: Span, args: tuple[Value, ...], keywords: dict[str, Value] | None = None
    ) -> Value:
        """The value of a `choice` at this mention: its decisions are the mention's own."""
        decl = choice.decl
        self.session.spend(span, STEPS_OF_A_MENTION)
        scope = self.bind_params(decl.name.id, decl.params, args, keywords or {}, choice.module, span)
        before, self.mentions = self.mentions, (*self.mentions, self._place(span))
        if len(self.mentions) > 20:
            raise fail("E0402", f"`{decl.name.id}` mentions itself without an end", span)
        try:
            if isinstance(decl.value, tree.Choice):
                before_scope, self.scope = self.scope, scope
                try:
                    return self._decide(decl.value, span, per_repeat=False, mentioned=True)
                finally:
                    self.scope = before_scope
            return self.eval_in(decl.value, scope)
        finally:
            self.mentions = before

    def _place(self, span: Span) -> str:
        entry = self.session.entry
        file = "" if entry is None or span.source is entry else f"{span.source.name}:"
        return f"{file}{span.line}:{span.column}"

    def _decide(self, node: tree.Choice, span: Span, per_repeat: bool, mentioned: bool = False) -> Value:
        items = self._alternatives(node)
        places = self.mentions if mentioned else (*self.mentions, self._place(node.span))
        key = ">".join(places) + (self.repeat if per_repeat else "")
        label = self.deciding or f"the choice at line {span.line}"
        if per_repeat and self.repeat:
            label += f", repeat {int(self.repeat.rsplit('#', 1)[-1]) + 1}"
        values = () if items is node.items else tuple(items)
        decision = Decision(key, len(items), label, node, span, values)
        index = self.session.decide(decision, per_repeat and bool(self.repeat))
        return self.chosen(decision, index, items[index])

    def chosen(self, decision: Decision, index: int, item: Any) -> Value:
        """The value of the alternative that a decision takes: an expression, or the value itself."""
        return self.eval(item) if isinstance(item, tree.Expr) else item

    def _alternatives(self, node: tree.Choice) -> Sequence[Any]:
        """The alternatives: those written, or the values of the range that stands alone between the braces."""
        if len(node.items) == 1 and isinstance(node.items[0], tree.Range):
            values: tuple[Value, ...] = self.eval(node.items[0])
            return values
        return node.items


_EVAL: dict[type, Callable[..., Value]] = {
    tree.Name: Expressions._name,
    tree.Number: Expressions._number,
    tree.Dims: Expressions._dims,
    tree.String: lambda self, node: node.text[1:-1],
    tree.FlowValue: Expressions._flow,
    tree.Paren: lambda self, node: self.eval(node.inner),
    tree.Tuple: Expressions._items,
    tree.List: Expressions._items,
    tree.Comprehension: Expressions._comprehension,
    tree.Choice: Expressions._choice,
    tree.Call: Expressions._call,
    tree.Index: Expressions._index,
    tree.Attribute: Expressions._attribute,
    tree.Prefix: Expressions._prefix,
    tree.Infix: Expressions._infix,
    tree.Range: Expressions._range,
    tree.Ternary: Expressions._ternary,
    tree.Pipe: Expressions._pipe,
}


def parameter_names(callee: Builtin | Block | NetValue) -> list[str]:
    if isinstance(callee, Builtin):
        return callee.names
    return [param.name.id for param in callee.decl.params or ()]


def named(
    what: str, names: Sequence[str], args: tuple[Value, ...], keywords: dict[str, Value], span: Span
) -> dict[str, Value]:
    """Arguments by name. Raises ArchError for too many, unknown or doubled ones."""
    if len(args) > len(names):
        takes = f"takes {len(names)} argument{'s' * (len(names) != 1)}" if names else "takes no arguments"
        raise fail("E0211", f"`{what}` {takes}, but {len(args)} are given", span)
    given = dict(zip(names, args, strict=False))
    for name, value in keywords.items():
        if name not in names:
            raise fail("E0202", f"`{what}` has no argument `{name}`", span, help=nearest(name, names))
        if name in given:
            raise fail("E0211", f"`{name}` is given twice", span)
        given[name] = value
    return given


def as_net(value: Value, span: Span) -> NetValue:
    """A net, also where it was called with some arguments: these are fixed then."""
    if isinstance(value, Applied) and isinstance(value.callee, NetValue):
        net = value.callee
        given = named(repr(net), parameter_names(net), value.args, dict(value.kwargs), span)
        args = tuple({**dict(net.args), **given}.items())
        return NetValue(net.decl, net.module, net.identity, args, net.overrides, repr(value))
    if isinstance(value, NetValue):
        return value
    raise fail("E0208", f"expected a net, but this is {kind_of(value)}", span)


def check_names(step: Applied, spans: dict[str, Span]) -> None:
    """Refuse arguments that the callee does not take, at the place where they are written."""
    callee = step.callee
    names = parameter_names(callee)
    for name, _value in step.kwargs:
        if name not in names:
            help_ = _suggest_argument(name, names, callee.aliases if isinstance(callee, Builtin) else {})
            raise fail("E0202", f"`{callee!r}` has no argument `{name}`", spans.get(name, step.span), help=help_)
    named(repr(callee), names, step.args, dict(step.kwargs), step.span)


def _suggest_argument(name: str, names: Sequence[str], aliases: Mapping[str, str]) -> str:
    """The nearest argument, known also by the names that other frameworks give it."""
    known = {**{alias: real for alias, real in aliases.items() if real in names}, **{real: real for real in names}}
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near and near[0] not in names:
        return f"did you mean `{known[near[0]]}`, the {near[0].replace('_', ' ')}?"
    return nearest(name, names)


def _leading_tensors(args: tuple[Value, ...]) -> tuple[tuple[Tensor, ...], tuple[Value, ...]]:
    """Tensors come first: the leading arguments that are tensors, or lists of tensors."""
    tensors: list[Tensor] = []
    for i, arg in enumerate(args):
        if isinstance(arg, Tensor):
            tensors.append(arg)
        elif isinstance(arg, tuple) and arg and all(isinstance(item, Tensor) for item in arg):
            tensors += arg
        else:
            return tuple(tensors), args[i:]
    return tuple(tensors), ()


def _size(tensor: Tensor, name: str, node: tree.Attribute) -> int:
    type_ = tensor.type
    sizes = {3: ("c", "h", "w"), 2: ("n", "d"), 1: ("c",)}[type_.rank]
    if name in sizes:
        return type_.shape[sizes.index(name)]
    if name == "d" and type_.rank == 1:
        return type_.shape[0]
    known = ", ".join(f"`.{size}`" for size in sizes)
    raise fail("E0202", f"the tensor {type_} has no `.{name}`", node.span, help=f"it has {known}")


def has_each(node: tree.Node) -> bool:
    return any(isinstance(part, tree.Prefix) and part.op == "each" for part in node.walk())


def _has_flow(node: tree.Expr) -> bool:
    return any(isinstance(part, tree.FlowValue) for part in node.walk())
