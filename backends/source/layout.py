"""Python expressions as text, laid out as Black and Ruff lay them out, so that a formatter finds nothing to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH = 88
"""Black's line length."""

INDENT = 4


@dataclass(frozen=True)
class Call:
    """`function(argument, ...)`. With an empty function and `[]` or `{}` for brackets: a list or a dict."""

    function: str
    arguments: tuple[Expression, ...] = ()
    brackets: str = "()"


@dataclass(frozen=True)
class Keyword:
    """`name=value` among a call's arguments; with `: ` between them an entry of a dict."""

    name: str
    value: Expression
    between: str = "="


@dataclass(frozen=True)
class Joined:
    """Expressions with text between them: `x + self.downsample(x)`. One line always."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Chain:
    """`a + b + c`, or `(a + b + c) / divisor`."""

    operator: str
    operands: tuple[Expression, ...]
    divisor: str = ""


Expression = str | Call | Keyword | Joined | Chain


def call(function: str, *arguments: Expression) -> Call:
    return Call(function, arguments)


def joined(*parts: Expression) -> Joined:
    return Joined(parts)


def chained(operator: str, operands: Sequence[Expression]) -> Expression:
    """`a + b + c`. Formatters break a single operator inside the brackets of what stands behind it."""
    if len(operands) == 2:
        return Joined((operands[0], f" {operator} ", operands[1]))
    return Chain(operator, tuple(operands)) if len(operands) > 2 else operands[0]


def repeated(item: Expression, variable: str, values: str) -> Call:
    """`*(item for variable in values)`."""
    return call("*", joined(item, f" for {variable} in {values}"))


def flat(expression: Expression) -> str:
    """The expression on one line."""
    match expression:
        case Call(function, arguments, brackets):
            return f"{function}{brackets[0]}{', '.join(map(flat, arguments))}{brackets[1]}"
        case Keyword(name, value, between):
            return f"{name}{between}{flat(value)}"
        case Joined(parts):
            return "".join(map(flat, parts))
        case Chain(operator, operands, divisor):
            terms = f" {operator} ".join(map(flat, operands))
            return f"({terms}) / {divisor}" if divisor else terms
    return expression


def fits(text: str, indent: int) -> bool:
    return indent + len(text) <= WIDTH


def laid_out(before: str, expression: Expression, after: str = "", indent: int = 0) -> list[str]:
    """The lines of `before expression after`, broken inside its brackets where one line is too long.

    Black's order: all arguments on one line of their own; else one a line, with a comma after the last. A list, a
    tuple or a dict knows only the second.
    """
    whole = before + flat(expression) + after
    if fits(whole, indent) or isinstance(expression, str):
        return [" " * indent + whole]
    if isinstance(expression, Keyword):
        return laid_out(f"{before}{expression.name}{expression.between}", expression.value, after, indent)
    if isinstance(expression, Joined):
        return list(_joined(before, expression, after, indent))
    if isinstance(expression, Chain):
        return list(_chain(before, expression, after, indent))
    return list(_broken(before, expression, after, indent))


def _joined(before: str, expression: Joined, after: str, indent: int) -> Iterator[str]:
    """Broken inside its last brackets: those of a subscript where what stands before it fits, else a call's."""
    parts, last = expression.parts[:-1], expression.parts[-1]
    if isinstance(last, str) and last.startswith("[") and parts:
        head = before + "".join(map(flat, parts)) + "["
        if fits(head, indent):
            yield from (" " * indent + head, " " * (indent + INDENT) + last[1:-1], " " * indent + "]" + after)
            return
        after = last + after
        parts, last = parts[:-1], parts[-1]
    head = before + "".join(map(flat, parts))
    if isinstance(last, str):
        yield " " * indent + head + last + after
    else:
        yield from laid_out(head, last, after, indent)


def _chain(before: str, expression: Chain, after: str, indent: int) -> Iterator[str]:
    """In brackets, an operand a line; a whole argument of a call needs none."""
    if not before and not expression.divisor:
        yield from _terms(expression, after, indent)
        return
    yield f"{' ' * indent}{before}("
    together = flat(Chain(expression.operator, expression.operands))
    if fits(together, indent + INDENT):
        yield " " * (indent + INDENT) + together
    else:
        yield from _terms(expression, "", indent + INDENT)
    division = f"/ {expression.divisor}" if expression.divisor else ""
    if division and not before:
        yield from (f"{' ' * indent})", f"{' ' * indent}{division}{after}")
    else:
        yield f"{' ' * indent}{f') {division}'.rstrip()}{after}"


def _terms(expression: Chain, after: str, indent: int) -> Iterator[str]:
    first, *others = expression.operands
    yield from laid_out("", first, "", indent)
    for number, operand in enumerate(others, 1):
        yield from laid_out(f"{expression.operator} ", operand, after if number == len(others) else "", indent)


def _broken(before: str, expression: Call, after: str, indent: int) -> Iterator[str]:
    opening, closing = expression.brackets[0], expression.brackets[1]
    arguments = expression.arguments
    yield f"{' ' * indent}{before}{expression.function}{opening}"
    body = ", ".join(map(flat, arguments))
    if fits(body, indent + INDENT) and (expression.function or len(arguments) == 1):
        yield " " * (indent + INDENT) + body
    else:
        comma = "," if len(arguments) > 1 else ""
        for argument in arguments:
            yield from laid_out("", argument, comma, indent + INDENT)
    yield f"{' ' * indent}{closing}{after}"


def definition(name: str, parameters: Sequence[str], returns: str, indent: int) -> list[str]:
    """The lines of `def name(parameters) -> returns:`."""
    return laid_out("def ", Call(name, tuple(parameters)), f" -> {returns}:", indent)
