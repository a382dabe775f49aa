"""Peak activation memory of small networks, counted by hand. tests/backends/test_arena.py compares it with runtimes."""

from __future__ import annotations

import pytest

import archlang
from archlang.memory import FLOAT32, INT8, most_alive, peak_memory

NETS = {
    "an op's input and output": ("conv(4, 1)", 3 * 64 + 4 * 64),
    "norm and relu are part of the convolution": ("conv(8, 1, norm=bn, act=relu)", 3 * 64 + 8 * 64),
    "an activation apart is not": ("conv(8, 1) -> sigmoid", 2 * 8 * 64),
    "swish makes its sigmoid first": ("conv(8, 1) -> swish", 3 * 8 * 64),
    "a shortcut lives on": ("conv(4, 1)\n  residual:\n    conv(8, 1)\n    conv(4, 1)", (4 + 8 + 4) * 64),
    "three summands are added two at a time": (
        "conv(4, 1)\n  add:\n    skip\n    conv(4, 1)\n    conv(4, 1)",
        4 * 4 * 64,
    ),
    "the padding at stride 2 is a copy": ("conv(2, 3, s=2)", 3 * 64 + 3 * 81),
    "that of TensorFlow is not": ("conv(2, 3, s=2, pad=same)", 3 * 64 + 2 * 16),
    "a flattened image is the image": ("maxpool(2, s=2) -> flatten -> linear(2)", 3 * 64 + 3 * 16),
    "training makes nothing": ("conv(4, 1) -> dropout(0.5)\n  aux head: gap -> linear(50)", (3 + 4) * 64),
}


@pytest.mark.parametrize("name", NETS)
def test_elements_alive_at_once(name: str) -> None:
    steps, elements = NETS[name]
    found = archlang.loads(f"net A:\n  input 3x8x8\n  {steps}\n").cost()
    assert (found.peak_memory_bytes, found.peak_memory_int8_bytes) == (4 * elements, elements)


def test_an_op_that_keeps_floats_reads_and_makes_floats() -> None:
    graph = archlang.loads("net A:\n  input 4x8x8\n  lrn(5)\n  conv(2, 1)\n").graph
    assert peak_memory(graph, FLOAT32) == (4 + 4) * 64 * 4
    assert peak_memory(graph, INT8) == (4 + 4) * 64 * 4


def test_the_conversion_is_made_once_for_all_readers() -> None:
    graph = archlang.loads("net A:\n  input 4x8x8\n  add:\n    lrn(5)\n    lrn(3)\n").graph
    floats = 4 * 64 * 4
    assert peak_memory(graph, INT8) == 3 * floats  # the input as floats, and both results


def test_inputs_live_from_the_start_and_outputs_to_the_end() -> None:
    assert most_alive([5, 1, 1, 3], [(), (0,), (1,), (2,)], [3]) == 6
    assert most_alive([5, 1, 1, 3], [(), (0,), (1,), (2,)], [1, 3]) == 6
    assert most_alive([1, 1, 1, 3], [(), (0,), (1,), (2,)], [0, 1, 3]) == 6
    assert most_alive([1, 7, 1], [(), (), (0,)], [2]) == 8
