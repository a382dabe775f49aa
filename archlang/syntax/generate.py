"""Makes `tables.json`, the parser's tables, from the grammar: `make grammar`."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark
from lark.grammar import Rule
from lark.indenter import Indenter
from lark.lexer import PatternStr

from archlang.syntax.lalr import TABLES

GRAMMAR = Path(__file__).parents[1] / "grammar" / "archlang.lark"

_OPERATORS = [
    "**",
    "->",
    "==",
    "!=",
    "<=",
    ">=",
    "//",
    "..",
    "-",
    "+",
    "*",
    "/",
    "%",
    "<",
    ">",
    "~",
    "×",
    "=",
    ":",
    ";",
    ",",
    ".",
    "|",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "_",
]


class Indentation(Indenter):
    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"]  # noqa: RUF012
    CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 8


@cache
def parser(debug: bool = False) -> Lark:
    """Lark's own parser of the grammar: LALR(1), contextual lexer. debug: Lark logs the conflicts that it resolves."""
    grammar = GRAMMAR.read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", postlex=Indentation(), maybe_placeholders=False, debug=debug)


def generated() -> str:
    """The text of `tables.json`: the digest of the grammar, and the fields of `lalr.Tables`."""
    lark = parser()
    table = lark.parser.parser._parse_table
    numbers = {rule: number for number, rule in enumerate(lark.rules)}
    states = [
        {symbol: arg if action.name == "Shift" else -numbers[arg] - 1 for symbol, (action, arg) in sorted(row.items())}
        for _, row in sorted(table.states.items())
    ]
    document = {
        "grammar": digest(),
        "start": table.start_states["start"],
        "end": table.end_states["start"],
        "operators": {text: name for text in _OPERATORS if (name := _terminal(lark, text)) is not None},
        "keywords": _keywords(lark),
        "rules": [_rule(rule) for rule in lark.rules],
        "states": states,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def digest() -> str:
    """Of the grammar, by which a test tells whether the tables are its own: Lark numbers the states as it likes."""
    return hashlib.sha256(GRAMMAR.read_bytes()).hexdigest()


def _terminal(lark: Lark, text: str) -> str | None:
    """The terminal that a sign is."""
    for terminal in lark.terminals:
        if not terminal.name.startswith("_N") and re.fullmatch(terminal.pattern.to_regexp(), text):
            return terminal.name
    return None


def _keywords(lark: Lark) -> dict[str, str]:
    found = {t.pattern.value: t.name for t in lark.terminals if isinstance(t.pattern, PatternStr)}
    return {text: name for text, name in sorted(found.items()) if text.isidentifier() and text != "_"}


def _rule(rule: Rule) -> list[Any]:
    """origin, size, callback, the symbols that count (with: is it a list to be taken apart?), single: see `lalr.Rule`.

    As Lark's own tree builder has it: anonymous terminals are left out, rules that begin with `_` are taken apart, and
    `?rule` with one symbol left is that symbol.
    """
    options = rule.options
    keep = [
        [i, int(not symbol.is_term and symbol.name.startswith("_"))]
        for i, symbol in enumerate(rule.expansion)
        if options.keep_all_tokens or not (symbol.is_term and symbol.filter_out)  # type: ignore[attr-defined]
    ]
    single = options.expand1 and not rule.alias
    return [rule.origin.name, len(rule.expansion), rule.alias or rule.origin.name, keep, int(single)]


if __name__ == "__main__":
    TABLES.write_text(generated(), encoding="utf-8")
