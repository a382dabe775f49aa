"""Makes `archlang.tmLanguage.json`, the TextMate grammar of the language: `make grammar`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archlang.grammar.highlight import RULES, Rule

FILE = Path(__file__).with_name("archlang.tmLanguage.json")

SCOPES = {
    "comment": "comment.line.number-sign",
    "string": "string.quoted.double",
    "keyword": "keyword.control",
    "module": "entity.name.namespace",
    "definition": "entity.name.type",
    "word_operator": "keyword.operator.word",
    "reserved": "invalid.illegal.reserved",
    "step": "support.function.step",
    "function": "support.function.builtin",
    "constant": "constant.language",
    "flow": "variable.language",
    "attribute": "variable.other.member",
    "call": "entity.name.function",
    "name": "variable.other",
    "size": "constant.numeric.size",
    "number": "constant.numeric",
    "unit": "keyword.other.unit",
    "operator": "keyword.operator",
    "punctuation": "punctuation",
    "column": "punctuation.separator.column",
}
"""Kind of a rule's match -> its scope, as TextMate's manual names them (section 12.4, Naming Conventions)."""


def _entry(rule: Rule) -> dict[str, Any]:
    if len(rule.kinds) == 1:
        return {"match": rule.pattern, "name": _scope(rule.kinds[0])}
    captures = {str(i): {"name": _scope(kind)} for i, kind in enumerate(rule.kinds, 1) if kind in SCOPES}
    return {"match": rule.pattern, "captures": captures}


def _scope(kind: str) -> str:
    return f"{SCOPES[kind]}.archlang"


def grammar() -> dict[str, Any]:
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "Arch",
        "scopeName": "source.archlang",
        "fileTypes": ["arch"],
        "patterns": [_entry(rule) for rule in RULES],
    }


def text() -> str:
    return json.dumps(grammar(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
