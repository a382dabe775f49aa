"""Applies steps: adds ops and instances of blocks to the region under construction, and names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

from archlang.errors import ArchError, Diagnostic, Label, fail
from archlang.ir.graph import Scope as GraphScope
from archlang.ir.types import TensorType
from archlang.lower.expressions import Expressions, named
from archlang.lower.module import Module
from archlang.lower.region import CallStep, Region, Step
from archlang.lower.session import MAX_INTEGER, MAX_OPS, Defaults, Session
from archlang.lower.values import (
    Applied,
    Block,
    Builtin,
    Chain,
    Closure,
    Late,
    Made,
    NetValue,
    Repeat,
    Scope,
    Tensor,
    Value,
    is_step,
    kind_of,
)
from archlang.ops.base import Op, ShapeError
from archlang.ops.join import Add, Mul
from archlang.source import Span
from archlang.syntax import tree


class Steps(Expressions):
    """A region under construction. `Body` adds the statements.

    steps: what the region does so far. types: of the region's values. flow: the current value.
    """

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        self.session, self.scope, self.defaults = session, scope, defaults
        self.types: list[TensorType] = list(inputs)
        self.inputs = len(inputs)
        self.steps: list[Step | CallStep] = []
        self.flow: Tensor | None = None
        self.given: list[Tensor] | None = None
        self.prefix = ""
        self.counts: dict[str, int] = {}
        self.names: set[str] = set()
        self.scopes: dict[str, GraphScope] = {}
        self.residuals = 0
        self.residual = 0
        self.ops = 0
        self.locals: dict[str, int | float] = {}
        self.outputs: list[tuple[str, Tensor]] = []
        self.aux: list[tuple[str, int]] = []
        self.expectations: list[tuple[tree.Expect, Scope | Module]] = []

    # names of modules

    def fresh(self, kind: str) -> str:
        """A free module name: `conv1`, `conv2`, `relu6_1`; within a sequence `0`, `1`."""
        if self.prefix.endswith("!"):  # a sequence: its ops are numbered
            kind = ""
        number = self.counts.get(self.prefix + kind, 0 if kind == "" else 1)
        while True:
            name = f"{kind}_{number}" if kind[-1:].isdigit() else f"{kind}{number}"
            number += 1
            if self._path(name) not in self.names:
                self.counts[self.prefix + kind] = number
                return name

    def _path(self, name: str) -> str:
        return self.prefix.replace("!", "") + name if self.prefix else name

    def _claim(self, name: str, span: Span) -> str:
        path = self._path(name)
        if path in self.names:
            raise fail("E0203", f"two modules are called `{path}`", span, help="give them different names")
        self.names.add(path)
        return path

    @contextmanager
    def within(self, name: str, scope: GraphScope, sequence: bool = False) -> Iterator[None]:
        """Name the modules made in the body `name.…`."""
        path = self._claim(name, scope.span) if scope.span else self._path(name)
        self.scopes[path] = scope
        before, self.prefix = self.prefix, f"{path}.{'!' if sequence else ''}"
        try:
            yield
        finally:
            self.prefix = before

    # nodes

    def emit(self, op: Op, tensors: Sequence[Tensor], span: Span, label: str = "") -> Tensor:
        """Add an op. Raises ArchError, located at `span`, where the tensors do not fit."""
        return self.add(op, shape_of(op, [tensor.type for tensor in tensors], span), tensors, span, label)

    def add(self, op: Op, type_: TensorType, tensors: Sequence[Tensor], span: Span, label: str = "") -> Tensor:
        """Add an op whose result is known to be of `type_`."""
        self.session.spend_op(span)
        if self.ops + 1 > MAX_OPS:
            raise fail("E0401", f"the network has more than {MAX_OPS:,} ops", span)
        name = self._claim(label or self.fresh(op.name), span)
        self.steps.append(Step(op, tuple(tensor.ref for tensor in tensors), type_, name, span, self.residual))
        self.ops += 1
        return self._value(type_)

    def _value(self, type_: TensorType) -> Tensor:
        self.types.append(type_)
        return Tensor(len(self.types) - 1, type_)

    def follow(self, value: Tensor, norm: Value, act: Value, span: Span, name: str) -> Value:
        """The norm and the activation of a convolution or linear layer called `name`.

        `conv2` is followed by the next free `bn`, a named one by `name_bn` and `name_act`.
        """
        if norm is None and act is None:
            return value
        own = name.rstrip("0123456789") not in ("conv", "dwconv", "linear", "")
        result: Value = value
        for step, suffix in ((norm, "bn"), (act, "act")):
            if step is not None:
                label = f"{name}_{suffix}" if own and _is_single(step) else ""
                result = self.apply(self.step(step, span), (result,), span, label)
        return result

    # applying steps

    def apply(self, step: Value, tensors: tuple[Tensor, ...], span: Span, label: str = "") -> Value:
        """The result of a step on tensors. label: the module's name, where one was given."""
        if isinstance(step, Applied):
            return self._apply_call(step, tensors, span, label)
        if isinstance(step, Closure):
            return self._in_flow(tensors[0], lambda: self._closure(step, tensors[0], label))
        if isinstance(step, Chain):
            for i, part in enumerate(step.steps):
                last = i == len(step.steps) - 1
                with self.turn(i):
                    tensors = self._as_tensors(self.apply(part, tensors, part.span, label if last else ""), part.span)
            return tensors[0] if len(tensors) == 1 else tensors
        if isinstance(step, Repeat):
            return self._apply_repeat(step, tensors, label)
        return self.apply(self.step(step, span), tensors, span, label)

    def _as_tensors(self, value: Value, span: Span) -> tuple[Tensor, ...]:
        values = value if isinstance(value, tuple) else (value,)
        for item in values:
            if not isinstance(item, Tensor):
                raise fail("E0208", f"expected a tensor, but this is {kind_of(item)}", span)
        return values

    def _in_flow(self, value: Tensor, compute: Callable[[], Value]) -> Value:
        before, self.flow = self.flow, value
        try:
            return compute()
        finally:
            self.flow = before

    def _closure(self, step: Closure, value: Tensor, label: str) -> Value:
        result = self.eval_in(step.expr, step.scope)
        return (
            result
            if isinstance(result, Tensor)
            else self.apply(self.step(result, step.span), (value,), step.span, label)
        )

    def through(self, value: Tensor, node: tree.Expr, label: str = "") -> Value:
        """The flow with current value `value` goes through `node`: a step transforms it, a tensor replaces it."""
        return self._in_flow(value, lambda: self._flow_step(value, node, label))

    def _flow_step(self, value: Tensor | None, node: tree.Expr, label: str) -> Value:
        if isinstance(node, tree.Pipe):
            left = self._flow_step(value, node.left, "")
            tensors = self._as_tensors(left, node.left.span)
            if len(tensors) != 1:
                help_ = "take one, such as `[0]`, or join them: `concat:`"
                raise fail(
                    "E0208", f"expected a tensor, but this is {len(tensors)} of them", node.left.span, help=help_
                )
            return self.through(tensors[0], node.right, label)
        result = self._call(node, label) if label and isinstance(node, tree.Call) else self.eval(node)
        if is_step(result):
            if value is None:
                raise fail("E0209", "this step has nothing to act on", node.span, help="start with `input 3x224x224`")
            return self.apply(self.step(result, node.span), (value,), node.span, label)
        return result

    def _apply_repeat(self, step: Repeat, tensors: tuple[Tensor, ...], label: str) -> Value:
        first = step.runs[0][0] if step.runs else None
        block = first.callee if isinstance(first, Applied) else None
        if not isinstance(block, Block | NetValue):
            return self._repeat(step, tensors, None)
        name = label or self.fresh(block.name)
        scope = GraphScope("repeat", block.name, label=f"{step!r}", span=step.span)
        with self.within(name, scope):
            return self._repeat(step, tensors, self.prefix)

    def _repeat(self, step: Repeat, tensors: tuple[Tensor, ...], prefix: str | None) -> Value:
        def run(i: int, part: Value, value: Value) -> Value:
            self.session.spend(step.span)
            name = str(i) if prefix is not None else ""
            with self.turn(i):
                return self.expanding(
                    lambda: self.apply(part, self._as_tensors(value, step.span), step.span, name),
                    lambda: f"repeat {i + 1} of {step.count}",
                )

        first: Value = tensors[0] if len(tensors) == 1 else tensors
        return self.sequence(first, (partial(run, i, part) for i, part in enumerate(step.steps())))

    def sequence(self, value: Value, parts: Iterable[Callable[[Value], Value]]) -> Value:
        """Parts that run one after the other, each with the value of the one before; the last one's value."""
        for part in parts:
            value = part(value)
        return value

    def rest(self, parts: Iterable[tuple[Any, Callable[[], None]]]) -> None:
        """What a statement consists of, part by part; it does nothing after them. Each has a key: in the same state,
        parts with equal keys do the same."""
        self.sequence(None, (partial(_run, part) for _, part in parts))

    def expanding(self, compute: Callable[[], Any], step: Callable[[], str]) -> Any:
        """What `compute` gives; its errors tell the step of the expansion that led there."""
        try:
            return compute()
        except ArchError as error:
            raise error.expanded(step()) from None

    def apart(self, node: tree.Node, part: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        """A value that depends on nothing but the names in `node`. part: which value of it."""
        return compute()

    def naming(self, name: Callable[[], str]) -> str:
        """A name that is for people alone."""
        return name()

    def complain(self, error: ArchError, likely: Tensor) -> Tensor:
        """An error after which one could go on with `likely`, to look for more of them. Here it ends everything."""
        raise error

    def _apply_call(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        callee = step.callee
        where = step.span
        self._check_inputs(callee, len(tensors), where)
        if isinstance(callee, Builtin):
            if callee.emit is not None:
                return callee.emit(self, tensors, self._given(callee, step), where, label)
            made = self._built(callee, step, tuple([tensor.type for tensor in tensors]))
            name = label or self.fresh(callee.name)
            return self.follow(self.add(made.op, made.type, tensors, where, name), made.norm, made.act, where, name)
        if isinstance(callee, NetValue):
            return self._call_net(callee, step, tensors, label)
        return self._call_block(callee, step, tensors, label)

    def _check_inputs(self, callee: Builtin | Block | NetValue, count: int, span: Span) -> None:
        wanted: int | None = 1
        if isinstance(callee, Builtin):
            wanted = callee.inputs
        elif isinstance(callee, Block):
            wanted = max(1, len(callee.decl.inputs))
        if wanted is not None and count != wanted and not isinstance(callee, NetValue):
            takes = f"takes {wanted} tensor{'s' * (wanted != 1)}"
            raise fail("E0214", f"`{callee!r}` {takes}, but {count} are given", span)

    def _built(self, callee: Builtin, step: Applied, types: tuple[TensorType, ...]) -> Made:
        """The op that a built-in is for these arguments and inputs; found out once while the settings are the same."""
        key = (step.key, types)
        known = self.defaults.made.get(key)
        if known is None:
            assert callee.build is not None
            given = self._given(callee, step)
            op = callee.build(given, types, step.span)
            known = Made(op, shape_of(op, types, step.span), given.get("norm"), given.get("act"))
            self.defaults.made[key] = known
        return known

    def _given(self, callee: Builtin, step: Applied) -> dict[str, Value]:
        """The arguments of a built-in."""
        settings = self.defaults.settings(callee, step.again)
        given = named(callee.name, callee.names, step.args, dict(step.kwargs), step.span)
        if step.again:
            given = {name: value for name, value in given.items() if name not in callee.once}
        bound = {**settings, **given}
        for name in callee.required:
            if name not in bound:
                raise fail("E0212", f"`{callee.name}` needs `{name}`", step.span)
        return bound

    def _bind(
        self, callee: Block | NetValue, params: Sequence[tree.Param], fixed: dict[str, Value], step: Applied
    ) -> Scope:
        """The parameters of a block or net as a scope of its file: given, set by `default`, or the default's value."""
        names = [param.name.id for param in params]
        given = {**fixed, **named(repr(callee), names, step.args, dict(step.kwargs), step.span)}
        scope = Scope({}, callee.module)
        for param in params:
            name = param.name.id
            if name in given and not (param.once and step.again):
                scope.names[name] = given[name]
                continue
            found, value = self.defaults.find((callee,), name)
            if found and not (param.once and step.again):
                scope.names[name] = value
            elif param.default is not None:
                before, self.deciding = self.deciding, f"`{name}` of `{callee!r}`"
                scope.names[name] = self.eval_in(param.default, scope)
                self.deciding = before
            else:
                label = Label(param.span, "needed here")
                raise fail("E0212", f"`{callee!r}` needs `{name}`", step.span, labels=(label,))
        return scope

    def _call_block(self, block: Block, step: Applied, tensors: tuple[Tensor, ...], label: str) -> Value:
        region, scope = self.block_region(block, step, tensors)

        def instance() -> GraphScope:
            arguments = tuple((k, v) for k, v in scope.names.items())
            doc = doc_of(block.module, block.decl)
            inputs = tuple([(param.name.id, "") for param in block.decl.inputs])
            return GraphScope("block", block.name, arguments, region.names, repr(step), doc, step.span, inputs)

        return self._add_call(region, tensors, label or self.fresh(block.name), instance, step.span)

    def block_region(self, block: Block, step: Applied, tensors: tuple[Tensor, ...]) -> tuple[Region, Scope]:
        """The body of an instance, and its parameters."""
        scope = self._bind(block, block.decl.params, {}, step)
        types = tuple(tensor.type for tensor in tensors)
        for name, value in scope.names.items():
            if isinstance(value, Tensor):
                raise fail("E0214", f"`{block}` takes no tensor as `{name}`", step.span, help="tensors come first")
        key = (block, tuple(scope.names.items()), types, self.defaults)
        return self._instance(key, lambda: self._elaborate_block(block, scope, types), step), scope

    def _instance(self, key: Any, build: Callable[[], Region], step: Applied) -> Region:
        region: Region = self.expanding(
            lambda: self.session.region(key, build, step.span), lambda: f"{step!r} at line {step.span.line}"
        )
        return region

    def _add_call(
        self, region: Region, tensors: tuple[Tensor, ...], name: str, instance: Callable[[], GraphScope], span: Span
    ) -> Value:
        path = self._claim(name, span)
        refs = tuple(tensor.ref for tensor in tensors)
        self.steps.append(CallStep(region, refs, path, instance(), self.residuals))
        self.ops += region.ops
        if self.ops > MAX_OPS:
            raise fail("E0401", f"the network has more than {MAX_OPS:,} ops", span)
        self.residuals += region.residuals
        outputs = tuple(self._value(type_) for type_ in region.types)
        return outputs[0] if len(outputs) == 1 else outputs

    def _elaborate_block(self, block: Block, scope: Scope, types: tuple[TensorType, ...]) -> Region:
        body = type(self)(self.session, Scope({}, scope), self.defaults, types)
        body.repeat = self.repeat
        names = [param.name.id for param in block.decl.inputs] or ["x"]
        tensors = [Tensor(i, type_) for i, type_ in enumerate(types)]
        scope.names.update(zip(names, tensors, strict=True))
        body.flow = tensors[0]
        try:
            body.suite(block.decl.suite)
        finally:
            for name in names:
                del scope.names[name]
        assert body.flow is not None
        outputs = [tensor for _, tensor in body.outputs]
        return body.region(block.name, outputs or [body.flow])

    def region(self, name: str, outputs: Sequence[Tensor]) -> Region:
        return Region(
            name,
            self.inputs,
            tuple(self.steps),
            tuple(tensor.ref for tensor in outputs),
            tuple(tensor.type for tensor in outputs),
            self.scopes,
            self.residuals,
            self.ops,
            names=tuple(self.locals.items()),
            aux=tuple(self.aux),
        )

    def _call_net(self, net: NetValue, step: Applied, tensors: tuple[Tensor, ...], label: str) -> Value:
        """A net as a step: its inputs are the tensors, whatever sizes it declares."""
        scope = self._bind(net, net.decl.params or (), dict(net.args), step)
        types = tuple(tensor.type for tensor in tensors)
        defaults = Defaults()
        for key, name, value in net.overrides:
            defaults = defaults.force(key, {name: value})
        key = (net, tuple(scope.names.items()), types, defaults)

        def build() -> Region:
            body = type(self)(self.session, Scope({}, scope), defaults, types)
            body.net(net, [Tensor(i, type_) for i, type_ in enumerate(types)])
            return body.region(net.name, [tensor for _, tensor in body.outputs])

        region = self._instance(key, build, step)

        def instance() -> GraphScope:
            doc = doc_of(net.module, net.decl)
            return GraphScope("block", net.name, tuple(scope.names.items()), region.names, repr(step), doc, step.span)

        return self._add_call(region, tensors, label or self.fresh(net.name.lower()), instance, step.span)

    def suite(self, suite: tree.Suite) -> None:
        """Elaborate statements."""
        raise NotImplementedError

    def net(self, net: NetValue, tensors: Sequence[Tensor] | None) -> None:
        """Elaborate the statements of a net."""
        raise NotImplementedError

    # arithmetic on tensors

    def tensor_arithmetic(self, op: str, left: Value, right: Value, span: Span) -> Value:
        joins: dict[str, Op] = {"+": Add(), "*": Mul()}
        if op not in joins or not (isinstance(left, Tensor) and isinstance(right, Tensor)):
            raise fail("E0208", f"`{op}` does not work on {kind_of(left)} and {kind_of(right)}", span)
        return self.emit(joins[op], (left, right), span)


def _run(part: Callable[[], None], _before: Value) -> None:
    part()


def doc_of(module: Module, decl: tree.BlockDef | tree.NetDef) -> str:
    """The comment of a definition: behind its header, or on the lines right above it."""
    name = decl.name.id
    if name not in module.docs:
        module.docs[name] = _find_doc(module, decl)
    return module.docs[name]


def _find_doc(module: Module, decl: tree.BlockDef | tree.NetDef) -> str:
    line = decl.span.line
    above: list[str] = []
    for comment in reversed(module.program.comments):
        at = module.source.position(comment.start)[0]
        if at == line and not comment.own_line:
            return comment.text.lstrip("# ")
        if comment.own_line and at == line - 1 - len(above):
            above.append(comment.text.lstrip("# "))
    return " ".join(reversed(above))


def _is_single(step: Value) -> bool:
    return isinstance(step, Builtin) or (isinstance(step, Applied) and isinstance(step.callee, Builtin))


def shape_of(op: Op, inputs: Sequence[TensorType], span: Span) -> TensorType:
    """The type that an op makes of its inputs. Raises ArchError, located at `span`, where they do not fit."""
    try:
        type_ = inputs[0] if _is_late(op) else op.infer(*inputs)
    except ShapeError as error:
        raise ArchError(Diagnostic(error.code, error.message, span, help=error.help)) from None
    if type_.size >= MAX_INTEGER:
        raise fail("E0403", f"this makes a tensor of {type_}: that is more than 2**63 values", span)
    return type_


def _is_late(op: Op) -> bool:
    return op.training_only and any(isinstance(getattr(op, f.name), Late) for f in fields(op))
