"""The check of a written file: what is right passes in every mode, what is wrong is named and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import archlang
from archlang import verify
from archlang import weights as weights_module
from archlang.backend import Artifact, Request, compile_graph
from archlang.backends.onnx import lowering as onnx_lowering
from archlang.backends.onnx.writer import Place
from archlang.backends.tflite import elementwise, schema
from archlang.backends.tflite import lowering as tflite_lowering
from archlang.device import runner
from archlang.errors import ArchError
from archlang.ir import Graph
from archlang.ops.activation import HardSwish, Relu6, Sigmoid, Swish
from archlang.ops.base import Op
from archlang.quantize import qat
from archlang.quantize.options import Options
from archlang.runtimes import Lacking, opened
from archlang.verify import Verdict
from archlang.verify.agreement import agreement
from tests.backends.tflite_dump import parse

MODES = ("none", "fp16", "dynamic", "int8", "int16x8")

NET = """
block squeeze(c):
  mul:
    skip
    gap -> conv(8, 1, norm=none, act=relu) -> conv(c, 1, norm=none, act=sigmoid)

block bottleneck():
  residual:
    conv(32, 1) as expand
    dwconv(3, act=relu6) as deep
    squeeze(32)
    conv(16, 1, act=none) as narrow

net Squeezed(classes=10):
  default conv(norm=bn, act=hswish)
  input image 3x32x32
  conv(16, 3, s=2) as stem
  bottleneck()
  conv(32, 3, s=2, act=swish) as last
  gap -> flatten -> linear(classes)
  output _ as scores
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    return archlang.loads(NET).graph


def samples(graph: Graph, count: int = 16) -> NDArray[np.float32]:
    shape = graph.nodes[graph.inputs[0]].type.shape
    return np.random.default_rng(3).normal(0.1, 1.0, (count, *shape)).astype(np.float32)


def checked(
    graph: Graph,
    folder: Path,
    mode: str = "none",
    target: str = "tflite",
    change: Callable[[bytes], bytes] | None = None,
) -> Verdict:
    """What the check says of a file of random weights and statistics, after `change`."""
    calibration = samples(graph) if mode in ("int8", "int16x8") else None
    artifact = compile_graph(graph, target, Request(weights_module.random(graph, 2), mode, calibration))
    if change is not None:
        artifact = Artifact(change(artifact.data), claim=artifact.claim)
    check = verify.verification(graph, artifact, f".{target}", mode, calibration)
    assert check is not None
    artifact.write(folder / f"m.{target}", check)
    return check.verdict


def refusal(graph: Graph, folder: Path, **arguments: Any) -> str:
    with pytest.raises(ArchError) as caught:
        checked(graph, folder, **arguments)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E0815"]
    assert list(folder.iterdir()) == []
    return str(caught.value)


# What is right.


def test_ranges_from_training_that_cut_values_off_are_a_warning(graph: Graph, tmp_path: Path) -> None:
    """Training rounded and cut them too: the float network is no measure of that."""
    weights, calibration = weights_module.random(graph, 2), samples(graph)
    options = Options(ranges={qat.range_name("stem_act"): (-0.1, 0.1)})
    request = Request(weights, "int8", calibration, quantization=options)
    artifact = compile_graph(graph, "tflite", request)
    check = verify.verification(graph, artifact, ".tflite", "int8", calibration)
    assert check is not None
    artifact.write(tmp_path / "m.tflite", check)
    assert check.verdict.warning.startswith("`stem_act` is the first layer that is not what its inputs make")
    assert "the range that training gave it cuts values off" in check.verdict.warning


@pytest.mark.parametrize("mode", MODES)
def test_right_file_passes(mode: str, graph: Graph, tmp_path: Path) -> None:
    verdict = checked(graph, tmp_path, mode)
    assert verdict.status == ("equal" if mode == "none" else "near")
    assert verdict.inputs == 4
    assert verdict.warning == ""
    assert verdict.agreement is not None
    limits = {"none": 1e-5, "fp16": 5e-3, "dynamic": 0.1, "int8": 0.2, "int16x8": 0.1}
    assert verdict.agreement.relative <= limits[mode]
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_right_onnx_file_passes(graph: Graph, tmp_path: Path) -> None:
    verdict = checked(graph, tmp_path, target="onnx")
    assert verdict.status == "equal"
    assert verdict.agreement is not None
    assert verdict.agreement.relative <= 1e-5


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_file_for_latency_alone_is_run_and_not_compared(mode: str, graph: Graph, tmp_path: Path) -> None:
    artifact = compile_graph(graph, "tflite", Request(None, mode))
    check = verify.verification(graph, artifact, ".tflite", mode)
    assert check is not None
    artifact.write(tmp_path / "m.tflite", check)
    assert (check.verdict.status, check.verdict.agreement) == ("runs", None)


@pytest.mark.parametrize("target", ["pytorch", "keras"])
def test_source_is_not_checked(target: str, graph: Graph) -> None:
    artifact = compile_graph(graph, target, Request())
    assert verify.verification(graph, artifact, ".py") is None


UNEVEN = "net A:\n  input 3x8x8\n  conv(8, 1) -> relu -> dwconv(1) -> relu -> flatten -> linear(4)\n"


def test_network_that_quantizes_badly_is_warned_of_and_not_refused(tmp_path: Path) -> None:
    """One channel is ten thousand times as large as the others until a layer brings it back: eight bits for both lose
    the small ones. Every layer does what it should, so the file is what was asked for."""
    graph = archlang.loads(UNEVEN).graph
    weights = weights_module.random(graph, 1)
    factors = np.where(np.arange(8) == 0, 1e4, 1.0).astype(np.float32)
    first, second = (name for name, value in weights.items() if name.endswith("weight") and value.ndim == 4)
    weights[first] = weights[first] * factors[:, None, None, None]
    weights[second] = weights[second] / factors[:, None, None, None] ** 2
    artifact = compile_graph(graph, "tflite", Request(weights, "int8", samples(graph)))
    check = verify.verification(graph, artifact, ".tflite", "int8", samples(graph))
    assert check is not None
    artifact.write(tmp_path / "m.tflite", check)
    assert check.verdict.status == "near"
    assert check.verdict.layers >= 2
    assert "far from those of the float network" in check.verdict.warning


# What is wrong: a lowering that computes something else.


WRONG: dict[type[Op], schema.Builtin] = {
    Sigmoid: schema.TANH,
    HardSwish: schema.RELU,
    Swish: schema.TANH,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", WRONG, ids=lambda op: op.name)
def test_wrong_operator_is_found_and_named(
    op: type[Op], mode: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tflite_lowering.LOWERINGS, op, elementwise.unary(WRONG[op]))
    message = refusal(graph, tmp_path, mode=mode)
    first = next(node for node in graph.nodes if isinstance(node.op, op))
    assert f"`{first.name}` is the first layer" in message
    assert "<text>:" in message  # the place in the source


@pytest.mark.parametrize("op", [Relu6, HardSwish], ids=lambda op: op.name)
def test_wrong_onnx_operator_is_found_and_named(
    op: type[Op], graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(op: Op, place: Place) -> None:
        place.last("Tanh", place.x)

    monkeypatch.setitem(onnx_lowering.LOWERINGS, op, wrong)
    first = next(node for node in graph.nodes if isinstance(node.op, op))
    assert f"`{first.name}` is the first layer" in refusal(graph, tmp_path, target="onnx")


# What is wrong: bytes of the file.


def rolled(name: str) -> Callable[[bytes], bytes]:
    """The file with the values of a constant moved by one filter."""

    def change(data: bytes) -> bytes:
        values = parse(data).find(name).data
        assert values is not None
        assert data.count(values.tobytes()) == 1
        return data.replace(values.tobytes(), np.roll(values, 1, 0).tobytes())

    return change


@pytest.mark.parametrize("mode", ["none", "dynamic", "int8", "int16x8"])
def test_wrong_weights_are_found_and_their_layer_is_named(mode: str, graph: Graph, tmp_path: Path) -> None:
    name = next(node.name for node in graph.nodes if node.name.startswith("last") and node.op.name == "conv")
    message = refusal(graph, tmp_path, mode=mode, change=rolled(f"{name}/weight"))
    assert f"`{name}" in message or "`last" in message


def test_damaged_file_is_refused(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(ArchError, match="does not accept it"):
        checked(graph, tmp_path, change=lambda data: data[: len(data) // 2])
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_are_refused(graph: Graph, tmp_path: Path) -> None:
    message = refusal(graph, tmp_path, change=lambda data: data.replace(b"scores\0", b"scored\0"))
    assert "has no output `scores`" in message


def test_an_older_file_stays_where_the_new_one_is_wrong(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"old")
    with pytest.raises(ArchError, match="E0815"):
        checked(graph, tmp_path, change=lambda data: data.replace(b"scores\0", b"scored\0"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.tflite": b"old"}


# What cannot be checked.


def test_without_a_runtime_the_file_is_written_unchecked(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise runner.Failure("missing", "no TFLite runtime is installed")

    monkeypatch.setattr(runner, "interpreter_class", missing)
    verdict = checked(graph, tmp_path)
    assert verdict.status == "unchecked"
    assert "archlang[tflite]" in verdict.reason
    assert str(verdict).startswith("not checked: ")
    assert (tmp_path / "m.tflite").exists()


def test_runtime_that_is_too_old_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of every TFLite runtime for an operator that it does not have."""

    class Old:
        def __init__(self, **options: Any) -> None:
            raise ValueError("Didn't find op for builtin opcode 'GELU' version '1'. Registration failed.")

    monkeypatch.setattr(runner, "interpreter_class", lambda: (Old, "tflite-runtime 2.5"))
    (tmp_path / "m.tflite").write_bytes(b"")
    with pytest.raises(Lacking, match=r"tflite-runtime 2\.5 is too old"):
        opened(tmp_path / "m.tflite")


def test_network_whose_own_values_overflow_is_warned_of(tmp_path: Path) -> None:
    graph = archlang.loads("net A:\n  input 3x4x4\n  conv(4, 3, act=none) * 3\n  flatten\n").graph
    weights = {name: np.asarray(value * 1e15, np.float32) for name, value in weights_module.random(graph).items()}
    artifact = compile_graph(graph, "tflite", Request(weights))
    check = verify.verification(graph, artifact, ".tflite")
    assert check is not None
    artifact.write(tmp_path / "m.tflite", check)
    assert check.verdict.status == "runs"
    assert "not finite" in check.verdict.warning


# How near.


def test_agreement() -> None:
    wanted = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]])
    found = wanted + np.array([[0.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    near = agreement(found, wanted)
    assert near.largest == 2
    assert near.relative == pytest.approx((4 / 30) ** 0.5)
    centred = wanted - wanted.mean()
    assert near.snr_db == pytest.approx(10 * np.log10((centred**2).sum() / 4))
    cosine = (found * wanted).sum() / np.linalg.norm(found) / np.linalg.norm(wanted)
    assert near.cosine == pytest.approx(cosine)
    assert near.top1 == 0.5


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_agreement_of_equal_constants(value: float) -> None:
    same = np.full((2, 3), value)
    near = agreement(same, same)
    assert (near.largest, near.relative, near.snr_db, near.cosine, near.top1) == (0, 0, np.inf, 1, 1)


def test_agreement_with_zero() -> None:
    near = agreement(np.ones((1, 3)), np.zeros((1, 3)))
    assert (near.relative, near.snr_db, near.cosine) == (np.inf, -np.inf, 0)
