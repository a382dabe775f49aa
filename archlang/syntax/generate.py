"""Makes `tables.json`, the parser's tables, from the grammar: `python -m archlang.syntax.generate` (or `make grammar`).

Building an LALR parser takes half a second, loading its tables 20 ms. JSON, for it is quick to read and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from archlang.syntax.parser import TABLES, Indentation

GRAMMAR = Path(__file__).parents[1] / "grammar" / "archlang.lark"


def build(debug: bool = False) -> Lark:
    """The parser straight from the grammar. debug: Lark logs the conflicts that it resolves."""
    grammar = GRAMMAR.read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", postlex=Indentation(), maybe_placeholders=False, debug=debug)


def generated() -> str:
    """The text of `tables.json`."""
    data, memo = build().memo_serialize([TerminalDef, Rule])
    data["options"]["postlex"] = None  # an object: given anew when the tables are loaded
    document = {"grammar": digest(), "data": _plain(data), "memo": _plain(memo)}
    return json.dumps(document, separators=(",", ":")) + "\n"


def digest() -> str:
    """Of the grammar, by which a test tells whether the tables are its own: Lark numbers the states as it likes."""
    return hashlib.sha256(GRAMMAR.read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """Nothing but JSON's own types; a dict with numbers as keys is a list of pairs, which `parser` turns back."""
    if isinstance(value, dict):
        if value and all(isinstance(key, int) for key in value):
            return {"#": [[key, _plain(item)] for key, item in value.items()]}
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


if __name__ == "__main__":
    TABLES.write_text(generated(), encoding="utf-8")
