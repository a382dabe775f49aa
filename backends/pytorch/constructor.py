"""A class's text: its constructor beside its forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from archlang.backends.pytorch.forward import MARGIN, forward_lines
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import (
    INDENT,
    Call,
    Expression,
    Keyword,
    call,
    definition,
    flat,
    laid_out,
    repeated,
)
from archlang.backends.source.nesting import Results
from archlang.backends.source.plan import ClassPlan, Option, Slot


@dataclass(frozen=True)
class ClassText:
    """What the class template shows. All lines but those of `doc` are indented already."""

    name: str
    doc: tuple[str, ...]
    constructor: tuple[str, ...]
    forward: tuple[str, ...]


def class_text(
    plan: ClassPlan, inputs: Sequence[str], results: Results, doc: Sequence[str], tail: Sequence[str] = ()
) -> ClassText:
    """tail: statements at the constructor's end."""
    constructor = constructor_lines(plan, tail)
    head = definition("forward", ["self", *(f"{name}: Tensor" for name in inputs)], results.annotation, INDENT)
    return ClassText(plan.name, tuple(doc), constructor, (*head, *forward_lines(plan, inputs, results)))


def constructor_lines(plan: ClassPlan, tail: Sequence[str] = ()) -> tuple[str, ...]:
    """The method, empty where there is nothing to make."""
    body = [*_constructor(plan), *(" " * MARGIN + line for line in tail)]
    if not body:
        return ()
    parameters = [parameter.text for parameter in plan.parameters]
    head = definition("__init__", ["self", *parameters], "None", INDENT)
    return (*head, " " * MARGIN + "super().__init__()", *body)


def _constructor(plan: ClassPlan) -> Iterator[str]:
    for name, formula in plan.locals.items():
        yield f"{' ' * MARGIN}{name} = {formula.text()}"
    for name in _stored(plan):
        yield f"{' ' * MARGIN}self.{name} = {name}"
    yield from _attributes(plan)


def _stored(plan: ClassPlan) -> list[str]:
    """The parameters that forward reads."""
    in_forward = (formula for slot, formula in plan.formulas.items() if isinstance(slot[0], int) and formula)
    return list(dict.fromkeys(name for formula in in_forward for name in formula.names))


def _attributes(plan: ClassPlan) -> Iterator[str]:
    owner = {plan.body.items[i].name: option for option in plan.options for i in option.items if _decides(option)}
    begun: set[Option] = set()
    for option, group in groupby(plan.body.attributes, key=lambda attribute: owner.get(attribute.name)):
        if option:
            yield from _condition(option, option in begun)
            begun.add(option)
        for attribute in group:
            expression = construction(plan, attribute.layer, (attribute.name,))
            yield from laid_out(f"self.{attribute.name} = ", expression, "", MARGIN + (INDENT if option else 0))
    for option in plan.options:
        if not _decides(option):
            yield f"{' ' * MARGIN}self.{option.flag} = {option.condition.text()}"


def _decides(option: Option) -> bool:
    """Whether the constructor leaves out the part's modules; without parameters they may be there unused."""
    return option.as_identity or option.flag_is_module


def _condition(option: Option, begun: bool) -> Iterator[str]:
    if begun:
        yield f"{' ' * MARGIN}if {option.test}:"
        return
    stand_in = ": nn.Module = nn.Identity()" if option.as_identity else " = None"
    yield f"{' ' * MARGIN}self.{option.flag}{stand_in}"
    yield f"{' ' * MARGIN}if {option.condition.text()}:"


def construction(plan: ClassPlan, layer: Layer, slot: Slot) -> Call:
    """The constructor call of a layer and of those inside it."""
    arguments: list[Expression] = []
    for position, argument in enumerate(layer.arguments):
        if isinstance(argument, Layer):
            arguments.append(construction(plan, argument, (*slot, position)))
        elif formula := plan.formulas[(*slot, position)]:
            text = formula.text()
            arguments.append(Keyword(argument.keyword, text) if argument.keyword else text)
    if layer.kind == "dict":
        entries = (Keyword(f'"{key}"', value, ": ") for key, value in zip(layer.keys, arguments, strict=True))
        return call(layer.module, Call("", tuple(entries), "{}"))
    if layer.kind == "list":
        return call(layer.module, Call("", tuple(_folded(arguments)), "[]"))
    return Call(layer.module, tuple(_folded(arguments) if layer.kind == "chain" else arguments))


def _folded(arguments: Sequence[Expression]) -> Iterator[Expression]:
    """Members that follow each other alike as one comprehension: three equal ones, or four that grow in equal steps."""
    i = 0
    while i < len(arguments):
        equal = _run(arguments, i, lambda one, other: flat(one) == flat(other))
        growing, step = _growing(arguments, i)
        if equal > 2:
            yield repeated(arguments[i], "_", f"range({equal})")
            i += equal
        elif growing > 3:
            yield _progression(arguments[i], growing, step)
            i += growing
        else:
            yield arguments[i]
            i += 1


def _run(arguments: Sequence[Expression], i: int, alike: Callable[[Expression, Expression], bool]) -> int:
    """How many arguments from i on are each like the one before."""
    end = i + 1
    while end < len(arguments) and alike(arguments[end - 1], arguments[end]):
        end += 1
    return end - i


def _growing(arguments: Sequence[Expression], i: int) -> tuple[int, int]:
    """How many calls from i on differ only in a first number that grows by a fixed step; and the step."""
    if i + 1 == len(arguments):
        return 1, 0
    step = _step(arguments[i], arguments[i + 1])
    return (_run(arguments, i, lambda one, other: _step(one, other) == step), step) if step else (1, 0)


def _step(one: Expression, other: Expression) -> int:
    """The difference of two calls' first arguments, 0 where they differ in anything else or shrink."""
    if not (isinstance(one, Call) and isinstance(other, Call) and one.arguments and other.arguments):
        return 0
    first, second = one.arguments[0], other.arguments[0]
    rest = one.function == other.function and one.arguments[1:] == other.arguments[1:]
    numbers = isinstance(first, str) and isinstance(second, str) and first.isdigit() and second.isdigit()
    return max(0, int(flat(second)) - int(flat(first))) if rest and numbers else 0


def _progression(first: Expression, count: int, step: int) -> Expression:
    assert isinstance(first, Call)
    start = int(flat(first.arguments[0]))
    call_with_c = Call(first.function, ("c", *first.arguments[1:]))
    return repeated(call_with_c, "c", f"range({start}, {start + count * step}, {step})")
