"""The table of error codes and the code that raises them agree, and its examples are what they claim to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.codes import CODES
from tests.e2e.program import archlang as run

ROOT = Path(__file__).parents[2]


def raised() -> set[str]:
    """Every code in the sources."""
    files = [*(ROOT / "archlang").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.name != "codes.py"]
    return {code for text in texts for code in re.findall(r"\"(E\d{4})\"", text)}


def test_every_code_that_is_raised_is_explained_and_the_other_way_round() -> None:
    assert set(CODES) == raised()


def test_the_codes_are_in_order() -> None:
    assert list(CODES) == sorted(CODES)


@pytest.mark.parametrize("code", [code for code, entry in CODES.items() if entry.wrong])
def test_the_examples_of_explain(code: str, folder: Path) -> None:
    (folder / "wrong.arch").write_text(CODES[code].wrong)
    (folder / "right.arch").write_text(CODES[code].right)
    wrong = run("check", "wrong.arch", "--json")
    assert code in [error["code"] for error in wrong.document["errors"]], wrong.out
    assert wrong.status == 1
    right = run("check", "right.arch", "--json")
    assert (right.status, right.document["errors"]) == (0, [])


@pytest.mark.parametrize("code", CODES)
def test_explain(code: str) -> None:
    done = run("explain", code.lower())
    assert done.status == 0
    assert done.out.startswith(f"{code}: {CODES[code].title}")
    assert ("Wrong:" in done.out) == bool(CODES[code].wrong)


def test_explain_without_a_code_lists_all() -> None:
    assert run("explain").out.count("\n") == len(CODES)
    assert [entry["code"] for entry in run("explain", "--json").document] == list(CODES)
