"""Nets of a file: by name, by variant, by expression; and their Graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

from archlang.collector import paused
from archlang.errors import ArchError, fail, nearest
from archlang.ir.graph import Graph
from archlang.lower.body import Body
from archlang.lower.depth import deep
from archlang.lower.expressions import as_net, named
from archlang.lower.module import Imported, Module
from archlang.lower.region import Region, flatten
from archlang.lower.session import Decision, Defaults, Memo, Session
from archlang.lower.steps import doc_of
from archlang.lower.values import NetValue, Scope, Value
from archlang.passes.dead_code import dead_code
from archlang.source import Span
from archlang.syntax import tree


@dataclass(frozen=True)
class Lowered:
    """An elaborated net. trace: the decisions that it read, key -> picked index, in order. steps: the work it took.

    The Graph is made at its first use: counting a space's decisions takes none.
    """

    region: Region
    outputs: tuple[str, ...]
    doc: str
    trace: Mapping[str, int]
    expectations: tuple[tuple[tree.Expect, Scope | Module], ...]
    steps: int

    @cached_property
    def graph(self) -> Graph:
        with paused():
            return dead_code(flatten(self.region, self.outputs, self.region.name, self.doc))


@deep(None)
def expression(module: Module, node: tree.Expr) -> Value:
    """The value of an expression in the scope of a file. Raises ArchError for a choice: nothing would make it."""
    body = _pure(module)
    value = body.eval(node)
    for key in body.session.trace:
        where = body.session.memo.decisions[key].span
        raise fail("E0507", "a choice cannot be made here", where, help="write one of its alternatives")
    return value


@deep(None)
def net_expression(module: Module, node: tree.Expr) -> NetValue:
    """The net that an expression in the scope of a file means."""
    return _found(module, lambda body: as_net(body.eval_in(node, module), node.span))


def _found(module: Module, find: Callable[[Body], NetValue]) -> NetValue:
    """The net that `find` makes; where it meets choices on the way, every elaboration finds it anew."""
    body = _pure(module)
    net = find(body)
    return replace(net, anew=find) if body.session.trace else net


def settled(net: NetValue, session: Session, kind: type[Body] = Body) -> NetValue:
    """The net with the arguments that its choices make in this session. Raises ArchError where they make another."""
    if net.anew is None:
        return net
    found = net.anew(kind(session, net.module, Defaults(), ()))
    if found.identity != net.identity:
        help_ = f"choose in a net: `net Either: ...` with the step `{{{net.name}, {found.name}}}`"
        raise fail("E0507", "a choice between nets is no net", net.decl.name.span, help=help_)
    return found


def _pure(module: Module) -> Body:
    body = Body(Session(), module, Defaults(), ())
    body.session.entry = module.source
    return body


Rows = dict[str, tuple[tree.Variants, tree.Row, Module]]


def variant_rows(net: NetValue, module: Module) -> Rows:
    """The rows of all variant tables of a net, by the variant's name."""
    key = (net.name, net.module.program.source)
    if key not in module.rows:
        module.rows[key] = _rows(net, module)
    found: Rows = module.rows[key]
    return found


def _rows(net: NetValue, module: Module) -> Rows:
    found: Rows = {}
    for where in dict.fromkeys((net.module, module)):
        for table in where.variants.get(net.name, ()):
            for row in table.body.rows:
                found[_variant_name(table, row)] = (table, row, where)
    return found


def _variant_name(table: tree.Variants, row: tree.Row) -> str:
    names = [column.name.id for column in table.body.columns]
    if "name" not in names:
        raise fail("E0217", "a table of variants needs a column `name`", table.body.columns[0].span)
    if len(row.cells) != len(names):
        raise fail("E0106", f"this row has {len(row.cells)} of the table's {len(names)} columns", row.span)
    cell = row.cells[names.index("name")]
    if not isinstance(cell, tree.Name):
        raise fail("E0217", "a variant's name is a plain name, such as `b0`", cell.span)
    return cell.id


def variant(net: NetValue, name: str, body: Body, span: Span | None) -> NetValue:
    """The net with the arguments of one variant's row."""
    module = body.scope
    while isinstance(module, Scope):
        module = module.parent
    rows = variant_rows(net, module)
    if name not in rows:
        raise fail("E0204", f"`{net.name}` has no variant `{name}`", span, help=nearest(name, rows))
    table, row, where = rows[name]
    params = [param.name.id for param in net.decl.params or ()]
    given: dict[str, Value] = {}
    for column, cell in zip(table.body.columns, row.cells, strict=True):
        if column.name.id == "name" or isinstance(cell, tree.Blank):
            continue
        if column.name.id not in params:
            help_ = nearest(column.name.id, params)
            raise fail("E0202", f"`{net.name}` has no argument `{column.name.id}`", column.span, help=help_)
        with body.decides(f"`{column.name.id}` of `{net.name}.{name}`"):
            given[column.name.id] = body.eval_in(cell, where)
    args = tuple({**dict(net.args), **given}.items())
    return NetValue(net.decl, net.module, net.identity, args, net.overrides, f"{net.name}.{name}")


@deep(None)
def net_named(module: Module, name: str) -> NetValue:
    """NAME of a SPEC: a net, `Net.variant`, or the name of a variant alone."""
    head, _, rest = name.partition(".")
    body = _pure(module)
    span = Span(module.source, 0, 0)
    value = module.names.get(head)
    if head in module.nets or isinstance(value, NetValue | Imported):
        return _found(module, partial(_variant_of, module, head, rest))
    for other in module.nets:
        net = as_net(body.module_name(module, other, span), span)
        if name in variant_rows(net, module):
            return _found(module, partial(_variant_of, module, other, name))
    known = all_names(module)
    raise fail("E0204", f"{module.source.name} has no net or variant `{name}`", help=nearest(name, known))


def _variant_of(module: Module, name: str, variant_name: str, body: Body) -> NetValue:
    """A net of the file; variant_name: one of its variants, if it is not empty."""
    span = Span(module.source, 0, 0)
    net = as_net(body.module_name(module, name, span), span)
    return variant(net, variant_name, body, None) if variant_name else net


def all_names(module: Module) -> list[str]:
    """Every net of the file, and every variant as `Net.variant`."""
    return [name for net in module.nets for name in names_of(module, net)]


@deep(None)
def names_of(module: Module, name: str) -> list[str]:
    """The net `name` of the file, and its variants as `name.variant`."""
    span = Span(module.source, 0, 0)
    body = _pure(module)
    net = as_net(body.module_name(module, name, span), span)
    return [name, *(f"{name}.{label}" for label in variant_rows(net, module) if net.name == name)]


@deep(None)
def default_net(module: Module) -> NetValue:
    """The net that is meant where a SPEC names none: the only one, or the last, if it needs no arguments."""
    if not module.nets:
        raise fail("E0204", f"{module.source.name} has no net")
    net = _found(module, partial(_variant_of, module, module.nets[-1], ""))
    missing = required(net)
    if missing:
        known = [name for name in all_names(module) if "." in name]
        choose = ", ".join(f"`{name}`" for name in known) or f"or set it: --set {missing[0]}=..."
        message = f"`{net.name}` needs `{missing[0]}`, so say which net of {module.source.name} is meant"
        raise fail("E0212", message, net.decl.name.span, help=f"there are {choose}" if known else choose)
    return net


def required(net: NetValue) -> list[str]:
    """The parameters that have no default and no value yet."""
    fixed = dict(net.args)
    return [p.name.id for p in net.decl.params or () if p.default is None and p.name.id not in fixed]


def lower(
    net: NetValue,
    args: Mapping[str, Value] | None = None,
    picks: Mapping[str, int] | None = None,
    memo: Memo | None = None,
    choose: Callable[[Decision], int] = lambda decision: 0,
) -> Lowered:
    """The Graph of a net. args: override the net's arguments. picks: decisions of a space;
    `choose` takes those that are not in it, by itself the first alternative.

    Raises ArchError, located, with the expansion that led there.
    """
    return elaborated(net, args, Session(picks, memo, choose), Body)


def elaborated(net: NetValue, args: Mapping[str, Value] | None, session: Session, kind: type[Body]) -> Lowered:
    """The net elaborated by one kind of body."""
    with paused(), deep(net.decl.name.span):
        return _elaborated(net, args, session, kind)


def _elaborated(net: NetValue, args: Mapping[str, Value] | None, session: Session, kind: type[Body]) -> Lowered:
    body = begun(net, args, session, kind)
    try:
        body.net(net, None)
    except ArchError as error:
        raise error.expanded(f"the variant {net.label}") if "." in net.label else error from None
    region = body.region(net.name, [tensor for _, tensor in body.outputs])
    outputs = tuple(name for name, _ in body.outputs)
    doc, expectations = doc_of(net.module, net.decl), tuple(body.expectations)
    return Lowered(region, outputs, doc, session.trace, expectations, session.steps)


AnyBody = TypeVar("AnyBody", bound=Body)


def begun(net: NetValue, args: Mapping[str, Value] | None, session: Session, kind: type[AnyBody]) -> AnyBody:
    """A body in which the net's parameters have their values, before its first statement."""
    session.entry = net.module.source
    net = settled(net, session, kind)
    span = net.decl.name.span
    params = net.decl.params or ()
    given = {**dict(net.args), **named(net.name, [p.name.id for p in params], (), dict(args or {}), span)}
    pure = kind(session, net.module, Defaults(), ())
    scope = Scope({}, net.module)
    for param in params:
        name = param.name.id
        if name in given:
            scope.names[name] = given[name]
        elif param.default is not None:
            pure.deciding = f"`{name}`"
            scope.names[name] = pure.eval_in(param.default, scope)
        else:
            raise fail("E0212", f"`{net.name}` needs `{name}`", param.span, help=f"set it: --set {name}=...")
    defaults = Defaults()
    for key, name, value in net.overrides:
        defaults = defaults.force(key, {name: value})
    return kind(session, Scope({}, scope), session.settled(defaults), ())


_STEPS_OF_A_NET = 50
"""How much work a net of its own is beside what is in it: its graph, its cost."""

METRICS = ("params", "macs", "flops", "activation_bytes", "peak_memory")


def metrics(graph: Graph) -> dict[str, int]:
    """The static metrics that `expect`, `require` and rewards know by name."""
    from archlang.cost import cost

    found = cost(graph)
    total = found.total
    values = (total.params, total.macs, total.flops, found.activation_bytes, found.peak_memory_bytes)
    return dict(zip(METRICS, values, strict=True))


def attribute(body: Body, net: NetValue, node: tree.Attribute) -> Value:
    """`Net.variant`, or a static metric of the net: `Net.params`."""
    name = node.name.id
    if name in METRICS:
        known = body.session.memo.metrics
        if net not in known:
            with body.session.deeper(node.span):
                known[net] = metrics(_within(net, body.session, node.span).graph)
        return known[net][name]
    return variant(net, name, body, node.name.span)


def _within(net: NetValue, session: Session, span: Span) -> Lowered:
    """The net elaborated in the course of another elaboration, to whose work it counts."""
    inner = Session(memo=session.memo)
    inner.depth, inner.steps = session.depth, session.steps
    lowered = elaborated(net, None, inner, Body)
    session.steps = inner.steps
    session.spend(span, _STEPS_OF_A_NET + lowered.region.ops)
    return lowered
