"""Once-for-all: the space and the weights of mit-han-lab's release, held against its own code (package `ofa`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import archlang
from archlang.search.space import Picks, Space
from archlang.supernet.ofa import _plain, _theirs, once_for_all, picks_of
from tests.e2e.program import archlang as run
from tests.unit.supernets import space_in
from tests.unit.test_supernet import refused
from tests.zoo.libraries import once_for_all as release

Setting = tuple[list[int], list[int], list[int]]


def settings(count: int) -> list[Setting]:
    rng = Random(0)
    return [
        (rng.choices([3, 5, 7], k=20), rng.choices([3, 4, 6], k=20), rng.choices([2, 3, 4], k=5)) for _ in range(count)
    ]


def amounts(space: Space, picks: Picks) -> tuple[float, float]:
    found = space.canonical(picks).sketch.amounts
    return found["params"], found["macs"]


def test_the_release_s_figures() -> None:
    """Of the release's own code at width 1.0 and 224 x 224."""
    space = space_in("ofa_mbv3")
    assert amounts(space, picks_of(space, [7] * 20, [6] * 20, [4] * 5)) == (7_664_760, 566_170_656)
    assert amounts(space, picks_of(space, [3] * 20, [3] * 20, [2] * 5)) == (3_410_792, 121_278_672)


def test_values_that_are_no_alternatives() -> None:
    space = space_in("ofa_mbv3")
    with refused("E0501", "`k` in row 1, repeat 1 cannot be 9"):
        picks_of(space, [9] * 20, [6] * 20, [4] * 5)
    with refused("E0501", "cannot be 223"):
        picks_of(space, [7] * 20, [6] * 20, [4] * 5, 223)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stem_bn.running_var", "first_conv.bn.running_var"),
        ("first.depthwise.weight", "blocks.0.mobile_inverted_conv.depth_conv.conv.weight"),
        ("layer1.0.bneck.expand.weight", "blocks.1.conv.inverted_bottleneck.conv.conv.weight"),
        ("layer2.3.bneck.depthwise.kernel_7to5", "blocks.8.mobile_inverted_conv.depth_conv.conv.7to5_matrix"),
        ("layer5.3.bneck.project_bn.bias", "blocks.20.mobile_inverted_conv.point_linear.bn.bn.bias"),
        ("layer4.1.bneck.squeeze.conv2.bias", "blocks.14.conv.depth_conv.se.fc.expand.bias"),
        ("classifier.weight", "classifier.linear.linear.weight"),
    ],
)
def test_names(ours: str, theirs: str) -> None:
    assert _theirs(ours) == _plain(theirs)


@cache
def theirs() -> Any:
    """The release's supernet with every array at random."""
    options = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    net = release()(dropout_rate=0, width_mult=1.0, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.dtype.is_floating_point and (value.ndim == 1 or "matrix" in name):
                value.add_(torch.empty_like(value).uniform_(-0.2, 0.2, generator=generator))
    return net.eval()


def their_sub_network(setting: Setting) -> Any:
    theirs().set_active_subnet(*setting)
    return theirs().get_active_subnet().eval()


def arrays(module: Any) -> list[Any]:
    """The arrays of a module in the order of its layers, which is that of our nodes."""
    return [value.numpy() for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")]


def calibrated(module: Any, x: Tensor) -> Any:
    """With the BatchNorm statistics of a batch."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    with torch.no_grad():
        module.train()(x)
    return module.eval()


@pytest.mark.slow
def test_sub_networks_are_those_of_the_release_s_code() -> None:
    space = space_in("ofa_mbv3")
    net = once_for_all(theirs().state_dict(), space).eval()
    x = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    for setting in [([3] * 20, [3] * 20, [2] * 5), *settings(2)]:
        picks = picks_of(space, *setting, 128)
        module = their_sub_network(setting)
        for ours, expected in zip(net.cut(picks).weights.values(), arrays(module), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
        net.select(picks)
        net.recalibrate([x])
        with torch.no_grad():
            found, expected = net(x), calibrated(module, x)(x)
        assert float((expected[0] - expected[1]).std()) > 1e-2  # what is computed depends on the image
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert archlang.loads(net.cut(picks).text).cost().total.params == sum(v.numel() for v in module.parameters())


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    torch.save({"state_dict": theirs().state_dict()}, tmp_path / "release.pth")
    supernet = str(tmp_path / "ofa.safetensors")
    done = run("supernet", "import", str(tmp_path / "release.pth"), "zoo:ofa_mbv3", "-o", supernet, "--json")
    assert (done.status, done.document["space"]) == (0, "OFASpace"), done.err
    done = run("supernet", "cut", supernet, "zoo:ofa_mbv3", "--smallest", "-o", str(tmp_path / "small.arch"))
    assert done.status == 0, done.err
    found = archlang.load(str(tmp_path / "small.arch"))
    weights = archlang.weights.checked(found.graph, archlang.weights.load(tmp_path / "small.safetensors"))
    for ours, expected in zip(weights.values(), arrays(their_sub_network(([3] * 20, [3] * 20, [2] * 5))), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_state_dict_of_another_supernet() -> None:
    space = space_in("ofa_mbv3")
    with refused("E1311", "no `first_conv.conv.weight`"):
        once_for_all({"conv1.weight": np.zeros((3, 3), np.float32)}, space)
    wide = release()(dropout_rate=0, width_mult=1.2, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[4])
    with refused("E1311", "in the state dict, and"):
        once_for_all(wide.state_dict(), space)
