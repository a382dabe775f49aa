"""Channels sorted by importance: what is open computes what it did, and what comes first weighs most."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import Tensor

from archlang.supernet.net import SuperNet, build
from archlang.supernet.sorting import sort_channels
from archlang.supernet.train.drawing import drawn
from archlang.supernet.train.protocol import Open
from tests.unit.supernets import IMAGES, MOBILE, SEQUENCE, images, randomized, space_of

WIDTHS = ("expansion", "width")

SPACE = """
net Space(classes=10):
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(16, 3, s=2) as stem
  residual:
    conv({8, 16, 24}, {1, 3}) as wide
    dwconv(3) as each_channel
    conv(16, 1) as back
  {skip, conv(16, 3)} as extra
  concat:
    conv({4, 8}, 1) as left
    conv(8, 1) as right
  conv({20, 30}, 1) as last
  gap -> linear(classes) as classifier
"""


def net_of(text: str, transformed: bool = False) -> SuperNet:
    net = randomized(build(space_of(text), kernel_transform=transformed)).eval()
    assert isinstance(net, SuperNet)
    return net


def opened(net: SuperNet, count: int) -> Open:
    """Of widths and expansions the `count` largest alternatives."""
    return {each.key: by_size(each.alternatives)[:count] for each in net.decisions if each.kind in WIDTHS}


def by_size(alternatives: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(alternatives)), key=lambda i: -float(alternatives[i])))


def outputs(net: SuperNet, open: Open) -> list[Tensor]:
    """Of sub-networks that are drawn from those that are open."""
    rng, found = Random(1), []
    for picks in [drawn(net.space, open, rng) for _ in range(12)]:
        net.select(picks)
        with torch.no_grad():
            found.append(net(images(net.space, picks)))
    return found


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("text", [SPACE, MOBILE])
def test_what_is_open_computes_what_it_did(text: str, count: int, transformed: bool) -> None:
    net = net_of(text, transformed)
    open = opened(net, count)
    before, arrays = outputs(net, open), {name: array.clone() for name, array in net.state_dict().items()}
    assert sort_channels(net, open) >= 2
    assert any(not torch.equal(array, arrays[name]) for name, array in net.state_dict().items())
    for found, wanted in zip(outputs(net, open), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("text", [IMAGES, SEQUENCE])
def test_ops_that_mind_the_order_keep_it(text: str) -> None:
    """Groups, splits and shuffles; tokens and heads."""
    net = net_of(text)
    open = opened(net, 1)
    before = outputs(net, open)
    sort_channels(net, open)
    for found, wanted in zip(outputs(net, open), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_the_first_channels_are_those_that_are_weighed_most() -> None:
    net = net_of(SPACE)
    arrays = {name: array.clone() for name, array in net.state_dict().items()}
    importance = arrays["back.weight"].abs().sum((0, 2, 3))
    order = torch.argsort(importance, descending=True)
    assert order.tolist() != sorted(order.tolist())
    sort_channels(net, opened(net, 1))
    state = net.state_dict()
    torch.testing.assert_close(state["back.weight"].abs().sum((0, 2, 3)), importance[order])
    torch.testing.assert_close(state["wide.weight"].sum((1, 2, 3)), arrays["wide.weight"].sum((1, 2, 3))[order])
    for name in ("wide_bn.running_var", "each_channel.weight", "each_channel_bn.bias"):
        torch.testing.assert_close(state[name], arrays[name][order], rtol=0, atol=0)
    for name in ("left.weight", "right.weight"):  # a concatenation follows: the rows stay
        torch.testing.assert_close(state[name].sum((1, 2, 3)), arrays[name].sum((1, 2, 3)))
    torch.testing.assert_close(state["classifier.bias"], arrays["classifier.bias"], rtol=0, atol=0)


def test_channels_stay_among_those_that_an_open_sub_network_takes() -> None:
    net = net_of(SPACE)
    before = net.state_dict()["back.weight"].abs().sum((0, 2, 3)).clone()
    sort_channels(net, opened(net, 2))  # 24 and 16 of them
    after = net.state_dict()["back.weight"].abs().sum((0, 2, 3))
    for band in (slice(0, 16), slice(16, 24)):
        torch.testing.assert_close(after[band], before[band].sort(descending=True).values)
    assert float(after[15]) < float(after[16])
