"""NASNet, PNASNet, AmoebaNet, ENAS and DARTS beside timm, pytorchcv and the lists of their releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

import archlang
from tests.zoo.cells import CellNet, Family, MacroNet, Plan, Value, between, genes, thirds
from tests.zoo.conformance import Case, assert_same_cost, assert_same_numbers
from tests.zoo.libraries import pytorchcv, timm

NASNET = Family(
    genes("sep5 0, sep3 1, sep5 1, sep3 1, avg3 0, none 1, avg3 1, avg3 1, sep3 0, none 0"),
    genes("sep5 0, sep7 1, max3 0, sep7 1, avg3 0, sep5 1, none 3, avg3 2, sep3 2, max3 0"),
    ((1, 2, 3, 4, 5, 6), (3, 4, 5, 6)),
    cur=0,
    same=True,
    eps=1e-3,
    prev_first=False,
)
PNAS_CELL = genes("sep5 1, max3 1, sep7 0, max3 0, sep5 0, sep3 0, sep3 4, max3 0, sep3 1, none 0")
PNASNET = Family(PNAS_CELL, PNAS_CELL, ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6)), cur=0, same=True, eps=1e-3)
DARTS_V1 = Family(
    genes("sep3 1, sep3 0, skip 0, sep3 1, skip 0, sep3 1, sep3 0, skip 2"),
    genes("max3 0, max3 1, skip 2, max3 0, max3 0, skip 2, skip 2, avg3 0"),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    prev_first=False,
)
DARTS_V2 = replace(
    DARTS_V1,
    normal=genes("sep3 0, sep3 1, sep3 0, sep3 1, sep3 1, skip 0, skip 0, dil3 2"),
    reduction=genes("max3 0, max3 1, skip 2, max3 1, max3 0, skip 2, skip 2, max3 1"),
)
AMOEBANET_A = Family(
    genes("avg3 0, max3 1, sep3 0, sep5 2, sep3 0, avg3 3, sep3 1, skip 1, skip 0, avg3 1"),
    genes("avg3 0, sep3 1, max3 0, sep7 2, sep7 0, avg3 1, max3 0, max3 1, conv7 0, sep3 5"),
    ((4, 5, 6), (3, 4, 6)),
)
AMOEBANET_D = Family(
    genes("conv1 1, max3 1, skip 1, narrow7 0, conv1 0, narrow7 0, max3 2, skip 2, avg3 1, conv1 5"),
    genes("max2 0, max3 0, skip 2, narrow3 1, narrow7 2, max3 2, skip 3, max2 1, avg3 2, conv1 3"),
    ((0, 3, 4, 6), (4, 5, 6)),
    cur=0,
    prev_first=False,
)
ENAS = Family(
    genes("avg3 0, sep3 0, skip 0, sep5 0, skip 0, sep5 1, sep3 1, sep5 0, avg3 0, sep5 1"),
    genes("sep3 1, sep3 1, max3 0, avg3 0, sep5 1, sep5 3, sep3 1, skip 0, max3 0, sep5 1"),
    ((2, 3, 4, 5, 6), (2, 4, 5, 6)),
    same=True,
    twice=True,
)
MACRO = """0 / 3 0 / 0 1 0 / 2 0 0 1 / 2 0 0 0 0 / 3 1 1 0 1 0 / 2 0 0 0 0 0 1 / 2 0 1 1 0 1 1 1 / 1 0 1 1 1 0 1 0 1
/ 0 0 0 0 0 0 0 0 0 0 / 2 0 0 0 0 0 1 0 0 0 0 / 0 1 0 0 1 1 0 0 0 0 1 1 / 2 0 1 0 0 0 0 0 1 0 1 1 0
/ 1 0 0 1 0 0 0 1 1 1 0 1 0 1 / 0 1 1 0 1 0 1 0 0 0 0 0 1 0 0 / 2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
/ 2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0 / 2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1 / 3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
/ 3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1 / 0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
/ 3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0 / 0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
/ 0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0"""


def _conv_bn(inputs: int, c: int, s: int = 1, pad: int = 1, eps: float = 1e-5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, c, 3, s, pad, bias=False), nn.BatchNorm2d(c, eps))


def _slim(family: Family, n: int, c: int, stem: int) -> Callable[[], nn.Module]:
    """slim on ImageNet: two cells that reduce belong to the stem."""
    cells = [(True, c // 4), (True, c // 2), *between(n, c)]

    def build() -> nn.Module:
        given = [Value(stem, 0)]
        first = [_conv_bn(3, stem, 2, 0, 1e-3)]
        return CellNet(family, Plan(lambda: first, given, cells, 1000, alone=True, relu=True, kept=2))

    return build


def _cifar(family: Family, cells: list[tuple[bool, int]], **options: Any) -> Callable[[], nn.Module]:
    c = 3 * cells[0][1]
    plan = Plan(lambda: [_conv_bn(3, c, eps=family.eps)], [Value(c, 0)], cells, 10, **options)
    return lambda: CellNet(family, plan)


def _darts_imagenet(family: Family, layers: int = 14, c: int = 48) -> Callable[[], nn.Module]:
    def stem() -> list[nn.Module]:
        first = nn.Sequential(_conv_bn(3, c // 2, 2), nn.ReLU(), _conv_bn(c // 2, c, 2))
        return [first, nn.Sequential(nn.ReLU(), _conv_bn(c, c, 2))]

    plan = Plan(stem, [Value(c, 2), Value(c, 3)], thirds(layers, c), 1000)
    return lambda: CellNet(family, plan)


def _amoebanet_d(layers: int, filters: int) -> Callable[[], nn.Module]:
    c = filters // 4
    cells = [(True, 2 * c), (True, 4 * c), *between(layers // 3, 4 * c)]
    plan = Plan(lambda: [_conv_bn(3, c, 2)], [Value(c, 1)], cells, 1000)
    return lambda: CellNet(AMOEBANET_D, plan)


def _macro() -> nn.Module:
    return MacroNet([[int(bit) for bit in row.split()] for row in MACRO.split("/")], 96, 10)


def _pnas_mobile() -> nn.Module:
    """PNASNet has one cell: the first of a stage reduces, and n counts it."""
    c, n = 54, 3
    cells = [(True, c // 4), (True, c // 2), *[(False, c)] * n]
    for wider in (2 * c, 4 * c):
        cells += [(True, wider), *[(False, wider)] * (n - 1)]
    first = [_conv_bn(3, 32, 2, 0, 1e-3)]
    return CellNet(PNASNET, Plan(lambda: first, [Value(32, 0)], cells, 1000, alone=True, relu=True))


def _pytorchcv(name: str) -> Callable[[], nn.Module]:
    """The net, its last pool made one over all positions, so that it works at other sizes."""

    def build() -> nn.Module:
        module: Any = pytorchcv()(name)
        module.features.final_pool = nn.AdaptiveAvgPool2d(1)
        return module  # type: ignore[no-any-return]

    return build


def _timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm().create_model(name)


SMALL = {"res": 64}
NASNET_CIFAR = replace(NASNET, eps=1e-5)

# pytorchcv pads NASNet's strided convolutions by one row and column more, whose results it throws away
CASES = [
    Case("zoo:nasnet:mobile", _pytorchcv("nasnet_4a1056"), SMALL, macs=False),
    Case("zoo:nasnet:cifar", _cifar(NASNET_CIFAR, between(6, 32), alone=True, relu=True)),
    Case("zoo:darts:v2_imagenet", _pytorchcv("darts"), SMALL),
    Case("zoo:darts:v2_cifar", _cifar(DARTS_V2, thirds(20, 36))),
    Case("zoo:amoebanet:AmoebaNetA", _cifar(AMOEBANET_A, thirds(20, 36))),
    Case("zoo:enas:ENASMicro", _cifar(ENAS, between(5, 36), bias=False, relu=True)),
]
"""Cost and, where the net is small or on demand, numbers."""
LARGE = [
    Case("zoo:nasnet:mobile", _slim(NASNET, 4, 44, 32), {"res": 96}),
    Case("zoo:nasnet:large", _slim(replace(NASNET, skip=True), 6, 168, 96), {"res": 96}),
    Case("zoo:pnasnet:mobile", _pnas_mobile, {"res": 96}),
    Case("zoo:pnasnet:large", _timm("pnasnet5large"), SMALL),
    Case("zoo:darts:v1_cifar", _cifar(DARTS_V1, thirds(20, 36))),
    Case("zoo:darts:v1_imagenet", _darts_imagenet(DARTS_V1)),
    Case("zoo:amoebanet:AmoebaNetD.d18_208", _amoebanet_d(18, 208)),
    Case("zoo:enas:ENASMacro", _macro),
]
"""Cost; numbers in the slow tests."""
AGAIN = [
    Case("zoo:nasnet:large", _timm("nasnetalarge")),
    Case("zoo:nasnet:large", _pytorchcv("nasnet_6a4032"), macs=False),
    Case("zoo:darts:v2_imagenet", _darts_imagenet(DARTS_V2)),
    Case("zoo:amoebanet:AmoebaNetD.d18_416", _amoebanet_d(18, 416)),
]
"""Cost alone, and all but the last a second time, beside another reference."""
QUICK = ("zoo:nasnet:cifar", "zoo:darts:v2_cifar")


@pytest.mark.parametrize("case", [*CASES, *LARGE, AGAIN[-1]], ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", AGAIN[:-1], ids=str)
def test_cost_is_the_other_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.spec in QUICK], ids=str)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.spec not in QUICK] + LARGE, ids=str)
def test_numbers_of_the_others_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.parametrize(
    ("spec", "millions"),
    [
        ("zoo:nasnet:mobile", 5.3),
        ("zoo:nasnet:large", 88.9),
        ("zoo:nasnet:cifar", 3.3),
        ("zoo:pnasnet:mobile", 5.1),
        ("zoo:pnasnet:large", 86.1),
        ("zoo:darts:v2_cifar", 3.3),
        ("zoo:darts:v2_imagenet", 4.7),
        ("zoo:amoebanet:AmoebaNetD.d18_208", 82),
        ("zoo:amoebanet:AmoebaNetD.d18_416", 318),
    ],
)
def test_parameters_are_those_that_the_papers_give(spec: str, millions: float) -> None:
    """To the papers' two or three digits: arXiv:1707.07012, 1712.00559, 1806.09055, 1811.06965."""
    assert archlang.load(spec).cost().total.params == pytest.approx(millions * 1e6, rel=0.016)
