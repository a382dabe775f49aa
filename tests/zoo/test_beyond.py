"""ViT, ConvNeXt, RegNet and MobileNetV4 beside torchvision and timm; U-Net beside a plain reading of its figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang
from tests.zoo.conformance import Arrays, Case, assert_same_cost, assert_same_numbers, macs, trainable
from tests.zoo.libraries import timm, torchvision

SMALL = {"res": 64}


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with torch.device("cpu"):  # RegNet computes its widths with tensors
            module: nn.Module = getattr(torchvision(), name)(weights=None)
        return module

    return build


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm().create_model(name, **options)


def _shortcut_last(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """torchvision's RegNet evaluates a block's projection before its body, `proj` before `f`."""
    blocks: dict[str, list[str]] = {}
    for name in layers:
        blocks.setdefault(name.split(".proj.")[0].split(".f.")[0], []).append(name)
    order = [name for names in blocks.values() for name in sorted(names, key=lambda name: ".proj." in name)]
    return {name: layers[name] for name in order}


def _as_convolutions(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """torchvision's ConvNeXt has linear layers where ours has 1x1 convolutions, and its scale as (C, 1, 1)."""
    found = {}
    for name, arrays in layers.items():
        if "layer_scale" in arrays:
            found[name] = {"weight": arrays["layer_scale"].reshape(-1)}
        elif name.startswith("features") and arrays["weight"].ndim == 2:
            found[name] = {**arrays, "weight": arrays["weight"][:, :, None, None]}
        else:
            found[name] = arrays
    return found


def _encoders(parts: dict[str, str], layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """Attention as one layer. parts: the end of a reference layer's name -> the beginning of our array's."""
    found: dict[str, Arrays] = {}
    for name, arrays in layers.items():
        part = next((part for part in parts if name.endswith(part)), None)
        if part is None:
            found[name] = arrays
        else:
            whole = found.setdefault(name.removesuffix(part), {})
            whole.update({f"{parts[part]}{local.removeprefix('in_proj_')}": value for local, value in arrays.items()})
    return found


def _timm_vit(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    found = _encoders({".attn.qkv": "qkv.", ".attn.proj": "proj."}, layers)
    root = found.pop("")
    return {
        "class": {"weight": root["cls_token"][0]},
        "position": {"weight": root["pos_embed"][0]},
        **found,
    }


def _torchvision_vit(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    found = _encoders({".self_attention": "qkv.", ".self_attention.out_proj": "proj."}, layers)
    merged: dict[str, Arrays] = {}
    for name, arrays in found.items():
        merged.setdefault(name, {}).update(arrays)
    token, position = merged.pop("")["class_token"][0], merged.pop("encoder")["pos_embedding"][0]
    return {"class": {"weight": token}, "position": {"weight": position}, **merged}


class UNet(nn.Module):
    """Figure 1 of arXiv:1505.04597: valid convolutions, up-convolutions 2x2, and crops; padded, with BatchNorm and
    without crops, as in milesial/Pytorch-UNet."""

    def __init__(self, channels: int, padded: bool) -> None:
        super().__init__()
        widths = [64, 128, 256, 512, 1024]
        inputs = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_twice(a, b, padded) for a, b in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, 2) for c in widths[-2::-1])
        self.join = nn.ModuleList(_twice(2 * c, c, padded) for c in widths[-2::-1])
        self.last = nn.Conv2d(64, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        across = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            across.append(x)
        for up, join, far in zip(self.up, self.join, across[-2::-1], strict=True):
            x = up(x)
            x = join(torch.cat([_middle(far, x.shape[2]), x], 1))
        return self.last(x)  # type: ignore[no-any-return]


def _twice(inputs: int, c: int, padded: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for width in (inputs, c):
        layers.append(nn.Conv2d(width, c, 3, padding=int(padded), bias=not padded))
        layers += [nn.BatchNorm2d(c)] if padded else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _middle(x: Tensor, size: int) -> Tensor:
    start = (x.shape[2] - size) // 2
    return x[:, :, start : start + size, start : start + size]


CASES = [
    Case("zoo:convnext:t", _torchvision("convnext_tiny"), SMALL, _as_convolutions),
    Case("zoo:regnet:y400mf", _torchvision("regnet_y_400mf"), SMALL, _shortcut_last),
    Case("zoo:mobilenet_v4:s", _timm("mobilenetv4_conv_small"), SMALL),
    Case("zoo:unet:UNet", lambda: UNet(1, padded=False), {"res": 188}),
    Case("zoo:unet:UNetPadded", lambda: UNet(3, padded=True), SMALL),
]
LARGE = [
    Case("zoo:convnext:s", _torchvision("convnext_small"), SMALL, _as_convolutions),
    Case("zoo:convnext:b", _torchvision("convnext_base"), SMALL, _as_convolutions),
    Case("zoo:regnet:x400mf", _torchvision("regnet_x_400mf"), SMALL, _shortcut_last),
    Case("zoo:regnet:y800mf", _torchvision("regnet_y_800mf"), SMALL, _shortcut_last),
    Case("zoo:regnet:y1_6gf", _torchvision("regnet_y_1_6gf"), SMALL, _shortcut_last),
    Case("zoo:mobilenet_v4:s050", _timm("mobilenetv4_conv_small_050"), SMALL),
    Case("zoo:mobilenet_v4:s035", _timm("mobilenetv4_conv_small_035"), SMALL),
]
TRANSFORMERS = [
    Case("zoo:vit:ti", _timm("vit_tiny_patch16_224"), None, _timm_vit),
    Case("zoo:vit:s", _timm("vit_small_patch16_224"), None, _timm_vit),
    Case("zoo:vit:b", _timm("vit_base_patch16_224"), None, _timm_vit),
    Case("zoo:vit:b", _torchvision("vit_b_16"), None, _torchvision_vit),
]
QUICK = ("zoo:regnet:y400mf", "zoo:mobilenet_v4:s", "zoo:convnext:t", "zoo:vit:ti", "zoo:unet:UNetPadded")


@pytest.mark.parametrize("case", CASES + LARGE, ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", TRANSFORMERS[:3], ids=str)
def test_cost_of_a_transformer_is_the_references(case: Case) -> None:
    """Ours counts the products of attention too: 12 layers, 197 tokens, queries by keys and scores by values."""
    total = archlang.load(case.spec).cost().total
    with torch.device("meta"):
        reference: Any = case.build().eval()
        counted = macs(reference, torch.empty(1, 3, 224, 224))
    assert total.params == trainable(reference)
    assert total.macs == counted + 12 * 2 * 197**2 * reference.embed_dim


def test_parameters_of_vit_b_are_torchvisions() -> None:
    assert archlang.load("zoo:vit:b").cost().total.params == trainable(_torchvision("vit_b_16")())


EVERY = [*CASES, *TRANSFORMERS, *LARGE]


@pytest.mark.parametrize("case", [case for case in EVERY if case.spec in QUICK], ids=str)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in EVERY if case.spec not in QUICK], ids=str)
def test_numbers_of_the_others_are_the_references(case: Case) -> None:
    assert_same_numbers(case)
