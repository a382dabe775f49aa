"""Golden cases of the generated PyTorch: what comes out of small programs, without the header."""

from __future__ import annotations

import pytest

from archlang.backends.pytorch import generate
from archlang.net import loads
from tests.golden import case as golden
from tests.golden.case import Case

CASES = golden.cases("pytorch")


def source(case: Case) -> str:
    """The generated file from its imports on: the header holds the version and the digest."""
    text = generate(loads(case.text, name=case.path.name).graph, case.path.name).text
    _, _, body = text.partition('"""\n\n')
    return body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    golden.check(case, source, request.config.getoption("--update-golden"))


def test_there_are_cases() -> None:
    assert CASES
