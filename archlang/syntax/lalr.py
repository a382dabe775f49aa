"""The parser: an LALR(1) loop over tables that `generate` made with Lark from the grammar.

Lark itself is loaded only to explain a syntax error: importing it and setting up its parser takes longer than all
other work of a short command. A test holds the two against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("tables.json")


class Token(str):
    """A piece of the text, `start` to `end`, that is a terminal of the grammar."""

    __slots__ = ("end", "start", "type")

    type: str
    start: int
    end: int

    def __new__(cls, kind: str, text: str, start: int, end: int) -> Token:
        token = str.__new__(cls, text)
        token.type, token.start, token.end = kind, start, end
        return token


class Mismatch(Exception):
    """The text is not a program. Lark says why."""


@dataclass(frozen=True)
class Rule:
    """origin: what it makes. size: of its right side. callback: the builder's method. keep: which symbols count, and
    whether each is a list to be taken apart. single: with one symbol left, the rule is that symbol. plain: all count.
    """

    origin: str
    size: int
    callback: str
    keep: tuple[tuple[int, bool], ...]
    single: bool
    plain: bool


@dataclass(frozen=True)
class Tables:
    """states: symbol -> the next state, or minus the rule to reduce, less one.

    operators, keywords: text -> terminal.
    """

    rules: tuple[Rule, ...]
    states: tuple[dict[str, int], ...]
    start: int
    end: int
    operators: dict[str, str]
    keywords: dict[str, str]


@cache
def tables() -> Tables:
    data = json.loads(TABLES.read_text(encoding="utf-8"))
    rules = tuple(
        Rule(origin, size, callback, tuple((i, bool(apart)) for i, apart in keep), bool(single), _is_plain(size, keep))
        for origin, size, callback, keep, single in data["rules"]
    )
    return Tables(rules, tuple(data["states"]), data["start"], data["end"], data["operators"], data["keywords"])


def _is_plain(size: int, keep: list[list[int]]) -> bool:
    return len(keep) == size and not any(apart for _, apart in keep)


_TOKEN = re.compile(
    r"""(?P<NAME>(?!_\b)[A-Za-z_][A-Za-z0-9_]*)
    |[ ]+
    |(?P<DIMS>\d+(?:x\d+)+)
    |(?P<NUMBER>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?:ms|us|KiB|MiB|KB|MB|GB|k|M|G|%(?![\w(]))?)
    |(?P<_NL>(?:\r?\n[ ]*|\#[^\n]*)+)
    |(?P<STRING>"[^"\n]*")
    |(?P<OPERATOR>\*\*|->|==|!=|<=|>=|//|\.\.|[-+*/%<>~×=:;,.|()\[\]{}_])""",
    re.VERBOSE,
)

_OPEN, _CLOSE = frozenset(("LPAR", "LSQB", "LBRACE")), frozenset(("RPAR", "RSQB", "RBRACE"))


class _Tokens:
    """The text's tokens. Lines within brackets are joined; others open and close blocks by their indentation."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tables = tables()
        self.indents = [0]
        self.depth = 0

    def all(self) -> Iterator[Token]:
        text, at = self.text, 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise Mismatch
            start, at = at, match.end()
            kind = match.lastgroup
            if kind == "_NL":
                yield from self.line(Token(kind, match[0], start, at))
            elif kind == "OPERATOR":
                yield self.operator(match[0], start, at)
            elif kind is not None:
                yield Token(kind, match[0], start, at)
        for _ in self.indents[1:]:
            yield Token("_DEDENT", "", at, at)
        yield Token("$END", "", at, at)

    def operator(self, text: str, start: int, end: int) -> Token:
        kind = self.tables.operators.get(text)
        if kind is None:
            raise Mismatch
        self.depth += (kind in _OPEN) - (kind in _CLOSE)
        return Token(kind, text, start, end)

    def line(self, token: Token) -> Iterator[Token]:
        """The end of a line, and the blocks that the next line's indentation opens or closes."""
        if self.depth > 0:
            return
        yield token
        indent = len(token) - token.rindex("\n") - 1
        if indent > self.indents[-1]:
            self.indents.append(indent)
            yield Token("_INDENT", "", token.end, token.end)
        while indent < self.indents[-1]:
            self.indents.pop()
            yield Token("_DEDENT", "", token.end, token.end)
        if indent != self.indents[-1]:
            raise Mismatch


def parse(text: str, builder: object) -> Any:
    """What the builder's methods make of the text. Raises Mismatch where it is not in the grammar.

    Keywords are told from names by what may follow: `table` can be a name where no table can stand.
    """
    known = tables()
    rules, states, keywords = known.rules, known.states, known.keywords
    methods: list[Callable[[list[Any]], Any]] = [getattr(builder, rule.callback, _as_list) for rule in rules]
    stack, values = [known.start], list[Any]()
    for token in _Tokens(text).all():
        actions = states[stack[-1]]
        kind = token.type
        if kind == "NAME" and (keyword := keywords.get(token)) in actions:
            token.type = kind = keyword or kind
        while True:
            action = states[stack[-1]].get(kind)
            if action is None:
                raise Mismatch
            if action >= 0:
                stack.append(action)
                values.append(token)
                break
            number = -action - 1
            rule = rules[number]
            made = _reduced(rule, values[len(values) - rule.size :], methods[number])
            if rule.size:
                del stack[-rule.size :], values[-rule.size :]
            stack.append(states[stack[-1]][rule.origin])
            values.append(made)
            if kind == "$END" and stack[-1] == known.end:
                return values[-1]
    raise Mismatch


def _as_list(children: list[Any]) -> list[Any]:
    return children


def _reduced(rule: Rule, children: list[Any], method: Callable[[list[Any]], Any]) -> Any:
    if not rule.plain:
        kept: list[Any] = []
        for i, apart in rule.keep:
            if apart:
                kept += children[i]
            else:
                kept.append(children[i])
        children = kept
    return children[0] if rule.single and len(children) == 1 else method(children)
