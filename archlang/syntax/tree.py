"""The structured IR: the tree that the parser builds, the printer prints and the search mutates.

Every node is frozen and has its span; spans do not count in comparisons, so `parse(print(p)) == p` means what it says.
The text of numbers and strings is kept, so printing changes no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import get_annotations
from typing import Any, ClassVar, TypeVar, dataclass_transform

from archlang.source import Source, Span


@dataclass_transform(frozen_default=True)
def _node(cls: type[Made]) -> type[Made]:
    """Makes a node class from its annotations, as `dataclass(frozen=True)` would.

    There are 45 node classes, and `dataclass` takes a millisecond for each, at every start of the program.
    """
    kinds = {name: kind for name, kind in get_annotations(cls).items() if name not in _NO_FIELDS}
    names = ("span", *kinds)
    lines = "".join(f"\n    put(self, {name!r}, {name})" for name in names)
    made: dict[str, Any] = {}
    exec(f"def __init__(self, {', '.join(names)}):{lines}", {"put": object.__setattr__}, made)
    cls.__init__ = made["__init__"]  # type: ignore[method-assign]
    cls.field_names = names
    cls.child_names = tuple(name for name, kind in kinds.items() if kind not in ("str", "bool"))
    return cls


_NO_FIELDS = ("span", "field_names", "child_names")


@_node
class Node:
    """Base of all nodes."""

    span: Span
    field_names: ClassVar[tuple[str, ...]]
    child_names: ClassVar[tuple[str, ...]]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.field_names[1:])

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.field_names[1:])))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.field_names[1:])})"

    def children(self) -> Iterator[Node]:
        """The nodes directly below, in the order of the text."""
        for name in self.child_names:
            value = getattr(self, name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                for item in value:
                    if isinstance(item, Node):
                        yield item

    def walk(self) -> Iterator[Node]:
        """This node and all below, in the order of the text."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            if node.child_names:
                stack.extend(reversed(list(node.children())))


Made = TypeVar("Made", bound=Node)


def replace(node: Made, **changes: Any) -> Made:
    """A copy with some fields changed."""
    return type(node)(*(changes.get(name, getattr(node, name)) for name in node.field_names))


# ---- expressions -----------------------------------------------------------------------------------------------------


@_node
class Expr(Node):
    """An expression."""


@_node
class Name(Expr):
    id: str


@_node
class Number(Expr):
    """A number with its unit, as written: `0.25`, `80ms`, `6M`."""

    text: str


@_node
class Dims(Expr):
    """`3x224x224`, the tuple (3, 224, 224)."""

    text: str


@_node
class String(Expr):
    """A string; `text` has the quotes."""

    text: str


@_node
class FlowValue(Expr):
    """`_`, the current value of the flow."""


@_node
class Paren(Expr):
    inner: Expr


@_node
class Tuple(Expr):
    items: tuple[Expr, ...]


@_node
class List(Expr):
    items: tuple[Expr, ...]


@_node
class Comprehension(Expr):
    """`[item for names in iterable]`."""

    item: Expr
    names: tuple[Name, ...]
    iterable: Expr


@_node
class Choice(Expr):
    """`{a, b, c}`: a decision between alternatives."""

    items: tuple[Expr, ...]


@_node
class Arg(Node):
    """An argument of a call; `name` is None for a positional one."""

    name: Name | None
    value: Expr


@_node
class Call(Expr):
    function: Expr
    args: tuple[Arg, ...]


@_node
class Index(Expr):
    value: Expr
    index: Expr


@_node
class Attribute(Expr):
    value: Expr
    name: Name


@_node
class Prefix(Expr):
    """`-x`, `+x`, `not x`, `each {...}`."""

    op: str
    value: Expr


@_node
class Infix(Expr):
    """`left op right`; `op` is one of or, and, comparisons, +, -, *, /, //, %, **."""

    op: str
    left: Expr
    right: Expr


@_node
class Range(Expr):
    """`first..last step step`, both ends included; `step` may be None."""

    first: Expr
    last: Expr
    step: Expr | None


@_node
class Ternary(Expr):
    """`yes if condition else no`."""

    yes: Expr
    condition: Expr
    no: Expr


@_node
class Pipe(Expr):
    """`left -> right`: the flow passes from left to right."""

    left: Expr
    right: Expr


@_node
class Blank(Expr):
    """`-` in a table: not given."""


# ---- statements ------------------------------------------------------------------------------------------------------


@_node
class Stmt(Node):
    """A statement."""


@_node
class Suite(Node):
    """The body of a compound; `inline` where it stands on the header's own line."""

    body: tuple[Stmt, ...]
    inline: bool


@_node
class Flow(Stmt):
    """An expression that acts on the current value, `... as name`."""

    value: Expr
    name: Name | None


@_node
class Assign(Stmt):
    targets: tuple[Expr, ...]
    values: tuple[Expr, ...]


@_node
class Default(Stmt):
    """`default conv(norm=bn)`."""

    call: Expr


@_node
class Input(Stmt):
    name: Name | None
    shape: Expr


@_node
class OutItem(Node):
    value: Expr
    name: Name | None


@_node
class Output(Stmt):
    items: tuple[OutItem, ...]


@_node
class Expect(Stmt):
    condition: Expr


@_node
class Param(Node):
    """A parameter of a block, net or function."""

    name: Name
    default: Expr | None
    once: bool


@_node
class FnDef(Stmt):
    """`fn name(params) = body`, at the top or inside a block."""

    name: Name
    params: tuple[Param, ...]
    body: Expr


@_node
class Pass(Stmt):
    pass


@_node
class Group(Stmt):
    """`head:` with a body: add, concat, mul, mean, residual(...), branch; `-> steps` behind it act on the result."""

    head: Expr
    suite: Suite


@_node
class For(Stmt):
    names: tuple[Name, ...]
    iterable: Expr
    suite: Suite


@_node
class Case(Node):
    """One `if`, `elif` or `else` (condition None) with its body."""

    condition: Expr | None
    suite: Suite


@_node
class If(Stmt):
    cases: tuple[Case, ...]


@_node
class Stage(Stmt):
    name: Name
    suite: Suite


@_node
class Aux(Stmt):
    name: Name
    suite: Suite


@_node
class Column(Node):
    """A table's column: a parameter's name, and the function that its cells go through."""

    name: Name
    function: Expr | None


@_node
class Row(Node):
    cells: tuple[Expr, ...]


@_node
class TableBody(Node):
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@_node
class Table(Stmt):
    """`table unit as name:`; `unit` may be a column `op` instead."""

    unit: Expr | None
    name: Name | None
    body: TableBody


# ---- items -----------------------------------------------------------------------------------------------------------


@_node
class Import(Node):
    """`from std.mobile import mbconv` or `from "./file.arch" import fire`; `path` as written."""

    path: str
    names: tuple[Name, ...]


@_node
class ChoiceDef(Node):
    """`choice NAME(params) = {...}`: every mention is a decision of its own."""

    name: Name
    params: tuple[Param, ...]
    value: Expr


@_node
class ConstDef(Node):
    name: Name
    value: Expr


@_node
class BlockDef(Node):
    """`block name(params):`, or `cell name(inputs; params):`. A block's one input is called x."""

    kind: str
    name: Name
    inputs: tuple[Param, ...]
    params: tuple[Param, ...]
    suite: Suite


@_node
class NetDef(Node):
    name: Name
    params: tuple[Param, ...] | None
    suite: Suite


@_node
class NetAlias(Node):
    """`net Tiny = EfficientNet(width=0.5) with conv(act=relu6)`."""

    name: Name
    value: Expr
    overrides: tuple[Arg, ...]


@_node
class Variants(Node):
    """`variants Net:` and a table of arguments, one named variant a row."""

    net: Name
    body: TableBody


@_node
class SearchLine(Node):
    key: Name
    value: Expr


@_node
class SearchDef(Node):
    name: Name
    over: Expr
    lines: tuple[SearchLine, ...]


@_node
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
