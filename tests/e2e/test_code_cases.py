"""Every error code has a case: a golden one, a bad program, or a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

from archlang.codes import CODES

TESTS = Path(__file__).parents[1]


def _named_in(pattern: str) -> set[str]:
    found = (path.read_text(encoding="utf-8") for path in TESTS.rglob(pattern) if path != Path(__file__))
    return {code for text in found for code in re.findall(r"\bE\d{4}\b", text)}


def test_every_code_has_a_case() -> None:
    shown = _named_in("golden/errors/*.arch") | _named_in("golden/syntax/*.txt")
    named = _named_in("test_*.py")
    assert set(CODES) <= shown | named


def test_what_a_program_alone_can_cause_is_shown_whole() -> None:
    """Codes with an example, and the codes of files and text: their whole rendering is a golden case."""
    shown = _named_in("golden/errors/*.arch") | _named_in("golden/syntax/*.txt")
    small = {code for code, entry in CODES.items() if entry.wrong and code < "E0600"}
    assert small <= shown
