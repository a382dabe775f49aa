"""The Python API, as a notebook uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import archlang
from archlang.errors import ArchError
from archlang.weights import random

TEXT = """\
net Small(classes=4):
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3, s=2) as stem
  residual: conv(8, 3)
  gap -> linear(classes)
"""


def test_weights_travel_from_pytorch_to_every_file(tmp_path: Path) -> None:
    net = archlang.loads(TEXT)
    weights = random(net.graph, 5)
    module = net.to_torch(weights).eval()
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    net.to_onnx(tmp_path / "m.onnx", weights=module.state_dict())
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    net.to_tflite(tmp_path / "m.tflite", weights=module.state_dict(), quantize="int8", calibration=x)
    result = archlang.bench(tmp_path / "m.tflite", threads=1, runs=5, min_secs=0.01)
    assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.tflite"}


def test_overrides_are_values_or_expressions() -> None:
    assert archlang.loads(TEXT, classes=7).graph.nodes[-1].type.shape == (7,)
    assert archlang.loads(TEXT, classes="3 + 4").graph.digest == archlang.loads(TEXT, classes=7).graph.digest


def test_weights_of_another_network_are_refused() -> None:
    weights = random(archlang.loads(TEXT, classes=7).graph, 0)
    with pytest.raises(ArchError) as caught:
        archlang.loads(TEXT).to_torch(weights)
    assert caught.value.diagnostics[0].code == "E0602"
