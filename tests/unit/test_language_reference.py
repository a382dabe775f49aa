"""Every example of docs/language.md and of the README does what the text says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.check import check
from archlang.source import Source
from archlang.syntax import format_text

ROOT = Path(__file__).parents[2]
_EXAMPLE = re.compile(r"^```arch ?(E\d{4})?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    found = []
    for path in (ROOT / "docs" / "language.md", ROOT / "README.md"):
        found += [(code, text) for code, text in _EXAMPLE.findall(path.read_text(encoding="utf-8"))]
    return found


def test_there_are_examples_of_both_kinds() -> None:
    codes = [code for code, _ in examples()]
    assert len(codes) > 15
    assert any(codes)


@pytest.mark.parametrize(("code", "text"), examples())
def test_example(tmp_path: Path, code: str, text: str) -> None:
    path = tmp_path / "example.arch"
    path.write_text(text, encoding="utf-8")
    report = check(str(path))
    assert [error.code for error in report.errors] == ([code] if code else []), [str(e) for e in report.errors]
    assert format_text(Source("example", text)) == text
