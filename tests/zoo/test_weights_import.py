"""Checkpoints of torchvision, timm and pytorchcv onto the zoo: right numbers, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import archlang
from archlang.checkpoint import Options, Report, convert
from tests.zoo.conformance import SCALE, randomised
from tests.zoo.libraries import pytorchcv, timm, torchvision

Build = Callable[[], nn.Module]


def _torchvision(name: str, **options: Any) -> Build:
    return lambda: getattr(torchvision(), name)(weights=None, **options)


def _timm(name: str) -> Build:
    return lambda: timm().create_model(name, pretrained=False)


def _pytorchcv(name: str) -> Build:
    return lambda: pytorchcv()(name, pretrained=False)


QUICK: list[tuple[str, Build]] = [
    ("zoo:mobilenet_v2", _torchvision("mobilenet_v2")),
    ("zoo:efficientnet:b0", _timm("efficientnet_b0")),
    ("zoo:densenet:d121", _torchvision("densenet121")),
]
SLOW: list[tuple[str, Build]] = [
    ("zoo:resnet:r50", _torchvision("resnet50")),
    ("zoo:resnet:r50", _pytorchcv("resnet50b")),
    ("zoo:resnet:r18", _timm("resnet18")),
    ("zoo:mobilenet_v2", _timm("mobilenetv2_100")),
    ("zoo:efficientnet:b0", _torchvision("efficientnet_b0")),
    ("zoo:efficientnet:b0", _pytorchcv("efficientnet_b0")),
    ("zoo:densenet:d121", _pytorchcv("densenet121")),
    ("zoo:squeezenet", _torchvision("squeezenet1_1")),
    ("zoo:vgg:v11", _torchvision("vgg11")),
    ("zoo:vgg:v11bn", _torchvision("vgg11_bn")),
    ("zoo:googlenet:bn", _torchvision("googlenet", init_weights=False)),
    ("zoo:mobilenet_v3:large", _torchvision("mobilenet_v3_large")),
    ("zoo:shufflenet_v2:x1_0", _torchvision("shufflenet_v2_x1_0")),
    ("zoo:senet:seresnet50", _timm("legacy_seresnet50")),
    ("zoo:preresnet:v2_50", _timm("resnetv2_50")),
    ("zoo:xception", _timm("legacy_xception")),
    ("zoo:vit:b", _torchvision("vit_b_16")),
    ("zoo:vit:ti", _timm("vit_tiny_patch16_224")),
]


def imported(spec: str, build: Build, order: str = "filed", **options: Any) -> tuple[Any, Report, nn.Module, Any]:
    with torch.random.fork_rng():
        module = randomised(build(), 1)
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    arrays = dict(sorted(arrays.items())) if order == "sorted" else arrays
    net = archlang.load(spec)
    found, report = convert(net.graph, arrays, Options(**options))
    return found, report, module, net


def assert_same_numbers(spec: str, build: Build, order: str) -> None:
    found, report, module, net = imported(spec, build, order)
    if order == "sorted" and report.ambiguous:
        return
    assert not report.problem, report.problem
    x = torch.randn(1, *net.graph.nodes[0].type.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, ours = _first(module(x)), _first(net.to_torch(found).eval()(x))
    assert float((wanted - ours).abs().max()) < SCALE * float(wanted.abs().max())


def _first(output: Any) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


@pytest.mark.parametrize(("spec", "build"), QUICK, ids=[case[0] for case in QUICK])
def test_numbers_are_right(spec: str, build: Build) -> None:
    assert_same_numbers(spec, build, "filed")


@pytest.mark.slow
@pytest.mark.parametrize("order", ["filed", "sorted"])
@pytest.mark.parametrize(("spec", "build"), SLOW, ids=[case[0] for case in SLOW])
def test_numbers_are_right_or_a_sorted_file_is_refused(spec: str, build: Build, order: str) -> None:
    assert_same_numbers(spec, build, order)


def test_parallel_branches_of_inception_are_refused() -> None:
    """Its branches hold 1x1 convolutions of equal shapes side by side."""
    build = _torchvision("inception_v3", init_weights=False)
    found, report, _, _ = imported("zoo:inception_v3", build)
    assert not found
    assert any("Mixed_6e.branch1x1" in ambiguity.theirs for ambiguity in report.ambiguous)
    assert all(ambiguity.ours and ambiguity.why for ambiguity in report.ambiguous)


@pytest.mark.parametrize(
    ("spec", "build"),
    [
        ("zoo:resnet:r50", _torchvision("resnet101")),
        ("zoo:resnet:r18", _torchvision("resnet34")),
        ("zoo:resnet:r18", _torchvision("resnet18", num_classes=10)),
        ("zoo:vgg:v11", _torchvision("vgg11_bn")),
        ("zoo:efficientnet:b0", _torchvision("efficientnet_b1")),
        ("zoo:mobilenet_v2", _timm("mobilenetv2_140")),
    ],
)
def test_another_variant_is_refused(spec: str, build: Build) -> None:
    with torch.device("meta"):
        module = build()
    net = archlang.load(spec)
    arrays = {name: torch.zeros(value.shape).numpy() for name, value in module.state_dict().items()}
    found, report = convert(net.graph, arrays)
    assert not found
    assert report.missing or report.unused
    assert report.help
