"""Nets of the zoo beside torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from tests.zoo.conformance import Case, assert_same_cost, assert_same_numbers
from tests.zoo.libraries import torchvision


def _of(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module: nn.Module = getattr(torchvision(), name)(weights=None, **options)
        return module

    return build


CASES = [
    Case("zoo:efficientnet:b0", _of("efficientnet_b0"), {"res": 64}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)
