"""What a model needs before its activations can be int16: operators without such a kernel become several that have one,
or keep floats (`Scheme.precise`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.model import Model, Operator, Tensor
from archlang.backends.tflite.schema import ADD, MUL, RESHAPE, TRANSPOSE, Activation, Builtin
from archlang.backends.tflite.specification import INT16X8_SCHEME


def expanded(model: Model) -> Model:
    """The same numbers, from operators that int16 kernels know; those that cannot be had so are marked precise."""
    draft = _Expansion(list(model.tensors))
    for op in model.operators:
        _EXPANSIONS.get(op.kind.name, _as_it_is)(draft, op)
    return replace(model, tensors=tuple(draft.tensors), operators=tuple(draft.operators))


class _Expansion:
    """A model that is being rewritten, operator by operator."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.operators: list[Operator] = []

    def constant(self, op: Operator, label: str, data: NDArray[np.generic]) -> int:
        self.tensors.append(Tensor(f"{op.node.name}/{label}", data.shape, data.dtype, data))
        return len(self.tensors) - 1

    def emit(self, op: Operator, kind: Builtin, inputs: tuple[int, ...], shape: Sequence[int], act: int = 0) -> int:
        """One operator in the place of `op`; the tensor that it makes."""
        name = f"{op.node.name}/{kind.name.lower()}_{len(self.operators)}"
        self.tensors.append(Tensor(name, tuple(shape)))
        self.put(op, kind, inputs, len(self.tensors) - 1, act)
        return len(self.tensors) - 1

    def put(self, op: Operator, kind: Builtin, inputs: tuple[int, ...], output: int, act: int = 0) -> None:
        options = {"activation": act} if "activation" in kind.options else {}
        self.operators.append(Operator(kind, inputs, output, options, op.node))


def _as_it_is(draft: _Expansion, op: Operator) -> None:
    draft.operators.append(replace(op, precise=op.precise or op.kind.name in INT16X8_SCHEME.precise))


def _hard_swish(draft: _Expansion, op: Operator) -> None:
    """x * (relu6(x + 3) / 6)."""
    (x,), shape = op.inputs, draft.tensors[op.output].shape
    three = draft.constant(op, "three", np.array([3.0], np.float32))
    sixth = draft.constant(op, "sixth", np.array([1 / 6], np.float32))
    gate = draft.emit(op, MUL, (draft.emit(op, ADD, (x, three), shape, Activation.RELU6), sixth), shape)
    draft.put(op, MUL, (x, gate), op.output)


def _depth_to_space(draft: _Expansion, op: Operator) -> None:
    """A channel is (row, column, rest) of its block, so a row of blocks is a table of pixels by rows of the block: to
    swap those two is all, and takes four dimensions."""
    (x,), block = op.inputs, int(op.options["block_size"])
    _, height, width, channels = draft.tensors[x].shape
    table = (height, width, block, channels // block)
    turned = (height, block, width, channels // block)
    rows = draft.emit(op, RESHAPE, (x, draft.constant(op, "table", np.array(table, np.int32))), table)
    order = draft.constant(op, "order", np.array([0, 2, 1, 3], np.int32))
    shape = draft.constant(op, "shape", np.array(draft.tensors[op.output].shape, np.int32))
    draft.put(op, RESHAPE, (draft.emit(op, TRANSPOSE, (rows, order), turned), shape), op.output)


_EXPANSIONS: dict[str, Callable[[_Expansion, Operator], None]] = {
    "DEPTH_TO_SPACE": _depth_to_space,
    "HARD_SWISH": _hard_swish,
}
"""Operator -> what puts others in its place. All that is not listed stays."""
