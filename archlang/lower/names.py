"""Checks names and arguments of a whole file without elaborating it, so that every mistake is told in one run.

Elaboration stops at the first error of a net and never enters a block that no net uses; this walks all definitions. It
knows which names a definition binds somewhere, not in which order; what it passes over, elaboration finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from archlang.collector import paused
from archlang.errors import ArchError, Diagnostic, nearest
from archlang.lower.builtins import GROUPS, NAMES
from archlang.lower.expressions import check_names, parameter_names
from archlang.lower.module import Imported, Module
from archlang.lower.values import Applied, Block, Builtin, ChoiceValue, NetValue, Value
from archlang.syntax import tree


@paused()
def check_module(module: Module) -> list[Diagnostic]:
    """Unknown names, and unknown arguments of calls whose callee is known, in the order of the text."""
    walk = _Walk(module)
    for item in module.program.items:
        walk.item(item)
    return walk.errors


def _bound(node: tree.Node) -> set[str]:
    """The names that a definition binds for itself: parameters, assignments, `as`, loops, local functions."""
    names: set[str] = set()
    for part in node.walk():
        binds = _BINDS.get(type(part))
        if binds is not None:
            names.update(name.id for name in binds(part) if isinstance(name, tree.Name))
    return names


_BINDS: dict[type, Callable[[Any], Iterable[tree.Expr | None]]] = {
    tree.Param: lambda node: (node.name,),
    tree.FnDef: lambda node: (node.name,),
    tree.ChoiceDef: lambda node: (node.name,),
    tree.For: lambda node: node.names,
    tree.Comprehension: lambda node: node.names,
    tree.Assign: lambda node: node.targets,
    tree.Flow: lambda node: (node.name,),
    tree.Input: lambda node: (node.name,),
}


class _Walk:
    """One definition at a time; `local` are the names that it binds."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.local: set[str] = set()
        self.errors: list[Diagnostic] = []

    def item(self, item: tree.Item) -> None:
        if isinstance(item, tree.BlockDef | tree.NetDef | tree.FnDef | tree.ChoiceDef | tree.ConstDef | tree.NetAlias):
            self.local = _bound(item)
        if isinstance(item, tree.BlockDef):
            self.local |= {param.name.id for param in item.inputs} or {"x"}
        if isinstance(item, tree.BlockDef | tree.NetDef):
            self.nodes(item.params or ())
            self.node(item.suite)
        elif isinstance(item, tree.FnDef):
            self.nodes(item.params)
            self.node(item.body)
        elif isinstance(item, tree.ChoiceDef | tree.ConstDef):
            self.node(item.value)
        elif isinstance(item, tree.NetAlias):
            self.node(item.value)
            self.nodes(item.overrides)

    def nodes(self, nodes: Iterable[tree.Node]) -> None:
        for node in nodes:
            _NODE.get(type(node), _Walk.others)(self, node)

    def node(self, node: tree.Node) -> None:
        _NODE.get(type(node), _Walk.others)(self, node)

    def others(self, node: tree.Node) -> None:
        self.nodes(_uses(node))

    def nothing(self, node: tree.Node) -> None:
        """No names: a number, or an expectation, which knows the metrics too."""

    def param(self, node: tree.Param) -> None:
        if node.default is not None:
            self.node(node.default)

    def group(self, node: tree.Group) -> None:
        self.head(node.head)
        self.node(node.suite)

    def head(self, head: tree.Expr) -> None:
        """A group's head: its name is no value, its options and the steps behind it are."""
        if isinstance(head, tree.Pipe):
            self.head(head.left)
            self.node(head.right)
        elif isinstance(head, tree.Call):
            self.nodes(head.args)
        elif not isinstance(head, tree.Name) or head.id not in GROUPS:
            help_ = "groups are " + ", ".join(f"`{group}:`" for group in sorted(GROUPS))
            self.errors.append(Diagnostic("E0215", "only a group opens a block of lines", head.span, help=help_))

    def table(self, node: tree.Table) -> None:
        """Where the rows name their blocks, each column is one that some block takes."""
        self.columns(node)
        self.nodes(_uses(node))

    def columns(self, node: tree.Table) -> None:
        names = [column.name.id for column in node.body.columns]
        if node.unit is not None or "op" not in names:
            return
        cells = [row.cells[names.index("op")] for row in node.body.rows if len(row.cells) == len(names)]
        callees = [self.value(name) for name in self.alternatives(cells)]
        if not callees or not all(isinstance(callee, Builtin | Block) for callee in callees):
            return
        takes = {name for callee in callees for name in parameter_names(callee)}
        for i, column in enumerate(node.body.columns):
            given = any(not isinstance(row.cells[i], tree.Blank) for row in node.body.rows if len(row.cells) > i)
            if given and column.name.id not in takes | {"op", "n"}:
                message = f"no block of this table has an argument `{column.name.id}`"
                help_ = nearest(column.name.id, takes)
                self.errors.append(Diagnostic("E0202", message, column.span, help=help_))

    def alternatives(self, cells: Iterable[tree.Expr]) -> Iterator[str]:
        """The names of blocks that the cells of column `op` may come to, each once."""
        seen: set[str] = set()
        left: list[tree.Node] = list(cells)
        while left:
            for part in left.pop().walk():
                if not isinstance(part, tree.Name) or part.id in seen:
                    continue
                seen.add(part.id)
                value = self.value(part.id)
                if isinstance(value, ChoiceValue):
                    left.append(value.decl.value)
                else:
                    yield part.id

    def name(self, node: tree.Name) -> None:
        name, module = node.id, self.module
        if name in NAMES or name in self.local or name in module.names:
            return
        if name not in module.constants and name not in module.aliases:
            help_ = nearest(name, [*module.known(), *NAMES, *self.local])
            self.errors.append(Diagnostic("E0201", f"nothing is called `{name}`", node.span, help=help_))

    def value(self, name: str) -> Value:
        """What a name means at the top of the file or in the language; None where only elaboration tells."""
        value = self.module.names.get(name)
        while isinstance(value, Imported):
            value = value.module.names.get(value.name, True)
        return NAMES.get(name) if value is None else value

    def call(self, node: tree.Call) -> None:
        self.node(node.function)
        self.nodes(node.args)
        if not isinstance(node.function, tree.Name) or node.function.id in self.local:
            return
        callee = self.value(node.function.id)
        if isinstance(callee, Builtin | Block | NetValue):
            for arg in node.args:
                if arg.name is not None:
                    self.argument(callee, arg.name.id, arg, node)

    def argument(self, callee: Builtin | Block | NetValue, name: str, arg: tree.Arg, node: tree.Call) -> None:
        if name in parameter_names(callee):
            return
        try:
            check_names(Applied(callee, (), ((name, None),), node.span), {name: arg.span})
        except ArchError as error:
            self.errors += error.diagnostics


_NODE: dict[type[tree.Node], Callable[..., None]] = {
    tree.Name: _Walk.name,
    tree.Call: _Walk.call,
    tree.Attribute: lambda walk, node: walk.node(node.value),
    tree.Param: _Walk.param,
    tree.Arg: lambda walk, node: walk.node(node.value),
    tree.FnDef: lambda walk, node: walk.node(node.body),
    tree.Group: _Walk.group,
    tree.Table: _Walk.table,
    tree.Flow: lambda walk, node: walk.node(node.value),
    tree.Pipe: lambda walk, node: walk.nodes((node.left, node.right)),
    tree.Infix: lambda walk, node: walk.nodes((node.left, node.right)),
    tree.Row: lambda walk, node: walk.nodes(node.cells),
    tree.Suite: lambda walk, node: walk.nodes(node.body),
    **dict.fromkeys((tree.Number, tree.Dims, tree.String, tree.FlowValue, tree.Blank, tree.Expect), _Walk.nothing),
}
"""How the nodes are looked at; others by their children."""


def _uses(node: tree.Node) -> tuple[tree.Node, ...]:
    """The children without the names that are defined there."""
    defined: list[tree.Node] = []
    if isinstance(node, tree.For | tree.Comprehension):
        defined = list(node.names)
    elif isinstance(node, tree.Assign):
        defined = [target for target in node.targets if isinstance(target, tree.Name)]
    elif isinstance(name := getattr(node, "name", None), tree.Name):
        defined = [name]
    return tuple(child for child in node.children() if not any(child is other for other in defined))
