"""Bias correction of operators: what has to be known of their inputs, and what rounded weights add to their biases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite import schema
from archlang.backends.tflite.model import Model, Operator, Tensor
from archlang.backends.tflite.specification import WEIGHTED
from archlang.quantize import bias

Means = Mapping[int, NDArray[np.float64]]
"""By the tensor of an operator's weights, the mean of its input, as `quantize.calibrate.Seen` has it."""

_BORDER = 8
"""Of a map so many times the reach of a kernel, the borders say little: its mean is taken over all positions."""


def inputs(model: Model) -> dict[int, bool]:
    """What has to be seen of the inputs of the operators with weights, and whether the mean over all positions is
    enough for all of them. Of a padded input that is the value before: XNNPACK pads inside of the convolution, unless
    somebody looks at what it padded."""
    found: dict[int, bool] = {}
    pads = _pads(model)
    for op in weighted(model):
        x = op.inputs[0]
        x = pads[x].inputs[0] if x in pads else x
        found[x] = found.get(x, True) and _is_position_free(model.tensors, op)
    return found


def means(model: Model, seen: Mapping[int, NDArray[np.float64]]) -> Means:
    """seen: the mean of each of `inputs`."""
    pads = _pads(model)
    padded = {x: _padded(model, pad, seen[pad.inputs[0]]) for x, pad in pads.items() if pad.inputs[0] in seen}
    return {op.inputs[1]: {**seen, **padded}[op.inputs[0]] for op in weighted(model)}


def _pads(model: Model) -> dict[int, Operator]:
    """What puts zeros around images, by the tensor that it makes."""
    return {op.output: op for op in model.operators if op.kind is schema.PAD and not op.precise}


def _padded(model: Model, pad: Operator, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    if mean.shape[:2] == (1, 1):
        inside, whole = (model.tensors[x].shape for x in (pad.inputs[0], pad.output))
        return np.asarray(mean * (inside[1] * inside[2] / (whole[1] * whole[2])))
    return np.pad(mean, model.tensors[pad.inputs[1]].values[1:])


def weighted(model: Model) -> list[Operator]:
    return [op for op in model.operators if op.kind.name in WEIGHTED and not op.precise]


def _is_position_free(tensors: tuple[Tensor, ...], op: Operator) -> bool:
    x, weight = (tensors[i].shape for i in op.inputs[:2])
    if op.kind is schema.FULLY_CONNECTED:
        return weight[-1] == x[-1]  # else it reads a map that was never flattened
    reach = (_BORDER * (_reach(weight[1 + axis], op, axis) - 1) for axis in (0, 1))
    return all(need <= size for need, size in zip(reach, x[1:3], strict=True))


def _reach(kernel: int, op: Operator, axis: int) -> int:
    return int(op.options[f"dilation_{'hw'[axis]}"]) * (kernel - 1) + 1


def shift(
    tensors: list[Tensor], op: Operator, error: NDArray[np.float32], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What the rounding errors of an operator's weights add to the mean of its channels."""
    if op.kind is schema.FULLY_CONNECTED:
        return bias.shift_of_linear(error, mean.reshape(-1, error.shape[-1]))
    if op.kind is schema.DEPTHWISE_CONV_2D:
        error = error.transpose(3, 1, 2, 0)  # (1, height, width, out) -> (out, height, width, 1)
    rows, columns = (_windows(tensors, op, axis) for axis in (0, 1))
    return bias.shift_of_convolution(error, mean, rows, columns)


def _windows(tensors: list[Tensor], op: Operator, axis: int) -> bias.Windows:
    """Along the rows (0) or the columns (1). SAME puts the odd element of its padding after the input."""
    size, kernel, count = (tensors[i].shape[1 + axis] for i in (*op.inputs[:2], op.output))
    stride, dilation = (int(op.options[f"{name}_{'hw'[axis]}"]) for name in ("stride", "dilation"))
    total = max(0, (count - 1) * stride + _reach(kernel, op, axis) - size)
    before = total // 2 if op.options["padding"] == schema.Padding.SAME else 0
    return bias.Windows(size, count, stride, dilation, before)
