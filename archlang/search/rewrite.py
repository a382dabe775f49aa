"""A picked candidate as a program: the choices replaced in place, everything else as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.errors import fail
from archlang.lower import Decision, NetValue
from archlang.lower.values import ChoiceValue, Value, show
from archlang.source import Span
from archlang.syntax import tree
from archlang.syntax.parser import parse_expression
from archlang.syntax.tree import replace

Picks = Mapping[str, int]


def picked_program(
    net: NetValue, args: Mapping[str, Value], trace: Picks, decisions: Mapping[str, Decision], name: str
) -> tree.Program:
    """The file of `net` with the net alone, called `name`, its choices replaced by what `trace` picked.

    args become the defaults of the net's parameters. `choice` definitions, searches and what belongs to nets that are
    not steps of this one go.
    """
    given = {**dict(net.args), **args}
    picker = _Picker(net, trace, decisions)
    program = net.module.program
    gone = _gone(program, net)
    items = [item for item in program.items if _stays(item, net, gone)]
    rewritten = [picker.item(item, given, name) for item in items]
    comments = tuple(comment for comment in program.comments if _belongs(comment, program, items))
    return tree.Program(program.source, tuple(rewritten), comments)


def overrides_text(net: NetValue) -> str:
    """` with conv(act=swish), bn(eps=0.001)`: what was set so; empty where nothing was."""
    calls: dict[str, list[str]] = {}
    for callee, name, value in net.overrides:
        calls.setdefault(callee if isinstance(callee, str) else callee.name, []).append(f"{name}={show(value)}")
    settings = ", ".join(f"{callee}({', '.join(arguments)})" for callee, arguments in calls.items())
    return f" with {settings}" if settings else ""


def last_net(program: tree.Program) -> str:
    """The net that is meant where none is named."""
    return [item.name.id for item in program.items if isinstance(item, tree.NetDef | tree.NetAlias)][-1]


def _stays(item: tree.Item, net: NetValue, gone: set[str]) -> bool:
    if isinstance(item, tree.Variants):
        return item.net.id not in gone
    return isinstance(item, tree.Import) or item is net.decl or (isinstance(item, _KEPT) and item.name.id not in gone)


_KEPT = (tree.NetDef, tree.NetAlias, tree.FnDef, tree.ConstDef, tree.BlockDef)


def _gone(program: tree.Program, net: NetValue) -> set[str]:
    """The nets of the file that are no steps of `net`, nor of what it uses; `net` itself; and what is unused but by
    these."""
    mentions = {item.name.id: _mentioned(item) for item in program.items if isinstance(item, (*_KEPT, tree.ChoiceDef))}
    used: set[str] = set()
    waiting = [net.name]
    while waiting:
        name = waiting.pop()
        if name in mentions and name not in used:
            used.add(name)
            waiting += mentions[name]
    gone = {item.name.id for item in program.items if isinstance(item, tree.NetDef | tree.NetAlias)} - used
    gone.add(net.name)  # is called otherwise now
    before = -1
    while before != len(gone):
        before = len(gone)
        gone |= {name for name, others in mentions.items() if name not in used and others & gone}
    return gone


def _mentioned(item: tree.Item) -> set[str]:
    return {part.id for part in item.walk() if isinstance(part, tree.Name)}


def _belongs(comment: tree.Comment, program: tree.Program, kept: Sequence[tree.Item]) -> bool:
    """Whether a comment stands in, behind or right above an item that stays; the file's head stays too."""
    following = next((item for item in program.items if item.span.end > comment.start), None)
    if following is None:
        return False
    line = program.source.position(comment.start)[0]
    behind = next((i for i in reversed(program.items) if i.span.end <= comment.start), None)
    if behind is not None and program.source.position(behind.span.end - 1)[0] == line:
        return behind in kept
    if following is program.items[0] and comment.start < following.span.start:
        return True
    return following in kept


class _Picker:
    """Rewrites a tree: each node is copied only where something below it changed."""

    def __init__(self, net: NetValue, trace: Picks, decisions: Mapping[str, Decision]) -> None:
        self.net, self.trace, self.decisions = net, trace, decisions
        self.source = net.module.source
        self.mentions: tuple[str, ...] = ()
        self.bound: dict[str, tree.Expr] = {}

    def item(self, item: tree.Item, given: Mapping[str, Value], name: str) -> tree.Item:
        changed: tree.Item = item
        if isinstance(item, tree.NetDef) and item is self.net.decl:
            changed = replace(item, name=replace(item.name, id=name), params=_fixed(item.params, given))
        result: tree.Item = self.node(changed)
        return result

    def node(self, node: Any) -> Any:
        if isinstance(node, tree.Choice):
            return self._picked(node, (*self.mentions, self._place(node.span)))
        if isinstance(node, tree.Prefix) and node.op == "each" and isinstance(node.value, tree.Choice):
            return self._each(node, node.value)
        if isinstance(node, tree.Name) and isinstance(choice := self._choice(node.id), ChoiceValue):
            return self._mention(node, choice)
        if isinstance(node, tree.Call) and isinstance(node.function, tree.Name):
            choice = self._choice(node.function.id)
            if isinstance(choice, ChoiceValue):
                return self._call(node, choice)
        if isinstance(node, tree.Name) and node.id in self.bound:
            return _at(self.bound[node.id], node.span)
        if isinstance(node, tree.Row):
            return replace(node, cells=tuple(self._cell(cell) for cell in node.cells))
        return self._below(node)

    def _below(self, node: Any) -> Any:
        changed = {}
        for name in node.field_names[1:]:
            value = getattr(node, name)
            if isinstance(value, tree.Node):
                new: Any = value if isinstance(value, tree.Name) and name in _NAMES else self.node(value)
            elif isinstance(value, tuple):
                new = tuple(self.node(v) if isinstance(v, tree.Node) else v for v in value)
                new = value if all(a is b for a, b in zip(new, value, strict=True)) else new
            else:
                continue
            if new is not value:
                changed[name] = new
        return _simplified(replace(node, **changed)) if changed else node

    def _cell(self, cell: tree.Expr) -> tree.Expr:
        """A cell, or `-` where no decision in it was read: the picked block does not take it."""
        places = [self._place(part.span) for part in cell.walk() if self._is_decision(part)]
        if places and not any(key.split("#")[0].split(">")[0] in places for key in self.trace):
            return tree.Blank(cell.span)
        new: tree.Expr = self.node(cell)
        return new

    def _is_decision(self, node: tree.Node) -> bool:
        return isinstance(node, tree.Choice) or (
            isinstance(node, tree.Name) and isinstance(self._choice(node.id), ChoiceValue)
        )

    def _choice(self, name: str) -> Value:
        return self.net.module.names.get(name)

    def _place(self, span: Span) -> str:
        return f"{span.line}:{span.column}"

    def _picked(self, node: tree.Choice, places: tuple[str, ...], repeat: str = "") -> tree.Expr:
        key = ">".join(places) + repeat
        index = self.trace.get(key, 0)
        decision = self.decisions.get(key)
        if decision is not None and decision.values:
            return parsed(show(decision.values[index]), node.span)
        picked: tree.Expr = self.node(node.items[index])
        return _at(picked, node.span)

    def _each(self, node: tree.Prefix, choice: tree.Choice) -> tree.Expr:
        """`each {3, 5}` becomes `each [5, 3, 3]`, a value for every repeat."""
        key = ">".join((*self.mentions, self._place(choice.span)))
        if key in self.trace:
            return self._picked(choice, (key,))
        repeats = sorted((k for k in self.trace if k.startswith(f"{key}#")), key=lambda k: int(k.rsplit("#", 1)[1]))
        items = tuple(self._picked(choice, (key,), k[len(key) :]) for k in repeats)
        return replace(node, value=tree.List(choice.span, items))

    def _call(self, node: tree.Call, choice: ChoiceValue) -> tree.Expr:
        """`EDGE(x, 16)`: the picked step with its parameters put in, on the tensors that come first."""
        params = [param.name.id for param in choice.decl.params]
        args = [arg for arg in node.args if arg.name is None]
        named = {arg.name.id: self.node(arg.value) for arg in node.args if arg.name is not None}
        count = max(0, len(args) - len(params) + len(named))
        values = [self.node(arg.value) for arg in args[count:]]
        bound = {**dict(zip(params, values, strict=False)), **named}
        step = self._mention(node.function, choice, bound)
        return _at(_applied(step, args[:count]), node.span)

    def _mention(self, node: tree.Expr, choice: ChoiceValue, bound: dict[str, tree.Expr] | None = None) -> tree.Expr:
        """The definition's value in the mention's place, with what this mention picked."""
        before, self.mentions = self.mentions, (*self.mentions, self._place(node.span))
        outer, self.bound = self.bound, bound or {}
        try:
            value = choice.decl.value
            new = self._picked(value, self.mentions) if isinstance(value, tree.Choice) else self.node(value)
        finally:
            self.mentions, self.bound = before, outer
        return _at(new, node.span)


def _applied(step: tree.Expr, tensors: Sequence[tree.Arg]) -> tree.Expr:
    """The step with tensors as the first arguments of its first call: `relu(x) -> conv(16, 1)`."""
    if not tensors:
        return step
    if isinstance(step, tree.Pipe):
        return replace(step, left=_applied(step.left, tensors))
    if isinstance(step, tree.Call):
        return replace(step, args=(*tensors, *step.args))
    if isinstance(step, tree.Name):
        return tree.Call(step.span, step, tuple(tensors))
    if len(tensors) == 1:
        return tree.Pipe(step.span, tensors[0].value, step)
    raise fail("E0506", "this alternative cannot be printed with its tensors put in", step.span)


_NAMES = ("name", "id", "net", "key")
"""Fields whose names are definitions, not uses."""


def parsed(text: str, span: Span) -> tree.Expr:
    """An expression from its text, as if it stood at `span`."""
    return _at(parse_expression(text), span)


def _at(node: tree.Expr, span: Span) -> tree.Expr:
    """The expression as if it stood at `span`, so that comments and layout stay around it."""
    return replace(node, span=span)


def _simplified(node: Any) -> Any:
    """`2 + -1` as 1: sums of whole numbers that came out of choices are done."""
    if isinstance(node, tree.Infix) and node.op in ("+", "-"):
        left, right = _literal(node.left), _literal(node.right)
        if left is not None and right is not None:
            total = left + right if node.op == "+" else left - right
            if total >= 0:
                return tree.Number(node.span, str(total))
    return node


def _literal(node: tree.Expr) -> int | None:
    if isinstance(node, tree.Number) and node.text.isdigit():
        return int(node.text)
    if isinstance(node, tree.Prefix) and node.op in ("+", "-"):
        inner = _literal(node.value)
        return None if inner is None else inner if node.op == "+" else -inner
    return None


def _fixed(params: tuple[tree.Param, ...] | None, given: Mapping[str, Value]) -> tuple[tree.Param, ...] | None:
    """The parameters with the given values as their defaults."""
    if params is None:
        return None
    return tuple(
        replace(p, default=parsed(show(given[p.name.id]), p.span)) if p.name.id in given else p for p in params
    )
