"""Our TFLite files beside those of TensorFlow's own converter, made from generated Keras source."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.about import About
from archlang.backend import Artifact, Request, compile_graph
from archlang.backends.tflite import via_tensorflow
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph
from archlang.quantize.options import Options
from archlang.runtimes import opened
from archlang.verify import verification
from tests.backends.drawing import resized
from tests.backends.tflite_run import run_tflite

needs_tensorflow = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("tensorflow") is None or find_spec("keras") is None, reason="needs tensorflow"),
]

ATTENTIVE = """
block encoder(d):
  residual: layernorm -> attention(2)
  residual: layernorm -> linear(2 * d) -> gelu -> linear(d)

net Attentive(classes=10):
  input 3x16x16
  conv(16, 4, s=4, pad=valid) -> rearrange("b c h w -> b (h w) c")
  class_token -> pos_embed
  encoder(16) * 2
  layernorm -> take(0) -> linear(classes)
"""


SMALL = """
net Small:
  default conv(norm=bn, act=relu)
  input 3x8x8
  conv(8, 3, s=2) -> conv(8, 3)
  gap -> linear(4)
"""


def images(graph: Graph, count: int, seed: int = 7) -> NDArray[np.float32]:
    shape = graph.nodes[graph.inputs[0]].type.shape
    return np.random.default_rng(seed).normal(0.2, 1.0, (count, *shape)).astype(np.float32)


def both(
    graph: Graph, quantize: str = "none", calibration: NDArray[np.float32] | None = None
) -> tuple[Artifact, Artifact]:
    """Ours and TensorFlow's, of the same weights and statistics."""
    request = Request(weights_module.random(graph, 4), quantize, calibration)
    theirs = replace(request, via="tensorflow")
    return compile_graph(graph, "tflite", request), compile_graph(graph, "tflite", theirs)


def assert_equal_outputs(graph: Graph) -> tuple[Artifact, Artifact]:
    ours, theirs = both(graph)
    x = images(graph, 3)
    wanted = run_tflite(theirs.data, x)
    found = run_tflite(ours.data, x)
    assert set(found) == set(wanted)
    for name, y in wanted.items():
        assert np.abs(found[name] - y).max() <= 2e-5 * np.abs(y).max(), name
    return ours, theirs


@pytest.mark.parametrize("spec", ["zoo:mobilenet_v2", "zoo:resnet:r18", "zoo:efficientnet:b0", "zoo:squeezenet"])
class TestConvolutional:
    pytestmark = needs_tensorflow

    def test_float(self, spec: str) -> None:
        """Equal outputs; no more operators than theirs, of any kind; no larger file but for 4 kB."""
        ours, theirs = assert_equal_outputs(resized(archlang.load(spec).graph, (3, 64, 64)))
        more = {name: count - theirs.ops.get(name, 0) for name, count in ours.ops.items() if name in theirs.ops}
        assert max(more.values()) <= 0
        assert sum(ours.ops.values()) <= sum(theirs.ops.values())
        assert len(ours.data) <= len(theirs.data) + 4096


MORE = {
    "zoo:mobilenet_v3:small": 64,
    "zoo:mobilenet_v4:s035": 64,
    "zoo:shufflenet_v2:x0_5": 64,
    "zoo:densenet:bc100_k12": 32,
    "zoo:nasnet:cifar": 32,
    "zoo:convnext:t": 64,
}
"""Spec -> the size of its images."""


class TestOthers:
    pytestmark = needs_tensorflow

    @pytest.mark.parametrize("spec", MORE)
    def test_no_more_operators(self, spec: str) -> None:
        ours, theirs = assert_equal_outputs(resized(archlang.load(spec).graph, (3, MORE[spec], MORE[spec])))
        assert sum(ours.ops.values()) <= sum(theirs.ops.values())

    def test_attention(self) -> None:
        assert_equal_outputs(archlang.loads(ATTENTIVE).graph)

    @pytest.mark.parametrize("mode", ["fp16", "dynamic"])
    def test_small_weights(self, mode: str) -> None:
        """As near to the float file as TensorFlow's, and about as small."""
        graph = resized(archlang.load("zoo:mobilenet_v2").graph, (3, 64, 64))
        plain, _ = both(graph)
        ours, theirs = both(graph, quantize=mode)
        assert len(ours.data) <= 1.05 * len(theirs.data)
        assert error(graph, ours, plain) <= 1.5 * error(graph, theirs, plain) + 1e-3

    def test_int8(self) -> None:
        graph = resized(archlang.load("zoo:mobilenet_v2").graph, (3, 64, 64))
        plain, _ = both(graph)
        ours, theirs = both(graph, quantize="int8", calibration=images(graph, 16, 1))
        assert len(ours.data) <= 1.05 * len(theirs.data)
        assert error(graph, ours, plain) <= 1.25 * error(graph, theirs, plain)


def error(graph: Graph, artifact: Artifact, plain: Artifact) -> float:
    """Mean distance from the float file's outputs, as a share of their deviation."""
    x = images(graph, 8)
    wanted, found = run_tflite(plain.data, x), run_tflite(artifact.data, x)
    return max(float(np.abs(found[name] - y).mean() / y.std()) for name, y in wanted.items())


def test_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(via_tensorflow, "find_spec", lambda name: None)
    with pytest.raises(OutsideError, match="extra `tensorflow`"):
        compile_graph(archlang.load("zoo:lenet").graph, "tflite", Request(via="tensorflow"))


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_integers_need_calibration(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(via_tensorflow, "find_spec", lambda name: object())
    with pytest.raises(ArchError, match=f"needs inputs to measure for {mode}"):
        compile_graph(archlang.load("zoo:lenet").graph, "tflite", Request(via="tensorflow", quantize=mode))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"about": About(labels=("a",))}, "labels"),
        ({"quantization": Options(equalize=True)}, "equalisation"),
        ({"quantization": Options(ranges={"conv1_range": (0.0, 1.0)})}, "ranges from training"),
    ],
)
def test_what_only_our_writer_does_is_refused(
    asked: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(via_tensorflow, "find_spec", lambda name: object())
    with pytest.raises(ArchError, match=f"E0804.*{words}"):
        compile_graph(archlang.load("zoo:lenet").graph, "tflite", Request(via="tensorflow", **asked))


class TestModes:
    pytestmark = needs_tensorflow

    @pytest.mark.parametrize(("mode", "io"), [("none", None), ("int8", None), ("int16x8", None), ("int16x8", "float")])
    def test_file_is_made_and_is_right(self, mode: str, io: str | None, tmp_path: Path) -> None:
        """The check of written files, which knows nothing of TensorFlow, passes them."""
        graph = archlang.loads(ATTENTIVE if mode == "none" else SMALL).graph
        x = images(graph, 16) if mode != "none" else None
        artifact = compile_graph(
            graph, "tflite", Request(weights_module.random(graph, 4), mode, x, via="tensorflow", io=io)
        )
        check = verification(graph, artifact, ".tflite", mode, x)
        assert check is not None
        artifact.write(tmp_path / "m.tflite", check)
        assert check.verdict.status == ("equal" if mode == "none" else "near")
        ends = {"none": "float32", "int8": "int8", "int16x8": "int16"}[mode] if io is None else "float32"
        assert opened(tmp_path / "m.tflite").inputs[0].dtype == np.dtype(ends)


def test_only_tflite_goes_via_tensorflow() -> None:
    with pytest.raises(ArchError, match="knows no `via`"):
        compile_graph(archlang.load("zoo:lenet").graph, "onnx", Request(via="tensorflow"))
