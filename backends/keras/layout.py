"""Layers applied to values as text, laid out as Black and Ruff lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archlang.backends.source.layout import INDENT, Call, Expression, fits, flat, laid_out


@dataclass(frozen=True)
class Applied:
    """`layers.Dense(10, name="fc")(x)`: a layer that is made and called at once. to: a variable, or a list of them."""

    layer: Call
    to: Expression


Term = Expression | Applied


def text(term: Term) -> str:
    """On one line."""
    return f"{flat(term.layer)}({flat(term.to)})" if isinstance(term, Applied) else flat(term)


def lines(before: str, term: Term, indent: int, after: str = "") -> list[str]:
    """The lines of `before term after`, a long one broken inside the brackets of the layer's arguments.

    Where the line would fit but for the value at its end, formatters break around the value, which reads badly; a comma
    after the last argument has them leave one argument a line.
    """
    if not isinstance(term, Applied):
        return laid_out(before, term, after, indent)
    if fits(before + text(term) + after, indent):
        return [" " * indent + before + text(term) + after]
    if isinstance(term.to, Call):
        return laid_out(before, Call(flat(term.layer), (term.to,)), after, indent)
    head = f"{before}{term.layer.function}("
    if not term.layer.arguments:
        return [f"{' ' * indent}{head})(", f"{' ' * (indent + INDENT)}{flat(term.to)}", f"{' ' * indent}){after}"]
    inside = _arguments(term.layer.arguments, indent + INDENT, exploded=fits(f"{before}{flat(term.layer)}(", indent))
    return [" " * indent + head, *inside, f"{' ' * indent})({flat(term.to)}){after}"]


def _arguments(arguments: Sequence[Expression], indent: int, exploded: bool) -> list[str]:
    together = ", ".join(map(flat, arguments))
    if not exploded and fits(together, indent):
        return [" " * indent + together]
    return [line for argument in arguments for line in laid_out("", argument, ",", indent)]
