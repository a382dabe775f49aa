"""A profile, mapped back to layers, lines and blocks; what a file says of its operators, beside LiteRT's reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archlang
from archlang import weights
from archlang.backend import Request, compile_graph
from archlang.device import attribution, benchmark_model, measure, model_file, scripts
from archlang.device.attribution import aligned, attributed, by_block, by_line
from archlang.device.transport import OpTime
from archlang.errors import ArchError
from archlang.ir import Graph

TEXT = """block Separable(c, s=1):
  dwconv(3, s=s) as spatial
  conv(c, 1) as mix

block Wide(c):
  conv(c, 3) as body

net Two:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3, s=2) as stem
  Separable(16, s=2) as first
  Wide(24) as second
  gap -> linear(4) as head
"""
LAYERS = ("stem", "first.spatial", "first.mix", "second.body", "gap1", "head")
LINES = {"spatial": 2, "mix": 3, "body": 6, "stem": 11, "gap1": 14, "head": 14}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return archlang.loads(TEXT, name="two.arch").graph


def _compiled(graph: Graph, target: str = "tflite", **request: Any) -> bytes:
    return compile_graph(graph, target, Request(weights.random(graph), **request)).data


def _profiled(graph: Graph, content: bytes) -> tuple[OpTime, ...]:
    ops = archlang.bench(content, runs=1, min_secs=0.0, profile=True, processes=1, compare=None, graph=graph).ops
    assert ops is not None
    return ops


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_times_are_those_of_the_lines_and_blocks_that_the_operators_came_from(graph: Graph, target: str) -> None:
    ops = _profiled(graph, _compiled(graph, target))
    assert sum(op.share for op in ops) == pytest.approx(1)
    assert sum(op.macs or 0 for op in ops) == archlang.loads(TEXT).cost().total.macs
    assert {op.file for op in ops} == {"two.arch"}
    lines = {op.layer: op.line for op in ops}
    assert {name.rpartition(".")[2]: line for name, line in lines.items() if name in LAYERS} == LINES
    blocks = {op.layer: op.block for op in ops if op.layer in LAYERS}
    assert blocks == {name: name.partition(".")[0] for name in LAYERS}


@pytest.mark.parametrize("delegated", [False, True])
def test_the_profile_of_a_phone_is_mapped_to_lines(graph: Graph, delegated: bool) -> None:
    """benchmark_model's CSV as TensorFlow's stats_calculator.cc writes it, with TFLite's own kernels, and with those of
    XNNPACK, whose names hold commas."""
    content = _compiled(graph)
    own = [(op.kind, f"[{op.output}]:{i}") for i, op in enumerate(model_file.operators(content))]
    xnnpack = [(step.op, f"Delegate/{step.op}:{i}") for i, step in enumerate(_profiled(graph, content))]
    title = "=== Run Order ===\nnode type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
    rows = xnnpack if delegated else own
    text = title + "".join(f"{op}, 0.11, 0.09, 4.5%, 4.5%, 0, 1, {name.replace(',', chr(9))}\n" for op, name in rows)
    ops = attributed(scripts.with_shares(benchmark_model.operators(text)), content, graph)
    assert [op.op for op in ops] == [op for op, _ in rows]
    assert {op.layer.rpartition(".")[2]: op.line for op in ops if op.layer in LAYERS} == LINES
    assert sum(op.macs or 0 for op in ops) == archlang.loads(TEXT).cost().total.macs


def test_lines_and_blocks_add_up_to_the_whole(graph: Graph) -> None:
    ops = _profiled(graph, _compiled(graph, quantize="int8"))
    for parts in (by_line(ops, graph), by_block(ops, graph)):
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert sum(part.ms for part in parts) == pytest.approx(sum(op.ms for op in ops))
        assert sum(part.ops for part in parts) == len(ops)
    lines = {part.name: part for part in by_line(ops, graph)}
    assert lines["two.arch:6"].what == "conv(c, 3) as body"
    assert lines["two.arch:6"].macs == 16 * 24 * 9 * 4 * 4
    assert lines["two.arch:2"].macs == 8 * 9 * 4 * 4
    blocks = [part.name for part in by_block(ops, graph)]
    assert blocks[:3] == ["stem", "first", "second"]
    assert {part.name: part.what for part in by_block(ops, graph)}["first"] == "Separable(16, s=2)"


def test_without_the_graph_the_names_alone_are_told(graph: Graph) -> None:
    content = _compiled(graph)
    steps = [OpTime("000", "Convolution (NHWC, F32) IGEMM", 1.0, 1.0)]
    (op,) = attributed(steps, content, None)
    assert (op.name, op.layer, op.macs, op.line) == ("stem", "stem", 8 * 27 * 8 * 8, None)


def test_a_file_of_ours_says_where_its_source_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.arch").write_text(TEXT)
    net = archlang.load("two.arch")
    net.to_tflite("two.tflite", verify=False)
    content = Path("two.tflite").read_bytes()
    found = measure.origin(content)
    assert found is not None
    assert found.digest == net.graph.digest
    Path("two.arch").write_text(TEXT.replace("Wide(24)", "Wide(32)"))
    assert measure.origin(content) is None
    Path("two.arch").unlink()
    assert measure.origin(content) is None
    assert measure.origin(b"") is None


# What the file says, beside what LiteRT says.


@pytest.mark.parametrize("spec", ["zoo:mobilenet_v2:w050", "zoo:shufflenet_v2:x0_5", "zoo:vit:ti"])
def test_operators_are_those_that_litert_sees(spec: str, tmp_path: Path) -> None:
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    net = archlang.load(spec)
    content = compile_graph(net.graph, "tflite", Request()).data
    plain = interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = interpreters.Interpreter(model_content=content, experimental_op_resolver_type=plain)
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    theirs = [(op["op_name"], names[op["outputs"][0]]) for op in interpreter._get_ops_details()]
    ours = model_file.operators(content)
    assert [(op.kind, op.output) for op in ours] == theirs
    assert sum(op.macs for op in ours) == net.cost().total.macs


@pytest.mark.parametrize("keep", [0, 7, 40, 400])
def test_a_damaged_file_is_a_diagnostic(graph: Graph, keep: int) -> None:
    with pytest.raises(ArchError, match="E1001"):
        model_file.operators(_compiled(graph)[:keep])
    assert model_file.metadata(_compiled(graph)[:keep], "archlang") == b""


# Steps of a runtime that are not the operators of the file.

KINDS = ("PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "HARD_SWISH", "SOFTMAX")
STEPS = {
    "CONV_2D": "Fully Connected (NC, F32) GEMM",
    "DEPTHWISE_CONV_2D": "Convolution (NHWC, F32) DWConv",
    "ADD": "Add (ND)",
    "MEAN": "Mean (ND) Reduce2",
    "FULLY_CONNECTED": "Fully Connected (NC, F32) GEMM",
    "HARD_SWISH": "HardSwish (NC)",
    "SOFTMAX": "SOFTMAX",
}


@given(st.lists(st.sampled_from(KINDS), max_size=30), st.data())
def test_steps_are_aligned_where_paddings_are_dropped_and_reshapes_added(kinds: list[str], data: st.DataObject) -> None:
    steps: list[str] = []
    expected: list[int | None] = []
    for index, kind in enumerate(kinds):
        if kind != "PAD":
            steps.append(STEPS[kind])
            expected.append(index)
        if data.draw(st.integers(0, 4)) == 0:
            steps.append("Static Reshape (NC)")
            expected.append(None)
    assert aligned(steps, kinds) == expected


def test_a_convolution_that_stands_for_nothing_is_not_forced_on_an_operator() -> None:
    assert aligned(["Add (ND)", "Convolution (NHWC, F32) IGEMM"], ["ADD"]) == [0, None]
    assert aligned([], ["ADD"]) == []
    assert aligned(["Add (ND)"], []) == [None]


def test_the_macs_of_a_layer_are_counted_once(graph: Graph) -> None:
    """Two operators of one layer share its MACs; a layer whose operator was merged into the next gives it its own."""
    places = attribution.Places(graph)
    total = archlang.loads(TEXT).cost().total.macs
    assert sum(places.macs_of(["stem_act", "first.spatial", "first.mix_act", "second.body_act", "head"])) == total
    halves = places.macs_of(["stem/a", "stem/b"])
    assert halves[0] == halves[1] == 8 * 27 * 8 * 8 // 2
