"""Sites: names of places of a program, equal in two candidates exactly where the same place made a step.

A candidate's own names are numbered by what is there, so that an alternative shifts the names behind it. While a
candidate is elaborated here, a name is made from where the step stands instead: the call, the turns of the loops around
it, and the alternatives of choices of steps that led to it. (A choice of values keeps the site: a convolution of kernel
3 or 5 is one.) Such names are made of tokens, which nobody sees: `archlang.supernet.union` knows all that a space may
bring about, and numbers them then.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from archlang.ir.graph import Scope as GraphScope
from archlang.ir.types import TensorType
from archlang.lower.body import Body, Cells
from archlang.lower.module import Module
from archlang.lower.region import Region
from archlang.lower.session import Decision, Defaults, Memo, Session
from archlang.lower.values import (
    Applied,
    Builtin,
    Chain,
    Closure,
    FnValue,
    Repeat,
    Scope,
    Taken,
    Tensor,
    Value,
)
from archlang.ops.base import Op
from archlang.source import Span
from archlang.syntax import tree

Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Token:
    """A component of a name. base: the kind of a step that nobody named (`conv`), or the name that was given.

    given: whether it was. what: the op or block that it stands for, where that is known.
    """

    base: str
    given: bool
    what: str


@dataclass
class Tokens:
    """Every token of a space by its text: the base with a number for each place behind it."""

    known: dict[str, Token] = field(default_factory=dict)
    _texts: dict[Hashable, str] = field(default_factory=dict)

    def text(self, token: Token, place: Key) -> str:
        """Digits alone are added, and no given name of an .arch file ends in so many: it is told apart."""
        key = (token, place)
        if key not in self._texts:
            self._texts[key] = f"{token.base}{10**12 + len(self._texts)}"
            self.known[self._texts[key]] = token
        return self._texts[key]


class SitedSession(Session):
    """An elaboration whose names are tokens."""

    def __init__(
        self,
        tokens: Tokens,
        picks: Mapping[str, int] | None = None,
        memo: Memo | None = None,
        choose: Callable[[Decision], int] = lambda decision: 0,
    ) -> None:
        super().__init__(picks, memo, choose)
        self.tokens = tokens


@dataclass
class _Frame:
    """What encloses a step. counts: of equal keys directly within it, where they are counted; an op that is a compound
    may add several ops at one place."""

    key: Hashable
    counts: dict[Hashable, int] | None = None
    what: str = ""


class SitedBody(Body):
    """A body whose modules are named by tokens."""

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.frames = [_Frame(())]

    @property
    def tokens(self) -> Tokens:
        tokens: Tokens = self.session.tokens  # type: ignore[attr-defined]
        return tokens

    # where a step stands

    @contextmanager
    def frame(self, key: Hashable, what: str = "", counting: bool = False) -> Iterator[None]:
        around = self.frames[-1]
        if around.counts is not None:
            number = around.counts[key] = around.counts.get(key, -1) + 1
            key = (key, number)
        self.frames.append(_Frame(key, {} if counting else None, what or around.what))
        try:
            yield
        finally:
            self.frames.pop()

    def turn(self, index: int) -> AbstractContextManager[None]:
        return self.frame(index)

    def rest(self, parts: Iterable[tuple[Any, Callable[[], None]]]) -> None:
        super().rest((key, self._nth(i, run)) for i, (key, run) in enumerate(parts))

    def _nth(self, index: int, run: Callable[[], None]) -> Callable[[], None]:
        def nth() -> None:
            with self.frame(index):
                run()

        return nth

    def _fn(self, fn: FnValue, args: tuple[Value, ...], keywords: dict[str, Value], node: tree.Call) -> Value:
        with self.frame(node.span):
            return super()._fn(fn, args, keywords, node)

    def _project(self, start: Tensor, step: Value, head: tree.Expr) -> Tensor:
        with self.frame(head.span):
            return super()._project(start, step, head)

    def _row(self, stmt: tree.Table, cells: Cells, row: tree.Row, i: int) -> None:
        with self.frame(row.span):
            super()._row(stmt, cells, row, i)

    def _advance(self, unit: Applied, row: tree.Row, name: str) -> None:
        with self.frame((repr(unit.callee), unit.taken), repr(unit.callee)):
            super()._advance(unit, row, name)

    # alternatives

    def chosen(self, decision: Decision, index: int, item: Any) -> Value:
        with self.frame((decision.key, index)):
            return led((decision.key, index), super().chosen(decision, index, item))

    def _closure(self, step: Closure, value: Tensor, label: str) -> Value:
        with self.frame((step.span, step.taken)):
            return super()._closure(step, value, label)

    def _apply_repeat(self, step: Repeat, tensors: tuple[Tensor, ...], label: str) -> Value:
        with self.frame((step.span, _taken(step))):
            return super()._apply_repeat(step, tensors, label)

    def _apply_call(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        name = repr(step.callee)
        key = (step.span, span, name, step.taken)
        with self.frame(key, name, isinstance(step.callee, Builtin)):
            return self.applied(step, tensors, span, label)

    def applied(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        return super()._apply_call(step, tensors, span, label)

    def add(self, op: Op, type_: TensorType, tensors: Sequence[Tensor], span: Span, label: str = "") -> Tensor:
        with self.frame((span, op.name), op.name):
            return self.added(op, type_, tensors, span, label)

    def added(self, op: Op, type_: TensorType, tensors: Sequence[Tensor], span: Span, label: str) -> Tensor:
        return super().add(op, type_, tensors, span, label)

    # names

    def fresh(self, kind: str) -> str:
        return self._token("" if self.prefix.endswith("!") else kind, given=False)

    def _token(self, base: str, given: bool) -> str:
        place = tuple([frame.key for frame in self.frames])
        return self.tokens.text(Token(base, given, self.frames[-1].what), place)

    def _claim(self, name: str, span: Span) -> str:
        path = self._path(name if name in self.tokens.known else self._token(name, given=True))
        assert self.claimable(path), f"two places are called {path}"
        return path

    def claimable(self, path: str) -> bool:
        """Whether no step of this body stands at the same place; notes that one does."""
        new = path not in self.names
        self.names.add(path)
        return new

    @contextmanager
    def within(self, name: str, scope: GraphScope, sequence: bool = False) -> Iterator[None]:
        path = self._claim(name, scope.span or Span(self.session.entry, 0, 0))  # type: ignore[arg-type]
        self.scopes[path] = scope
        before, self.prefix = self.prefix, f"{path}.{'!' if sequence else ''}"
        try:
            yield
        finally:
            self.prefix = before

    def _add_call(
        self, region: Region, tensors: tuple[Tensor, ...], name: str, instance: Callable[[], GraphScope], span: Span
    ) -> Value:
        return super()._add_call(region, tensors, name or self.fresh(region.name), instance, span)


def led(way: tuple[str, int], value: Value) -> Value:
    """The value of an alternative; a step remembers which one it is. A block or an op without arguments needs not:
    it stands where it is used."""
    if isinstance(value, Applied | Closure):
        return replace(value, taken=(*value.taken, way))
    if isinstance(value, Chain):
        return Chain(tuple(led(way, step) for step in value.steps), value.span)
    if isinstance(value, Repeat):
        return Repeat(tuple((led(way, step), count) for step, count in value.runs), value.span)
    return tuple(led(way, item) for item in value) if isinstance(value, tuple) else value


def _taken(step: Value) -> Taken:
    """The alternatives that led to the first part of a step."""
    if isinstance(step, Applied | Closure):
        return step.taken
    if isinstance(step, Chain):
        return _taken(step.steps[0])
    return _taken(step.runs[0][0]) if isinstance(step, Repeat) and step.runs else ()
