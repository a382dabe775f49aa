"""Weights from parent to child: what mutations that preserve the function leave of it, as PyTorch computes it."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch

import archlang
from archlang import weights
from archlang.ir.graph import Graph
from archlang.ir.text import parse_graph, print_graph
from archlang.net import Net
from archlang.search.inherit import Report, aligned, carried, inherit
from archlang.search.mutations import Subject, mutated, normal_text
from archlang.source import Source

BOUND = 1e-5
"""Of the largest output: copies of channels are summed in another order than one channel is."""


def outputs(net: Net, arrays: weights.Weights) -> np.ndarray:
    module = net.to_torch({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        result: np.ndarray = module(torch.randn(2, *net.graph.nodes[0].type.shape, generator=generator)).numpy()
    return result


def born(parent: Net, child: Net) -> tuple[float, Report]:
    """The largest difference between the two, as a share of the largest output. BatchNorm's statistics are random."""
    trained = weights.random(parent.graph, 1)
    arrays, report = inherit(parent.graph, trained, child.graph, Random(3))
    assert {name: array.shape for name, array in arrays.items()} == {
        name: param.shape for name, param in weights.specs(child.graph).items()
    }
    assert sorted((*report.kept, *report.adapted, *report.neutral, *report.fresh)) == sorted(arrays)
    wanted, found = outputs(parent, trained), outputs(child, arrays)
    return float(np.abs(wanted - found).max() / np.abs(wanted).max()), report


def family(spec: str, old: str, new: str, **overrides: Any) -> tuple[Net, Net]:
    """A net of the zoo as a file of its own, and the same file with one thing changed."""
    net = archlang.load(spec, **overrides)
    text = normal_text(net.value, net.args)
    assert old in text
    return archlang.loads(text), archlang.loads(text.replace(old, new))


MOBILE, RESNET = "zoo:mobilenet_v2:w050", "zoo:resnet:r18"

PRESERVING = {
    "net2wider, through residual sums and depthwise convolutions": (MOBILE, "width=0.5", "width=0.75"),
    "net2wider, within one stage": (MOBILE, "| 6 |      64 | 4 |", "| 8 |      64 | 4 |"),
    "net2wider, a stage of a residual network": (RESNET, "| 128 |", "| 160 |"),
    "net2wider, beside concatenations": ("zoo:squeezenet:v1_1", "[16, 16, 32", "[24, 16, 40"),
    "net2deeper, a convolution with its norm": (MOBILE, "as stem\n", "as stem\n  conv(_.c, 3)\n"),
    "net2deeper, whole residual blocks": (RESNET, "layers=[2, 2, 2, 2]", "layers=[2, 3, 2, 3]"),
    "net2deeper, inverted residuals": (MOBILE, "| 6 |      64 | 4 |", "| 6 |      64 | 6 |"),
    "identity skip": (MOBILE, "as stem\n", "as stem\n  residual:\n    conv(_.c, 3)\n    conv(_.c, 3, act=none)\n"),
    "a larger kernel": (MOBILE, "conv(ch(32), 3, s=2)", "conv(ch(32), 5, s=2)"),
    "squeeze-and-excitation": (
        MOBILE,
        "as head\n",
        "as head\n  mul:\n    skip\n    gap -> conv(8, 1, norm=none) -> conv(_.c * 160, 1, norm=none, act=sigmoid)\n",
    ),
}


@pytest.mark.parametrize("case", PRESERVING)
def test_the_child_computes_what_its_parent_does(case: str) -> None:
    spec, old, new = PRESERVING[case]
    parent, child = family(spec, old, new, res=32, classes=10)
    assert parent.graph.digest != child.graph.digest
    difference, report = born(parent, child)
    assert difference < BOUND
    assert report.exact


def test_what_is_not_preserved_is_not_claimed() -> None:
    for old, new in (
        ("width=0.5", "width=0.35"),
        ("act=relu6", "act=hswish"),
        ("conv(ch(32), 3, s=2)", "conv(ch(32), 3)"),
    ):
        difference, report = born(*family(MOBILE, old, new, res=32, classes=10))
        assert difference > BOUND
        assert not report.exact
        assert not report.fresh


def test_an_equal_child_keeps_all() -> None:
    difference, report = born(*family(MOBILE, "res=32", "res=32", res=32, classes=10))
    assert (difference, report.exact, report.adapted, report.neutral, report.fresh) == (0, True, (), (), ())


def test_copies_of_a_channel_part_in_training() -> None:
    """Even shares would give equal copies equal gradients for ever (Net2Net, section 4)."""
    text = "net N:\n  input 3x8x8\n  conv(4, 3, act=relu)\n  conv(4, 3)\n"
    parent, child = archlang.loads(text), archlang.loads(text.replace("conv(4, 3, act", "conv(8, 3, act"))
    arrays, report = inherit(parent.graph, weights.random(parent.graph), child.graph, Random(0))
    first, second = arrays["conv1.weight"], arrays["conv2.weight"]
    pairs = [(i, j) for i in range(8) for j in range(i) if np.array_equal(first[i], first[j])]
    assert len(pairs) >= 4
    assert report.exact
    assert all(not np.array_equal(second[:, i], second[:, j]) for i, j in pairs)


def test_equal_generators_give_equal_weights() -> None:
    parent, child = family(MOBILE, "width=0.5", "width=0.75", res=32, classes=10)
    trained = weights.random(parent.graph)
    one, two = (inherit(parent.graph, trained, child.graph, Random("7/1"))[0] for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_graph_that_was_read_from_text_will_do() -> None:
    parent, child = family(MOBILE, "width=0.5", "width=0.75", res=32, classes=10)
    again = parse_graph(Source("kept", print_graph(parent.graph)))
    assert inherit(again, weights.random(again), child.graph, Random(0))[1].exact


def test_layers_are_paired_in_one_piece() -> None:
    parent, child = family(RESNET, "layers=[2, 2, 2, 2]", "layers=[2, 3, 2, 3]", res=32, classes=10)
    names = {
        child.graph.nodes[i].name: parent.graph.nodes[j].name for i, j in aligned(parent.graph, child.graph).items()
    }
    assert all(ours == theirs for ours, theirs in names.items())
    assert {node.name for node in child.graph.nodes} - set(names) == {
        node.name for node in child.graph.nodes if node.name.startswith(("layer2.2.", "layer4.2."))
    }


def test_every_mutant_of_a_net_inherits() -> None:
    """Arrays of the child's shapes whatever the mutation; and where it is claimed that nothing changed, nothing has."""
    net = archlang.load("zoo:resnet_cifar:r20", n=1)
    subject, rng = Subject(normal_text(net.value, net.args)), Random(5)
    parent = archlang.loads(subject.text)
    claimed = 0
    for _ in range(12):
        child = archlang.loads(mutated(subject, rng).text)
        if child.graph.nodes[0].type != parent.graph.nodes[0].type:
            continue
        difference, report = born(parent, child)
        claimed += report.exact
        assert difference < BOUND or not report.exact
        assert carried(report, child.graph) > 0
    assert claimed


def test_a_graph_without_weights_has_nothing_to_give() -> None:
    graph: Graph = archlang.loads("net N:\n  input 3x8x8\n  relu\n").graph
    assert inherit(graph, {}, graph, Random(0)) == ({}, Report(True, (), (), (), ()))
