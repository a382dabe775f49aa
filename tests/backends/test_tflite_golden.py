"""What some programs become, as a readable dump."""

from __future__ import annotations

import pytest

from archlang.backend import Request, compile_graph
from archlang.net import loads
from tests.backends.tflite_dump import dump
from tests.golden import case as golden
from tests.golden.case import Case


def tflite(case: Case) -> str:
    given = dict(zip(case.command[1::2], case.command[2::2], strict=True))
    graph = loads(case.text, name=case.path.name).graph
    request = Request(quantize=given.get("--quantize", "none"), io=given.get("--io"))
    return dump(compile_graph(graph, "tflite", request).data)


@pytest.mark.parametrize("case", golden.cases("tflite"), ids=lambda case: case.name)
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    golden.check(case, tflite, request.config.getoption("--update-golden"))


def test_there_are_cases() -> None:
    assert golden.cases("tflite")
