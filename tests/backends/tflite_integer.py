"""A plain NumPy reference of TFLite's quantization specification, operator by operator, of int8 and int16 activations.

Each rule turns stored integers into real numbers by the scales and zero points in the file, or accumulates the integers
themselves, computes in float64, and rounds to the output's steps. Kernels differ from it, and among themselves, by how
they round: by one step. What else they may differ by is in `BOUNDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.backends.tflite_dump import FileOperator, FileTensor

Array = NDArray[Any]
Rule = Callable[[FileOperator, Sequence[FileTensor], FileTensor, Sequence[Array]], Array]
"""rule(operator, inputs, output, the inputs' values): the output's values, real or already in steps."""

_LIMITS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 3: (0.0, 6.0)}


INTEGERS = (np.int8, np.int16)

FLOATS = frozenset({"DEQUANTIZE", "LOCAL_RESPONSE_NORMALIZATION", "RSQRT", "SQUARED_DIFFERENCE"})
"""Operators that are written with float results only, in every mode: no integer rules are needed."""

BOUNDS: dict[tuple[str, str, str], int] = {}
"""Steps by which kernels may be off, where it is not one: operator, type, kernels.

LOGISTIC and TANH of sixteen bits are read from a table and interpolated. The optimized bilinear resize has coordinates
in float32, where the specification has them in 1 / 1024 of a pixel.
"""
for _kernels in ("builtin", "reference"):
    BOUNDS |= {(name, "int16", _kernels): 4 for name in ("LOGISTIC", "TANH")}
BOUNDS["RESIZE_BILINEAR", "int8", "builtin"] = 4


def bound(op: FileOperator, output: FileTensor, kernels: str) -> int:
    if op.name == "SOFTMAX" and output.dtype == np.int16:
        # The kernels' table of powers ends at exp(-10), 1.5 steps, which it holds as 2: each channel that is far below
        # the largest adds up to two steps to the sum. Over 2 to 256 channels that is what was found at the most.
        return max(2, 2 * (output.shape[-1] - 1))
    return BOUNDS.get((op.name, output.dtype.name, kernels), 1)


def evaluate(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    """What the operator makes of these stored values, as it is stored."""
    if op.name in _STEPS:
        steps = _STEPS[op.name](op, inputs, output, values)
        return np.clip(steps, *limits(output)).astype(output.dtype)
    low, high = _LIMITS[op.options.get("fusedActivationFunction", 0)]
    return stored(np.asarray(np.clip(_REAL[op.name](op, inputs, output, values), low, high)), output)


def covers(op: FileOperator, output: FileTensor) -> bool:
    """Whether there are integers for the operator to make. A KeyError in `evaluate` is then a rule that is missing."""
    return output.dtype in INTEGERS


def rules() -> set[str]:
    """The operators that there is a rule for."""
    return {*_STEPS, *_REAL}


def limits(tensor: FileTensor) -> tuple[int, int]:
    """The smallest and the largest value that it stores."""
    info = np.iinfo(tensor.dtype)
    return int(info.min), int(info.max)


def real(values: Array, tensor: FileTensor) -> Array:
    if tensor.dtype not in INTEGERS:
        return values.astype(np.float64)
    scale, zero_point = tensor.parameters
    return np.asarray((values.astype(np.float64) - zero_point) * scale)


def stored(values: Array, tensor: FileTensor) -> Array:
    scale, zero_point = tensor.parameters
    assert tensor.dtype != np.int16 or zero_point == 0
    return np.asarray(np.clip(np.floor(values / scale + 0.5) + zero_point, *limits(tensor)), tensor.dtype)


def _reals(inputs: Sequence[FileTensor], values: Sequence[Array]) -> list[Array]:
    return [real(value, tensor) for value, tensor in zip(values, inputs, strict=True)]


# Windows.


def _patches(x: Array, op: FileOperator, kernel: tuple[int, int], empty: float) -> Array:
    """(H', W', kernel rows, kernel columns, C) of an image (1, H, W, C), padded with `empty` as SAME or VALID say."""
    o = op.options
    stride, dilation = (o["strideH"], o["strideW"]), (o.get("dilationHFactor", 1), o.get("dilationWFactor", 1))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    pads = [
        _same(n, r, s) if o["padding"] == 0 else (0, 0) for n, r, s in zip(x.shape[1:3], reach, stride, strict=True)
    ]
    padded = np.pad(x[0].astype(np.float64), [*pads, (0, 0)], constant_values=empty)
    views: Array = np.lib.stride_tricks.sliding_window_view(padded, reach, (0, 1))
    taken = views[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(taken, 2, -1)


def _same(size: int, reach: int, stride: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def _accumulated(
    sums: Array, op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]
) -> Array:
    """Sums of products and the bias, as real numbers."""
    assert inputs[1].dtype == np.int8
    assert inputs[2].dtype == (np.int64 if inputs[0].dtype == np.int16 else np.int32)
    assert not inputs[1].zero_point.any()
    assert not inputs[2].zero_point.any()
    scale = inputs[0].parameters[0] * inputs[1].scale.astype(np.float64)
    np.testing.assert_allclose(inputs[2].scale, scale, rtol=1e-6)
    total = sums + values[2].astype(np.int64)
    assert np.abs(total).max() < (2**47 if inputs[0].dtype == np.int16 else 2**31)  # what kernels rescale
    return total * scale


def _conv(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    zero_point, weight = inputs[0].parameters[1], values[1].astype(np.float64)
    out, rows, columns, depth = weight.shape
    patches = _patches(values[0].astype(np.float64) - zero_point, op, (rows, columns), 0)
    groups = patches.shape[-1] // depth
    split = patches.reshape(*patches.shape[:-1], groups, depth)
    sums = np.einsum("hwrcgd,gorcd->hwgo", split, weight.reshape(groups, out // groups, rows, columns, depth))
    return _accumulated(sums.reshape(1, *patches.shape[:2], out), op, inputs, output, values)


def _depthwise(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    zero_point, weight = inputs[0].parameters[1], values[1][0].astype(np.float64)
    rows, columns, out = weight.shape
    patches = _patches(values[0].astype(np.float64) - zero_point, op, (rows, columns), 0)
    repeated = patches.repeat(op.options["depthMultiplier"], axis=-1)
    sums = np.einsum("hwrcd,rcd->hwd", repeated, weight)
    return _accumulated(sums.reshape(1, *patches.shape[:2], out), op, inputs, output, values)


def _fully_connected(
    op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]
) -> Array:
    weight = values[1].astype(np.float64)
    x = values[0].reshape(-1, weight.shape[1]).astype(np.float64) - inputs[0].parameters[1]
    return _accumulated(x @ weight.T, op, inputs, output, values).reshape(output.shape)


def _pool(op: FileOperator, x: Array, empty: float) -> Array:
    return _patches(x, op, (op.options["filterHeight"], op.options["filterWidth"]), empty)


def _average_pool(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    mean = np.nanmean(_pool(op, values[0], np.nan), axis=(2, 3))[None]
    return _activated(np.sign(mean) * np.floor(np.abs(mean) + 0.5), op, inputs[0], output)


def _max_pool(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    return _activated(_pool(op, values[0], -np.inf).max(axis=(2, 3))[None], op, inputs[0], output)


def _activated(steps: Array, op: FileOperator, x: FileTensor, output: FileTensor) -> Array:
    """Clipped by the fused activation. The input's scale must be the output's."""
    assert x.parameters == output.parameters
    scale, zero_point = output.parameters
    low, high = (limit / scale + zero_point for limit in _LIMITS[op.options["fusedActivationFunction"]])
    return np.clip(steps, np.round(low), np.round(high))


# Moves: the stored values as they are, so the scales must be equal.


def _moved(move: Callable[[FileOperator, Sequence[Array]], Array]) -> Rule:
    def rule(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
        quantized = [tensor for tensor in inputs if tensor.dtype in INTEGERS]
        assert all(tensor.parameters == output.parameters for tensor in quantized)
        return move(op, values).reshape(output.shape)

    return rule


def _pad(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    assert inputs[0].parameters == output.parameters
    empty = output.parameters[1] if op.name == "PAD" else int(values[2][0])
    return np.pad(values[0], values[1], constant_values=empty)


def _depth_to_space(op: FileOperator, values: Sequence[Array]) -> Array:
    x, block = values[0], op.options["blockSize"]
    batch, height, width, channels = x.shape
    table = x.reshape(batch, height, width, block, block, channels // block**2)
    return table.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * block, width * block, channels // block**2)


def _slice(op: FileOperator, values: Sequence[Array]) -> Array:
    return values[0][tuple(slice(b, b + n) for b, n in zip(values[1], values[2], strict=True))]


def _strided_slice(op: FileOperator, values: Sequence[Array]) -> Array:
    x, begin, end, stride = values
    return x[tuple(slice(b, e, s) for b, e, s in zip(begin, end, stride, strict=True))]


def _nearest(op: FileOperator, values: Sequence[Array]) -> Array:
    x, (height, width) = values[0], values[1]
    return x.repeat(height // x.shape[1], axis=1).repeat(width // x.shape[2], axis=2)


_STEPS: dict[str, Rule] = {
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _moved(lambda op, values: values[0]),
    "TRANSPOSE": _moved(lambda op, values: values[0].transpose(values[1])),
    "CONCATENATION": _moved(lambda op, values: np.concatenate(values, axis=op.options["axis"])),
    "DEPTH_TO_SPACE": _moved(_depth_to_space),
    "SLICE": _moved(_slice),
    "STRIDED_SLICE": _moved(_strided_slice),
    "RESIZE_NEAREST_NEIGHBOR": _moved(_nearest),
}
"""Operators that compute in the steps of their input, which are those of their output."""


def _fixed(function: Callable[[Array], Array], scale: float, zero_point: int) -> Rule:
    """A result whose scale is fixed: as given for int8, 1 / 32768 about zero for int16."""

    def rule(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
        assert output.parameters == ((1 / 32768, 0) if output.dtype == np.int16 else (scale, zero_point))
        return function(real(values[0], inputs[0]))

    return rule


def _each(function: Callable[..., Array]) -> Rule:
    return lambda op, inputs, output, values: function(*_reals(inputs, values))


def _leaky_relu(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    x = real(values[0], inputs[0])
    return np.asarray(np.where(x >= 0, x, op.options["alpha"] * x))


def _mean(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    return np.asarray(real(values[0], inputs[0]).mean(axis=tuple(values[1]))).reshape(output.shape)


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _matrix_product(
    op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]
) -> Array:
    x, y = _reals(inputs, values)
    return np.asarray(x @ (y.swapaxes(-1, -2) if op.options["adjY"] else y))


def _unit_length(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), 1e-6))


def _bilinear(op: FileOperator, inputs: Sequence[FileTensor], output: FileTensor, values: Sequence[Array]) -> Array:
    """Between pixel centres. The specification has coordinates in 1 / 1024 of a pixel."""
    assert op.options["halfPixelCenters"]
    assert inputs[0].parameters == output.parameters
    rows, columns = (_weights(n, int(m)) for n, m in zip(values[0].shape[1:3], values[1], strict=True))
    mixed = np.einsum("yh,xw,bhwc->byxc", rows, columns, values[0].astype(np.float64))
    return np.asarray(np.floor(np.abs(mixed) + 0.5) * np.sign(mixed))


def _weights(size: int, wanted: int) -> Array:
    """(wanted, size): how much of each old row is in each new one."""
    step = (1024 * size + wanted // 2) // wanted
    places = np.arange(wanted) * step + step // 2 - 512
    first = np.clip(places // 1024, 0, size - 1)
    second = np.clip(-(-places // 1024), 0, size - 1)
    share = (places - 1024 * first) / 1024
    found = np.zeros((wanted, size))
    np.add.at(found, (np.arange(wanted), first), 1 - share)
    np.add.at(found, (np.arange(wanted), second), share)
    return found


_STEPS["RESIZE_BILINEAR"] = _bilinear

_REAL: dict[str, Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _each(np.add),
    "SUB": _each(np.subtract),
    "MUL": _each(np.multiply),
    "BATCH_MATMUL": _matrix_product,
    "MEAN": _mean,
    "RELU": _each(lambda x: np.maximum(x, 0)),
    "RELU6": _each(lambda x: np.clip(x, 0, 6)),
    "LEAKY_RELU": _leaky_relu,
    "HARD_SWISH": _each(lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "GELU": _each(lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / 2**0.5))),
    "LOGISTIC": _fixed(lambda x: 1 / (1 + np.exp(-x)), 1 / 256, -128),
    "L2_NORMALIZATION": _fixed(_unit_length, 1 / 128, 0),
    "TANH": _fixed(np.tanh, 1 / 128, 0),
    "SOFTMAX": _fixed(_softmax, 1 / 256, -128),
    "QUANTIZE": _each(lambda x: x),
}
"""Operators whose result is rounded to the output's own steps."""
