"""Mutations of structure: another block, skips, squeeze-and-excitation, branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise

from archlang.lower.builtins import NAMES, STEPS
from archlang.search.mutations.edit import Rewrite, after, chain_of, chained, changed, placed, statements
from archlang.search.mutations.normal import library
from archlang.search.mutations.roles import Role, definition_of, parameters, roles_of, row_parameters, unit_name
from archlang.search.mutations.rows import flows, shown, unnamed, used_later
from archlang.search.mutations.subject import JOINS, Line, Subject, group_name
from archlang.search.mutations.values import (
    Site,
    alternatives,
    blank_cells,
    calls,
    default_of,
    missing,
    new_columns,
    site_of,
    told,
    with_argument,
)
from archlang.search.rewrite import parsed
from archlang.source import Span
from archlang.syntax import tree
from archlang.syntax.printer import print_expr
from archlang.syntax.tree import replace

Given = Mapping[str, Role | None]

# ---- another block ---------------------------------------------------------------------------------------------------


def swap(subject: Subject) -> Iterator[Site]:
    """Another block or step that takes what this one is given."""
    for line in subject.lines:
        if isinstance(line.stmt, tree.Table):
            for row in line.stmt.body.rows:
                yield _swapped_row(subject, line.stmt, row, line)
    for call in calls(subject):
        if isinstance(call.function, tree.Name):
            yield _swapped_call(subject, call, call.function.id)


def _swapped_row(subject: Subject, table: tree.Table, row: tree.Row, line: Line) -> Site:
    params = row_parameters(subject.module, subject.roles, line.of, table, row)
    unit, where = unit_name(table, row) or "", subject.called(row)
    given = {
        column.name.id: params.get(column.name.id)
        for column, cell in zip(table.body.columns, row.cells, strict=False)
        if not isinstance(cell, tree.Blank) and column.name.id not in ("n", "op")
    }
    rewrites = [
        Rewrite(f"{where}: {unit} -> {name}", _with_op(table, row, name), imports)
        for name, imports in fitting(subject, unit, given)
    ]
    return Site(where, tuple(rewrites))


def _with_op(table: tree.Table, row: tree.Row, name: str) -> dict[int, Sequence[tree.Node]]:
    """The table with another step in one row; a table of one block gets a column `op`."""
    op = tree.Name(row.span, name)
    names = [column.name.id for column in table.body.columns]
    if "op" in names:
        return {id(row.cells[names.index("op")]): [op]}
    assert table.unit is not None
    span = table.body.columns[0].span
    columns = (tree.Column(span, tree.Name(span, "op"), None), *table.body.columns)
    rows = [
        replace(each, cells=(op if each is row else placed(table.unit, each.span), *each.cells))
        for each in table.body.rows
    ]
    body = tree.TableBody(table.body.span, columns, tuple(rows))
    return {id(table): [replace(table, unit=None, body=body)]}


def fitting(subject: Subject, unit: str, given: Given) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """The blocks, of the program and of the library, that take the widths that are given and need nothing else."""
    here = {item.name.id: item for item in subject.definitions if isinstance(item, tree.BlockDef)}
    for name, item in here.items():
        if name != unit and _fits(item, {n: subject.roles.params.get((name, n)) for n in _names(item)}, given):
            yield name, ()
    taken = subject.names
    for path, item, params in library_blocks():
        if item.name.id not in taken and _fits(item, params, given):
            yield item.name.id, ((path, item.name.id),)


@cache
def library_blocks() -> list[tuple[str, tree.BlockDef, Given]]:
    """The blocks of the library: the file, the definition, the roles of its parameters."""
    found: list[tuple[str, tree.BlockDef, Given]] = []
    for path, module in library().items():
        known = roles_of(module).params
        blocks = [item for item in module.program.items if isinstance(item, tree.BlockDef)]
        found += [(path, item, {n: known.get((item.name.id, n)) for n in _names(item)}) for item in blocks]
    return found


def _names(item: tree.BlockDef) -> list[str]:
    return [param.name.id for param in item.params]


def _fits(item: tree.BlockDef, params: Given, given: Given) -> bool:
    if len(item.inputs) > 1 or any(isinstance(line, tree.Output) for line in item.suite.body):
        return False
    needed = [param.name.id for param in item.params if param.default is None]
    widths = [
        name for name, role in given.items() if role in (Role.WIDTH, Role.FACTOR) and params.get(name) is Role.WIDTH
    ]
    return bool(widths) and all(name in given for name in needed)


POOLS = ("maxpool", "avgpool")


def _swapped_call(subject: Subject, call: tree.Call, name: str) -> Site:
    where = subject.called(call)
    if name in POOLS:
        other = POOLS[1 - POOLS.index(name)]
        kept = tuple(arg for arg in call.args if arg.name is None or arg.name.id in STEPS[other].names)
        new = tree.Call(call.span, tree.Name(call.span, other), kept)
        return Site(where, (Rewrite(f"{where}: {name} -> {other}", {id(call): [new]}),))
    params = parameters(subject.module, name, subject.roles) or {}
    left_out = missing(subject, call, params)
    given = [param for param in params if param not in left_out]
    values = _values(call, given)
    if values is None or (name in NAMES and name != "conv") or "groups" in values:
        return Site(where, ())
    rewrites = []
    for other, imports in fitting(subject, name, {param: params[param] for param in given}):
        takes = parameters(subject.module, other, subject.roles) or _library_parameters(other)
        args = tuple(tree.Arg(call.span, tree.Name(call.span, n), v) for n, v in values.items() if n in takes)
        new = tree.Call(call.span, tree.Name(call.span, other), args)
        rewrites.append(Rewrite(f"{where}: {name} -> {other}", {id(call): [new]}, imports))
    return Site(where, tuple(rewrites))


def _library_parameters(name: str) -> Sequence[str]:
    return next((list(params) for _, item, params in library_blocks() if item.name.id == name), [])


def _values(call: tree.Call, given: Sequence[str]) -> dict[str, tree.Expr] | None:
    """The arguments of a call by their parameters; None where it acts on a tensor that it names."""
    positional = [arg.value for arg in call.args if arg.name is None]
    named = {arg.name.id: arg.value for arg in call.args if arg.name is not None}
    free = [name for name in given if name not in named]
    return {**dict(zip(free, positional, strict=True)), **named} if len(free) == len(positional) else None


# ---- skips -----------------------------------------------------------------------------------------------------------

LONGEST = 3
"""So many lines at most that a skip is put around."""


def add_skip(subject: Subject) -> Iterator[Site]:
    """A residual group around lines that keep the type; around a whole block, where its shapes fit."""
    by_suite: dict[int, list[Line]] = {}
    for line in flows(subject):
        by_suite.setdefault(id(line.suite), []).append(line)
    for lines in by_suite.values():
        for first in range(len(lines)):
            for last in range(first, min(first + LONGEST, len(lines))):
                yield from _skip_around(subject, lines[first : last + 1])
    for item in subject.definitions:
        if isinstance(item, tree.BlockDef) and _is_plain(item) and subject.is_used(item):
            yield _skip_block(item)


def _skip_around(subject: Subject, run: Sequence[Line]) -> Iterator[Site]:
    stmts = [line.stmt for line in run]
    if any(b.index != a.index + 1 for a, b in pairwise(run)) or (len(run) == 1 and isinstance(stmts[0], tree.Group)):
        return
    types = [subject.types(stmt) for stmt in stmts]
    if types[0] is None or types[-1] is None or types[0][0] != types[-1][1] or types[0][0].rank == 1:
        return
    span = stmts[0].span
    group = tree.Group(span, tree.Name(span, "residual"), tree.Suite(span, tuple(stmts), False))
    where = subject.called(stmts[0])
    changes: dict[int, Sequence[tree.Node]] = {id(stmt): [] for stmt in stmts[1:]}
    changes[id(stmts[0])] = [group]
    quoted = " ".join(f"`{shown(stmt)}`" for stmt in stmts)
    yield Site(where, (Rewrite(f"{where}: a skip around {quoted}", changes),))


def _is_plain(item: tree.BlockDef) -> bool:
    return not any(isinstance(stmt, tree.Output | tree.Group) for stmt in item.suite.body) and not item.inputs


def _skip_block(item: tree.BlockDef) -> Site:
    span = item.suite.body[0].span
    head = parsed("residual(when=fits)", span)
    group = tree.Group(span, head, tree.Suite(item.suite.span, item.suite.body, False))
    changes = {id(item.suite): [tree.Suite(item.suite.span, (group,), False)]}
    return Site(item.name.id, (Rewrite(f"{item.name.id}: a skip around the block", changes),))


def remove_skip(subject: Subject) -> Iterator[Site]:
    for line in subject.lines:
        stmt = line.stmt
        if isinstance(stmt, tree.Group) and group_name(stmt) == "residual":
            where = subject.called(stmt)
            yield Site(where, (Rewrite(f"{where}: the skip removed", {id(stmt): _opened(line, stmt)}),))


def _opened(line: Line, stmt: tree.Group) -> list[tree.Stmt]:
    """A group's lines without the group; the steps behind its head stay behind them."""
    behind = chain_of(stmt.head)[1:]
    inner: list[tree.Stmt] = list(stmt.suite.body)
    if behind:
        at = after(stmt)
        inner.append(tree.Flow(at, chained([placed(part, at) for part in behind], at), None))
    if line.branch and len(inner) > 1:
        return [tree.Group(stmt.span, tree.Name(stmt.span, "branch"), tree.Suite(stmt.span, tuple(inner), False))]
    return inner


# ---- squeeze-and-excitation ------------------------------------------------------------------------------------------

SQUEEZE = "squeeze(max(1, _.c // 4))"
LIBRARY_SQUEEZE = ("std.mobile", "squeeze")


def add_squeeze(subject: Subject) -> Iterator[Site]:
    """Squeeze-and-excitation where a block can have it and has not, and behind convolutions."""
    zero = (Role.RATIO,)
    for use in subject.uses:
        if use.role is Role.RATIO and print_expr(use.node) == "0":
            yield site_of(subject, use.node, use.role, ["0.25", "1"])
    yield from blank_cells(subject, zero, _first_ratio)
    yield from new_columns(subject, zero, _first_ratio)
    for call in calls(subject):
        yield from _squeezed_call(subject, call)
    block = definition_of(subject.module, "squeeze")
    if block is None or is_squeeze(block):
        imports = () if block is not None else (LIBRARY_SQUEEZE,)
        yield from (_squeezed(subject, line, imports) for line in flows(subject) if _filters(subject, line))


def _first_ratio(role: Role, default: tree.Expr) -> list[str]:
    return ["0.25", "1"] if print_expr(default) == "0" else []


def _squeezed_call(subject: Subject, call: tree.Call) -> Iterator[Site]:
    name = call.function.id if isinstance(call.function, tree.Name) else ""
    params = parameters(subject.module, name, subject.roles) or {}
    for param in missing(subject, call, params):
        default = default_of(subject, name, param) if params[param] is Role.RATIO else None
        if default is not None:
            where = subject.called(call)
            yield Site(
                where,
                tuple(
                    Rewrite(told(where, Role.RATIO, "0", value), {id(call): [with_argument(call, param, value)]})
                    for value in _first_ratio(Role.RATIO, default)
                ),
            )


def _filters(subject: Subject, line: Line) -> bool:
    """Whether the line ends in an image that a convolution made."""
    types = subject.types(line.stmt)
    if types is None or not types[1].is_image or types[1].height * types[1].width == 1:
        return False
    places = subject.places_in(line.stmt)
    return any(subject.graph.nodes[i].op.name == "conv" for i in places[0].nodes)


def _squeezed(subject: Subject, line: Line, imports: tuple[tuple[str, str], ...]) -> Site:
    where = subject.called(line.stmt)
    new = statements(SQUEEZE, after(line.stmt))
    story = f"squeeze-and-excitation behind {where}"
    return Site(where, (Rewrite(story, {id(line.stmt): [line.stmt, *new]}, imports),))


def remove_squeeze(subject: Subject) -> Iterator[Site]:
    for use in subject.uses:
        text = print_expr(use.node)
        if use.role is Role.RATIO and text not in ("0", "-"):
            yield site_of(subject, use.node, use.role, ["0"])
    for line in subject.lines:
        if isinstance(line.stmt, tree.Flow) and not line.branch:
            yield from _without_squeeze(subject, line)


def _without_squeeze(subject: Subject, line: Line) -> Iterator[Site]:
    assert isinstance(line.stmt, tree.Flow)
    parts = chain_of(line.stmt.value)
    for i, part in enumerate(parts):
        name = part.function if isinstance(part, tree.Call) else part
        block = definition_of(subject.module, name.id) if isinstance(name, tree.Name) else None
        if block is None or not is_squeeze(block) or used_later(line):
            continue
        where, rest = subject.called(part), [*parts[:i], *parts[i + 1 :]]
        if rest:
            changes: dict[int, Sequence[tree.Node]] = {id(line.stmt.value): [chained(rest, line.stmt.value.span)]}
        else:
            changes = {id(_alone(line)): []}
        yield Site(where, (Rewrite(f"{where}: `{print_expr(part)}` removed", changes),))


def _alone(line: Line) -> tree.Stmt:
    """The line, or the condition that it is all the body of."""
    around = line.nested[-1] if line.nested else None
    return around if isinstance(around, tree.If) and len(around.cases) == 1 and len(line.suite.body) == 1 else line.stmt


def is_squeeze(block: tree.Node) -> bool:
    """Whether a block multiplies its input by what its mean says (arXiv:1709.01507)."""
    groups = [node for node in block.walk() if isinstance(node, tree.Group) and group_name(node) == "mul"]
    return any(isinstance(node, tree.Name) and node.id == "gap" for group in groups for node in group.walk())


# ---- branches --------------------------------------------------------------------------------------------------------


def add_branch(subject: Subject) -> Iterator[Site]:
    """A branch more in a group that joins; beside a convolution another one, and their sum."""
    for line in subject.lines:
        if not isinstance(line.stmt, tree.Flow) or subject.types(line.stmt) is None:
            continue
        where = subject.called(line.stmt)
        variants = [(value, unnamed(copy)) for value, copy in _other_kernels(subject, line.stmt)]
        rewrites = [
            Rewrite(f"{where}: a branch beside it with kernel {value}", _beside(line, copy)) for value, copy in variants
        ]
        yield Site(where, tuple(rewrites))


def _other_kernels(subject: Subject, stmt: tree.Flow) -> Iterator[tuple[str, tree.Stmt]]:
    """The line with another kernel."""
    for use in subject.uses:
        if use.role is Role.KERNEL and any(node is use.node for node in stmt.walk()):
            for value in alternatives(Role.KERNEL, use.node):
                yield value, changed(stmt, {id(use.node): [parsed(value, use.node.span)]})


def _beside(line: Line, copy: tree.Stmt) -> dict[int, Sequence[tree.Node]]:
    stmt = line.stmt
    if line.branch:
        return {id(stmt): [stmt, placed(copy, after(stmt))]}
    span: Span = stmt.span
    body = (stmt, placed(copy, after(stmt)))
    return {id(stmt): [tree.Group(span, tree.Name(span, "add"), tree.Suite(span, body, False))]}


def remove_branch(subject: Subject) -> Iterator[Site]:
    for line in subject.lines:
        stmt = line.stmt
        if not isinstance(stmt, tree.Group) or group_name(stmt) not in JOINS or is_squeeze(stmt):
            continue
        branches = stmt.suite.body
        for branch in branches if len(branches) > 1 else ():
            where = subject.called(stmt)
            story = f"{where}: the branch `{shown(branch)}` removed"
            yield Site(where, (Rewrite(story, _without_branch(line, stmt, branch)),))


def _without_branch(line: Line, stmt: tree.Group, branch: tree.Stmt) -> dict[int, Sequence[tree.Node]]:
    if len(stmt.suite.body) > 2:
        return {id(branch): []}
    rest = changed(stmt, {id(branch): []})
    return {id(stmt): _opened(line, rest)}
