"""Mobile nets of the zoo beside torchvision, timm, pytorchcv and mit-han-lab's `ofa`: classifiers and detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

import archlang
from archlang import weights
from tests.backends import reference
from tests.backends.tflite_run import compile_tflite, run_tflite
from tests.zoo.conformance import Arrays, Case, assert_same_cost, assert_same_numbers
from tests.zoo.libraries import once_for_all, pytorchcv, timm, torchvision

SMALL = {"res": 64}
"""At which size numbers are compared."""

Build = Callable[[], nn.Module]


def _torchvision(name: str, **options: Any) -> Build:
    return lambda: getattr(torchvision(), name)(weights=None, **options)


def _timm(name: str, **options: Any) -> Build:
    return lambda: timm().create_model(name, **options)


def _pytorchcv(name: str) -> Build:
    """With a pool over whatever the image's size leaves: pytorchcv's takes 7 x 7 positions."""

    def build() -> nn.Module:
        model: Any = pytorchcv()(name)
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)
        return model  # type: ignore[no-any-return]

    return build


def _many(family: str, builds: Mapping[str, Build], gain: float = 1.0) -> list[Case]:
    return [Case(f"zoo:{family}:{variant}", build, SMALL, gain=gain) for variant, build in builds.items()]


_WIDTHS = {"w100": "w1", "w075": "w3d4", "w050": "wd2", "w025": "wd4"}
MOBILENET_V1 = {
    f"{width}_{size}": _pytorchcv(f"mobilenet_{name}")
    for width, name in _WIDTHS.items()
    for size in (224, 192, 160, 128)
}
MOBILENET_V2 = {
    f"w{int(100 * width):03d}": _torchvision("mobilenet_v2", width_mult=width) for width in (0.5, 0.75, 1.0, 1.3, 1.4)
}
MOBILENET_V3 = {
    **{size: _torchvision(f"mobilenet_v3_{size}") for size in ("large", "small")},
    **{f"{size}_w075": _torchvision(f"mobilenet_v3_{size}", width_mult=0.75) for size in ("large", "small")},
    **{f"{size}_reduced": _torchvision(f"mobilenet_v3_{size}", reduced_tail=True) for size in ("large", "small")},
}
SHUFFLENET_V1 = {
    **{f"g{groups}": _pytorchcv(f"shufflenet_g{groups}_w1") for groups in (1, 2, 3, 4, 8)},
    **{
        f"g{groups}_{width}": _pytorchcv(f"shufflenet_g{groups}_{_WIDTHS[width]}")
        for groups in (1, 3)
        for width in ("w075", "w050", "w025")
    },
}
SHUFFLENET_V2 = {f"x{size}": _torchvision(f"shufflenet_v2_x{size}") for size in ("0_5", "1_0", "1_5", "2_0")}


def _without_squeeze(name: str) -> Build:
    """timm's net with every squeeze-and-excitation taken out."""

    def build() -> nn.Module:
        model: Any = timm().create_model(name)
        for block in (block for stage in model.blocks for block in stage):
            block.se = nn.Identity()
        return model  # type: ignore[no-any-return]

    return build


MNASNET = {
    "a1": _timm("semnasnet_100"),
    "a1_w050": _timm("semnasnet_050"),
    "a1_w075": _timm("semnasnet_075"),
    "a1_w140": _timm("semnasnet_140"),
    "a1_plain": _without_squeeze("semnasnet_100"),
    "b1": _torchvision("mnasnet1_0"),
    "b1_w050": _torchvision("mnasnet0_5"),
    "b1_w075": _torchvision("mnasnet0_75"),
    "b1_w130": _torchvision("mnasnet1_3"),
    "b1_w140": _timm("mnasnet_140"),
    "small": _timm("mnasnet_small"),
    "small_plain": _without_squeeze("mnasnet_small"),
}
EFFICIENTNET = {f"b{i}": _torchvision(f"efficientnet_b{i}") for i in range(8)}
EFFICIENTNET_LITE = {f"lite{i}": _timm(f"tf_efficientnet_lite{i}") for i in range(5)}

MIXED = {"d": [2, 3, 4, 3, 2], "ks": [3, 5, 7] * 6 + [3, 5], "e": [3, 4, 6, 6, 4, 3] * 3 + [3, 4]}


def _once_for_all(width: float, **lists: Any) -> Build:
    def build() -> nn.Module:
        options = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
        supernet = once_for_all()(width_mult=width, **options)
        supernet.set_active_subnet(**lists)
        return supernet.get_active_subnet(preserve_weight=False)  # type: ignore[no-any-return]

    return build


ONCE_FOR_ALL = {
    f"{name}{suffix}": _once_for_all(width, **lists)
    for suffix, width in (("", 1.0), ("_w120", 1.2))
    for name, lists in (
        ("largest", {"ks": 7, "e": 6, "d": 4}),
        ("smallest", {"ks": 3, "e": 3, "d": 2}),
        ("mixed", MIXED),
    )
}

# Detectors: what torchvision's backbone and head make, before boxes are decoded.


class Detector(nn.Module):
    """A backbone that gives maps by name, and a head: (boxes, scores)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(x).values()))
        return found["bbox_regression"], found["cls_logits"]


def _detection(name: str) -> Build:
    def build() -> nn.Module:
        model: Any = getattr(torchvision().detection, name)(weights=None, weights_backbone=None)
        return Detector(model.backbone, model.head)

    return build


class Maps(nn.Module):
    """The two halves of a backbone, and SSDLite's smaller maps."""

    def __init__(self, first: nn.Module, second: nn.Module, extra: nn.ModuleList) -> None:
        super().__init__()
        self.steps = nn.ModuleList([first, second, *extra])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for i, step in enumerate(self.steps):
            x = maps[str(i)] = step(x)
        return maps


def _ssdlite(halves: Callable[[Any], tuple[list[nn.Module], list[nn.Module]]], channels: list[int]) -> Build:
    """torchvision's head and smaller maps behind a backbone, three boxes at a position of the first map.

    halves: of the backbone, whose norm layer it is given. channels: of the two maps.
    """

    def build() -> nn.Module:
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
        first, second = (nn.Sequential(*half) for half in halves(norm))
        parts = torchvision().detection.ssdlite
        sizes = [*channels, 512, 256, 256, 128]
        extra = [parts._extra_block(sizes[i], sizes[i + 1], norm) for i in range(1, 5)]
        head = parts.SSDLiteHead(sizes, [3, 6, 6, 6, 6, 6], 91, norm)
        return Detector(Maps(first, second, nn.ModuleList(extra)), head)

    return build


def _halves_of_mobilenet_v2(norm: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    features = torchvision().mobilenet_v2(weights=None, norm_layer=norm).features
    block = features[14].conv
    return [*features[:14], block[0]], [*block[1:], *features[15:]]


def _halves_of_mobilenet_v3_small(norm: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    features = torchvision().mobilenet_v3_small(weights=None, norm_layer=norm, reduced_tail=True).features
    block = features[9].block
    return [*features[:9], block[0]], [*block[1:], *features[10:]]


def _halves_of_mnasnet_a1(norm: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    model = timm().create_model("semnasnet_100", norm_layer=norm)
    block = model.blocks[5][0]
    first = [model.conv_stem, model.bn1, *model.blocks[:5], block.conv_pw, block.bn1]
    rest = [block.conv_dw, block.bn2, block.se, block.conv_pwl, block.bn3, *model.blocks[5][1:], model.blocks[6]]
    return first, [*rest, model.conv_head, model.bn2]


def _scale_by_its_name(layers: dict[str, Arrays]) -> dict[str, Arrays]:
    """torchvision's backbone holds the factors behind the L2 norm itself."""
    return {**layers, "backbone": {"weight": layers["backbone"]["scale_weight"]}}


def _both(outputs: Any) -> Any:
    return outputs


SSD300 = Case("zoo:ssd", _detection("ssd300_vgg16"), None, _scale_by_its_name, _both)
SSDLITE = [
    Case(f"zoo:ssdlite:{backbone}", build, SMALL, None, _both)
    for backbone, build in {
        "mobilenet_v2": _ssdlite(_halves_of_mobilenet_v2, [576, 1280]),
        "mobilenet_v3_large": _detection("ssdlite320_mobilenet_v3_large"),
        "mobilenet_v3_small": _ssdlite(_halves_of_mobilenet_v3_small, [288, 288]),
        "mnasnet_a1": _ssdlite(_halves_of_mnasnet_a1, [672, 1280]),
    }.items()
]

CASES = [
    *_many("mobilenet_v1", MOBILENET_V1),
    *_many("mobilenet_v2", MOBILENET_V2),
    *_many("mobilenet_v3", MOBILENET_V3),
    *_many("shufflenet_v1", SHUFFLENET_V1),
    *_many("shufflenet_v2", SHUFFLENET_V2),
    *_many("mnasnet", MNASNET),
    *_many("efficientnet", EFFICIENTNET),
    *_many("efficientnet_lite", EFFICIENTNET_LITE),
    # with a gain of 1 the reference itself rounds to 1.5e-4 of the scale in float32; in float64 the two agree to 1e-13
    *_many("once_for_all", ONCE_FOR_ALL, gain=0.85),
    SSD300,
    *SSDLITE,
]
QUICK = {
    "zoo:mobilenet_v1:w025_128",
    "zoo:mobilenet_v2:w050",
    "zoo:mobilenet_v3:small",
    "zoo:shufflenet_v1:g3_w025",
    "zoo:shufflenet_v2:x0_5",
    "zoo:mnasnet:a1_w050",
    "zoo:mnasnet:b1_w050",
    "zoo:mnasnet:small",
    "zoo:efficientnet_lite:lite0",
    "zoo:once_for_all:mixed",
    "zoo:ssdlite:mobilenet_v3_large",
}
"""Whose numbers are compared in every run."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_the_references(case: Case) -> None:
    assert_same_cost(case)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case.spec in QUICK else pytest.mark.slow) for case in CASES], ids=str
)
def test_numbers_are_the_references(case: Case) -> None:
    assert_same_numbers(case)


@pytest.mark.parametrize("variant", ["050", "075", "100", "140"])
def test_mobilenet_v2_is_timms_too(variant: str) -> None:
    assert_same_cost(Case(f"zoo:mobilenet_v2:w{variant}", _timm(f"mobilenetv2_{variant}")))


@pytest.mark.parametrize("variant", ["050", "075", "100", "140"])
def test_mnasnet_b1_is_timms_too(variant: str) -> None:
    assert_same_cost(Case(f"zoo:mnasnet:b1{'' if variant == '100' else f'_w{variant}'}", _timm(f"mnasnet_{variant}")))


PUBLISHED = [
    ("zoo:mobilenet_v1:w100_224", {}, 4.2, 569),  # arXiv:1704.04861, tables 6 and 7
    ("zoo:mobilenet_v1:w075_224", {}, 2.6, 325),
    ("zoo:mobilenet_v1:w050_224", {}, 1.3, 149),
    ("zoo:mobilenet_v1:w025_224", {}, 0.5, 41),
    ("zoo:mobilenet_v1:w100_192", {}, 4.2, 418),
    ("zoo:mobilenet_v1:w100_160", {}, 4.2, 290),
    ("zoo:mobilenet_v1:w100_128", {}, 4.2, 186),
    ("zoo:mobilenet_v2", {}, 3.4, 300),  # arXiv:1801.04381, table 4
    ("zoo:mobilenet_v3:large", {}, 5.4, 219),  # arXiv:1905.02244, tables 3 and 4
    ("zoo:mobilenet_v3:small", {}, 2.5, 56),
    ("zoo:mnasnet:a1", {}, 3.9, 312),  # arXiv:1807.11626, table 1
    ("zoo:ssdlite:mnasnet_a1", {}, 4.9, None),  # arXiv:1807.11626, table 3
    ("zoo:ssdlite:mobilenet_v2", {"classes": 81}, 4.3, 800),  # arXiv:1801.04381, table 6
]


@pytest.mark.parametrize(("spec", "overrides", "millions", "macs"), PUBLISHED)
def test_size_is_the_papers(spec: str, overrides: dict[str, Any], millions: float, macs: float | None) -> None:
    """Within what the papers round to, and what they leave out (biases, or squeeze-and-excitation)."""
    total = archlang.load(spec, **overrides).cost().total
    assert total.params / 1e6 == pytest.approx(millions, rel=0.04, abs=0.05)
    assert macs is None or total.macs / 1e6 == pytest.approx(macs, rel=0.03)


FAMILIES = [
    ("zoo:mobilenet_v1:w050_128", SMALL),
    ("zoo:mobilenet_v2:w050", SMALL),
    ("zoo:mobilenet_v3:small", SMALL),
    ("zoo:shufflenet_v1:g3_w050", SMALL),
    ("zoo:shufflenet_v2:x0_5", SMALL),
    ("zoo:mnasnet:small", SMALL),
    ("zoo:efficientnet:b0", SMALL),
    ("zoo:efficientnet_lite:lite0", SMALL),
    ("zoo:once_for_all:smallest", SMALL),
    ("zoo:ssdlite:mobilenet_v3_small", SMALL),
    ("zoo:ssd", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "overrides"), FAMILIES)
def test_integers_follow_the_floats(spec: str, overrides: dict[str, Any]) -> None:
    """int8 TFLite in LiteRT: with random weights noise grows from layer to layer, but the signal stays."""
    graph = archlang.load(spec, **overrides).graph
    arrays = weights.random(graph, 2)
    shape = graph.nodes[graph.inputs[0]].type.shape
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    wanted = reference.run(graph, arrays, x)
    found = run_tflite(compile_tflite(graph, arrays, "int8", x).data, x)
    for name, floats in wanted.items():
        assert np.corrcoef(floats.ravel(), found[name].ravel())[0, 1] > 0.8
