"""Peak activation memory: against the lifetimes in the TFLite file, and against the arena that tflite-micro reports.

What the arena needs is the peak, plus the gaps that its greedy planner leaves between buffers: nothing else, to the
byte. `archlang cost` shows the peak; the gaps are what docs/graph.md calls its tolerance.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import archlang
from archlang.cost import cost
from archlang.errors import ArchError
from archlang.ops import Op, ShapeError
from tests.backends import tflite_arena
from tests.backends.drawing import ONE_OP
from tests.backends.tflite_dump import FileModel, parse
from tests.backends.tflite_run import compile_tflite

MOBILE = """\
from std.mobile import mbconv

net Mobile(width=0.35):
  fn ch(c) = round_to(c * width, 8)
  default conv(norm=bn, act=relu6)
  input 3x96x96
  conv(ch(32), 3, s=2) as stem
  table mbconv:
    | e | c -> ch | n | s |
    | 1 |      16 | 1 | 1 |
    | 6 |      24 | 2 | 2 |
    | 6 |      32 | 3 | 2 |
    | 6 |      64 | 4 | 2 |
    | 6 |      96 | 3 | 1 |
    | 6 |     160 | 3 | 2 |
    | 6 |     320 | 1 | 1 |
  conv(1280, 1) as head
  gap -> linear(1000)
"""

RESIDUAL = """\
block basic(c, s=1 once):
  residual(project=conv(c, 1, s=s, act=none)) -> relu:
    conv(c, 3, s=s)
    conv(c, 3, act=none)

net Residual:
  default conv(norm=bn, act=relu)
  input 3x32x32
  conv(16, 3)
  basic(16) * 3
  basic(32, s=2) * 3
  basic(64, s=2) * 3
  gap -> linear(10)
"""

BRANCHES = """\
block inception(a, b, c, d):
  concat:
    conv(a, 1)
    conv(b, 1) -> conv(b, 3)
    conv(c, 1) -> conv(c, 5)
    maxpool(3) -> conv(d, 1)

net Branches:
  default conv(norm=bn, act=relu)
  input 3x48x48
  conv(16, 3, s=2)
  inception(8, 16, 8, 8)
  inception(16, 24, 8, 8)
  maxpool(3, s=2)
  inception(16, 24, 16, 8)
  gap -> linear(10)
"""

DENSE = """\
block layer(growth):
  concat:
    skip
    branch:
      bn -> relu -> conv(growth, 3, norm=none)

net Dense:
  default conv(act=none)
  input 3x32x32
  conv(8, 3)
  layer(8) * 4
  avgpool(2, s=2)
  layer(8) * 4
  gap -> linear(10)
"""

NETS = {"mobile": MOBILE, "residual": RESIDUAL, "branches": BRANCHES, "dense": DENSE}
SPECS = {**NETS, "squeezed": "zoo:efficientnet:b0", "unet": "zoo:unet", "lenet": "zoo:lenet"}
MODES = ("none", "int8")
DOCUMENT = Path(__file__).parents[2] / "docs" / "graph.md"
"""Which has the int8 figures in a table."""

PLANNED = ("mobile", "residual", "branches", "dense", "squeezed", "lenet")
GAPS = 0.36
"""Of the peak: the most that the planner's gaps come to in these networks (`residual`: 17,424 on 49,152 bytes). It
places a PAD, being the largest, first; what lives at the same time comes after it, and shifts all that comes later."""


@cache
def net_of(name: str) -> archlang.Net:
    if name in NETS:
        return archlang.loads(NETS[name])
    return archlang.load(SPECS[name], res=64) if name == "squeezed" else archlang.load(SPECS[name])


@cache
def compiled(name: str, quantize: str) -> bytes:
    return compile_tflite(net_of(name).graph, None, quantize).data


def peak_of(name: str, quantize: str) -> int:
    found = net_of(name).cost()
    return found.peak_memory_int8_bytes if quantize == "int8" else found.peak_memory_bytes


def lifetimes(model: FileModel) -> int:
    return tflite_arena.most_alive(tflite_arena.tensors(model))


@pytest.mark.parametrize("quantize", MODES)
@pytest.mark.parametrize("name", SPECS)
def test_peak_is_that_of_the_files_tensors(name: str, quantize: str) -> None:
    assert peak_of(name, quantize) == lifetimes(parse(compiled(name, quantize)))


@pytest.mark.skipif(find_spec("tflite_micro") is None, reason="needs tflite_micro")
@pytest.mark.parametrize("quantize", MODES)
@pytest.mark.parametrize("name", PLANNED)
def test_arena_of_tflite_micro_is_the_peak_and_the_planners_gaps(
    name: str, quantize: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = compiled(name, quantize)
    model = parse(data)
    buffers = [buffer.aligned for buffer in tflite_arena.tensors(model) + tflite_arena.scratch(model)]
    head = tflite_arena.head(data, capfd)
    assert head == tflite_arena.planned(buffers)
    peak = peak_of(name, quantize)
    assert 1 <= head / peak <= 1 + GAPS
    if quantize == "int8":
        assert f"| {peak:,} | {head:,} |" in DOCUMENT.read_text(encoding="utf-8")


LAYER_NORM = """\
net Tokens:
  input 3x32x32
  conv(48, 8, s=8, norm=none) -> rearrange("b c h w -> b (h w) c")
  residual: layernorm -> attention(3)
  residual: layernorm -> linear(192) -> relu -> linear(48)
  gap -> linear(10)
"""

RESPONSE_NORM = """\
net Lrn:
  input 3x32x32
  conv(16, 3, norm=none) -> relu -> lrn(5) -> maxpool(2, s=2)
  conv(16, 3, norm=none) -> relu -> gap -> linear(10)
"""


def test_floats_inside_an_int8_model_count_four_bytes() -> None:
    graph = archlang.loads(RESPONSE_NORM).graph
    found, wanted = cost(graph), 16 * 32 * 32
    assert found.peak_memory_int8_bytes == lifetimes(parse(compile_tflite(graph, None, "int8").data))
    assert found.peak_memory_int8_bytes == 2 * 4 * wanted  # of the norm: its input and its output
    assert found.peak_memory_bytes == 2 * 4 * wanted


def test_columns_of_a_layer_norm_are_all_that_is_left_out() -> None:
    """Its mean and its deviation for each token, two more floats a token."""
    graph = archlang.loads(LAYER_NORM).graph
    tokens = next(node.type.shape[0] for node in graph.nodes if node.op.name == "layernorm")
    for quantize, peak in (("none", cost(graph).peak_memory_bytes), ("int8", cost(graph).peak_memory_int8_bytes)):
        left_out = lifetimes(parse(compile_tflite(graph, None, quantize).data)) - peak
        assert 0 <= left_out <= 2 * 4 * tokens


@pytest.mark.parametrize("kind", ONE_OP, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_the_ops_that_keep_floats_are_those_of_the_backend(kind: type[Op], data: st.DataObject) -> None:
    try:
        graph = data.draw(ONE_OP[kind]).graph()
        file = parse(compile_tflite(graph, None, "int8").data)
    except (ShapeError, ArchError):  # a kernel larger than its input, attributes that TFLite cannot express
        reject()
    found = any(file.tensors[op.output].dtype == np.float32 for op in file.operators)
    assert found == kind.keeps_float
