"""Spaces for the tests of supernets."""

from __future__ import annotations

from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

import archlang
from archlang import spec as specs
from archlang.search.space import Picks, Space

MOBILE = """from std.mobile import mbconv, sepconv

choice OP = {mbconv, sepconv, conv}

net Mobile(classes=10):
  default conv(norm=bn, act=relu6)
  r = {16, 20}
  input (3, r, r)
  conv({8, 12}, 3, s=2) as stem
  table:
    | op     | k           | e           | se        | c           | n      | s |
    | mbconv | each {3, 5} | each {1, 2} | {0, 0.25} | {8, 16}     | {1, 3} | 2 |
    | OP     | {3, 5, 7}   | 2           |         0 | {16, 24}    | {0, 2} | 1 |
  {conv(32, 1), conv({16, 24}, 1), skip} as head
  gap -> linear(classes) as classifier
"""

SEQUENCE = """block layer(heads, mlp):
  residual: layernorm -> attention(heads) -> scale(0.5)
  residual: layernorm -> linear(x.d * mlp) -> gelu -> linear(x.d)

net Sequence(classes=10):
  w = {16, 24, 32}
  input 3x16x16
  conv(w, 4, s=4, pad=0) -> rearrange("b c h w -> b (h w) c")
  class_token -> pos_embed
  layer({2, 4}, {1, 2}) * {1, 2}
  layernorm -> take(0) -> linear(classes)
"""

IMAGES = """block narrow(c):
  split(2) as parts
  concat(parts[0], parts[1] -> conv(c, 3)) -> shuffle(2)

net Images(classes=4):
  w = {8, 16}
  k = {2, 4}
  input 3x12x12
  conv(w, {3, 5}) -> bn -> relu as start
  conv(w, 3, groups=w // 4) -> l2norm -> scale(2.0)
  add:
    start -> maxpool(2, s=2, pad=0) -> upsample(2)
    dwconv(3, s=2, pad=same) -> conv_transpose(w, k, s=2, pad=(k - 2) // 2)
  crop(10, 10) -> narrow(4) -> lrn(3) -> avgpool(3, count_pad=1)
  flatten -> linear(classes)
"""


def space_of(text: str) -> Space:
    module = specs.module_of_text(text, "space.arch")
    return Space(specs.net_of(module, "", None))


def space_in(name: str) -> Space:
    """A space of `specs/spaces/`."""
    path = Path(archlang.__file__).parents[1] / "specs" / "spaces" / f"{name}.arch"
    found = specs.split(f"{path}:AroundMobileNetV2" if name == "mobilenet_small" else str(path))
    return Space(specs.net_of(specs.module_of(found), found.name, None))


def some(space: Space, count: int) -> list[Picks]:
    return [dict(space.sample(Random(seed))) for seed in range(count)]


def randomized(net: nn.Module, seed: int = 0) -> nn.Module:
    """Every array changed at random, the BatchNorm statistics too, so that none hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            noise = torch.empty_like(value).uniform_(-1, 1, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + 0.5 * noise)
            else:
                value.add_(0.2 * noise if value.ndim == 1 or "kernel_" in name else noise / value[0].numel() ** 0.5)
    return net


def images(space: Space, picks: Picks, count: int = 2) -> Tensor:
    graph = space.graph(picks)
    shape = graph.nodes[graph.inputs[0]].type.shape
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


__all__ = ["IMAGES", "MOBILE", "SEQUENCE", "images", "randomized", "some", "space_in", "space_of"]
