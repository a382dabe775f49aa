"""Measuring on this machine, through real runtimes, and what happens when they fail."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.backend import Request, compile_graph
from archlang.device import host, runner, scripts, torch_file
from archlang.device.infer import dequantized, predict, quantized
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph

PROMISED = ("median_ms", "p10_ms", "p90_ms", "iqr_ms", "runs", "warmup_runs", "threads", "device", "runtime", "noisy")

ALONE: dict[str, Any] = {"processes": 1, "compare": None}
"""One process, without a reference: quick, where it is not about time."""

TEXT = """
net Small:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3, s=2)
  dwconv(3)
  conv(16, 1)
  gap -> linear(4)
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    return archlang.loads(TEXT).graph


@pytest.fixture(scope="module")
def tflite(graph: Graph) -> bytes:
    return compile_graph(graph, "tflite", Request(weights.random(graph))).data


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model made by ONNX's own helpers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 14, 14])
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Sigmoid", ["c"], ["y"], "sigmoid")]
    graph = helper.make_graph(nodes, "small", [image], [result], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    onnx.save(model, path)
    return path


def test_a_tflite_model_is_measured(tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.tflite"
    path.write_bytes(tflite)
    result = archlang.bench(path, runs=20, min_secs=0.05)
    assert result.runs == len(result.samples_ms) >= 20
    assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
    assert result.warmup_runs >= 5
    assert (result.threads, result.device, result.ops) == (1, "host", None)
    assert len(result.processes) == 3 * result.attempts
    assert result.reference is not None
    assert result.ratio is not None
    # the reference has a hundred times the MACs, and runs for longer than a call takes
    assert 0 < result.ratio < 1
    assert result.delegate == "XNNPACK"
    assert result.runtime.startswith("LiteRT ")
    document = result.as_json()
    assert set(PROMISED) <= set(document)
    assert "ops" not in document


def test_an_onnx_model_with_a_free_batch_is_measured_and_profiled(onnx_file: Path) -> None:
    result = archlang.bench(str(onnx_file), threads=2, runs=10, min_secs=0.0, profile=True, **ALONE)
    assert result.runtime.startswith("ONNX Runtime ")
    assert result.threads == 2
    assert result.ops is not None
    assert any("Conv" in op.op for op in result.ops)
    assert sum(op.share for op in result.ops) == pytest.approx(1.0)


def test_litert_tells_the_time_of_each_operator(tflite: bytes) -> None:
    result = archlang.bench(tflite, runs=5, min_secs=0.0, profile=True, **ALONE)
    assert result.ops is not None
    kinds = " ".join(op.op for op in result.ops)
    assert "DWConv" in kinds
    assert "Mean" in kinds
    assert all(op.ms >= 0 for op in result.ops)
    assert sum(op.share for op in result.ops) == pytest.approx(1.0)


def test_content_is_measured_as_its_file_is(onnx_file: Path) -> None:
    assert archlang.bench(onnx_file.read_bytes(), runs=3, min_secs=0.0, **ALONE).runs >= 3


def test_a_measured_module_computes_what_the_network_does(graph: Graph, tmp_path: Path) -> None:
    """With the same arrays as the module that `to_torch` makes; and each of its layers is timed."""
    path = tmp_path / "small.py"
    torch_file.write(graph, "Small", path)
    torch, network, inputs = runner.torch_network(str(path), 1, 0)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        found = network(*inputs).numpy()
    wanted = archlang.loads(TEXT).to_torch(arrays).eval()
    assert np.abs(found - wanted(*inputs).detach().numpy()).max() <= 1e-6
    layers = {op["name"] for op in runner.torch_profile(str(path), 1, 0)}
    assert layers >= {node.name for node in graph.nodes if node.op.name in ("conv", "bn", "linear")}


def test_a_module_that_is_none_is_a_located_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("INPUTS = [(1, 3)]\n")
    with pytest.raises(ArchError, match=r"E1001.*PyTorch does not accept it"):
        archlang.bench(path, **ALONE)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"not a model at all", bytes(range(256)) * 8])
def test_a_corrupt_file_is_a_located_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArchError, match=r"E100[12].*broken"):
        archlang.bench(path, runs=1, min_secs=0.0, **ALONE)


def test_a_file_that_was_cut_off(tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tflite[: len(tflite) // 2])
    with pytest.raises(ArchError, match=r"E100[12].*cut\.tflite"):
        archlang.bench(path, runs=1, min_secs=0.0, **ALONE)


@pytest.mark.parametrize(("name", "code"), [("no.tflite", "E1005"), ("model.h5", "E1003")])
def test_a_file_that_is_missing_or_of_another_kind(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(ArchError, match=code):
        archlang.bench(tmp_path / name)


def _with_runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> Path:
    """The host with another runner, and a model to give it."""
    script = tmp_path / "runner.py"
    script.write_text(body)
    monkeypatch.setattr(scripts, "RUNNER", script)
    model = tmp_path / "model.tflite"
    model.write_bytes(b"\x1c\0\0\0TFL3")
    return model


def test_a_runtime_that_crashes_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = "import os, sys\nprint('out of cheese', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)"
    model = _with_runner(monkeypatch, tmp_path, body)
    with pytest.raises(ArchError, match=r"E1002.*SIGSEGV") as caught:
        archlang.bench(model, **ALONE)
    assert caught.value.diagnostics[0].help == "its last words: out of cheese"


def test_a_runtime_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = _with_runner(monkeypatch, tmp_path, "import time\ntime.sleep(60)")
    start = time.monotonic()
    with pytest.raises(OutsideError, match=r"model\.tflite was not measured within 0\.5 s"):
        archlang.bench(model, timeout_secs=0.5, **ALONE)
    assert time.monotonic() - start < 30


def test_a_missing_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "version", lambda package: "")
    with pytest.raises(runner.Failure, match="no TFLite runtime"):
        runner.interpreter_class()
    with pytest.raises(OutsideError, match=r"archlang\[tflite\]"):
        predict(b"", np.zeros((1, 3, 4, 4), np.float32))
    body = 'import json, sys\nprint(json.dumps({"error": "missing", "message": "no TFLite runtime is installed"}))'
    model = _with_runner(monkeypatch, tmp_path, body)
    with pytest.raises(OutsideError, match=r"archlang\[tflite\]"):
        archlang.bench(model, **ALONE)


def test_tflite_runtime_is_passed_over_with_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"tflite-runtime": "2.14.0", "numpy": "2.1.0"}
    monkeypatch.setattr(runner, "version", lambda package: versions.get(package, ""))
    with pytest.raises(runner.Failure, match=r"tflite-runtime 2\.14\.0 works with numpy 1 only"):
        runner.interpreter_class()


def test_the_runner_needs_nothing_of_archlang() -> None:
    """It is to run on boards that have numpy and a runtime only."""
    assert "archlang" not in Path(runner.__file__).read_text().split('"""', 2)[2]
    assert host.TRANSPORT is not None
    assert sys.version_info >= (3, 11)


def test_integers_are_quantized_as_the_specification_says() -> None:
    tensor = {"dtype": np.int8, "quantization": (0.5, -3)}
    x = np.array([-100.0, -0.25, 0.0, 0.3, 1.0, 100.0], np.float32)
    q = quantized(x, tensor)
    assert q.dtype == np.int8
    assert q.tolist() == [-128, -3, -3, -2, -1, 127]
    assert dequantized(q, tensor).tolist() == [-62.5, 0.0, 0.0, 0.5, 1.0, 65.0]
    floats = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert (quantized(x, floats) == x).all()


def test_predictions_are_those_of_pytorch(graph: Graph) -> None:
    import torch

    from archlang.train import module_of

    values = weights.random(graph)
    x = np.random.default_rng(1).random((5, 3, 16, 16), dtype=np.float32)
    found = predict(compile_graph(graph, "tflite", Request(values)).data, x)
    with torch.no_grad():
        expected = module_of(graph, values).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    int8 = predict(compile_graph(graph, "tflite", Request(values, "int8", x)).data, x)
    span = expected.max() - expected.min()
    assert np.abs(int8 - expected).max() < 0.1 * span
