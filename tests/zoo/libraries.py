"""torchvision, timm and pytorchcv, made importable: they belong to the tests, not to the package.

torchvision has no CPU wheel that every index offers; its plain wheel runs without the compiled part once the two op
schemas that its Python files name are declared.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def torchvision() -> Any:
    """torchvision.models; the test is skipped where it is not installed."""
    _declare()
    pytest.importorskip("torchvision")
    return pytest.importorskip("torchvision.models")


@cache
def timm() -> Any:
    torchvision()
    return pytest.importorskip("timm")


@cache
def pytorchcv() -> Any:
    """`get_model(name)` of pytorchcv, one of whose models imports torchvision."""
    torchvision()
    return pytest.importorskip("pytorchcv.model_provider").get_model


@cache
def once_for_all() -> Any:
    """OFAMobileNetV3 of mit-han-lab's package `ofa`, which imports torchvision."""
    torchvision()
    return pytest.importorskip("ofa.imagenet_classification.elastic_nn.networks").OFAMobileNetV3


_LIBRARIES: list[Any] = []


def _declare() -> None:
    """The schemas that torchvision's compiled part would bring; kept alive for the process."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    make: Any = torch.library.Library
    library = make("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    _LIBRARIES.append(library)


def folder_of(package: str) -> Path:
    """Where a package that ships data lies. It is not imported, for its dependencies need not be there."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs {package}")
    return Path(spec.submodule_search_locations[0])
