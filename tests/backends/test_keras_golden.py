"""Golden cases of the generated Keras source: what comes out of small programs, without the header."""

from __future__ import annotations

import pytest

from archlang.backends.keras import generate
from archlang.net import loads
from tests.golden import case as golden
from tests.golden.case import Case

CASES = golden.cases("keras")


def source(case: Case) -> str:
    """The generated functions: the header holds the version and the digest, and loading the weights is always alike."""
    text = generate(loads(case.text, name=case.path.name).graph, case.path.name).text
    _, _, body = text.partition('"""\n\n')
    return body.partition("\n\n\ndef load_weights")[0].rstrip() + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    golden.check(case, source, request.config.getoption("--update-golden"))


def test_there_are_cases() -> None:
    assert CASES
