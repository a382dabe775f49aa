"""The version that each operator asks its runtime for: the lowest one that knows what the operator does.

The numbers are those of TFLite's own table (`tools/versioning/op_version.cc`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archlang.backends.tflite.model import FLOAT, INT8, INT16, Model, Operator, Tensor

_INT8 = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "BATCH_MATMUL": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "GELU": 2,
    "L2_NORMALIZATION": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "RSQRT": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SQUARED_DIFFERENCE": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}
"""What an int8 input asks for; 1 where it is not listed. Rules below may ask for more."""

_INT16 = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 3,
    "CONCATENATION": 3,
    "DEQUANTIZE": 3,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "SOFTMAX": 3,
    "SUB": 5,
    "TANH": 3,
    "TRANSPOSE": 5,
}
"""The same for int16, under weights of int8: convolutions and linear layers ask for no more than for floats."""

_BASES = {INT8: _INT8, INT16: _INT16}

Rule = Callable[[Operator, Sequence[Tensor], Tensor], int]
"""rule(operator, inputs, output): the version that the operator needs for its own reasons."""


def _conv(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    x, weight = inputs[0], inputs[1]
    if x.shape[-1] != weight.shape[-1]:
        return 6  # grouped
    return _hybrid(inputs, per_tensor=2, per_channel=5)


def _depthwise(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    dilated = max(op.options["dilation_w"], op.options["dilation_h"]) > 1
    return max(2 if dilated else 1, _hybrid(inputs, per_tensor=4, per_channel=6))


def _fully_connected(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    return max(5 if op.options.get("keep_num_dims") else 1, _hybrid(inputs, per_tensor=3, per_channel=12))


def _hybrid(inputs: Sequence[Tensor], per_tensor: int, per_channel: int) -> int:
    """int8 weights under float activations."""
    x, weight = inputs[0], inputs[1]
    if x.dtype != FLOAT or weight.quantization is None:
        return 1
    return per_channel if len(weight.quantization.scale) > 1 else per_tensor


def _mul(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    """Version 3 knows products whose scale is larger than the output's."""
    if output.quantization is None or output.dtype != INT8:
        return 1
    scales = [tensor.quantization.parameters[0] for tensor in inputs if tensor.quantization]
    return 3 if scales[0] * scales[1] / output.quantization.parameters[0] >= 1 else 2


def _half_pixel(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    return 3 if op.options.get("half_pixel_centers") else 1


def _dequantize(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    return 3 if inputs[0].dtype == np.float16 else 1


def _quantize(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    return 2 if output.dtype == INT16 else 1


_RULES: dict[str, Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _fully_connected,
    "MUL": _mul,
    "QUANTIZE": _quantize,
    "RESIZE_BILINEAR": _half_pixel,
    "RESIZE_NEAREST_NEIGHBOR": _half_pixel,
}


def version(model: Model, op: Operator) -> int:
    """The version of one operator of a model."""
    inputs, output = [model.tensors[i] for i in op.inputs], model.tensors[op.output]
    base = _BASES.get(inputs[0].dtype, {}).get(op.kind.name, 1)
    rule = _RULES.get(op.kind.name)
    return max(base, rule(op, inputs, output)) if rule else base
