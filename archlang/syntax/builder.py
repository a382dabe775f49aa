"""Makes the tree's nodes as the rules of the grammar are reduced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from archlang.errors import fail
from archlang.source import Source, Span
from archlang.syntax import tree
from archlang.syntax.lalr import Token

BINDING = {
    "or": 1,
    "and": 2,
    **dict.fromkeys(("==", "!=", "<=", ">=", "<", ">", "~"), 4),
    "..": 5,
    "+": 6,
    "-": 6,
    **dict.fromkeys(("*", "/", "//", "%"), 7),
    "**": 9,
}
"""How tightly the infix operators bind. `not` binds at 3, a sign and `each` at 8; `**` is right-associative."""

PREFIX_BINDING = {"not": 3, "-": 8, "+": 8, "each": 8}


class TreeBuilder:
    """One method a rule of the grammar, called with what its symbols came to."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def _place(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def _span(self, first: Any, last: Any) -> Span:
        return Span(self.source, _start(first), _end(last))

    # expressions

    def name(self, c: list[Any]) -> tree.Name:
        return self._name(c[0])

    def _name(self, token: Token) -> tree.Name:
        return tree.Name(Span(self.source, token.start, token.end), token.text)

    def number(self, c: list[Any]) -> tree.Number:
        return tree.Number(self._place(c[0]), c[0].text)

    def dims(self, c: list[Any]) -> tree.Dims:
        return tree.Dims(self._place(c[0]), c[0].text)

    def string(self, c: list[Any]) -> tree.String:
        return tree.String(self._place(c[0]), c[0].text)

    def flow_value(self, c: list[Any]) -> tree.FlowValue:
        return tree.FlowValue(self._place(c[0]))

    def paren(self, c: list[Any]) -> tree.Paren:
        return tree.Paren(self._span(c[0], c[2]), c[1])

    def tuple_(self, c: list[Any]) -> tree.Tuple:
        rest = c[2] if len(c) == 4 else []
        return tree.Tuple(self._span(c[0], c[-1]), (c[1], *rest))

    def list_(self, c: list[Any]) -> tree.List:
        return tree.List(self._span(c[0], c[-1]), tuple(c[1]) if len(c) == 3 else ())

    def choice(self, c: list[Any]) -> tree.Choice:
        return tree.Choice(self._span(c[0], c[-1]), tuple(c[1]))

    def comprehension(self, c: list[Any]) -> tree.Comprehension:
        return tree.Comprehension(self._span(c[0], c[-1]), c[1], c[3], c[4])

    def items(self, c: list[Any]) -> list[Any]:
        return c

    def call(self, c: list[Any]) -> tree.Call:
        given = c[2] if len(c) == 4 else []
        args = tuple(a if isinstance(a, tree.Arg) else tree.Arg(a.span, None, a) for a in given)
        return tree.Call(self._span(c[0], c[-1]), c[0], args)

    def args(self, c: list[Any]) -> list[Any]:
        return c

    def keyword(self, c: list[Any]) -> tree.Arg:
        return tree.Arg(self._span(c[0], c[1]), self._name(c[0]), c[1])

    def index(self, c: list[Any]) -> tree.Index:
        return tree.Index(self._span(c[0], c[3]), c[0], c[2])

    def attribute(self, c: list[Any]) -> tree.Attribute:
        return tree.Attribute(self._span(c[0], c[1]), c[0], self._name(c[1]))

    def pipe(self, c: list[Any]) -> tree.Pipe:
        return tree.Pipe(self._span(c[0], c[1]), c[0], c[1])

    def ternary(self, c: list[Any]) -> tree.Ternary:
        return tree.Ternary(self._span(c[0], c[4]), c[0], c[2], c[4])

    def signed(self, c: list[Any]) -> list[Any]:
        return c

    def binary(self, c: list[Any]) -> tree.Expr:
        """Prefixes stay flat until the whole row of operands is known: `not a == b` is `not (a == b)`."""
        row: list[Any] = []
        for part in c:
            row += part if isinstance(part, list) else [part]
        return self._climb(row)

    def _climb(self, row: list[Any]) -> tree.Expr:
        expression, rest = self._operation(row, 0, 0)
        if rest < len(row):
            help_ = "write `first..last step 2`"
            raise fail("E0101", "`step` belongs behind a range", self._span(row[rest], row[rest]), help=help_)
        return expression

    def _operation(self, row: Sequence[Any], at: int, floor: int) -> tuple[tree.Expr, int]:
        """Precedence climbing: the expression that begins at `at`, of operators that bind at `floor` or tighter."""
        first = row[at]
        if isinstance(first, Token):
            value, at = self._operation(row, at + 1, PREFIX_BINDING[first.text])
            left: tree.Expr = tree.Prefix(self._span(first, value), first.text, value)
        else:
            left, at = first, at + 1
        compared = False
        while at < len(row):
            op = "*" if row[at].text == "×" else row[at].text
            binding = BINDING.get(op, 0)
            if op == "step" or binding < floor:
                break
            if binding == BINDING["=="]:
                if compared:
                    raise fail(
                        "E0109",
                        "comparisons cannot be chained",
                        self._span(row[at], row[at]),
                        help="join two comparisons with `and`",
                    )
                compared = True
            right, at = self._operation(row, at + 1, binding if op == "**" else binding + 1)
            if op == "..":
                left, at = self._range(row, at, left, right)
            else:
                left = tree.Infix(self._span(left, right), op, left, right)
        return left, at

    def _range(self, row: Sequence[Any], at: int, first: tree.Expr, last: tree.Expr) -> tuple[tree.Expr, int]:
        step = None
        if at < len(row) and row[at].text == "step":
            step, at = self._operation(row, at + 1, BINDING[".."] + 1)
        return tree.Range(self._span(first, step or last), first, last, step), at

    # statements

    def suite(self, c: list[Any]) -> tree.Suite:
        return tree.Suite(self._span(c[0], c[-1]), tuple(c), False)

    def inline_suite(self, c: list[Any]) -> tree.Suite:
        return tree.Suite(self._span(c[0], c[-1]), tuple(c), True)

    def stmt_line(self, c: list[Any]) -> Any:
        return c[0]

    def flow(self, c: list[Any]) -> tree.Flow:
        return tree.Flow(self._span(c[0], c[-1]), c[0], self._defined(c[1]) if len(c) == 2 else None)

    def expr_list(self, c: list[Any]) -> list[Any]:
        return c

    def assign(self, c: list[Any]) -> tree.Assign:
        for target in c[0]:
            if isinstance(target, tree.Name):
                _refuse_reserved(target)
        return tree.Assign(self._span(c[0][0], c[1][-1]), tuple(c[0]), tuple(c[1]))

    def default(self, c: list[Any]) -> tree.Default:
        return tree.Default(self._span(c[0], c[1]), c[1])

    def input(self, c: list[Any]) -> tree.Input:
        shape = c[-1]
        if isinstance(shape, Token):
            shape = tree.Dims(self._place(shape), shape.text)
        return tree.Input(self._span(c[0], shape), self._name(c[1]) if len(c) == 3 else None, shape)

    def out_item(self, c: list[Any]) -> tree.OutItem:
        return tree.OutItem(self._span(c[0], c[-1]), c[0], self._name(c[1]) if len(c) == 2 else None)

    def output(self, c: list[Any]) -> tree.Output:
        return tree.Output(self._span(c[0], c[-1]), tuple(c[1:]))

    def expect(self, c: list[Any]) -> tree.Expect:
        return tree.Expect(self._span(c[0], c[1]), c[1])

    def pass_(self, c: list[Any]) -> tree.Pass:
        return tree.Pass(self._span(c[0], c[0]))

    def group(self, c: list[Any]) -> tree.Group:
        return tree.Group(self._span(c[0], c[1]), c[0], c[1])

    def names(self, c: list[Any]) -> tuple[tree.Name, ...]:
        return tuple(self._name(token) for token in c)

    def for_(self, c: list[Any]) -> tree.For:
        return tree.For(self._span(c[0], c[3]), c[1], c[2], c[3])

    def if_(self, c: list[Any]) -> tree.If:
        first = tree.Case(self._span(c[0], c[2]), c[1], c[2])
        return tree.If(self._span(c[0], c[-1]), (first, *c[3:]))

    def elif_(self, c: list[Any]) -> tree.Case:
        return tree.Case(self._span(c[0], c[2]), c[1], c[2])

    def else_(self, c: list[Any]) -> tree.Case:
        return tree.Case(self._span(c[0], c[1]), None, c[1])

    def stage(self, c: list[Any]) -> tree.Stage:
        return tree.Stage(self._span(c[0], c[2]), self._name(c[1]), c[2])

    def aux(self, c: list[Any]) -> tree.Aux:
        return tree.Aux(self._span(c[0], c[2]), self._name(c[1]), c[2])

    def table(self, c: list[Any]) -> tree.Table:
        unit = c[1] if isinstance(c[1], tree.Expr) else None
        name = next((self._name(b) for a, b in pairwise(c) if _is(a, "AS")), None)
        return tree.Table(self._span(c[0], c[-1]), unit, name, c[-1])

    def table_body(self, c: list[Any]) -> tree.TableBody:
        return tree.TableBody(self._span(c[0][0], c[-1]), tuple(c[0]), tuple(c[1:]))

    def header(self, c: list[Any]) -> list[Any]:
        return c[1:]

    def col(self, c: list[Any]) -> tree.Column:
        return tree.Column(self._span(c[0], c[-1]), self._name(c[0]), c[1] if len(c) == 2 else None)

    def row(self, c: list[Any]) -> tree.Row:
        return tree.Row(self._span(c[0], c[-1]), tuple(c[1:]))

    def blank(self, c: list[Any]) -> tree.Blank:
        return tree.Blank(self._span(c[0], c[0]))

    # items

    def param(self, c: list[Any]) -> tree.Param:
        default = next((part for part in c if isinstance(part, tree.Expr)), None)
        return tree.Param(self._span(c[0], c[-1]), self._defined(c[0]), default, _is(c[-1], "ONCE"))

    def params(self, c: list[Any]) -> list[Any]:
        return c

    def plain_signature(self, c: list[Any]) -> Any:
        return (), tuple(c[0])

    def cell_signature(self, c: list[Any]) -> Any:
        return tuple(c[0]), tuple(c[1]) if len(c) == 2 else ()

    def dotted(self, c: list[Any]) -> Any:
        return Token("DOTTED", ".".join(token.text for token in c), c[0].start, c[-1].end)

    def import_(self, c: list[Any]) -> tree.Import:
        return tree.Import(self._span(c[0], c[-1]), c[1].text, tuple(self._name(token) for token in c[2:]))

    def fn_def(self, c: list[Any]) -> tree.FnDef:
        params = next((part for part in c if isinstance(part, list)), [])
        return tree.FnDef(self._span(c[0], c[-1]), self._defined(c[1]), tuple(params), c[-1])

    fn_local = fn_def

    def choice_def(self, c: list[Any]) -> tree.ChoiceDef:
        params = next((part for part in c if isinstance(part, list)), [])
        return tree.ChoiceDef(self._span(c[0], c[-1]), self._defined(c[1]), tuple(params), c[-1])

    def const_def(self, c: list[Any]) -> tree.ConstDef:
        return tree.ConstDef(self._span(c[0], c[1]), self._defined(c[0]), c[1])

    def block_def(self, c: list[Any]) -> tree.BlockDef:
        inputs, params = ((), ()) if isinstance(c[3], Token) else c[3]
        return tree.BlockDef(self._span(c[0], c[-1]), c[0].text, self._defined(c[1]), inputs, params, c[-1])

    def net_def(self, c: list[Any]) -> tree.NetDef:
        params = None
        if _is(c[2], "LPAR"):
            params = tuple(c[3]) if isinstance(c[3], list) else ()
        return tree.NetDef(self._span(c[0], c[-1]), self._defined(c[1]), params, c[-1])

    def net_alias(self, c: list[Any]) -> tree.NetAlias:
        given = c[4] if len(c) == 5 else []
        overrides = tuple(a if isinstance(a, tree.Arg) else tree.Arg(a.span, None, a) for a in given)
        return tree.NetAlias(self._span(c[0], given[-1] if given else c[2]), self._defined(c[1]), c[2], overrides)

    def variants(self, c: list[Any]) -> tree.Variants:
        return tree.Variants(self._span(c[0], c[2]), self._name(c[1]), c[2])

    def search_line(self, c: list[Any]) -> tree.SearchLine:
        return tree.SearchLine(self._span(c[0], c[1]), self._name(c[0]), c[1])

    def search(self, c: list[Any]) -> tree.SearchDef:
        return tree.SearchDef(self._span(c[0], c[-1]), self._defined(c[1]), c[2], tuple(c[3:]))

    def expect_item(self, c: list[Any]) -> tree.ExpectItem:
        return tree.ExpectItem(self._span(c[0], c[1]), c[1])

    def start(self, c: list[Any]) -> list[Any]:
        return c

    def _defined(self, token: Token) -> tree.Name:
        name = self._name(token)
        _refuse_reserved(name)
        return name


RESERVED = frozenset(("type", "where", "let", "return", "import", "quant", "target"))


def _refuse_reserved(name: tree.Name) -> None:
    if name.id in RESERVED:
        raise fail("E0108", f"`{name.id}` is reserved for later versions of the language", name.span)


def _is(value: Any, terminal: str) -> bool:
    return isinstance(value, Token) and value.type == terminal


def _start(value: Any) -> int:
    return value.start if isinstance(value, Token) else value.span.start


def _end(value: Any) -> int:
    return value.end if isinstance(value, Token) else value.span.end
