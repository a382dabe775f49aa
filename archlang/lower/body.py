"""Elaborates statements: lines that act on the current value, groups, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from archlang.errors import ArchError, Diagnostic, Label, fail, nearest
from archlang.ir.graph import Scope as GraphScope
from archlang.lower import builtins
from archlang.lower.expressions import has_each, parameter_names
from archlang.lower.session import MAX_REPEAT
from archlang.lower.steps import Steps
from archlang.lower.values import (
    Applied,
    Builtin,
    FnValue,
    Late,
    NetValue,
    Scope,
    Tensor,
    Value,
    again,
    kind_of,
)
from archlang.ops.base import ShapeError
from archlang.ops.join import Add
from archlang.ops.regularize import DropPath
from archlang.ops.shape import Input
from archlang.syntax import tree

Cells = dict[str, tuple[tree.Column, tree.Expr]]
"""A table's row by column name."""


class Body(Steps):
    """One body under elaboration: a net, an instance of a block, or (without nodes) an expression alone."""

    def net(self, net: NetValue, tensors: Sequence[Tensor] | None) -> None:
        """The statements of a net. tensors: its inputs, where it is a step in another net."""
        self.given = None if tensors is None else list(tensors)
        self.suite(net.decl.suite)
        self.conclude(net)

    def conclude(self, net: NetValue) -> None:
        """After the last statement: the flow is the output where none is named."""
        name = net.decl.name.span
        if self.given:
            raise fail("E0214", f"`{net}` has fewer inputs than the tensors that are given", name)
        if not self.outputs:
            if self.flow is None:
                help_ = "start with `input 3x224x224`"
                raise fail("E0209", f"the net `{net.name}` has no output: nothing flows", name, help=help_)
            self.outputs.append(("output", self.flow))

    def net_attribute(self, net: NetValue, node: tree.Attribute) -> Value:
        from archlang.lower import nets  # nets are made of bodies

        return nets.attribute(self, net, node)

    # statements

    def suite(self, suite: tree.Suite) -> None:
        for stmt in suite.body:
            self.stmt(stmt)

    def stmt(self, stmt: tree.Stmt) -> None:
        self.session.spend(stmt.span)
        _STMT[type(stmt)](self, stmt)

    def _flow_stmt(self, stmt: tree.Flow) -> None:
        label = stmt.name.id if stmt.name else ""
        result = self._flow_step(self.flow, stmt.value, label)
        if isinstance(result, Tensor):
            self.flow = result
        elif not (isinstance(result, tuple) and result and all(isinstance(item, Tensor) for item in result)):
            raise fail("E0208", f"this line is neither a step nor a tensor, but {kind_of(result)}", stmt.span)
        if stmt.name is not None:
            self._define(stmt.name, result)

    def _define(self, name: tree.Name, value: Value) -> None:
        assert isinstance(self.scope, Scope)
        self.scope.names[name.id] = value
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.locals[name.id] = value

    def _assign(self, stmt: tree.Assign) -> None:
        names = []
        for target in stmt.targets:
            if not isinstance(target, tree.Name):
                raise fail("E0110", "only a name can be assigned to", target.span)
            names.append(target)
        before, self.deciding = self.deciding, ", ".join(f"`{name.id}`" for name in names)
        try:
            values = tuple(self.eval(value) for value in stmt.values)
        finally:
            self.deciding = before
        if len(values) == 1 and len(names) > 1:
            values = values[0] if isinstance(values[0], tuple) else values
        if len(values) != len(names):
            raise fail("E0208", f"{len(names)} names for {len(values)} values", stmt.span)
        for name, value in zip(names, values, strict=True):
            self._define(name, value)

    def _default(self, stmt: tree.Default) -> None:
        callee, values = self.settings(stmt.call)
        set_ = self.defaults.set(callee.name if isinstance(callee, Builtin) else callee, values)
        self.defaults = self.session.settled(set_)

    def _input(self, stmt: tree.Input) -> None:
        name = stmt.name.id if stmt.name else "image"
        if self.given is not None:
            self._given_input(stmt)
            return
        before, self.deciding = self.deciding, "the input's size"
        shape = self.eval(stmt.shape)
        self.deciding = before
        if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3:
            raise fail(
                "E0206", "an input is (channels, height, width), (tokens, features) or (features,)", stmt.shape.span
            )
        sizes = tuple(builtins.whole(size, "a size of the input", stmt.shape.span) for size in shape)
        if min(sizes) < 1:
            raise fail("E0304", f"the sizes of an input are at least 1, not {min(sizes)}", stmt.shape.span)
        value = self.emit(Input(sizes), (), stmt.span, name)
        self._first_flow(stmt, value)

    def _given_input(self, stmt: tree.Input) -> None:
        assert self.given is not None
        if not self.given:
            raise fail("E0214", "this net has more inputs than tensors are given", stmt.span)
        self._first_flow(stmt, self.given.pop(0))

    def _first_flow(self, stmt: tree.Input, value: Tensor) -> None:
        if self.flow is None:
            self.flow = value
        if stmt.name is not None:
            self._define(stmt.name, value)

    def _output(self, stmt: tree.Output) -> None:
        for item in stmt.items:
            value = self.eval(item.value)
            tensors = self._as_tensors(value, item.span)
            name = item.name.id if item.name else item.value.id if isinstance(item.value, tree.Name) else "output"
            labels = [name] if not isinstance(value, tuple) else [f"{name}_{i}" for i in range(len(tensors))]
            for label, tensor in zip(labels, tensors, strict=True):
                if any(label == known for known, _ in self.outputs):
                    raise fail("E0203", f"two outputs are called `{label}`", item.span, help="name them with `as`")
                self.outputs.append((label, tensor))

    def _expect(self, stmt: tree.Expect) -> None:
        self.expectations.append((stmt, self.scope))

    def _fn_stmt(self, stmt: tree.FnDef) -> None:
        assert isinstance(self.scope, Scope)
        self.scope.names[stmt.name.id] = FnValue(stmt, self.scope)

    def _pass(self, stmt: tree.Pass) -> None:
        """Nothing."""

    def _for(self, stmt: tree.For) -> None:
        assert isinstance(self.scope, Scope)
        scope = self.scope

        def run(value: Value) -> None:
            self.bind_names(stmt.names, value, scope, stmt.iterable.span)
            self.suite(stmt.suite)

        self.rest(((id(stmt), value), partial(run, value)) for value in self.iterate(stmt.iterable))

    def _if(self, stmt: tree.If) -> None:
        chosen = self._case(stmt)
        if chosen is not None:
            self.suite(chosen)

    def _case(self, stmt: tree.If) -> tree.Suite | None:
        for case in stmt.cases:
            if case.condition is None or self.truth(self.eval(case.condition), case.condition.span):
                return case.suite
        return None

    def _stage(self, stmt: tree.Stage) -> None:
        scope = GraphScope("stage", stmt.name.id, label=f"stage {stmt.name.id}", span=stmt.name.span)
        with self.within(stmt.name.id, scope):
            self.suite(stmt.suite)

    def _aux(self, stmt: tree.Aux) -> None:
        """A head that exists in training only; the flow goes on as if it were not there."""
        name = stmt.name.id
        before = self.flow
        single = stmt.suite.body[0] if len(stmt.suite.body) == 1 else None
        if isinstance(single, tree.Flow) and isinstance(single.value, tree.Call):
            result = self._flow_step(before, single.value, name)
            (self.flow,) = self._as_tensors(result, single.span)
        else:
            with self.within(name, GraphScope("stage", name, label=f"aux {name}", span=stmt.name.span)):
                self.suite(stmt.suite)
        assert self.flow is not None
        self.aux.append((name, self.flow.ref))
        self.flow = before

    # groups

    def _group(self, stmt: tree.Group) -> None:
        result = self._group_value(stmt)
        self.flow = result

    def _group_value(self, stmt: tree.Group) -> Tensor:
        head, after = _head(stmt.head)
        name = head.function if isinstance(head, tree.Call) else head
        if not isinstance(name, tree.Name) or name.id not in builtins.GROUPS:
            known = ", ".join(f"`{group}:`" for group in sorted(builtins.GROUPS))
            raise fail("E0215", "only a group opens a block of lines", stmt.head.span, help=f"groups are {known}")
        args, options = self.arguments(head.args) if isinstance(head, tree.Call) else ((), {})
        if args:
            raise fail("E0211", f"`{name.id}:` takes its options by name", head.span)
        if self.flow is None:
            raise fail("E0209", f"`{name.id}:` has nothing to act on", stmt.head.span)
        if name.id == "residual":
            result = self._residual(stmt, head, options)
        elif name.id == "branch":
            _no_options(options, (), head)
            result = self._branch(stmt.suite)
        else:
            result = self._join(stmt, name.id, head, options)
        for step in after:
            (result,) = self._as_tensors(self.through(result, step), step.span)
        return result

    def _branch(self, suite: tree.Suite) -> Tensor:
        before = self.flow
        self.suite(suite)
        result, self.flow = self.flow, before
        assert result is not None
        return result

    def _join(self, stmt: tree.Group, name: str, head: tree.Expr, options: dict[str, Value]) -> Tensor:
        _no_options(options, builtins.joining_options(name), head)
        branches = list(self._branches(stmt.suite))
        if not branches:
            raise fail("E0216", f"`{name}:` has no branches", head.span)
        tensors = [tensor for _, tensor in branches]
        op = builtins.joining(name, options, head.span)
        try:
            op.infer(*(tensor.type for tensor in tensors))
        except ShapeError as error:
            return self.complain(_disagreement(error, head, branches), tensors[0])
        return self.emit(op, tensors, head.span)

    def _branches(self, suite: tree.Suite) -> Iterator[tuple[tree.Stmt, Tensor]]:
        """The value of every branch: each flow line and group of the body, all from the same current value."""
        start = self.flow
        for stmt in suite.body:
            self.flow = start
            if isinstance(stmt, tree.If):
                chosen = self._case(stmt)
                yield from self._branches(chosen) if chosen else ()
            elif isinstance(stmt, tree.For):
                assert isinstance(self.scope, Scope)
                for i, value in enumerate(self.iterate(stmt.iterable)):
                    self.bind_names(stmt.names, value, self.scope, stmt.iterable.span)
                    with self.turn(i):
                        yield from self._branches(stmt.suite)
            else:
                self.stmt(stmt)
                if isinstance(stmt, tree.Flow | tree.Group | tree.Table):
                    assert self.flow is not None
                    yield stmt, self.flow
        self.flow = start

    def _residual(self, stmt: tree.Group, head: tree.Expr, options: dict[str, Value]) -> Tensor:
        _no_options(options, ("project", "when", "drop"), head)
        if options.get("when") not in (None, "fits"):
            raise fail("E0206", "`when` of `residual` is `fits` or left out", head.span)
        start = self.flow
        assert start is not None
        outer, self.residual = self.residual, self.residuals
        self.residuals += 1
        inner = self.residual
        self.suite(stmt.suite)
        self.residual = inner
        result = self._sum(start, stmt, head, options)
        self.flow, self.residual = start, outer
        return result

    def _sum(self, start: Tensor, stmt: tree.Group, head: tree.Expr, options: dict[str, Value]) -> Tensor:
        """The end of a residual group: the body's value plus the shortcut."""
        out = self.flow
        assert out is not None
        fits = out.type == start.type
        if not fits and options.get("when") == "fits":
            return out
        shortcut = start if fits or options.get("project") is None else self._project(start, options["project"], head)
        drop = options.get("drop", 0)
        if isinstance(drop, Late) or drop:
            rate = builtins.real(drop, "`drop`", head.span)
            out = self.emit(DropPath(rate), (out,), head.span)
        if out.type != shortcut.type:
            return self.complain(_residual_mismatch(start, shortcut, out, stmt, head), out)
        return self.emit(Add(), (out, shortcut), head.span)

    def _project(self, start: Tensor, step: Value, head: tree.Expr) -> Tensor:
        """The shortcut's own step, its modules numbered: `downsample.0`, `downsample.1`."""
        name = "downsample"
        while self._path(name) in self.names:
            name = self.fresh("downsample")
        with self.within(name, GraphScope("sequence", label="the projection", span=head.span), sequence=True):
            (result,) = self._as_tensors(self.apply(self.step(step, head.span), (start,), head.span), head.span)
        return result

    # tables

    def _table(self, stmt: tree.Table) -> None:
        columns = stmt.body.columns
        names = [column.name.id for column in columns]
        _check_columns(stmt, names)

        def run(i: int, row: tree.Row) -> None:
            if len(row.cells) != len(columns):
                raise fail("E0106", f"this row has {len(row.cells)} of the table's {len(columns)} columns", row.span)
            cells = dict(zip(names, zip(columns, row.cells, strict=True), strict=True))
            self.expanding(
                lambda: self._row(stmt, cells, row, i), lambda: f"row {i + 1} of the table at line {stmt.span.line}"
            )

        self.rest((id(row), partial(run, i, row)) for i, row in enumerate(stmt.body.rows))

    def _row(self, stmt: tree.Table, cells: Cells, row: tree.Row, i: int) -> None:
        name = self.fresh(stmt.name.id if stmt.name else "layer")
        count = None
        if "n" in cells and not isinstance(cells["n"][1], tree.Blank):
            found = self.apart(stmt, (i, "n"), lambda: self._cell(cells, "n", i))
            count = builtins.whole(found, "the number of repeats `n`", cells["n"][1].span)
            if count < 0:
                raise fail("E0404", f"a row cannot be repeated {count} times", cells["n"][1].span)
        if "n" not in cells:
            self._advance(self._unit_of_repeat(stmt, cells, row, i, None), row, name)
            return
        times = 1 if count is None else count
        if times > MAX_REPEAT:
            raise fail("E0401", f"{times:,} repeats are more than {MAX_REPEAT:,}", cells["n"][1].span)
        if times == 0:
            return
        each = any(has_each(cell) for _, cell in cells.values())
        first = None if each else self._unit_of_repeat(stmt, cells, row, i, None)
        label = f"row {i + 1} of the table at line {stmt.span.line}"

        def run(k: int) -> None:
            self.session.spend(row.span)
            unit = first or self._unit_of_repeat(stmt, cells, row, i, k)
            self.expanding(
                lambda: self._advance(unit if k == 0 else again(unit), row, str(k)),
                lambda: f"repeat {k + 1} of {times}",
            )

        block = self.naming(lambda: repr((first or self._unit_of_repeat(stmt, cells, row, i, 0)).callee))
        with self.within(name, GraphScope("repeat", block, label=label, span=row.span)):
            self.rest(((id(row), k if each else k > 0, first), partial(run, k)) for k in range(times))

    def _unit_of_repeat(self, stmt: tree.Table, cells: Cells, row: tree.Row, i: int, repeat: int | None) -> Applied:
        """The row's step; with `each` in the row, that of one repeat."""

        def find() -> Applied:
            found: Applied = self.apart(stmt, (i, "unit"), lambda: self._unit(stmt, cells, row, i))
            return found

        unit: Applied = find() if repeat is None else self.with_repeat(repeat, find)
        return unit

    def _unit(self, stmt: tree.Table, cells: Cells, row: tree.Row, i: int) -> Applied:
        """The row's step: the table's unit, or column `op`, with the columns that it takes as arguments."""
        value = self.eval(stmt.unit) if stmt.unit is not None else self._cell(cells, "op", i)
        span = stmt.unit.span if stmt.unit is not None else cells["op"][1].span
        unit = self.step(value, span)
        if not isinstance(unit, Applied):
            raise fail("E0208", "a table's unit is an op or a block", span)
        takes = parameter_names(unit.callee)
        for name, (column, _) in cells.items():
            if stmt.unit is not None and name not in (*takes, "n"):
                raise fail(
                    "E0202", f"`{unit.callee!r}` has no argument `{name}`", column.span, help=nearest(name, takes)
                )
        given = {
            name: self._cell(cells, name, i)
            for name, (_, cell) in cells.items()
            if name in takes and not isinstance(cell, tree.Blank)
        }
        kwargs = tuple({**dict(unit.kwargs), **given}.items())
        return Applied(unit.callee, unit.args, kwargs, row.span, taken=unit.taken)

    def _cell(self, cells: Cells, name: str, i: int) -> Value:
        column, cell = cells[name]
        before, self.deciding = self.deciding, f"`{name}` in row {i + 1}"
        try:
            value = self.eval(cell)
        finally:
            self.deciding = before
        if column.function is None:
            return value
        function = self.eval(column.function)
        call = tree.Call(cell.span, column.function, (tree.Arg(cell.span, None, cell),))
        if isinstance(function, FnValue):
            return self._fn(function, (value,), {}, call)
        return self._builtin_function(function, (value,), {}, call)

    def _advance(self, unit: Applied, row: tree.Row, name: str) -> None:
        """Apply a row's step to the flow. A block is called `name`; the ops of a built-in are named below it."""
        if self.flow is None:
            raise fail("E0209", "this table has nothing to act on", row.span, help="start with `input 3x224x224`")
        if isinstance(unit.callee, Builtin):
            with self.within(name, GraphScope("stage", unit.callee.name, label=repr(unit), span=row.span)):
                result = self.apply(unit, (self.flow,), row.span)
        else:
            result = self.apply(unit, (self.flow,), row.span, name)
        (self.flow,) = self._as_tensors(result, row.span)


def _head(node: tree.Expr) -> tuple[tree.Expr, list[tree.Expr]]:
    """A group's head and the steps that act on its result: `residual(...) -> relu:`."""
    after: list[tree.Expr] = []
    while isinstance(node, tree.Pipe):
        after.insert(0, node.right)
        node = node.left
    return node, after


def _no_options(options: dict[str, Value], known: Sequence[str], head: tree.Expr) -> None:
    for name in options:
        if name not in known:
            what = head.function.id if isinstance(head, tree.Call) and isinstance(head.function, tree.Name) else "this"
            help_ = "it takes " + ", ".join(f"`{k}`" for k in known) if known else "it takes none"
            raise fail("E0202", f"`{what}:` has no option `{name}`", head.span, help=help_)


def _check_columns(stmt: tree.Table, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise fail("E0203", f"two columns are called `{name}`", stmt.body.columns[i].span)
    if stmt.unit is None and "op" not in names:
        help_ = "write `table mbconv:`, or add a column `op`"
        raise fail("E0217", "this table names no block", stmt.span, help=help_)


def _disagreement(error: ShapeError, head: tree.Expr, branches: Sequence[tuple[tree.Stmt, Tensor]]) -> ArchError:
    labels = tuple(Label(stmt.span, str(tensor.type)) for stmt, tensor in branches)
    help_ = error.help or "give all branches the same number of channels and the same strides"
    return ArchError(Diagnostic(error.code, error.message.split(":")[0], head.span, labels=labels, help=help_))


def _residual_mismatch(start: Tensor, shortcut: Tensor, out: Tensor, stmt: tree.Group, head: tree.Expr) -> ArchError:
    last = stmt.suite.body[-1].span
    labels = (Label(last, f"the body ends as {out.type}"),)
    what = "channels do" if out.type.channels != shortcut.type.channels else "sizes do"
    help_ = (
        f"project the shortcut: `residual(project=conv({out.type.channels}, 1)):`, or drop it: `residual(when=fits):`"
    )
    if shortcut is not start:
        help_ = "the projection must end like the body: mind its channels and its stride"
    message = f"{what} not agree in `residual`: the shortcut is {shortcut.type}, the body {out.type}"
    return ArchError(Diagnostic("E0312", message, head.span, f"{shortcut.type} comes in", labels, help_))


_STMT: dict[type, Callable[..., None]] = {
    tree.Flow: Body._flow_stmt,
    tree.Assign: Body._assign,
    tree.Default: Body._default,
    tree.Input: Body._input,
    tree.Output: Body._output,
    tree.Expect: Body._expect,
    tree.FnDef: Body._fn_stmt,
    tree.Pass: Body._pass,
    tree.For: Body._for,
    tree.If: Body._if,
    tree.Stage: Body._stage,
    tree.Aux: Body._aux,
    tree.Group: Body._group,
    tree.Table: Body._table,
}
