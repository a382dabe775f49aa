"""Runs the golden cases of the language: formatting, graphs, passes, diagnostics."""

from __future__ import annotations

import pytest

from archlang.check import check as check_spec
from archlang.errors import render
from archlang.ir import print_graph, verify
from archlang.net import loads
from archlang.passes import PASSES
from archlang.source import Source
from archlang.syntax import format_text
from tests.golden import case as golden
from tests.golden.case import Case


def fmt(case: Case) -> str:
    return format_text(Source(case.path.name, case.text))


def ir(case: Case) -> str:
    graph = verify(loads(case.text, name=case.path.name).graph)
    if "--passes" in case.command:
        for name in case.command[case.command.index("--passes") + 1].split(","):
            graph = verify(PASSES[name](graph))
    return print_graph(graph)


def errors(case: Case) -> str:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / case.path.name
        path.write_text(case.text, encoding="utf-8")
        report = check_spec(str(path))
    assert not report.ok
    return "\n\n".join(render(error) for error in report.errors).replace(f"{folder}/", "") + "\n"


RUN = {"fmt": fmt, "ir": ir, "check": errors}


@pytest.mark.parametrize(
    "case", [c for folder in ("fmt", "ir", "passes", "errors") for c in golden.cases(folder)], ids=lambda c: c.name
)
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    golden.check(case, RUN[case.command[0]], request.config.getoption("--update-golden"))


def test_there_are_cases() -> None:
    for folder in ("fmt", "ir", "passes", "errors"):
        assert golden.cases(folder), f"no cases in {folder}"
