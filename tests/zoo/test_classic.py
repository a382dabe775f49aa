"""The classic nets, LeNet-5 to Xception, beside torchvision, timm, pytorchcv, BVLC's Caffe nets and their papers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang
from archlang import weights as weights_module
from archlang.passes import inference
from tests.zoo import light_models
from tests.zoo.conformance import SCALE, Case, assert_same_cost, assert_same_numbers, matched
from tests.zoo.libraries import pytorchcv, timm, torchvision

Build = Callable[[], nn.Module]


def _torchvision(name: str, **options: Any) -> Build:
    def build() -> nn.Module:
        module: nn.Module = getattr(torchvision(), name)(weights=None, **options)
        return module

    return build


def _timm(name: str) -> Build:
    def build() -> nn.Module:
        module: nn.Module = timm().create_model(name, pretrained=False)
        return module

    return build


def _pytorchcv(name: str) -> Build:
    def build() -> nn.Module:
        module: nn.Module = pytorchcv()(name, pretrained=False)
        return module

    return build


def _vgg_of_64(name: str) -> Build:
    """torchvision's VGG for 64x64 images: without the pool that would make 7x7 of 2x2, its classifier as small."""

    def build() -> nn.Module:
        module: Any = _torchvision(name)()
        module.avgpool = nn.Identity()
        module.classifier[0] = nn.Linear(512 * 2 * 2, 4096)
        return module  # type: ignore[no-any-return]

    return build


def _units(*widths: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """A convolution and 1x1 convolutions behind it, each with a ReLU."""
    first = [nn.Conv2d(widths[0], widths[1], kernel, stride, padding), nn.ReLU()]
    rest = [[nn.Conv2d(a, b, 1), nn.ReLU()] for a, b in pairwise(widths[1:])]
    return [*first, *(layer for pair in rest for layer in pair)]


def _nin() -> nn.Module:
    """The figures of the authors' Caffe release (nin_imagenet). Caffe's pools round up."""
    return nn.Sequential(
        *_units(3, 96, 96, 96, kernel=11, stride=4),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_units(96, 256, 256, 256, kernel=5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_units(256, 384, 384, 384, kernel=3, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *_units(384, 1024, 1024, 1000, kernel=3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _plain_googlenet() -> nn.Module:
    """torchvision's GoogLeNet made of the paper's parts: biases for batch normalisation, 5x5 for 3x3."""
    googlenet = pytest.importorskip("torchvision.models.googlenet")

    def convolution(c: int, channels: int, **options: Any) -> nn.Module:
        return nn.Sequential(nn.Conv2d(c, channels, **options), nn.ReLU())

    def module(c: int, *widths: int) -> nn.Module:
        found = googlenet.Inception(c, *widths, conv_block=convolution)
        found.branch3[1] = convolution(widths[3], widths[4], kernel_size=5, padding=2)
        return found  # type: ignore[no-any-return]

    def head(c: int, classes: int, **options: Any) -> nn.Module:
        return googlenet.InceptionAux(c, classes, convolution, **options)  # type: ignore[no-any-return]

    blocks = [convolution, module, head]
    return googlenet.GoogLeNet(aux_logits=True, init_weights=False, blocks=blocks)  # type: ignore[no-any-return]


def _googlenet_outputs(found: Any) -> Any:
    """torchvision names the later head first."""
    return found if isinstance(found, Tensor) else [found.logits, found.aux_logits1, found.aux_logits2]


def _all_outputs(found: Any) -> Any:
    return found


_GOOGLENET = _torchvision("googlenet", aux_logits=True, init_weights=False)
_INCEPTION_V3 = _torchvision("inception_v3", aux_logits=True, init_weights=False)
DEPTHS = (11, 13, 16, 19)

QUICK = [
    Case("zoo:nin:cifar10", _pytorchcv("nin_cifar10")),
    Case("zoo:squeezenet:v1_1", _torchvision("squeezenet1_1"), {"res": 96}),
    Case("zoo:xception", _timm("legacy_xception"), {"res": 75}),
    Case("zoo:googlenet:bn", _GOOGLENET),
]
SLOW = [
    Case("zoo:nin:cifar100", _pytorchcv("nin_cifar100")),
    Case("zoo:nin:NiN", _nin),
    Case("zoo:alexnet:AlexNetOneColumn", _torchvision("alexnet")),
    Case("zoo:zfnet:a", _pytorchcv("zfnet")),
    Case("zoo:zfnet:b", _pytorchcv("zfnetb")),
    Case("zoo:squeezenet:v1_0", _torchvision("squeezenet1_0")),
    Case("zoo:inception_v3", _INCEPTION_V3),
    Case("zoo:inception_v4", _timm("inception_v4"), {"res": 107}),
    Case("zoo:inception_resnet_v2", _timm("inception_resnet_v2"), {"res": 107}),
]
COST_ALONE = [
    Case("zoo:googlenet:original", _plain_googlenet),
    *(Case(f"zoo:vgg:v{depth}", _torchvision(f"vgg{depth}")) for depth in DEPTHS),
    *(Case(f"zoo:vgg:v{depth}bn", _torchvision(f"vgg{depth}_bn")) for depth in DEPTHS),
]
SMALL = [
    *(Case(f"zoo:vgg:v{depth}", _vgg_of_64(f"vgg{depth}"), {"res": 64}) for depth in DEPTHS),
    *(Case(f"zoo:vgg:v{depth}bn", _vgg_of_64(f"vgg{depth}_bn"), {"res": 64}) for depth in DEPTHS),
]
HEADS = [
    # For maps whose sides four divides, torchvision's adaptive pools are plain ones.
    Case("zoo:googlenet:bn", _GOOGLENET, {"res": 256, "head_pool": "avgpool(4, s=4)"}, output=_googlenet_outputs),
    Case("zoo:inception_v3", _INCEPTION_V3, output=_all_outputs),
]


def _slow(*cases: Case) -> list[Any]:
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("case", [*QUICK, *SLOW, *COST_ALONE], ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize("case", [*QUICK, SMALL[0], *_slow(*SLOW, *SMALL[1:])], ids=str)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.parametrize("case", _slow(*HEADS), ids=str)
def test_auxiliary_heads_are_the_references(case: Case) -> None:
    assert_same_numbers(case, auxiliary=True)


PUBLISHED = {"zoo:alexnet:AlexNet": (60_965_224, 724_406_816)}
"""Parameters and MACs as analyses of bvlc_alexnet give them (60.97M, 724M)."""


@pytest.mark.parametrize("spec", PUBLISHED)
def test_cost_is_the_published_one(spec: str) -> None:
    total = archlang.load(spec).cost().total
    assert (total.params, total.macs) == PUBLISHED[spec]


CAFFE = [
    pytest.param("zoo:alexnet:AlexNet", "bvlc_alexnet", 227, marks=pytest.mark.slow),
    ("zoo:googlenet:original", "inception_v1", 224),
]


@pytest.mark.parametrize(("spec", "name", "size"), CAFFE)
def test_numbers_are_those_of_the_caffe_net(spec: str, name: str, size: int) -> None:
    net = archlang.load(spec)
    model = light_models.light_model(name, size)
    own = matched(inference(net.graph), light_models.layers(model))
    image = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    expected = light_models.run(model, image)
    with torch.no_grad():
        found = net.to_torch({**weights_module.random(net.graph), **own}).eval()(torch.from_numpy(image)).numpy()
    scale = np.abs(expected).max()
    assert scale > 1e-6
    assert np.abs(found - expected).max() < SCALE * scale


# LeNet-5. The columns of table I: the maps of S2 that each map of C3 is connected to.
TABLE_1 = (
    *("012", "123", "234", "345", "450", "501"),
    *("0123", "1234", "2345", "3450", "4501", "5012", "0134", "1245", "0235", "012345"),
)
PARTS = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
"""Trainable parameters of each layer, as section II.B counts them."""


def test_lenet_5_has_the_papers_parameters() -> None:
    layers = archlang.load("zoo:lenet:LeNet5Original").cost().layers
    found = {part: sum(layer.cost.params for layer in layers if layer.name.split(".")[0] == part) for part in PARTS}
    assert found == PARTS
    assert sum(found.values()) == 60_000


def _squash(x: Tensor) -> Tensor:
    return 1.7159 * torch.tanh(2 / 3 * x)


def _subsample(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    """The sum of 2x2 pixels times a coefficient, plus a bias; ours multiplies their mean."""
    total = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    coefficient = p[f"{name}.dwconv1.weight"].reshape(-1, 1, 1) / 4
    return _squash(coefficient * total + p[f"{name}.dwconv1.bias"].reshape(-1, 1, 1))


def _connected(x: Tensor, p: dict[str, Tensor]) -> Tensor:
    """C3, map by map."""
    kernels = [row for i in (1, 2, 3) for row in p[f"c3.conv{i}.weight"]]
    biases = torch.cat([p[f"c3.conv{i}.bias"] for i in (1, 2, 3)])
    inputs = [x[:, [int(i) for i in column]] for column in TABLE_1]
    maps = [F.conv2d(seen, kernel[None]) for seen, kernel in zip(inputs, kernels, strict=True)]
    return _squash(torch.cat(maps, 1) + biases.reshape(-1, 1, 1))


def test_lenet_5_computes_what_the_paper_says() -> None:
    net = archlang.load("zoo:lenet:LeNet5Original")
    arrays = weights_module.random(net.graph, 4)
    p = {name: torch.from_numpy(array) for name, array in arrays.items()}
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = net.to_torch(arrays).eval()(x)
    s2 = _subsample(_squash(F.conv2d(x, p["c1.weight"], p["c1.bias"])), p, "s2")
    s4 = _subsample(_connected(s2, p), p, "s4")
    c5 = _squash(F.conv2d(s4, p["c5.weight"], p["c5.bias"])).flatten(1)
    f6 = _squash(F.linear(c5, p["f6.weight"], p["f6.bias"]))
    expected = torch.stack([((f6 - point) ** 2).sum(1) for point in p["output.weight"]], 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert set(arrays["output.weight"].reshape(-1).tolist()) == {-1.0, 1.0}


def test_todays_lenet_5_has_the_usual_parameters() -> None:
    counted = {"conv1": 156, "conv2": 2416, "conv3": 48_120, "linear1": 10_164, "linear2": 850}
    layers = archlang.load("zoo:lenet:LeNet5").cost().layers
    assert {layer.name: layer.cost.params for layer in layers if layer.cost.params} == counted
