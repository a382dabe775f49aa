"""Mutations of rows and lines: insert, delete, duplicate, split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archlang.ir.types import TensorType
from archlang.search.mutations.edit import Rewrite, after, chain_of, chained, changed, mentions, placed, statements
from archlang.search.mutations.roles import Role, parameters, row_parameters
from archlang.search.mutations.subject import Line, Subject
from archlang.search.mutations.values import Site, alternatives, role_of_value, told
from archlang.search.rewrite import parsed
from archlang.syntax import tree
from archlang.syntax.printer import print_expr
from archlang.syntax.tree import replace

VARIED = (Role.KERNEL, Role.FACTOR, Role.RATIO, Role.ACTIVATION, Role.WIDTH)
"""Roles of which a row that is split off, or put in, gets another value."""

NEW_STEPS: Mapping[int, tuple[str, ...]] = {
    3: (
        "conv(_.c, 3)",
        "conv(_.c, 1)",
        "dwconv(3)",
        "residual:\n  conv(_.c, 3)",
        "residual:\n  dwconv(3)\n  conv(_.c, 1)",
    ),
    2: ("linear(_.d)", "residual:\n  layernorm -> linear(_.d) -> gelu"),
    1: ("linear(_.d, act=relu)",),
}
"""Steps that keep the type of what they act on, by its rank."""


def rows(subject: Subject) -> Iterator[tuple[tree.Table, tree.Row, Mapping[str, Role | None]]]:
    """Every row of a table, with the roles of its columns."""
    for line in subject.lines:
        if isinstance(line.stmt, tree.Table):
            for row in line.stmt.body.rows:
                found = row_parameters(subject.module, subject.roles, line.of, line.stmt, row)
                yield line.stmt, row, {**found, "n": Role.REPEATS}


def flows(subject: Subject) -> Iterator[Line]:
    """The lines that act on the current value one after the other."""
    for line in subject.lines:
        if not line.branch and isinstance(line.stmt, tree.Flow | tree.Group):
            yield line


def shown(node: tree.Node) -> str:
    """A line or row as a story quotes it: its first line."""
    if isinstance(node, tree.Row):
        return f"| {' | '.join(map(print_expr, node.cells))} |"
    if isinstance(node, tree.Group):
        return f"{print_expr(node.head)}:"
    return print_expr(node.value) if isinstance(node, tree.Flow) else node.span.text.splitlines()[0]


# ---- delete ----------------------------------------------------------------------------------------------------------


def delete(subject: Subject) -> Iterator[Site]:
    for table, row, _ in rows(subject):
        if len(table.body.rows) > 1:
            where = subject.called(row)
            yield Site(where, (Rewrite(f"{where}: deleted {shown(row)}", {id(row): []}),))
    for line in flows(subject):
        types = subject.types(line.stmt)
        if types is None or types[0].rank != types[1].rank or used_later(line):
            continue
        where = subject.called(line.stmt)
        if len(line.suite.body) > 1:
            yield Site(where, (Rewrite(f"{where}: deleted `{shown(line.stmt)}`", {id(line.stmt): []}),))
        yield from _shorter_chains(subject, line)


def _shorter_chains(subject: Subject, line: Line) -> Iterator[Site]:
    """The line without one of its steps."""
    if not isinstance(line.stmt, tree.Flow) or not isinstance(line.stmt.value, tree.Pipe):
        return
    value = line.stmt.value
    parts = chain_of(value)
    for i, part in enumerate(parts):
        if not mentions(part, "dropout"):
            where = subject.called(part)
            rest = chained([*parts[:i], *parts[i + 1 :]], value.span)
            yield Site(where, (Rewrite(f"{where}: deleted `{print_expr(part)}`", {id(value): [rest]}),))


def used_later(line: Line) -> bool:
    """Whether the line's name stands anywhere else in its definition."""
    name = line.stmt.name.id if isinstance(line.stmt, tree.Flow) and line.stmt.name is not None else None
    if name is None:
        return False
    count = sum(isinstance(node, tree.Name) and node.id == name for node in line.of.walk())
    return count > 1


# ---- duplicate and insert --------------------------------------------------------------------------------------------


def duplicate(subject: Subject) -> Iterator[Site]:
    for table, row, roles in rows(subject):
        where = subject.called(row)
        yield Site(where, (Rewrite(f"{where}: duplicated", {id(row): [row, _again(table, row, roles)]}),))
    for line in flows(subject):
        types = subject.types(line.stmt)
        if types is not None and types[0].rank == types[1].rank and not subject.is_last(line.stmt):
            where = subject.called(line.stmt)
            copy = unnamed(without_strides(subject, line.stmt))
            changes = {id(line.stmt): [line.stmt, placed(copy, after(line.stmt))]}
            yield Site(where, (Rewrite(f"{where}: duplicated `{shown(line.stmt)}`", changes),))


def _again(table: tree.Table, row: tree.Row, roles: Mapping[str, Role | None], **cells: str) -> tree.Row:
    """A copy of a row, to stand behind it: without its strides, and with some cells changed."""
    names = [column.name.id for column in table.body.columns]
    new = [
        parsed(cells[name], cell.span) if name in cells else _unstrided(cell, roles.get(name))
        for name, cell in zip(names, row.cells, strict=False)
    ]
    return placed(replace(row, cells=tuple(new)), after(row))


def _unstrided(cell: tree.Expr, role: Role | None) -> tree.Expr:
    given = role is Role.STRIDE and not isinstance(cell, tree.Blank)
    return tree.Number(cell.span, "1") if given else cell


def without_strides(subject: Subject, stmt: tree.Stmt) -> tree.Stmt:
    """The statement with every stride that its text gives by name left out."""
    changes = {}
    for node in stmt.walk():
        if isinstance(node, tree.Call) and isinstance(node.function, tree.Name):
            params = parameters(subject.module, node.function.id, subject.roles) or {}
            kept = tuple(a for a in node.args if a.name is None or params.get(a.name.id) is not Role.STRIDE)
            if len(kept) < len(node.args):
                changes[id(node)] = [replace(node, args=kept)]
    return changed(stmt, changes)


def unnamed(stmt: tree.Stmt) -> tree.Stmt:
    """The statement, and all below it, without `as`: a name stands for one module."""
    if isinstance(stmt, tree.Flow):
        return replace(stmt, name=None)
    named = [node for node in stmt.walk() if isinstance(node, tree.Flow) and node.name is not None]
    return changed(stmt, {id(node): [replace(node, name=None)] for node in named})


def insert(subject: Subject) -> Iterator[Site]:
    """Another row behind a row, or a step behind a line; nothing behind the last, so that scores come last."""
    for table, row, roles in rows(subject):
        where = subject.called(row)
        rewrites = []
        for name, role, before, value in _varied(table, row, roles):
            new = _again(table, row, roles, **{name: value}, **_once(table))
            story = f"inserted {shown(new)} behind {where}, {role} {before} -> {value}"
            rewrites.append(Rewrite(story, {id(row): [row, new]}))
        yield Site(where, tuple(rewrites))
    for line in flows(subject):
        types = subject.types(line.stmt)
        if types is not None and _has_room(types[1]) and not subject.is_last(line.stmt):
            where = subject.called(line.stmt)
            yield Site(where, tuple(_inserted(line, where, text) for text in NEW_STEPS[types[1].rank]))


def _once(table: tree.Table) -> dict[str, str]:
    return {"n": "1"} if any(column.name.id == "n" for column in table.body.columns) else {}


def _has_room(kind: TensorType) -> bool:
    """Whether there is anything left for a convolution to look at."""
    return kind.rank != 3 or kind.height * kind.width > 1


def _inserted(line: Line, where: str, text: str) -> Rewrite:
    new = statements(text, after(line.stmt))
    return Rewrite(f"inserted `{' '.join(text.split())}` behind {where}", {id(line.stmt): [line.stmt, *new]})


def _varied(table: tree.Table, row: tree.Row, roles: Mapping[str, Role | None]) -> Iterator[tuple[str, Role, str, str]]:
    """Other values of a row's cells: the column, its role, before, after."""
    for column, cell in zip(table.body.columns, row.cells, strict=False):
        given = roles.get(column.name.id)
        role = None if given is None else role_of_value(given, cell)
        if role in VARIED and role is not None:
            for value in alternatives(role, cell):
                yield column.name.id, role, print_expr(cell), value


# ---- split -----------------------------------------------------------------------------------------------------------


def split(subject: Subject) -> Iterator[Site]:
    """A row of several repeats as two rows, of which the second is no longer as the first."""
    for table, row, roles in rows(subject):
        names = [column.name.id for column in table.body.columns]
        if "n" not in names or len(names) != len(row.cells):
            continue
        count = row.cells[names.index("n")]
        parts = _halves(count)
        if parts is None:
            continue
        where = subject.called(row)
        first = changed(row, {id(count): [parsed(parts[0], count.span)]})
        rewrites = []
        for name, role, before, value in _varied(table, row, roles):
            second = _again(table, row, roles, **{"n": parts[1], name: value})
            story = told(
                f"{where}: split {print_expr(count)} -> {parts[0]} + {parts[1]}, the second", role, before, value
            )
            rewrites.append(Rewrite(story.replace("second: ", "second with "), {id(row): [first, second]}))
        yield Site(where, tuple(rewrites))


def _halves(count: tree.Expr) -> tuple[str, str] | None:
    """A number of repeats in two: a literal in halves, of anything else one is taken off."""
    if isinstance(count, tree.Blank):
        return None
    if not isinstance(count, tree.Number):
        return f"{print_expr(count, 6)} - 1", "1"
    if not count.text.isdigit() or int(count.text) < 2:
        return None
    value = int(count.text)
    return str(value - value // 2), str(value // 2)
