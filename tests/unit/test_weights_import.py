"""Foreign checkpoints: modules written in other people's manners, onto a network of ours: right numbers or refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archlang
from archlang import weights
from archlang.checkpoint import Options, Report, convert, mapping
from archlang.errors import ArchError

BOTTLENECK = """
net Net:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(16, 3)
  residual(project=conv(32, 1, act=none)) -> relu:
    conv(8, 1)
    conv(8, 3)
    conv(32, 1, act=none)
  residual -> relu:
    conv(8, 1)
    conv(8, 3)
    conv(32, 1, act=none)
  gap -> linear(5)
"""


def conv_bn(cin: int, cout: int, k: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(cin, cout, k, padding=k // 2, bias=False), nn.BatchNorm2d(cout)


class Numbered(nn.Module):
    """conv1, bn1, ..., and the shortcut before or behind them."""

    def __init__(self, cin: int, shortcut: str = "") -> None:
        super().__init__()
        if shortcut == "first":
            self.shortcut = nn.Sequential(*conv_bn(cin, 32, 1))
        self.conv1, self.bn1 = conv_bn(cin, 8, 1)
        self.conv2, self.bn2 = conv_bn(8, 8, 3)
        self.conv3, self.bn3 = conv_bn(8, 32, 1)
        if shortcut == "last":
            self.shortcut = nn.Sequential(*conv_bn(cin, 32, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (self.shortcut(x) if hasattr(self, "shortcut") else x))


class ConvsFirst(nn.Module):
    """All convolutions are registered before all norms."""

    def __init__(self, cin: int, shortcut: str = "") -> None:
        super().__init__()
        convs, norms = zip(conv_bn(cin, 8, 1), conv_bn(8, 8, 3), conv_bn(8, 32, 1), strict=True)
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.down = nn.ModuleDict(dict(zip(("c", "n"), conv_bn(cin, 32, 1), strict=True))) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = y.relu() if i < 2 else y
        return torch.relu(y + (self.down["n"](self.down["c"](x)) if self.down else x))


class Whole(nn.Module):
    """A stem, two blocks and a head, the head registered where it is told."""

    def __init__(self, block: Callable[..., nn.Module], shortcut: str, head_first: bool = False) -> None:
        super().__init__()
        if head_first:
            self.fc = nn.Linear(32, 5)
        self.stem = nn.Sequential(*conv_bn(3, 16, 3))
        self.blocks = nn.Sequential(block(16, shortcut), block(32))
        if not head_first:
            self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x).relu()).mean((2, 3)))  # type: ignore[no-any-return]


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) * 0.8 + (0.2 if "var" in name else -0.4))
    return module.eval()


def state(module: nn.Module, prefix: str = "") -> dict[str, Any]:
    return {prefix + name: value.numpy() for name, value in module.state_dict().items()}


def numbers_agree(text: str, found: Mapping[str, Any], module: nn.Module, size: tuple[int, ...] = (3, 16, 16)) -> bool:
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, ours = module(x), archlang.loads(text).to_torch(found).eval()(x)
    return bool((wanted - ours).abs().max() < 1e-4 * wanted.abs().max())


def converted(text: str, arrays: Mapping[str, Any], **options: Any) -> tuple[dict[str, Any], Report]:
    return convert(archlang.loads(text).graph, arrays, Options(**options))


@pytest.mark.parametrize("head_first", [False, True])
@pytest.mark.parametrize("shortcut", ["first", "last"])
@pytest.mark.parametrize("block", [Numbered, ConvsFirst])
@pytest.mark.parametrize("order", ["as registered", "sorted"])
def test_other_manners_of_the_same_network(
    block: Callable[..., nn.Module], shortcut: str, head_first: bool, order: str
) -> None:
    module = randomised(Whole(block, shortcut, head_first))
    arrays = state(module, "module.model.")
    arrays = dict(sorted(arrays.items())) if order == "sorted" else arrays
    found, report = converted(BOTTLENECK, arrays)
    assert not report.problem, report.problem
    assert numbers_agree(BOTTLENECK, found, module)
    assert len(report.decisions) == 17
    assert all(decision.why for decision in report.decisions)


BRANCHES = """
net Net:
  input 4x8x8
  concat:
    conv(4, 3) as left
    conv(4, 3) as right
"""


class Branches(nn.Module):
    def __init__(self, first: str, second: str, swapped: bool = False) -> None:
        super().__init__()
        for name in (second, first) if swapped else (first, second):
            self.add_module(name, nn.Conv2d(4, 4, 3, padding=1))
        self.names = (first, second)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name in self.names], 1)


@pytest.mark.parametrize("swapped", [False, True])
def test_parallel_branches_are_told_apart_by_their_names_alone(swapped: bool) -> None:
    module = randomised(Branches("left", "right", swapped))
    found, report = converted(BRANCHES, state(nn.Sequential(module, nn.Identity())))
    assert (report.problem, report.counts) == ("", {"name": 2})
    assert numbers_agree(BRANCHES, found, module, (4, 8, 8))
    module = randomised(Branches("a", "b", swapped))
    found, report = converted(BRANCHES, state(module))
    assert not found
    assert report.ambiguous[0].ours == ("left", "right")
    assert "parallel branches" in report.problem
    assert "--map" in report.help


def test_a_map_settles_it_and_so_does_trust() -> None:
    module = randomised(Branches("a", "b"))
    found, report = converted(BRANCHES, state(module), map={"left": "a"})
    assert report.counts == {"map": 1, "only": 1}
    assert numbers_agree(BRANCHES, found, module, (4, 8, 8))
    found, report = converted(BRANCHES, state(module), trust_order=True)
    assert numbers_agree(BRANCHES, found, module, (4, 8, 8))
    assert report.counts == {"order": 2}


CHAIN = "net Net:\n  input 4x8x8\n  conv(4, 3) -> relu\n  conv(4, 3) -> relu\n  conv(4, 3)\n"


class Chain(nn.Module):
    """Three equal convolutions, called and registered in any order."""

    def __init__(self, run: tuple[str, ...], registered: tuple[str, ...]) -> None:
        super().__init__()
        for name in registered:
            self.add_module(name, nn.Conv2d(4, 4, 3, padding=1))
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        for name in self.run[:-1]:
            x = self.get_submodule(name)(x).relu()
        return self.get_submodule(self.run[-1])(x)  # type: ignore[no-any-return]


def test_numbers_that_contradict_the_order_of_registration_are_refused() -> None:
    names = ("conv1", "conv2", "conv3")
    for registered in itertools.permutations(names):
        module = randomised(Chain(names, registered))
        arrays = {name.replace("conv", "layer"): value for name, value in state(module).items()}
        found, report = converted(CHAIN, arrays)
        right = not report.problem and numbers_agree(CHAIN, found, module, (4, 8, 8))
        assert right if registered == names else report.problem, registered


def test_a_sorted_file_is_no_evidence_of_order() -> None:
    """`alpha, beta, gamma` in a file that is sorted by name may have been registered in any order."""
    names = ("gamma", "alpha", "beta")
    module = randomised(Chain(names, names))
    found, report = converted(CHAIN, state(module))
    assert numbers_agree(CHAIN, found, module, (4, 8, 8))
    found, report = converted(CHAIN, dict(sorted(state(module).items())))
    assert not found
    assert report.ambiguous


@given(st.permutations(["enc1", "enc2", "mid", "dec2", "dec1", "out"]))
@settings(max_examples=12, deadline=None)
def test_modules_registered_in_any_order_are_right_or_refused(order: list[str]) -> None:
    """A U-Net, whose encoder and decoder hold equal layers."""
    module = randomised(UNet(order))
    found, report = converted(UNET, state(module))
    assert report.problem or numbers_agree(UNET, found, module, (4, 8, 8))


UNET = """
block double(c):
  conv(c, 3) -> conv(c, 3)

net Net:
  default conv(norm=bn, act=relu)
  input 4x8x8
  double(4) as e1
  maxpool(2, s=2) -> double(8) as e2
  maxpool(2, s=2) -> double(8)
  upsample(2) as u2
  concat(u2, e2) -> double(8)
  upsample(2) as u1
  concat(u1, e1) -> double(4)
  conv(2, 1, norm=none, act=none)
"""


def double(cin: int, cout: int) -> nn.Sequential:
    first, second = conv_bn(cin, cout, 3), conv_bn(cout, cout, 3)
    return nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())


class UNet(nn.Module):
    def __init__(self, order: list[str]) -> None:
        super().__init__()
        made = {
            "enc1": lambda: double(4, 4),
            "enc2": lambda: double(4, 8),
            "mid": lambda: double(8, 8),
            "dec2": lambda: double(16, 8),
            "dec1": lambda: double(12, 4),
            "out": lambda: nn.Conv2d(4, 2, 1),
        }
        for name in order:
            self.add_module(name, made[name]())  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        get, pool, up = self.get_submodule, nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        e1 = get("enc1")(x)
        e2 = get("enc2")(pool(e1))
        y = get("dec2")(torch.cat([up(get("mid")(pool(e2))), e2], 1))
        return get("out")(get("dec1")(torch.cat([up(y), e1], 1)))  # type: ignore[no-any-return]


def test_another_network_is_refused_with_what_differs() -> None:
    module = Whole(Numbered, "last")
    module.fc = nn.Linear(32, 7)
    found, report = converted(BOTTLENECK, state(module))
    assert not found
    assert report.missing == ("linear1",)
    assert report.unused == ("fc",)
    found, report = converted(BOTTLENECK, state(module), fresh=("linear1",), ignore=("fc",))
    assert not report.problem
    assert report.counts["fresh"] == 1
    module.se = nn.Linear(3, 3)
    assert (
        "--ignore" in converted(BOTTLENECK, {**state(randomised(Whole(Numbered, "last"))), "se.w": np.ones(3)})[1].help
    )


def test_our_own_names_win_over_every_order() -> None:
    graph = archlang.loads(BOTTLENECK).graph
    arrays = weights.random(graph, 5)
    mixed = {f"net.{name}": arrays[name] for name in sorted(arrays, reverse=True)}
    found, report = convert(graph, mixed)
    assert report.counts == {"name": 17}
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_only_axes_of_length_1_are_reshaped() -> None:
    text = "net Net:\n  input 4x1x1\n  conv(4, 1)\n  flatten -> linear(3)\n"
    head = {"a.weight": np.random.rand(4, 4, 1, 1), "a.bias": np.zeros(4), "b.weight": np.random.rand(3, 4, 1, 1)}
    found, report = converted(text, {**head, "b.bias": np.zeros(3)})
    assert [decision.reshaped for decision in report.decisions] == [False, True]
    assert np.allclose(found["linear1.weight"], head["b.weight"][:, :, 0, 0])
    transposed = {**head, "b.weight": np.random.rand(4, 3), "b.bias": np.zeros(3)}
    assert "linear1" in converted(text, transposed)[1].missing


def test_auxiliary_heads_may_be_missing() -> None:
    text = "net Net:\n  input 4x8x8\n  conv(4, 3)\n  aux a: gap -> linear(3)\n  gap -> linear(2)\n"
    arrays = {
        "c.weight": np.ones((4, 4, 3, 3)),
        "c.bias": np.ones(4),
        "f.weight": np.ones((2, 4)),
        "f.bias": np.ones(2),
    }
    found, report = converted(text, arrays)
    assert not report.problem
    assert report.counts["fresh"] == 1
    assert set(found) == set(weights.specs(archlang.loads(text).graph))


@pytest.mark.parametrize(
    ("line", "said"),
    [("left", "ours = theirs"), ("left = c", "`c`"), ("lef = a", "`left`"), ("left = a\nleft = b", "twice")],
)
def test_maps_that_do_not_fit(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "m.map"
    file.write_text(f"# a comment\n{line}\n")
    with pytest.raises(ArchError) as caught:
        converted(BRANCHES, state(Branches("a", "b")), map=mapping.load(file))
    assert caught.value.diagnostics[0].code == "E0612"
    assert said in str(caught.value)


def test_training_scripts_wrap_their_state_dicts(tmp_path: Path) -> None:
    module = randomised(Branches("left", "right"))
    for i, wrapped in enumerate([{"epoch": 3, "model": module.state_dict()}, {"state_dict": module.state_dict()}]):
        torch.save(wrapped, tmp_path / f"{i}.pth")
        found, _ = converted(BRANCHES, weights.load(tmp_path / f"{i}.pth"))
        assert np.array_equal(found["left.weight"], module.state_dict()["left.weight"].numpy())
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(ArchError, match="holds no arrays, but epoch"):
        weights.load(tmp_path / "none.pt")


def test_summary_and_differences() -> None:
    a = {"x": np.array([1.0, -3.0]), "y": np.array([np.nan, 2.0]), "z": np.zeros(3)}
    rows = {row["name"]: row for row in weights.summary(a)}
    assert (rows["x"]["mean"], rows["x"]["smallest"], rows["x"]["largest"]) == (-1.0, -3.0, 1.0)
    assert (rows["y"]["not_finite"], rows["y"]["largest"]) == (1, 2.0)
    b = {"x": np.array([1.0, -2.4]), "z": np.zeros(4), "new": np.zeros(1)}
    changes = {row["name"]: (row["change"], row["relative"]) for row in weights.differences(a, b)}
    assert changes == {
        "x": ("values", pytest.approx(0.2)),
        "y": ("removed", None),
        "z": ("shape", None),
        "new": ("added", None),
    }
