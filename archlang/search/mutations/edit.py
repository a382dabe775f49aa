"""Rewriting a tree: nodes in the place of others, everything else as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from archlang.source import Source, Span
from archlang.syntax import parse, tree
from archlang.syntax.tree import replace

Changes = Mapping[int, Sequence[tree.Node]]
"""The identity of a node -> what stands in its place: nothing, a node, or in a list several."""


@dataclass(frozen=True)
class Rewrite:
    """One way to change a program. story: in a line. imports: names of the library that it needs, (file, name)."""

    story: str
    changes: Changes
    imports: tuple[tuple[str, str], ...] = ()


AnyNode = TypeVar("AnyNode", bound=tree.Node)


def rewritten(program: tree.Program, rewrite: Rewrite) -> tree.Program:
    """The program after a rewrite; nodes that nothing below changed are the same objects. What is imported for it comes
    last, where no comment is taken for its own."""
    items = _spliced(program.items, rewrite.changes)
    at = program.items[0].span
    added = tuple(tree.Import(at, path, (tree.Name(at, name),)) for path, name in rewrite.imports)
    return tree.Program(program.source, (*items, *added), program.comments)


def _spliced(nodes: Sequence[Any], changes: Changes) -> tuple[Any, ...]:
    result: list[Any] = []
    for node in nodes:
        result += changes[id(node)] if id(node) in changes else (_below(node, changes),)
    return tuple(result)


def _below(node: Any, changes: Changes) -> Any:
    changed = {}
    for name in node.child_names:
        value = getattr(node, name)
        if isinstance(value, tree.Node):
            new: Any = _single(changes[id(value)]) if id(value) in changes else _below(value, changes)
        elif isinstance(value, tuple):
            new = _spliced(value, changes)
            new = value if len(new) == len(value) and all(a is b for a, b in zip(new, value, strict=True)) else new
        else:
            continue
        if new is not value:
            changed[name] = new
    if not changed:
        return node
    return _suite(node, **changed) if isinstance(node, tree.Suite) else replace(node, **changed)


def _single(nodes: Sequence[tree.Node]) -> tree.Node:
    (node,) = nodes
    return node


_LINES = (tree.Flow, tree.Assign, tree.Output, tree.Pass)


def _suite(node: tree.Suite, body: tuple[tree.Stmt, ...]) -> tree.Suite:
    """The suite with another body: never empty, and on the header's line only where it is one line."""
    body = body or (tree.Pass(node.span),)
    return tree.Suite(node.span, body, node.inline and len(body) == 1 and isinstance(body[0], _LINES))


def placed(node: AnyNode, span: Span) -> AnyNode:
    """The tree as if all of it stood at `span`, so that comments and blank lines stay where they were."""
    changes: dict[str, Any] = {"span": span}
    for name in node.child_names:
        value = getattr(node, name)
        if isinstance(value, tree.Node):
            changes[name] = placed(value, span)
        elif isinstance(value, tuple):
            changes[name] = tuple(placed(each, span) if isinstance(each, tree.Node) else each for each in value)
    return replace(node, **changes)


def after(node: tree.Node) -> Span:
    """The place right behind a node."""
    return Span(node.span.source, node.span.end, node.span.end)


def statements(text: str, span: Span) -> tuple[tree.Stmt, ...]:
    """Lines of a body from their text, as if they stood at `span`."""
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    (item,) = parse(Source("<step>", f"net N:\n{lines}")).items
    assert isinstance(item, tree.NetDef)
    return tuple(placed(stmt, span) for stmt in item.suite.body)


def chain_of(node: tree.Expr) -> list[tree.Expr]:
    """The steps of `a -> b -> c`."""
    parts: list[tree.Expr] = []
    while isinstance(node, tree.Pipe):
        parts.append(node.right)
        node = node.left
    return [node, *reversed(parts)]


def chained(parts: Sequence[tree.Expr], span: Span) -> tree.Expr:
    """`a -> b -> c` from its steps."""
    result = parts[0]
    for part in parts[1:]:
        result = tree.Pipe(span, result, part)
    return result


def changed(node: AnyNode, changes: Changes) -> AnyNode:
    """A part of a tree with its changes put in."""
    result: AnyNode = _below(node, changes)
    return result


def mentions(node: tree.Node, name: str) -> bool:
    """Whether a name stands in a part of a tree."""
    return any(isinstance(each, tree.Name) and each.id == name for each in node.walk())
