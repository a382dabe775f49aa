"""Networks made smaller for a lower fidelity: they verify, they compute, and they cost less."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.catalogue import nets
from archlang.cost import cost
from archlang.errors import ArchError
from archlang.ir import Builder, Graph, verify
from archlang.ops.conv import Conv2d, Linear
from archlang.search.fidelity import at_resolution, reduced, with_channels
from archlang.train import Recipe, check_classifier, module_of

JOINED = """
net Joined(classes=10):
  default conv(norm=bn, act=relu)
  input 1x16x16
  conv(32, 3) as stem
  residual:
    conv(64, 1)
    conv(64, 3, groups=8)
    dwconv(3)
    conv(32, 1)
  concat:
    conv(24, 1)
    skip
  mul:
    skip
    gap -> conv(14, 1) -> conv(56, 1, act=sigmoid)
  gap -> linear(classes)
"""


@pytest.fixture(scope="module")
def joined() -> Graph:
    return archlang.loads(JOINED).graph


KINDS = [
    "resnet:r18",
    "resnext:x50_32x4d",
    "mobilenet_v3:small",
    "shufflenet_v1:g3_w025",
    "shufflenet_v2:x0_5",
    "vgg:v11",
]
"""Residuals, groups, squeeze-and-excitation, shuffles and slices, concatenations, a flattened image."""


@pytest.mark.parametrize("name", KINDS)
def test_half_of_either(name: str) -> None:
    check_halves(f"zoo:{name}", archlang.load(f"zoo:{name}").graph)


@pytest.mark.slow
def test_half_of_either_over_the_zoo() -> None:
    checked = 0
    for entry in nets():
        with suppress(ArchError):
            check_classifier(entry.net.graph)
            check_halves(entry.spec, entry.net.graph)
            checked += 1
    assert checked > 150


FIXED = ("zoo:lenet:LeNet5Original",)
"""Its connections are a table of single channels."""


def check_halves(spec: str, graph: Graph) -> None:
    """Half of the channels and half of the image: valid, cheaper, the ends as they were."""
    narrow, small = verify(with_channels(graph, 0.5)), verify(at_resolution(graph, 0.5))
    whole = cost(graph).total.macs
    assert 0.1 < cost(narrow).total.macs / whole < (1 if spec in FIXED else 0.45), spec
    assert 0.1 < cost(small).total.macs / whole < 0.6, spec
    assert [node.name for node in small.nodes] == [node.name for node in narrow.nodes] == [n.name for n in graph.nodes]
    assert [narrow.nodes[i].type for i in narrow.inputs] == [graph.nodes[i].type for i in graph.inputs]
    for other in (narrow, small):
        for output in graph.outputs:
            assert other.nodes[output.value].type.channels == graph.nodes[output.value].type.channels, spec


def test_a_quarter_of_the_macs_at_half_of_either() -> None:
    net = archlang.load("zoo:resnet:r18", res=256).graph  # whose maps are even down to the last
    whole = cost(net).total.macs
    assert cost(at_resolution(net, 0.5)).total.macs / whole == pytest.approx(0.25, abs=0.01)
    assert cost(with_channels(net, 0.5)).total.macs / whole == pytest.approx(0.25, abs=0.03)  # the stem's input stays


@pytest.mark.parametrize("share", [0.75, 0.5, 0.3, 0.1, 0.01])
def test_groups_stay_whole_and_joins_still_fit(joined: Graph, share: float) -> None:
    small = verify(with_channels(joined, share))
    pairs = [
        (before.op, after.op, small.input_types(after)[0])
        for before, after in zip(joined.nodes, small.nodes, strict=True)
        if isinstance(before.op, Conv2d) and isinstance(after.op, Conv2d)
    ]
    assert [(b.groups, b.channels % 8) for a, b, _ in pairs if a.groups == 8] == [(8, 0)]
    depthwise = [(b, x) for a, b, x in pairs if a.groups == 64]
    assert len(depthwise) == 1
    assert all(b.groups == b.channels == x.channels for b, x in depthwise)
    assert all(1 <= b.channels <= a.channels for a, b, _ in pairs)


@pytest.mark.parametrize("make", [with_channels, at_resolution])
@pytest.mark.parametrize("spec", ["", "zoo:shufflenet_v2:x0_5", "zoo:mobilenet_v3:small"])
def test_pytorch_computes_it(joined: Graph, make: object, spec: str) -> None:
    import torch

    graph = archlang.load(spec).graph if spec else joined
    small = (with_channels if make is with_channels else at_resolution)(graph, 0.5)
    x = torch.zeros(2, *small.nodes[small.inputs[0]].type.shape)
    with torch.no_grad():
        y = module_of(small, weights.initial(small)).eval()(x)
    assert y.flatten(1).shape == (2, small.nodes[small.outputs[0].value].type.size)
    parameters = sum(p.numel() for p in module_of(small, weights.initial(small)).parameters())
    assert parameters == cost(small).total.params


def test_the_share_of_every_layer_is_kept_where_it_can_be() -> None:
    graph = archlang.load("zoo:shufflenet_v2:x1_0").graph
    small = with_channels(graph, 0.5)
    ratios = [b.type.channels / a.type.channels for a, b in zip(graph.nodes, small.nodes, strict=True)]
    inner = ratios[1:-1]
    assert np.quantile(inner, 0.05) > 0.45
    assert np.quantile(inner, 0.95) < 0.55


def test_what_a_fidelity_reduces(joined: Graph) -> None:
    recipe = Recipe(epochs=8)
    assert reduced(joined, recipe, 1.0, "channels") == (joined, recipe)
    same, shorter = reduced(joined, recipe, 0.25, "epochs")
    assert same is joined
    assert shorter.epochs == 2
    assert reduced(joined, recipe, 0.01, "epochs")[1].epochs == 1
    smaller, whole = reduced(joined, recipe, 0.5, "resolution")
    assert smaller.nodes[smaller.inputs[0]].type.shape == (1, 8, 8)
    assert whole == recipe
    assert cost(reduced(joined, recipe, 0.5, "channels")[0]).total.params < 0.35 * cost(joined).total.params


def test_an_image_that_cannot_be_made_smaller() -> None:
    builder = Builder("Vector")
    builder.output(builder.add(Linear(3), builder.input(12)))
    with pytest.raises(ArchError, match="E1213"):
        at_resolution(builder.build(), 0.5)
    kernels = archlang.loads("net A:\n  input 1x8x8\n  conv(4, 7, pad=0)\n  gap -> linear(3)\n").graph
    assert at_resolution(kernels, 0.1).nodes[0].type.shape == (1, 7, 7)
