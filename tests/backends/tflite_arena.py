"""What tflite-micro reports of its arena, and what it is made of: a planner of our own over the file's lifetimes.

The rules are those of tensorflow/lite/micro: micro_allocation_info.cc (a tensor lives from the operator that makes it
to the last that reads it, inputs from the start, outputs to the end), memory_planner/greedy_memory_planner.cc (the
largest buffer first, each at the lowest offset where it meets none that lives at the same time), kernels/
reduce_common.cc (MEAN asks for an int32 accumulator an output, and two arrays of indices), micro_allocator.cc (sizes
are rounded up to 16).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from tests.backends.tflite_dump import FileModel, FileOperator

ALIGNMENT = 16


@dataclass(frozen=True)
class Buffer:
    """size in bytes; first, last: the operators (counted from 1) at which it is made and read last, 0 before all."""

    size: int
    first: int
    last: int

    @property
    def aligned(self) -> Buffer:
        return replace(self, size=-(-self.size // ALIGNMENT) * ALIGNMENT)


def tensors(model: FileModel) -> list[Buffer]:
    """The buffers of the tensors that are not constants."""
    first: dict[int, int] = dict.fromkeys(model.inputs, 0)
    last: dict[int, int] = dict.fromkeys(model.inputs, 0)
    for i, op in enumerate(model.operators, 1):
        first[op.output] = i
        last |= dict.fromkeys((*op.inputs, op.output), i)
    last |= dict.fromkeys(model.outputs, len(model.operators))
    return [Buffer(_bytes(model, x), first[x], last[x]) for x in sorted(first)]


def _bytes(model: FileModel, x: int) -> int:
    size = model.tensors[x].dtype.itemsize
    for n in model.tensors[x].shape:
        size *= n
    return size


def scratch(model: FileModel) -> list[Buffer]:
    """The buffers that kernels ask for beside their tensors."""
    return [Buffer(size, i, i) for i, op in enumerate(model.operators, 1) for size in _scratch(model, op)]


def _scratch(model: FileModel, op: FileOperator) -> list[int]:
    if op.name != "MEAN":
        return []
    x, axes = model.tensors[op.inputs[0]], model.tensors[op.inputs[1]]
    indices = [4 * len(x.shape), 4 * axes.shape[0]]
    return [4 * _bytes(model, op.output), *indices] if x.dtype.itemsize == 1 else indices


def most_alive(buffers: list[Buffer]) -> int:
    """The most bytes that live at the same operator."""
    ends = {buffer.first for buffer in buffers}
    return max(sum(buffer.size for buffer in buffers if buffer.first <= i <= buffer.last) for i in ends)


def planned(buffers: list[Buffer]) -> int:
    """The bytes that the greedy planner needs. Of equal sizes the one that was added last is placed first."""
    placed: list[tuple[int, Buffer]] = []
    for i in sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, -i)):
        buffer, offset = buffers[i], 0
        for start, other in sorted(placed, key=lambda item: item[0]):
            if other.first > buffer.last or buffer.first > other.last:
                continue
            if start - offset >= buffer.size:
                break
            offset = max(offset, start + other.size)
        placed.append((offset, buffer))
    return max(offset + buffer.size for offset, buffer in placed)


def head(data: bytes, capfd: pytest.CaptureFixture[str]) -> int:
    """The non-persistent part of the arena, as tflite-micro reports it."""
    from tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(data, arena_size=64_000_000)
    capfd.readouterr()
    made.print_allocations()
    report = capfd.readouterr().err
    found = re.search(r"Arena allocation head (\d+) bytes", report)
    assert found, report
    return int(found[1])
