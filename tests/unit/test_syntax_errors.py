"""What bad programs get told: the tables in tests/golden/syntax, a file a group.

A case is `=== program` on one line (`\\n` for a new line; in a body unless the group is `files`), and below it every
error: line, column, code, the marked text, the message, the help.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.errors import ArchError, Diagnostic
from archlang.source import Source
from archlang.syntax import parse

FOLDER = Path(__file__).parents[1] / "golden" / "syntax"
GROUPS = sorted(FOLDER.glob("*.txt"))
HEAD = "net A:\n  input 3x8x8\n  "


def told(program: str) -> list[str]:
    try:
        parse(Source("bad.arch", program))
    except ArchError as error:
        return [_shown(diagnostic) for diagnostic in error.diagnostics]
    return ["nothing"]


def _shown(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    assert span is not None
    help_ = f"  ({diagnostic.help})" if diagnostic.help else ""
    return f"    {span.line}:{span.column} {diagnostic.code} {span.text!r}  {diagnostic.message}{help_}"


def cases(path: Path) -> dict[str, list[str]]:
    """The expected lines by the program as it is written in the file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("=== "):
            program = line.removeprefix("=== ")
            assert program not in found, f"twice: {program}"
            found[program] = []
        elif line:
            found[program].append(line)
    return found


def text_of(path: Path, written: str) -> str:
    program = re.sub(r"\\(n|t|u[0-9a-f]{4})", lambda match: match[0].encode().decode("unicode_escape"), written)
    return program if path.stem == "files" else f"{HEAD}{program}\n"


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: path.stem)
def test_bad_programs(path: Path, request: pytest.FixtureRequest) -> None:
    expected = cases(path)
    found = {written: told(text_of(path, written)) for written in expected}
    if request.config.getoption("--update-golden"):
        lines = (f"=== {written}\n" + "\n".join(told_) + "\n\n" for written, told_ in found.items())
        path.write_text("".join(lines).rstrip("\n") + "\n", encoding="utf-8")
        return
    assert found == expected


def test_there_are_many_bad_programs() -> None:
    """Each gets an error, and few get the one that says nothing."""
    all_told = [lines for path in GROUPS for lines in cases(path).values()]
    assert len(all_told) >= 60
    assert ["nothing"] not in all_told
    vague = [lines for lines in all_told if any("does not belong here" in line for line in lines)]
    assert len(vague) <= len(all_told) // 20


def test_the_errors_of_one_run_are_independent() -> None:
    """As many errors as mistakes, each on its own line, in the order of the text."""
    mistakes = [
        "net A:",
        "  input 3x8x8",
        "  conv(8 3)",
        "  conv(16, 3) relu",
        "  if n = 1:",
        "    conv(8,, 3)",
        "  table conv:",
        "    | c | k |",
        "    | 8 | 3",
        "    | 8 |  |",
        "",
        "block f(c)",
        "  conv(c, k: 3)",
        "  conv(c,",
        "",
        "fn g(x): x",
        "",
        "def h(x):",
        "  return x",
    ]
    with pytest.raises(ArchError) as caught:
        parse(Source("bad.arch", "\n".join(mistakes) + "\n"))
    lines = [d.span.line for d in caught.value.diagnostics if d.span]
    assert lines == [3, 4, 5, 6, 9, 10, 12, 13, 14, 16, 18]


def test_no_more_than_a_screenful_of_errors() -> None:
    with pytest.raises(ArchError) as caught:
        parse(Source("bad.arch", HEAD + "conv(8 3)\n  " * 1000 + "relu\n"))
    assert len(caught.value.diagnostics) == 20
