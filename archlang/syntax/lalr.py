"""The parser: an LALR(1) loop over tables that `generate` made with Lark from the grammar.

Lark itself is needed for the making alone: importing it and setting up its parser takes longer than all other work of a
short command. A test holds the two against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TABLES = Path(__file__).with_name("tables.json")

UNKNOWN, MISFIT, DEEP, END = "$UNKNOWN", "$MISFIT", "$DEEP", "$END"
"""Tokens of no rule: a sign that the language has not, an indentation that no block around has, one that is too deep,
the end of the text."""

MAX_INDENTS = 32
MAX_TOKENS = 1_000_000


class Token(NamedTuple):
    """A piece of the text, `start` to `end`, that is a terminal of the grammar."""

    type: str
    text: str
    start: int
    end: int


class Mismatch(Exception):
    """The text is not a program. `recover` says why."""


class Rule(NamedTuple):
    """origin: what it makes. size: of its right side. callback: the builder's method. keep: which symbols count, and
    whether each is a list to be taken apart. single: with one symbol left, the rule is that symbol. plain: all count.
    alone: it has one symbol, and is that. grows: its first symbol is the list to which it adds the others.
    """

    origin: str
    size: int
    callback: str
    keep: tuple[tuple[int, bool], ...]
    single: bool
    plain: bool
    alone: bool
    grows: bool


class Tables(NamedTuple):
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
    rules = tuple(_rule(*fields) for fields in data["rules"])
    return Tables(rules, tuple(data["states"]), data["start"], data["end"], data["operators"], data["keywords"])


def _rule(origin: str, size: int, callback: str, keep: list[tuple[int, int]], single: int) -> Rule:
    apart = tuple((i, bool(flag)) for i, flag in keep)
    plain = len(keep) == size and not any(flag for _, flag in apart)
    grows = origin.startswith("__") and apart[:1] == ((0, True),)
    return Rule(origin, size, callback, apart, bool(single), plain, plain and bool(single) and size == 1, grows)


_TOKEN = re.compile(
    r"""(?P<NAME>(?!_\b)[A-Za-z_][A-Za-z0-9_]*)
    |[ ]+
    |(?P<DIMS>[0-9]+(?:x[0-9]+)+)
    |(?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?:ms|us|KiB|MiB|KB|MB|GB|k|M|G|%(?![\w(]))?)
    |(?P<_NL>(?:\r?\n[ ]*+|\#[^\n]*+)++)
    |(?P<STRING>"[^"\n]*")
    |(?P<OPERATOR>\*\*|->|==|!=|<=|>=|//|\.\.|[-+*/%<>~×=:;,.|()\[\]{}_])""",
    re.VERBOSE,
)

_DEPTH = {"LPAR": 1, "LSQB": 1, "LBRACE": 1, "RPAR": -1, "RSQB": -1, "RBRACE": -1}


def tokens(text: str, begin: int = 0, end: int | None = None) -> list[Token]:
    """The tokens of a piece of the text, up to MAX_TOKENS and one more. Lines within brackets are joined; others open
    and close blocks by their indentation. What the language has not is an UNKNOWN token."""
    end = len(text) if end is None else end
    found: list[Token] = []
    make, match_at, operators = tuple.__new__, _TOKEN.match, tables().operators
    at, depth, indents = begin, 0, [0]
    while at < end and len(found) <= MAX_TOKENS:
        match = match_at(text, at, end)
        if match is None:
            found.append(Token(UNKNOWN, text[at], at, at + 1))
            at += 1
            continue
        kind, start, at = match.lastgroup, at, match.end()
        if kind == "OPERATOR":
            kind = operators.get(match[0], UNKNOWN)
            depth = max(0, depth + _DEPTH.get(kind, 0))
        elif kind == "_NL":
            if depth == 0:
                found.append(Token(kind, match[0], start, at))
                _indentation(match[0], at, indents, found)
            continue
        if kind is not None:
            found.append(make(Token, (kind, match[0], start, at)))
    found += [Token("_DEDENT", "", at, at) for _ in indents[1:]]
    found.append(Token(END, "", at, at))
    return found


def _indentation(newline: str, at: int, indents: list[int], found: list[Token]) -> None:
    """The blocks that the next line's indentation opens or closes."""
    indent = len(newline) - newline.rfind("\n") - 1 if "\n" in newline else indents[-1]
    if indent > indents[-1]:
        indents.append(indent)
        found.append(Token("_INDENT" if len(indents) <= MAX_INDENTS else DEEP, "", at, at))
    while indent < indents[-1]:
        indents.pop()
        found.append(Token("_DEDENT", "", at, at))
    if indent != indents[-1]:
        found.append(Token(MISFIT, "", at, at))


def parse(found: Iterable[Token], builder: object) -> Any:
    """What the builder's methods make of the tokens. Raises Mismatch where they are not in the grammar.

    Keywords are told from names by what may follow: `table` can be a name where no table can stand.
    """
    rules, states, start, end, _, keywords = tables()
    methods: list[Callable[[list[Any]], Any]] = [getattr(builder, rule.callback, _as_list) for rule in rules]
    stack, values = [start], list[Any]()
    for token in found:
        kind = token.type
        if kind == "NAME" and token.text in keywords and keywords[token.text] in states[stack[-1]]:
            kind = keywords[token.text]
            token = Token(kind, *token[1:])
        while True:
            action = states[stack[-1]].get(kind)
            if action is None:
                raise Mismatch
            if action >= 0:
                stack.append(action)
                values.append(token)
                break
            rule = rules[~action]
            size = rule.size
            if rule.alone:
                stack[-1] = states[stack[-2]][rule.origin]
                continue
            if size:
                children = values[-size:]
                del stack[-size:], values[-size:]
            else:
                children = []
            values.append(_reduced(rule, children, methods[~action]))
            stack.append(states[stack[-1]][rule.origin])
            if stack[-1] == end:
                return values[-1]
    raise Mismatch


def _as_list(children: list[Any]) -> list[Any]:
    return children


def _reduced(rule: Rule, children: list[Any], method: Callable[[list[Any]], Any]) -> Any:
    if rule.plain:
        return method(children)
    kept: list[Any] = []
    if rule.grows:  # the list is no one else's, and a copy for each of its items would take quadratic time
        kept = children[0]
        kept += [children[i] for i, _ in rule.keep[1:]]
        return kept
    for i, apart in rule.keep:
        if apart:
            kept += children[i]
        else:
            kept.append(children[i])
    return kept[0] if rule.single and len(kept) == 1 else method(kept)


# ---- the automaton alone, for the explanation of errors --------------------------------------------------------------

Stack = tuple[int, ...]


def terminal(stack: Stack, token: Token) -> str:
    """The token's terminal where the parser is: a keyword where one can stand."""
    keyword = tables().keywords.get(token.text, "") if token.type == "NAME" else ""
    return keyword if keyword in tables().states[stack[-1]] else token.type


def advance(stack: Stack, kind: str) -> Stack | None:
    """The parser's states behind a terminal; None where it cannot stand."""
    rules, states, _, end, _, _ = tables()
    row = list(stack)
    while (action := states[row[-1]].get(kind)) is not None:
        if action >= 0:
            return (*row, action)
        rule = rules[~action]
        del row[len(row) - rule.size :]
        row.append(states[row[-1]][rule.origin])
        if row[-1] == end:
            return tuple(row)
    return None


def accepts(stack: Stack, kinds: Iterable[str]) -> bool:
    """Whether the terminals can stand there, one after the other."""
    at: Stack | None = stack
    for kind in kinds:
        at = advance(at, kind) if at else None
    return at is not None
