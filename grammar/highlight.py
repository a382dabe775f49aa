"""What an .arch file looks like to a highlighter: words and rules, from which both highlighters are made.

Highlighters know no grammar. The rules go by the word and what stands beside it, and hold in Python's `re` and in
Oniguruma alike: no possessive quantifiers, no lookbehind of varying length. The words are in `words.json`, which
`make grammar` takes from the grammar and from the language's built-in names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WORDS_FILE = Path(__file__).with_name("words.json")
WORDS: dict[str, list[str]] = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
"""keywords: those of `archlang.lark`. steps, functions, constants: what a file may use unsaid. reserved: kept for
later."""

NAMING = ("block", "cell", "net", "fn", "choice", "variants", "search", "stage", "aux")
"""Keywords that give the name behind them a meaning."""

OPERATORS = ("and", "or", "not")
"""Keywords that are operators."""


@dataclass(frozen=True)
class Rule:
    """A pattern, and the kind of what it matches: one for the whole, or one for each of its groups."""

    pattern: str
    kinds: tuple[str, ...]


def _word(words: Iterable[str]) -> str:
    """Any of the words, where it is not an attribute, or the name of an argument."""
    return rf"(?<!\.)\b(?:{'|'.join(sorted(words))})\b(?!\s*=(?!=))"


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"

RULES = (
    Rule(r"#[^\n]*", ("comment",)),
    Rule(r'"[^"\n]*"', ("string",)),
    Rule(rf"\b(from)( +)((?!_\b){_NAME}(?:\.{_NAME})*)", ("keyword", "space", "module")),
    Rule(rf"\b({'|'.join(sorted(NAMING))})( +)((?!_\b){_NAME})", ("keyword", "space", "definition")),
    Rule(_word(OPERATORS), ("word_operator",)),
    Rule(_word(WORDS["keywords"]), ("keyword",)),
    Rule(_word(WORDS["reserved"]), ("reserved",)),
    Rule(_word(WORDS["steps"]), ("step",)),
    Rule(_word(WORDS["functions"]), ("function",)),
    Rule(_word(WORDS["constants"]), ("constant",)),
    Rule(r"_\b", ("flow",)),
    Rule(rf"(?<=\.){_NAME}", ("attribute",)),
    Rule(rf"{_NAME}(?=\()", ("call",)),
    Rule(_NAME, ("name",)),
    Rule(r"[0-9]+(?:x[0-9]+)+", ("size",)),
    Rule(
        r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(ms|us|KiB|MiB|KB|MB|GB|k|M|G|%(?![\w(]))",
        ("number", "unit"),
    ),
    Rule(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", ("number",)),
    Rule(r"->|\.\.|\*\*|//|[=!<>]=|[-+*/%×<>~=]", ("operator",)),
    Rule(r"[()\[\]{},:;.]", ("punctuation",)),
    Rule(r"\|", ("column",)),
)
"""In this order: at a place in the text, the first that matches is taken."""
