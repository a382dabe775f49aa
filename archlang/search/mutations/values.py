"""Mutations of values: another kernel, stride, width, activation in the place of what is written or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from archlang.lower.builtins import STEPS
from archlang.lower.values import show
from archlang.search.mutations.edit import Rewrite, chain_of
from archlang.search.mutations.roles import (
    ACTIVATIONS,
    MANY,
    NORMS,
    Role,
    definition_of,
    parameters,
    row_parameters,
    unit_name,
)
from archlang.search.mutations.subject import Subject
from archlang.search.rewrite import parsed
from archlang.syntax import tree
from archlang.syntax.printer import print_expr
from archlang.syntax.tree import replace


@dataclass(frozen=True)
class Site:
    """A place where a mutation applies, and what it can make of it."""

    where: str
    rewrites: tuple[Rewrite, ...]


Mutation = Callable[[Subject], Iterator[Site]]

# ---- what a value can become -----------------------------------------------------------------------------------------

WIDTH_FACTORS = (0.5, 0.75, 1.25, 1.5, 2.0)
SCALE_FACTORS = (0.75, 0.9, 1.1, 1.25)
RESOLUTION_FACTORS = (0.75, 0.875, 1.125, 1.25)
COMMON_ACTIVATIONS = ("relu", "relu6", "hswish", "swish", "gelu", "leaky_relu")
GATES = ("sigmoid", "hsigmoid")


def _kernels(value: int) -> Sequence[int]:
    if value % 2 == 0 and value > 0:
        return (value - 2, value - 1, value + 1, value + 2)
    return (3, 5, 7) if value == 0 else (1, 3, 5, 7, value - 2, value + 2)


def _strides(value: int) -> Sequence[int]:
    return (1, 2, value // 2)


def _widths(value: int) -> Sequence[int]:
    multiple = 8 if value % 8 == 0 or value >= 64 else 4 if value >= MANY else 1
    return [max(1, round(value * factor / multiple)) * multiple for factor in WIDTH_FACTORS]


def _expansions(value: int) -> Sequence[int]:
    return (value - 1, value + 1, value * 2, value // 2)


def _groups(value: int) -> Sequence[int]:
    return (1, 2, 4, 8, value * 2, value // 2)


def _repeats(value: int) -> Sequence[int]:
    return (value - 1, value + 1, value + 2)


def _resolutions(value: int) -> Sequence[int]:
    multiple = 32 if value >= 128 else 8 if value >= 64 else 4
    return [round(value * factor / multiple) * multiple for factor in RESOLUTION_FACTORS]


_WHOLE: Mapping[Role, Callable[[int], Sequence[int]]] = {
    Role.KERNEL: _kernels,
    Role.STRIDE: _strides,
    Role.WIDTH: _widths,
    Role.FACTOR: _expansions,
    Role.GROUPS: _groups,
    Role.REPEATS: _repeats,
    Role.SCALE: _expansions,
    Role.RESOLUTION: _resolutions,
}


def role_of_value(role: Role, node: tree.Expr) -> Role:
    """The role that a value's size leaves: `4 * c` expands, `64 * k` has 64 channels, `c * 1.4` scales."""
    if not isinstance(node, tree.Number) or role not in (Role.FACTOR, Role.WIDTH, Role.REPEATS, Role.SCALE):
        return role
    if not node.text.isdigit():
        return Role.SCALE
    return Role.WIDTH if role is Role.FACTOR and int(node.text) >= MANY else role


def alternatives(role: Role, node: tree.Expr) -> list[str]:
    """What may stand in the place of a value, as text."""
    text = print_expr(node)
    if role is Role.ACTIVATION:
        return [name for name in (GATES if text in GATES else COMMON_ACTIVATIONS) if name != text]
    if role is Role.NORM:
        return ["bn"] if text == "none" else [name for name in ("bn", "layernorm", "none") if name not in text]
    if isinstance(node, tree.Dims):
        return _sizes(role, text)
    if not isinstance(node, tree.Number):
        return []
    if role is Role.RATIO:
        return _ratios(float(node.text)) if _is_plain(node.text) else []
    if role is Role.SCALE and not node.text.isdigit():
        return _scaled(node.text)
    if not node.text.isdigit():
        return []
    value = int(node.text)
    return [str(v) for v in dict.fromkeys(_WHOLE[role](value)) if v > 0 and v != value]


def _sizes(role: Role, text: str) -> list[str]:
    """Other sizes for `3x224x224`, other kernels for `1x7`."""
    sizes = [int(size) for size in text.replace("×", "x").split("x")]
    if role is Role.KERNEL:
        longest = max(sizes)
        return [_dims([k if size == longest else size for size in sizes]) for k in _kernels(longest) if _fits(k, sizes)]
    return [_dims([sizes[0], *scaled]) for scaled in zip(*map(_resolutions, sizes[1:]), strict=True)]


def _fits(kernel: int, sizes: Sequence[int]) -> bool:
    return kernel > 0 and kernel != max(sizes) and kernel % 2 == max(sizes) % 2


def _dims(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _is_plain(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _ratios(value: float) -> list[str]:
    """Half and twice as many channels; where there is no ratio, none."""
    return [f"{new:g}" for new in (value / 2, value * 2) if 0 < new <= 1] if 0 < value < 1 else []


def _scaled(text: str) -> list[str]:
    if not _is_plain(text) or not float(text):
        return []
    return [f"{float(text) * factor:.3g}" for factor in SCALE_FACTORS]


# ---- where values stand ----------------------------------------------------------------------------------------------


def of_values(*roles: Role) -> Mutation:
    """The mutation of all values of these roles: of those that are written, and of those that are left out."""

    def sites(subject: Subject) -> Iterator[Site]:
        yield from _written(subject, roles)
        if Role.ACTIVATION in roles or Role.NORM in roles:
            yield from _steps(subject, roles)
        wanted = tuple(role for role in roles if role in _LEFT_OUT)
        if wanted:
            yield from blank_cells(subject, wanted, _alternatives_of)
            yield from new_columns(subject, wanted, _alternatives_of)
            yield from _keywords(subject, wanted)

    return sites


_LEFT_OUT = (Role.KERNEL, Role.STRIDE, Role.FACTOR, Role.GROUPS, Role.ACTIVATION, Role.REPEATS)
"""Roles of parameters that can be given where they are not."""

Alternatives = Callable[[Role, tree.Expr], list[str]]


def _alternatives_of(role: Role, default: tree.Expr) -> list[str]:
    return alternatives(role, default)


def _written(subject: Subject, roles: Sequence[Role]) -> Iterator[Site]:
    for use in subject.uses:
        role = role_of_value(use.role, use.node)
        if role in roles:
            yield site_of(subject, use.node, role, alternatives(role, use.node))


def site_of(subject: Subject, node: tree.Expr, role: Role, values: Sequence[str]) -> Site:
    """The node replaced by each of the values."""
    where, before = _called(subject, node), print_expr(node)
    rewrites = (Rewrite(told(where, role, before, v), {id(node): [parsed(v, node.span)]}) for v in values)
    return Site(where, tuple(rewrites))


def told(where: str, role: Role, before: str, after: str) -> str:
    return f"{where}: {role} {before} -> {after}"


def _called(subject: Subject, node: tree.Expr) -> str:
    """What the value belongs to; of a default, the parameter."""
    if id(node) in subject.line_of:
        return subject.called(node)
    for item in subject.definitions:
        for param in getattr(item, "params", None) or ():
            if any(each is node for each in param.walk()):
                return f"{item.name.id}, {param.name.id}"
    return subject.called(node)


def _steps(subject: Subject, roles: Sequence[Role]) -> Iterator[Site]:
    """Activations and normalisations that are steps of their own."""
    kinds = {Role.ACTIVATION: ACTIVATIONS, Role.NORM: NORMS}
    for line in subject.lines:
        for part in _parts(line.stmt):
            name = part.function if isinstance(part, tree.Call) else part
            role = next((r for r, names in kinds.items() if isinstance(name, tree.Name) and name.id in names), None)
            if role in roles and role is not None:
                values = [value for value in alternatives(role, name) if value != "none"]
                target = name if isinstance(part, tree.Call) and _takes_tensor(part) else part
                yield site_of(subject, target, role, values)


def _takes_tensor(call: tree.Call) -> bool:
    return bool(call.args) and call.args[0].name is None and not isinstance(call.args[0].value, tree.Number)


def _parts(stmt: tree.Stmt) -> Iterator[tree.Expr]:
    """The steps of the flows of a statement's own lines."""
    if not isinstance(stmt, tree.Flow | tree.Assign | tree.Group):
        return
    roots = (
        [stmt.value] if isinstance(stmt, tree.Flow) else [stmt.head] if isinstance(stmt, tree.Group) else stmt.values
    )
    for root in roots:
        yield from chain_of(root)
        for node in root.walk():
            if isinstance(node, tree.Pipe | tree.Paren) and node is not root:
                inner = node.inner if isinstance(node, tree.Paren) else node
                yield from chain_of(inner) if isinstance(inner, tree.Pipe) else ()


# ---- what is left out ------------------------------------------------------------------------------------------------


def default_of(subject: Subject, step: str, name: str) -> tree.Expr | None:
    """The literal that holds where a parameter is not given; None where nothing tells."""
    span = subject.program.items[0].span
    if step in STEPS:
        found = next((param for param in STEPS[step].params if param.name == name), None)
        if found is None or found.required:
            return None
        default = found.default[0] if isinstance(found.default, tuple) and found.default else found.default
        return parsed(show(default), span)
    value = definition_of(subject.module, step)
    params = value.params or () if isinstance(value, tree.BlockDef | tree.NetDef) else ()
    return next((param.default for param in params if param.name.id == name), None)


def _tables(subject: Subject) -> Iterator[tree.Table]:
    return (line.stmt for line in subject.lines if isinstance(line.stmt, tree.Table))


def _unit(subject: Subject, table: tree.Table, row: tree.Row) -> str:
    """The row's step; where the net takes it as an argument, the default."""
    unit = unit_name(table, row) or ""
    line = subject.line_of[id(table)]
    for param in getattr(line.of, "params", None) or ():
        if param.name.id == unit and param.default is not None:
            name = param.default.function if isinstance(param.default, tree.Call) else param.default
            return name.id if isinstance(name, tree.Name) else unit
    return unit


def blank_cells(subject: Subject, roles: Sequence[Role], values: Alternatives) -> Iterator[Site]:
    """Cells `-` of columns that the row's step takes."""
    for table in _tables(subject):
        for row in table.body.rows:
            params = row_parameters(subject.module, subject.roles, subject.line_of[id(table)].of, table, row)
            for column, cell in zip(table.body.columns, row.cells, strict=False):
                role = params.get(column.name.id)
                if not isinstance(cell, tree.Blank) or role is None or role not in roles:
                    continue
                default = default_of(subject, _unit(subject, table, row), column.name.id)
                if default is not None:
                    where, before = subject.called(row), print_expr(default)
                    rewrites = (
                        Rewrite(told(where, role, before, v), {id(cell): [parsed(v, cell.span)]})
                        for v in values(role, default)
                    )
                    yield Site(where, tuple(rewrites))


def new_columns(subject: Subject, roles: Sequence[Role], values: Alternatives) -> Iterator[Site]:
    """A column more, for a parameter that one row is to have."""
    for table in _tables(subject):
        given = {column.name.id for column in table.body.columns}
        if isinstance(table.unit, tree.Call):
            given |= {arg.name.id for arg in table.unit.args if arg.name is not None}
        for row in table.body.rows:
            params = row_parameters(subject.module, subject.roles, subject.line_of[id(table)].of, table, row)
            wanted = {name: role for name, role in params.items() if role in roles and name not in given}
            if Role.REPEATS in roles and "n" not in given:
                wanted["n"] = Role.REPEATS
            for name, role in wanted.items():
                yield from _new_column(subject, table, row, name, role, values)


def _new_column(
    subject: Subject, table: tree.Table, row: tree.Row, name: str, role: Role | None, values: Alternatives
) -> Iterator[Site]:
    one = parsed("1", row.span)
    default = one if name == "n" else default_of(subject, _unit(subject, table, row), name)
    if default is None or role is None:
        return
    where, before = subject.called(row), print_expr(default)
    yield Site(
        where,
        tuple(
            Rewrite(told(where, role, before, value), with_column(table, name, {id(row): value}))
            for value in values(role, default)
        ),
    )


def with_column(table: tree.Table, name: str, cells: Mapping[int, str]) -> dict[int, Sequence[tree.Node]]:
    """The table with one more column; `cells` has the values of those rows that get one, by the row's identity."""
    span = table.body.columns[-1].span
    columns = (*table.body.columns, tree.Column(span, tree.Name(span, name), None))
    rows = [
        replace(
            row,
            cells=(*row.cells, parsed(cells[id(row)], row.span) if id(row) in cells else tree.Blank(row.span)),
        )
        for row in table.body.rows
    ]
    return {id(table): [replace(table, body=tree.TableBody(table.body.span, columns, tuple(rows)))]}


def _keywords(subject: Subject, roles: Sequence[Role]) -> Iterator[Site]:
    """Arguments that a call does not give."""
    for call in calls(subject):
        name = call.function.id if isinstance(call.function, tree.Name) else ""
        params = parameters(subject.module, name, subject.roles) or {}
        for param in missing(subject, call, params):
            role = params[param]
            if role is None or role not in roles:
                continue
            default = default_of(subject, name, param)
            if default is not None:
                yield _keyword(subject, call, param, role, default)


def _keyword(subject: Subject, call: tree.Call, param: str, role: Role, default: tree.Expr) -> Site:
    where = subject.called(call)
    before = "" if role is Role.ACTIVATION else print_expr(default)
    return Site(
        where,
        tuple(
            Rewrite(
                told(where, role, before, value).replace("  ", " "), {id(call): [with_argument(call, param, value)]}
            )
            for value in alternatives(role, default)
        ),
    )


def calls(subject: Subject) -> Iterator[tree.Call]:
    """The calls in the bodies, but for those of `default` lines and of groups' heads."""
    for line in subject.lines:
        if isinstance(line.stmt, tree.Flow | tree.Assign):
            yield from (node for node in line.stmt.walk() if isinstance(node, tree.Call))


def missing(subject: Subject, call: tree.Call, params: Mapping[str, Role | None]) -> list[str]:
    """The parameters that a call does not give."""
    named = {arg.name.id for arg in call.args if arg.name is not None}
    positional = [arg for arg in call.args if arg.name is None]
    if positional and _may_be_tensor(positional[0].value):
        positional = positional[1:]
    return [name for i, name in enumerate(params) if name not in named and i >= len(positional)]


def _may_be_tensor(value: tree.Expr) -> bool:
    return isinstance(value, tree.FlowValue) or (isinstance(value, tree.Name) and value.id == "x")


def with_argument(call: tree.Call, name: str, value: str) -> tree.Call:
    """The call with one more argument, or another value of it."""
    arg = tree.Arg(call.span, tree.Name(call.span, name), parsed(value, call.span))
    kept = tuple(each for each in call.args if each.name is None or each.name.id != name)
    return replace(call, args=(*kept, arg))
