"""Lowering: published numbers, laws of the digest, names, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

import archlang
from archlang.errors import ArchError
from archlang.ir import parse_graph, print_graph, verify
from archlang.ir.graph import Graph
from archlang.lower.builtins import round_to
from archlang.lower.expressions import number
from archlang.source import Source

PUBLISHED = [
    ("zoo:mobilenet_v2", 3_504_872, 300_774_272),
    ("zoo:resnet:r18", 11_689_512, 1_814_073_344),
    ("zoo:resnet:r50", 25_557_032, 4_089_184_256),
    ("zoo:resnet:r152", 60_192_808, 11_513_626_624),
    ("zoo:efficientnet:b0", 5_288_548, 385_814_752),
    ("zoo:efficientnet:b7", 66_347_960, 37_745_884_192),
]
"""Parameters and MACs of torchvision's models."""


@pytest.mark.parametrize(("spec", "params", "macs"), PUBLISHED)
def test_published_numbers(spec: str, params: int, macs: int) -> None:
    total = archlang.load(spec).cost().total
    assert (total.params, total.macs) == (params, macs)


@pytest.mark.parametrize("spec", [spec for spec, _, _ in PUBLISHED])
def test_the_graph_is_valid_and_its_text_is_the_graph(spec: str) -> None:
    graph = verify(archlang.load(spec).graph)
    text = print_graph(graph)
    again = parse_graph(Source("text", text))
    assert print_graph(again) == text
    assert again.digest == graph.digest


def graph(*lines: str) -> Graph:
    text = "net A:\n  input 3x8x8\n" + "".join(f"  {line}\n" for line in lines)
    return archlang.loads(text).graph


def test_the_digest_does_not_depend_on_names_or_spelling() -> None:
    a = graph("conv(8, 3) -> relu", "conv(8, 3)")
    b = graph("conv(4 + 4, k=3) as first", "relu  # the same", "(conv(8, 3)) as second")
    assert a.digest == b.digest


def test_the_digest_does_not_depend_on_the_order_of_branches_in_time() -> None:
    a = graph("p = conv(_, 4, 1)", "q = conv(_, 4, 3)", "p + q")
    b = graph("q = conv(_, 4, 3)", "p = conv(_, 4, 1)", "p + q")
    assert a.digest == b.digest


@pytest.mark.parametrize(
    "other",
    [
        ("conv(8, 3)", "conv(8, 3)"),
        ("conv(8, 3) -> relu",),
        ("conv(8, 5)",),
        ("conv(8, 3, pad=(0, 0, 2, 2))",),
        ("conv(8, 3, norm=bn(eps=1e-3), bias=1)",),
    ],
)
def test_other_networks_have_other_digests(other: tuple[str, ...]) -> None:
    assert graph("conv(8, 3)").digest != graph(*other).digest


def test_shared_and_separate_convolutions_differ() -> None:
    shared = graph("h = conv(_, 3, 3)", "h + h")
    separate = graph("conv(_, 3, 3) + conv(_, 3, 3)")
    assert shared.digest != separate.digest


def test_overrides_and_expressions_choose_the_net() -> None:
    half = archlang.load("zoo:mobilenet_v2", width=0.5)
    assert half.cost().total.params == 1_968_680  # timm mobilenetv2_050
    scaled = archlang.load("zoo:efficientnet", net="EfficientNet(width=1.1, depth=1.2, res=260)")
    assert scaled.cost().total.params == archlang.load("zoo:efficientnet:b2").cost().total.params
    text = archlang.load("zoo:resnet", net="ResNet(basic, [2, 2, 2, 2])")
    assert text.graph.digest == archlang.load("zoo:resnet:r18").graph.digest


def test_state_dict_names_are_those_of_torchvision() -> None:
    from archlang.weights import specs

    names = set(specs(archlang.load("zoo:resnet:r50").graph))
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias"} <= names
    assert {"layer4.2.conv3.weight", "layer4.2.bn3.weight", "fc.weight", "fc.bias"} <= names
    assert len(names) == 267  # torchvision's resnet50 without num_batches_tracked


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("3", 3), ("0.25", 0.25), ("80ms", 80), ("500us", 0.5), ("6M", 6_000_000), ("1.5k", 1500), ("20%", 0.2)),
        *(("2KiB", 2048), ("1MB", 1_000_000), ("1e3", 1000.0)),
    ],
)
def test_numbers_with_units(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("value", "multiple", "result"),
    [(32, 8, 32), (35.2, 8, 32), (36, 8, 40), (3, 8, 8), (24 * 0.75, 8, 24), (16 * 1.4, 8, 24), (11, 8, 16)],
)
def test_round_to(value: float, multiple: int, result: int) -> None:
    assert round_to(value, multiple) == result


@pytest.mark.parametrize(
    "lines",
    [
        ("(((relu * 10000) * 10000) * 10000) * 10000",),
        ("for a in 1..90000:", "  for b in 1..90000:", "    pass"),
        ("x = [[i for i in 1..90000] for j in 1..90000]",),
        ("x = [1]", "for i in 1..60:", "  x = [x, x]", "conv(x, 1)"),
        ("x = [1]", "for i in 1..60:", "  x = x + x"),
        ("x = pos", "for i in 1..60:", "  x = x + x", "dropout(x)"),
        ("x = relu", "for i in 1..60:", "  x = x -> x", "x"),
        ("conv(2 ** 62 * 2, 1)",),
        ("conv(99999999999999999999999999, 1)",),
        ("x = 9 ** 9 ** 9 ** 9",),
    ],
)
def test_hostile_programs_end_soon(lines: tuple[str, ...]) -> None:
    with pytest.raises(ArchError) as caught:
        graph(*lines)
    assert caught.value.diagnostics[0].code.startswith("E04")


def test_imports_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.arch").write_text("fn f(x) = x\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.arch").symlink_to(tmp_path / "secret.arch")
    for target in ("../secret.arch", "link.arch"):
        (inner / "a.arch").write_text(f'from "{target}" import f\nnet A:\n  input 3x8x8\n  relu\n')
        with pytest.raises(ArchError) as caught:
            archlang.load(str(inner / "a.arch"))
        assert caught.value.diagnostics[0].code == "E0205"


def test_import_circles_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text('from "b.arch" import g\nfn f(x) = x\n')
    (tmp_path / "b.arch").write_text('from "a.arch" import f\nfn g(x) = x\n')
    with pytest.raises(ArchError, match="circle"):
        archlang.load(str(tmp_path / "a.arch"))


def test_imports_bring_blocks(tmp_path: Path) -> None:
    (tmp_path / "blocks.arch").write_text("block fire(c):\n  conv(c, 1) -> relu\n")
    (tmp_path / "a.arch").write_text('from "./blocks.arch" import fire\nnet A:\n  input 3x8x8\n  fire(4)\n')
    assert archlang.load(str(tmp_path / "a.arch")).cost().total.params == 16
