"""Residual and dense nets of the zoo beside torchvision, timm and pytorchcv."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang
from tests.zoo.conformance import Arrays, Case, assert_same_cost, assert_same_numbers, in_order, matched
from tests.zoo.libraries import pytorchcv, timm, torchvision

Build = Callable[[], nn.Module]


def _torchvision(name: str) -> Build:
    def build() -> nn.Module:
        module: nn.Module = getattr(torchvision(), name)(weights=None)
        return module

    return build


def _timm(name: str) -> Build:
    def build() -> nn.Module:
        module: nn.Module = timm().create_model(name)
        return module

    return build


def _pytorchcv(name: str) -> Build:
    def build() -> nn.Module:
        module: nn.Module = pytorchcv()(name)
        return module

    return build


def _wide_resnet_16_8() -> nn.Module:
    """pytorchcv names no 16-8; its builder makes it."""
    pytorchcv()
    from pytorchcv.models.wrn_cifar import get_wrn_cifar

    module: nn.Module = get_wrn_cifar(num_classes=10, blocks=16, width_factor=8)
    return module


class OptionA(nn.Module):
    """The shortcut without parameters of arXiv:1512.03385, section 3.3, as akamaster/pytorch_resnet_cifar10 reads it:
    every second pixel, and half of the missing channels as zeros on either side."""

    def __init__(self, missing: int) -> None:
        super().__init__()
        self.missing = missing

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing // 2))


def _option_a(n: int) -> Build:
    """torchvision's blocks, put together as section 4.2 of the paper says."""

    def build() -> nn.Module:
        block: Any = torchvision().resnet.BasicBlock
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [block(16, 16) for _ in range(n)]
        for channels in (32, 64):
            layers += [block(channels // 2, channels, 2, OptionA(channels // 2))]
            layers += [block(channels, channels) for _ in range(n - 1)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    return build


UNIT = re.compile(r".*(?:unit|blocks\.)\d+\.")
SHORTCUT = re.compile(r"\.(?:identity_conv|downsample)\.")


def _shortcut_last(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """For codes that project the shortcut before they compute the body."""
    names = list(layers)
    units = [match[0] if (match := UNIT.match(name)) else name for name in names]
    order = sorted(range(len(names)), key=lambda i: (units.index(units[i]), bool(SHORTCUT.search(names[i])), i))
    return {names[i]: layers[names[i]] for i in order}


def _of_resnetv2(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """timm's resnetv2_50 ends in a 1x1 convolution, whose weight is a matrix for us."""
    layers = _shortcut_last(layers)
    name, last = list(layers.items())[-1]
    return {**layers, name: {**last, "weight": last["weight"][:, :, 0, 0]}}


SMALL = {"res": 64}

QUICK = [
    Case("zoo:resnet:r18", _torchvision("resnet18"), SMALL),
    Case("zoo:resnet_cifar:r20", _option_a(3)),
    Case("zoo:preresnet:r164", _pytorchcv("preresnet164bn_cifar10")),
    Case("zoo:senet:seresnet50", _timm("legacy_seresnet50"), SMALL),
    Case("zoo:densenet:d121", _torchvision("densenet121"), SMALL),
    Case("zoo:densenet:bc100_k12", _pytorchcv("densenet100_k12_bc_cifar10")),
]

SLOW = [
    Case("zoo:resnet:r34", _torchvision("resnet34"), SMALL),
    Case("zoo:resnet:r50", _torchvision("resnet50"), SMALL),
    Case("zoo:resnet:r101", _torchvision("resnet101"), SMALL),
    Case("zoo:resnet:r152", _torchvision("resnet152"), SMALL),
    Case("zoo:resnet:r50_paper", _pytorchcv("resnet50"), adapt=_shortcut_last),
    Case("zoo:resnet:r101_paper", _pytorchcv("resnet101"), adapt=_shortcut_last),
    Case("zoo:resnet:r152_paper", _pytorchcv("resnet152"), adapt=_shortcut_last),
    Case("zoo:resnet_cifar:r32", _option_a(5)),
    Case("zoo:resnet_cifar:r44", _option_a(7)),
    Case("zoo:resnet_cifar:r56", _option_a(9)),
    Case("zoo:resnet_cifar:r110", _option_a(18)),
    Case("zoo:resnet_cifar:r1202", _option_a(200), gain=0.3),
    Case("zoo:preresnet:r1001", _pytorchcv("preresnet1001_cifar10"), gain=0.3),
    Case("zoo:preresnet:v2_50", _timm("resnetv2_50"), SMALL, adapt=_of_resnetv2),
    Case("zoo:wide_resnet:wrn28_10", _pytorchcv("wrn28_10_cifar10")),
    Case("zoo:wide_resnet:wrn16_8", _wide_resnet_16_8),
    Case("zoo:wide_resnet:wide50_2", _torchvision("wide_resnet50_2"), SMALL),
    Case("zoo:wide_resnet:wide101_2", _torchvision("wide_resnet101_2"), SMALL),
    Case("zoo:resnext:x50_32x4d", _torchvision("resnext50_32x4d"), SMALL),
    Case("zoo:resnext:x101_32x8d", _torchvision("resnext101_32x8d"), SMALL),
    Case("zoo:resnext:x101_64x4d", _torchvision("resnext101_64x4d"), SMALL),
    Case("zoo:senet:seresnext50", _timm("legacy_seresnext50_32x4d"), SMALL),
    Case("zoo:senet:senet154", _timm("legacy_senet154"), SMALL),
    Case("zoo:densenet:d161", _torchvision("densenet161"), SMALL),
    Case("zoo:densenet:d169", _torchvision("densenet169"), SMALL),
    Case("zoo:densenet:d201", _torchvision("densenet201"), SMALL),
    Case("zoo:densenet:bc190_k40", _pytorchcv("densenet190_k40_bc_cifar10")),
]


@pytest.mark.parametrize("case", QUICK + SLOW, ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=str)
def test_numbers_of_the_others_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


# ---- torchvision's state dicts ---------------------------------------------------------------------------------------

KEYS = {
    "zoo:resnet:r18": "resnet18",
    "zoo:resnet:r34": "resnet34",
    "zoo:resnet:r50": "resnet50",
    "zoo:resnet:r101": "resnet101",
    "zoo:resnet:r152": "resnet152",
    "zoo:resnet:r50_paper": "resnet50",
    "zoo:resnet:r101_paper": "resnet101",
    "zoo:resnet:r152_paper": "resnet152",
    "zoo:wide_resnet:wide50_2": "wide_resnet50_2",
    "zoo:wide_resnet:wide101_2": "wide_resnet101_2",
    "zoo:resnext:x50_32x4d": "resnext50_32x4d",
    "zoo:resnext:x101_32x8d": "resnext101_32x8d",
    "zoo:resnext:x101_64x4d": "resnext101_64x4d",
}


@pytest.mark.parametrize(("spec", "name"), KEYS.items())
def test_torchvisions_state_dict_fits(spec: str, name: str) -> None:
    with torch.device("meta"):
        ours, theirs = archlang.load(spec).to_torch(), _torchvision(name)()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_torchvisions_state_dict_gives_torchvisions_numbers() -> None:
    theirs = _torchvision("resnet18")().eval()
    ours = archlang.load("zoo:resnet:r18").to_torch().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


# ---- FractalNet, which no public code equals -------------------------------------------------------------------------


class Fractal(nn.Module):
    """A block of FractalNet row by row, as figure 1 shows it: in row r, column c (0 is the shallow one) has a layer
    where its last layer is 2 ** (columns - 1 - c) rows above, and the layers of a row are joined behind it."""

    def __init__(self, columns: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.columns, self.rows = columns, 2 ** (columns - 1)
        self.layers = nn.ModuleDict()
        for c in range(columns):
            for r in range(self.height(c) - 1, self.rows, self.height(c)):
                convolution = nn.Conv2d(
                    out_channels if r >= self.height(c) else channels, out_channels, 3, 1, 1, bias=False
                )
                self.layers[f"{c}_{r}"] = nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())

    def height(self, c: int) -> int:
        return 1 << (self.columns - 1 - c)

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        ends = [x] * self.columns
        for r in range(self.rows):
            there = [c for c in range(self.columns) if (r + 1) % self.height(c) == 0 and column in (None, c)]
            for c in there:
                ends[c] = self.layers[f"{c}_{r}"](ends[c])
            joined = torch.stack([ends[c] for c in there]).mean(0) if there else x
            for c in there:
                ends[c] = joined
        return ends[column or 0]


class FractalReference(nn.Module):
    def __init__(self, columns: int, channels: Sequence[int] = (16, 32, 64, 128, 128), classes: int = 100) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Fractal(columns, before, after) for before, after in pairwise((3, *channels)))
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        """column: the only one that there is, None for all."""
        for block in self.blocks:
            x = F.max_pool2d(block(x, column), 2)
        found: Tensor = self.fc(x.flatten(1))
        return found


def _columns_first(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """Row by row there; here by the row in which a layer's own stretch begins, then by column."""
    return dict(sorted(layers.items(), key=lambda item: _place(item[0], layers)))


def _place(name: str, layers: dict[str, Arrays]) -> tuple[int, ...]:
    parts = name.split(".")
    if parts[0] == "fc":
        return (9,)
    c, r = map(int, parts[3].split("_"))
    height = min(int(key.split(".")[3].split("_")[1]) for key in layers if f".layers.{c}_" in key) + 1
    return int(parts[1]), r - height + 1, c, int(parts[4])


def _fractal(columns: int) -> Case:
    return Case(f"zoo:fractalnet:c{columns}", lambda: FractalReference(columns), adapt=_columns_first)


WIDE = Case("zoo:fractalnet:wide20", lambda: FractalReference(3, (64, 128, 256, 512, 512), 10), adapt=_columns_first)


@pytest.mark.parametrize("case", [*(_fractal(columns) for columns in range(1, 7)), WIDE], ids=str)
def test_cost_of_fractalnet_is_figure_1s(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", [_fractal(2), _fractal(4)], ids=str)
def test_numbers_of_fractalnet_are_figure_1s(case: Case) -> None:
    assert_same_numbers(case)


PUBLISHED = {"c1": (5, 0.3), "c2": (10, 0.8), "c3": (20, 2.1), "c4": (40, 4.8), "c5": (80, 10.2), "c6": (160, 21.1)}
"""The paper's table on depth: layers, and millions of parameters."""


@pytest.mark.parametrize("variant", PUBLISHED)
def test_depth_and_parameters_of_fractalnet_are_the_papers(variant: str) -> None:
    net = archlang.load(f"zoo:fractalnet:{variant}")
    depth: list[int] = []
    for node in net.graph.nodes:
        depth.append(max((depth[i] for i in node.inputs), default=0) + (node.op.name == "conv"))
    assert (max(depth), round(net.cost().total.params / 1e6, 1)) == PUBLISHED[variant]


NARROW = (4, 4, 4, 4, 4)


def _narrow(columns: int) -> archlang.Net:
    return archlang.load("zoo:fractalnet", net=f"FractalNet({columns}, {list(NARROW)})")


def _fractal_training(columns: int) -> nn.Module:
    """Without dropout, which would hide which paths a pass takes."""
    module = _narrow(columns).to_torch().train()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def _join_of(module: nn.Module, paths: int) -> Any:
    return next(part for part in module.modules() if getattr(part, "paths", 0) == paths)


def _draws(join: Any, paths: int, count: int) -> Tensor:
    """What share each path had in `count` passes. (count, paths)"""
    one_hot = [row[None] for row in torch.eye(paths)]
    return torch.cat([join(one_hot) for _ in range(count)])


def _taken(join: Any) -> int:
    """Which column the pass takes alone, counted from 1, which is the last; 0: none."""
    return int(join.column) + 1 if join.chance < join.single_column else 0


def test_a_join_keeps_the_mean_of_what_stays_and_at_least_one_path() -> None:
    torch.manual_seed(0)
    paths, count = 4, 4000
    join = _join_of(_fractal_training(4), paths)
    join.p = 0.6
    shares = _draws(join, paths, count)
    torch.testing.assert_close(shares.sum(1), torch.ones(count))
    stayed = (shares > 0).sum(1, keepdim=True)
    assert int(stayed.min()) == 1
    assert torch.equal(shares > 0, torch.isclose(shares * stayed, torch.ones(())))
    chance = 1 - 0.6 + 0.6**paths / paths  # it stays by itself, or all are dropped and it is brought back
    assert torch.allclose((shares > 0).float().mean(0), torch.full((paths,), chance), atol=4 * (0.25 / count) ** 0.5)
    assert torch.allclose(shares.mean(0), torch.full((paths,), 1 / paths), atol=4 * (0.25 / count) ** 0.5)


def test_evaluation_of_a_join_is_the_mean() -> None:
    join = _join_of(_fractal_training(4), 4).eval()
    assert torch.equal(_draws(join, 4, 2), torch.full((2, 4), 0.25))


def test_one_column_of_the_whole_net_is_drawn_for_all_joins() -> None:
    torch.manual_seed(0)
    module = _fractal_training(3)
    joins: list[Any] = [part for part in module.modules() if hasattr(part, "single_column")]
    drawn: list[int] = []
    for _ in range(400):
        for hook in module._forward_pre_hooks.values():
            hook(module, ())
        (column,) = {_taken(join) for join in joins}
        drawn.append(column)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert np.allclose(shares, [1 / 2, 1 / 6, 1 / 6, 1 / 6], atol=4 * (0.25 / 400) ** 0.5)


def test_a_pass_takes_the_drawn_column_through_the_net_or_drops_locally() -> None:
    columns = 3
    reference = FractalReference(columns, NARROW)
    module = _fractal_training(columns)
    _give_weights(module, reference)
    x = torch.randn(4, 3, 32, 32)
    seen = set()
    for seed in range(24):
        torch.manual_seed(seed)
        out = module(x)
        taken = _taken(_join_of(module, columns))
        seen.add(taken)
        alone = [torch.allclose(out, reference(x, c), atol=1e-4) for c in range(columns)]
        assert alone == [taken == columns - c for c in range(columns)] or taken == 0
    assert seen == {0, 1, 2, 3}


def _give_weights(module: nn.Module, reference: nn.Module) -> None:
    """The reference's, by the order of the layers, as in the conformance tests."""
    layers = in_order(reference, torch.zeros(2, 3, 32, 32))
    weights = matched(_narrow(3).graph, _columns_first(layers))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)


def _learns(layer: nn.Conv2d) -> bool:
    return layer.weight.grad is not None and bool(layer.weight.grad.any())


def test_a_single_column_trains_its_own_layers_alone() -> None:
    columns = 3
    module = _fractal_training(columns)
    depths = set()
    for seed in range(24):
        torch.manual_seed(seed)
        module.zero_grad(set_to_none=True)
        module(torch.randn(2, 3, 32, 32)).sum().backward()
        taken = _taken(_join_of(module, columns))
        if taken:
            layers = [part for part in module.modules() if isinstance(part, nn.Conv2d) and _learns(part)]
            depths.add((taken, len(layers)))
    assert depths == {(1, 5 * 4), (2, 5 * 2), (3, 5 * 1)}
