"""Checks a file: syntax, names, shapes, `expect` lines; for a space its size, and that its choices fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archlang.collector import paused
from archlang.cost import cost
from archlang.errors import ArchError, Diagnostic, fail
from archlang.lower import Lowered, Memo, Module, NetValue, Session, lower, metrics
from archlang.lower.body import Body
from archlang.lower.names import check_module
from archlang.lower.nets import names_of, net_named, required
from archlang.lower.session import LIMITS, MAX_STEPS, Defaults
from archlang.lower.values import Scope
from archlang.ops.base import Cost
from archlang.search.space import Space, search_of
from archlang.spec import Spec, module_of, net_of, split
from archlang.syntax import tree
from archlang.syntax.printer import print_expr


@dataclass
class Report:
    """What `check` found. nets: each that was proved, with its cost. spaces: nets with choices in them. steps: the work
    of their elaboration."""

    errors: tuple[Diagnostic, ...] = ()
    nets: list[tuple[str, Cost]] = field(default_factory=list)
    spaces: list[Space] = field(default_factory=list)
    steps: int = 0

    @property
    def ok(self) -> bool:
        return not self.errors


def check(spec: str, begin: Callable[[str], None] = lambda name: None) -> Report:
    """Check SPEC: one net where it names one, else every net and variant of the file; of a folder, every file.

    begin: is told each file or net when its turn comes.
    """
    if Path(spec).is_dir():
        return _merged([check(str(path), begin) for path in sorted(Path(spec).rglob("*.arch"))])
    begin(spec)
    report = Report()
    try:
        with paused():
            _check_spec(split(spec), report)
    except ArchError as error:
        _add(report, error)
    return report


def _merged(reports: Sequence[Report]) -> Report:
    merged = Report()
    for report in reports:
        merged.errors += tuple(error for error in report.errors if error not in merged.errors)
        merged.nets += report.nets
        merged.spaces += report.spaces
    return merged


def _add(report: Report, error: ArchError) -> None:
    """Each place is reported once, however many variants lead there."""
    known = {(known.code, known.span, known.message) for known in report.errors}
    report.errors += tuple(d for d in error.diagnostics if (d.code, d.span, d.message) not in known)


def _check_spec(spec: Spec, report: Report) -> None:
    module = module_of(spec)
    report.errors += tuple(check_module(module))
    memo = Memo()
    if spec.name:
        _check_net(net_of(module, spec.name, None), spec.name, memo, report)
        return
    for name in module.nets:
        if report.steps > MAX_STEPS:
            _add(report, _too_much(module, name))
            break
        try:
            found = names_of(module, name)
        except ArchError as error:
            _add(report, error)
            continue
        for label in found:
            _check_named(module, label, memo, report)
    for item in module.program.items:
        if isinstance(item, tree.ExpectItem):
            _expect(Body(Session(memo=memo), module, Defaults(), ()), item.condition, None, report)
        elif isinstance(item, tree.SearchDef):
            _check_search(module, item, report)


def _check_named(module: Module, name: str, memo: Memo, report: Report) -> None:
    try:
        net = net_named(module, name)
    except ArchError as error:
        _add(report, error)
        return
    if not required(net):
        _check_net(net, name, memo, report)


def _check_net(net: NetValue, name: str, memo: Memo, report: Report) -> None:
    space = Space(net, memo=memo)
    try:
        lowered = _lowered(net, memo, report)
    except ArchError as error:
        limit = error.diagnostics[0].code in LIMITS
        for found in [error] if limit else space.misfits() or [error]:
            _add(report, found)
        return
    if lowered.trace:
        for misfit in space.misfits():
            _add(report, misfit)
        report.spaces.append(space)
        return
    if not net.args and not net.overrides:
        _expectations(lowered, net.module, report)
    report.nets.append((name, cost(lowered.graph).total))


def _lowered(net: NetValue, memo: Memo, report: Report) -> Lowered:
    """The net elaborated; the report counts the work."""
    try:
        lowered = lower(net, memo=memo)
    except ArchError as error:
        report.steps += MAX_STEPS if error.diagnostics[0].code in LIMITS else MAX_STEPS // 50  # none knows how much
        raise
    report.steps += lowered.steps
    return lowered


def _too_much(module: Module, name: str) -> ArchError:
    message = f"the nets before `{name}` take more than {MAX_STEPS:,} steps to elaborate together"
    help_ = f"check it by itself: `archlang check {module.source.name}:{name}`"
    return fail("E0401", message, module.spans.get(name), help=help_)


def _check_search(module: Module, item: tree.SearchDef, report: Report) -> None:
    try:
        search_of(module, item, {})
    except ArchError as error:
        _add(report, error)


def _expectations(lowered: Lowered, module: Module, report: Report) -> None:
    """The `expect` lines of a net hold for its default arguments."""
    if not lowered.expectations:
        return
    found = metrics(lowered.graph)
    for stmt, scope in lowered.expectations:
        body = Body(Session(), Scope(dict(found), scope), Defaults(), ())
        _expect(body, stmt.condition, found, report)


def _expect(body: Body, condition: tree.Expr, found: dict[str, int] | None, report: Report) -> None:
    try:
        if body.truth(body.eval(condition), condition.span):
            return
        seen = _seen(body, condition)
    except ArchError as error:
        _add(report, error)
        return
    message = f"this does not hold: {seen}" if seen else "this does not hold"
    _add(report, ArchError(Diagnostic("E0311", message, condition.span)))


def _seen(body: Body, condition: tree.Expr) -> str:
    """The value of a comparison's left side, for the message."""
    if not isinstance(condition, tree.Infix):
        return ""
    value = body.eval(condition.left)
    return f"{print_expr(condition.left)} is {value:,}" if isinstance(value, int | float) else ""
