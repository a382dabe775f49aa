"""The Pygments lexer of the language, installed under the name `archlang`."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Token,
    Whitespace,
    _TokenType,
)

from archlang.grammar.highlight import RULES, Rule

TOKENS: dict[str, _TokenType] = {
    "comment": Comment.Single,
    "string": String.Double,
    "keyword": Keyword,
    "space": Whitespace,
    "module": Name.Namespace,
    "definition": Name.Class,
    "word_operator": Operator.Word,
    "reserved": Keyword.Reserved,
    "step": Name.Builtin,
    "function": Name.Builtin,
    "constant": Keyword.Constant,
    "flow": Name.Builtin.Pseudo,
    "attribute": Name.Attribute,
    "call": Name.Function,
    "name": Name,
    "size": Number,
    "number": Number,
    "unit": Keyword.Type,
    "operator": Operator,
    "punctuation": Punctuation,
    "column": Punctuation,
}
"""Kind of a rule's match -> what Pygments calls it."""


TERMINAL: dict[_TokenType, tuple[str, str]] = {
    Token: ("", ""),
    Comment: ("gray", "brightblack"),
    String: ("yellow", "yellow"),
    Number: ("magenta", "brightmagenta"),
    Keyword: ("blue", "brightblue"),
    Keyword.Constant: ("magenta", "brightmagenta"),
    Keyword.Type: ("magenta", "brightmagenta"),
    Operator.Word: ("blue", "brightblue"),
    Name.Namespace: ("cyan", "cyan"),
    Name.Class: ("*green*", "*green*"),
    Name.Builtin: ("cyan", "cyan"),
    Name.Function: ("green", "green"),
    Error: ("_red_", "_red_"),
}
"""Colours on a terminal, (on a light, on a dark background)."""


def _entry(rule: Rule) -> tuple[str, Any]:
    tokens = [TOKENS[kind] for kind in rule.kinds]
    return rule.pattern, tokens[0] if len(tokens) == 1 else bygroups(*tokens)  # type: ignore[no-untyped-call]


class ArchLexer(RegexLexer):
    """Colours .arch files. What the language has no sign for becomes an error token."""

    name = "Arch"
    aliases: ClassVar[list[str]] = ["archlang"]
    filenames: ClassVar[list[str]] = ["*.arch"]
    url = ""
    tokens: ClassVar[dict[str, Any]] = {"root": [(r"[ \r\n]+", Whitespace), *(_entry(rule) for rule in RULES)]}
