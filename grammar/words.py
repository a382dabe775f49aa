"""Makes `words.json`, the words that highlighters know: `make grammar`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

GRAMMAR = Path(__file__).with_name("archlang.lark")
FILE = Path(__file__).with_name("words.json")


def words() -> dict[str, list[str]]:
    """The words by kind, each kind sorted."""
    from archlang.lower.builtins import CONSTANTS, FUNCTIONS, GROUPS, STEPS
    from archlang.syntax.builder import RESERVED

    keywords = keywords_of(GRAMMAR.read_text(encoding="utf-8"))
    kinds: dict[str, Iterable[str]] = {
        "keywords": keywords,
        "reserved": RESERVED - keywords,
        "steps": {*STEPS, *GROUPS},
        "functions": FUNCTIONS,
        "constants": CONSTANTS,
    }
    return {kind: sorted(found) for kind, found in kinds.items()}


def keywords_of(grammar: str) -> set[str]:
    """The words between quotation marks, comments apart."""
    return set(re.findall(r'"([a-z]+)"', re.sub(r"//[^\n]*", "", grammar)))


def text() -> str:
    return json.dumps(words(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
