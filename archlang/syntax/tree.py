"""The structured IR: the tree that the parser builds, the printer prints and the search mutates.

Every node is frozen and has its span; spans do not count in comparisons, so `parse(print(p)) == p` means what it says.
The text of numbers and strings is kept, so printing changes no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from archlang.source import Source, Span


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    span: Span = field(compare=False, repr=False)

    def children(self) -> Iterator[Node]:
        """The nodes directly below, in the order of the text."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple) and not isinstance(value, Span):
                yield from (item for item in value if isinstance(item, Node))

    def walk(self) -> Iterator[Node]:
        """This node and all below, in the order of the text."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(list(node.children())))


# ---- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """An expression."""


@dataclass(frozen=True, slots=True)
class Name(Expr):
    id: str


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A number with its unit, as written: `0.25`, `80ms`, `6M`."""

    text: str


@dataclass(frozen=True, slots=True)
class Dims(Expr):
    """`3x224x224`, the tuple (3, 224, 224)."""

    text: str


@dataclass(frozen=True, slots=True)
class String(Expr):
    """A string; `text` has the quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class FlowValue(Expr):
    """`_`, the current value of the flow."""


@dataclass(frozen=True, slots=True)
class Paren(Expr):
    inner: Expr


@dataclass(frozen=True, slots=True)
class Tuple(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class List(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Expr):
    """`[item for names in iterable]`."""

    item: Expr
    names: tuple[Name, ...]
    iterable: Expr


@dataclass(frozen=True, slots=True)
class Choice(Expr):
    """`{a, b, c}`: a decision between alternatives."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Arg(Node):
    """An argument of a call; `name` is None for a positional one."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Expr
    args: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Index(Expr):
    value: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Attribute(Expr):
    value: Expr
    name: Name


@dataclass(frozen=True, slots=True)
class Prefix(Expr):
    """`-x`, `+x`, `not x`, `each {...}`."""

    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Infix(Expr):
    """`left op right`; `op` is one of or, and, comparisons, +, -, *, /, //, %, **."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Range(Expr):
    """`first..last step step`, both ends included; `step` may be None."""

    first: Expr
    last: Expr
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Ternary(Expr):
    """`yes if condition else no`."""

    yes: Expr
    condition: Expr
    no: Expr


@dataclass(frozen=True, slots=True)
class Pipe(Expr):
    """`left -> right`: the flow passes from left to right."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Blank(Expr):
    """`-` in a table: not given."""


# ---- statements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stmt(Node):
    """A statement."""


@dataclass(frozen=True, slots=True)
class Suite(Node):
    """The body of a compound; `inline` where it stands on the header's own line."""

    body: tuple[Stmt, ...]
    inline: bool


@dataclass(frozen=True, slots=True)
class Flow(Stmt):
    """An expression that acts on the current value, `... as name`."""

    value: Expr
    name: Name | None


@dataclass(frozen=True, slots=True)
class Assign(Stmt):
    targets: tuple[Expr, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Default(Stmt):
    """`default conv(norm=bn)`."""

    call: Expr


@dataclass(frozen=True, slots=True)
class Input(Stmt):
    name: Name | None
    shape: Expr


@dataclass(frozen=True, slots=True)
class OutItem(Node):
    value: Expr
    name: Name | None


@dataclass(frozen=True, slots=True)
class Output(Stmt):
    items: tuple[OutItem, ...]


@dataclass(frozen=True, slots=True)
class Expect(Stmt):
    condition: Expr


@dataclass(frozen=True, slots=True)
class Param(Node):
    """A parameter of a block, net or function."""

    name: Name
    default: Expr | None
    once: bool


@dataclass(frozen=True, slots=True)
class FnDef(Stmt):
    """`fn name(params) = body`, at the top or inside a block."""

    name: Name
    params: tuple[Param, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Pass(Stmt):
    pass


@dataclass(frozen=True, slots=True)
class Group(Stmt):
    """`head:` with a body: add, concat, mul, mean, residual(...), branch; `-> steps` behind it act on the result."""

    head: Expr
    suite: Suite


@dataclass(frozen=True, slots=True)
class For(Stmt):
    names: tuple[Name, ...]
    iterable: Expr
    suite: Suite


@dataclass(frozen=True, slots=True)
class Case(Node):
    """One `if`, `elif` or `else` (condition None) with its body."""

    condition: Expr | None
    suite: Suite


@dataclass(frozen=True, slots=True)
class If(Stmt):
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Stage(Stmt):
    name: Name
    suite: Suite


@dataclass(frozen=True, slots=True)
class Aux(Stmt):
    name: Name
    suite: Suite


@dataclass(frozen=True, slots=True)
class Column(Node):
    """A table's column: a parameter's name, and the function that its cells go through."""

    name: Name
    function: Expr | None


@dataclass(frozen=True, slots=True)
class Row(Node):
    cells: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class TableBody(Node):
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table(Stmt):
    """`table unit as name:`; `unit` may be a column `op` instead."""

    unit: Expr | None
    name: Name | None
    body: TableBody


# ---- items -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`from std.mobile import mbconv` or `from "./file.arch" import fire`; `path` as written."""

    path: str
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class ChoiceDef(Node):
    """`choice NAME(params) = {...}`: every mention is a decision of its own."""

    name: Name
    params: tuple[Param, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class ConstDef(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class BlockDef(Node):
    """`block name(params):`, or `cell name(inputs; params):`. A block's one input is called x."""

    kind: str
    name: Name
    inputs: tuple[Param, ...]
    params: tuple[Param, ...]
    suite: Suite


@dataclass(frozen=True, slots=True)
class NetDef(Node):
    name: Name
    params: tuple[Param, ...] | None
    suite: Suite


@dataclass(frozen=True, slots=True)
class NetAlias(Node):
    """`net Tiny = EfficientNet(width=0.5) with conv(act=relu6)`."""

    name: Name
    value: Expr
    overrides: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Variants(Node):
    """`variants Net:` and a table of arguments, one named variant a row."""

    net: Name
    body: TableBody


@dataclass(frozen=True, slots=True)
class SearchLine(Node):
    key: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class SearchDef(Node):
    name: Name
    over: Expr
    lines: tuple[SearchLine, ...]


@dataclass(frozen=True, slots=True)
class ExpectItem(Node):
    """`expect EfficientNet.b0.params == 5288548`, at the top of a file."""

    condition: Expr


Item = Import | FnDef | ChoiceDef | ConstDef | BlockDef | NetDef | NetAlias | Variants | SearchDef | ExpectItem


@dataclass(frozen=True)
class Comment:
    """A comment; `own_line` where nothing stands before it on its line. `text` begins with `#`."""

    start: int
    text: str
    own_line: bool


@dataclass(frozen=True)
class Program:
    """A whole file: its items in order, and the comments with their places."""

    source: Source = field(compare=False, repr=False)
    items: tuple[Item, ...]
    comments: tuple[Comment, ...] = field(compare=False, repr=False)
