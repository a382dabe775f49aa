"""Checks names and arguments of a whole file without elaborating it, so that every mistake is told in one run.

Elaboration stops at the first error of a net and never enters a block that no net uses; this walks all definitions. It
knows which names a definition binds somewhere, not in which order; what it passes over, elaboration finds.
"""

from __future__ import annotations

from collections.abc import Iterator

from archlang.errors import ArchError, Diagnostic, nearest
from archlang.lower.builtins import GROUPS, NAMES
from archlang.lower.expressions import check_names, parameter_names
from archlang.lower.module import Imported, Module
from archlang.lower.values import Applied, Block, Builtin, ChoiceValue, NetValue, Value
from archlang.syntax import tree


def check_module(module: Module) -> list[Diagnostic]:
    """Unknown names, and unknown arguments of calls whose callee is known, in the order of the text."""
    return [error for item in module.program.items for error in _Walk(module).item(item)]


def _bound(node: tree.Node) -> set[str]:
    """The names that a definition binds for itself: parameters, assignments, `as`, loops, local functions."""
    names: set[str] = set()
    for part in node.walk():
        if isinstance(part, tree.Param | tree.FnDef | tree.ChoiceDef):
            names.add(part.name.id)
        elif isinstance(part, tree.For | tree.Comprehension):
            names.update(name.id for name in part.names)
        elif isinstance(part, tree.Assign):
            names.update(target.id for target in part.targets if isinstance(target, tree.Name))
        elif isinstance(part, tree.Flow | tree.Input) and part.name is not None:
            names.add(part.name.id)
    return names


class _Walk:
    """One definition at a time; `local` are the names that it binds."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.local: set[str] = set()

    def item(self, item: tree.Item) -> Iterator[Diagnostic]:
        self.local = _bound(item)
        if isinstance(item, tree.BlockDef):
            self.local |= {param.name.id for param in item.inputs} or {"x"}
            yield from self.nodes(item.params)
            yield from self.node(item.suite)
        elif isinstance(item, tree.NetDef):
            yield from self.nodes(item.params or ())
            yield from self.node(item.suite)
        elif isinstance(item, tree.FnDef):
            yield from self.nodes(item.params)
            yield from self.node(item.body)
        elif isinstance(item, tree.ChoiceDef | tree.ConstDef):
            yield from self.node(item.value)
        elif isinstance(item, tree.NetAlias):
            yield from self.node(item.value)
            yield from self.nodes(item.overrides)

    def nodes(self, nodes: tuple[tree.Node, ...]) -> Iterator[Diagnostic]:
        for node in nodes:
            yield from self.node(node)

    def node(self, node: tree.Node) -> Iterator[Diagnostic]:
        if isinstance(node, tree.Name):
            yield from self.name(node)
        elif isinstance(node, tree.Call):
            yield from self.call(node)
        elif isinstance(node, tree.Attribute):
            yield from self.node(node.value)
        elif isinstance(node, tree.Param):
            yield from self.node(node.default) if node.default is not None else ()
        elif isinstance(node, tree.Arg):
            yield from self.node(node.value)
        elif isinstance(node, tree.FnDef):
            yield from self.node(node.body)
        elif isinstance(node, tree.Group):
            yield from self.head(node.head)
            yield from self.node(node.suite)
        elif isinstance(node, tree.Table):
            yield from self.columns(node)
            yield from self.nodes(_uses(node))
        elif not isinstance(node, tree.Expect):  # which knows the metrics too
            yield from self.nodes(_uses(node))

    def head(self, head: tree.Expr) -> Iterator[Diagnostic]:
        """A group's head: its name is no value, its options and the steps behind it are."""
        if isinstance(head, tree.Pipe):
            yield from self.head(head.left)
            yield from self.node(head.right)
        elif isinstance(head, tree.Call):
            yield from self.nodes(head.args)
        elif not isinstance(head, tree.Name) or head.id not in GROUPS:
            help_ = "groups are " + ", ".join(f"`{group}:`" for group in sorted(GROUPS))
            yield Diagnostic("E0215", "only a group opens a block of lines", head.span, help=help_)

    def columns(self, node: tree.Table) -> Iterator[Diagnostic]:
        """Where the rows name their blocks, each column is one that some block takes."""
        names = [column.name.id for column in node.body.columns]
        if node.unit is not None or "op" not in names:
            return
        cells = [row.cells[names.index("op")] for row in node.body.rows if len(row.cells) == len(names)]
        callees = [self.value(part.id) for cell in cells for part in self.alternatives(cell)]
        if not callees or not all(isinstance(callee, Builtin | Block) for callee in callees):
            return
        takes = {name for callee in callees for name in parameter_names(callee)}
        for i, column in enumerate(node.body.columns):
            given = any(not isinstance(row.cells[i], tree.Blank) for row in node.body.rows if len(row.cells) > i)
            if given and column.name.id not in takes | {"op", "n"}:
                message = f"no block of this table has an argument `{column.name.id}`"
                yield Diagnostic("E0202", message, column.span, help=nearest(column.name.id, takes))

    def alternatives(self, cell: tree.Expr) -> Iterator[tree.Name]:
        """The names of blocks that a cell of column `op` may come to."""
        for part in cell.walk():
            if isinstance(part, tree.Name):
                value = self.value(part.id)
                yield from self.alternatives(value.decl.value) if isinstance(value, ChoiceValue) else (part,)

    def name(self, node: tree.Name) -> Iterator[Diagnostic]:
        if self.value(node.id) is None and node.id not in self.local and node.id not in self.module.constants:
            known = [*self.module.known(), *NAMES, *self.local]
            if node.id not in self.module.aliases and node.id not in NAMES:
                yield Diagnostic("E0201", f"nothing is called `{node.id}`", node.span, help=nearest(node.id, known))

    def value(self, name: str) -> Value:
        """What a name means at the top of the file or in the language; None where only elaboration tells."""
        value = self.module.names.get(name)
        while isinstance(value, Imported):
            value = value.module.names.get(value.name, True)
        return NAMES.get(name) if value is None else value

    def call(self, node: tree.Call) -> Iterator[Diagnostic]:
        yield from self.node(node.function)
        yield from self.nodes(node.args)
        if not isinstance(node.function, tree.Name) or node.function.id in self.local:
            return
        callee = self.value(node.function.id)
        if isinstance(callee, Builtin | Block | NetValue):
            for arg in node.args:
                yield from self.argument(callee, arg, node)

    def argument(self, callee: Builtin | Block | NetValue, arg: tree.Arg, node: tree.Call) -> Iterator[Diagnostic]:
        if arg.name is None:
            return
        try:
            check_names(Applied(callee, (), ((arg.name.id, None),), node.span), {arg.name.id: arg.span})
        except ArchError as error:
            yield from error.diagnostics


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
