"""Lark's own parser of the grammar: the tables are made with it, and it tells what is wrong with a text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lark import Lark
from lark.exceptions import UnexpectedInput
from lark.indenter import DedentError, Indenter

from archlang.errors import Diagnostic
from archlang.source import Source
from archlang.syntax.complain import syntax_error

GRAMMAR = Path(__file__).parents[1] / "grammar" / "archlang.lark"


class Indentation(Indenter):
    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"]  # noqa: RUF012
    CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 8


@cache
def parser(debug: bool = False) -> Lark:
    """LALR(1), contextual lexer. debug: Lark logs the conflicts that it resolves."""
    grammar = GRAMMAR.read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", postlex=Indentation(), maybe_placeholders=False, debug=debug)


def explain(source: Source) -> Diagnostic:
    """The syntax error of a text that is not in the grammar."""
    try:
        parser().parse(source.text if source.text.endswith("\n") else source.text + "\n")
    except (UnexpectedInput, DedentError) as error:
        return syntax_error(source, error)
    raise AssertionError("the tables and the grammar disagree: run `make grammar`")
