"""Modes that store weights in fewer bits and compute in floats: `fp16` and `dynamic`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite import symmetric
from archlang.backends.tflite.model import INT8, Model, Operator, Quantization, Tensor
from archlang.backends.tflite.schema import DEQUANTIZE
from archlang.backends.tflite.specification import WEIGHTED

_HALF = np.dtype(np.float16)
_LARGEST_HALF = 65504.0
_SMALLEST_HALF = 2.0**-14
_FEWEST = 1024
"""Weights of a layer below which quantizing its input while it runs costs more than it saves (TensorFlow's limit)."""


def to_fp16(model: Model) -> Model:
    """Weights in half precision, each with a DEQUANTIZE before its operator. Delegates read them as they are. A layer
    whose weights are too large or too small for it keeps them as they are."""
    tensors, operators = list(model.tensors), list[Operator]()
    for op in model.operators:
        weight = tensors[op.inputs[1]] if op.kind.name in WEIGHTED else None
        if weight is not None and _fits_half(weight):
            tensors[op.inputs[1]] = replace(weight, data=None)
            operators.append(Operator(DEQUANTIZE, (len(tensors),), op.inputs[1], {}, op.node))
            data = weight.values.astype(np.float16)
            tensors.append(replace(weight, name=f"{weight.name}/half", dtype=_HALF, data=data))
        operators.append(op)
    return replace(model, tensors=tuple(tensors), operators=tuple(operators))


def _fits_half(weight: Tensor) -> bool:
    """Whether the largest weight is a normal half-precision number, so that what vanishes beside it is small."""
    largest = float(symmetric.peaks(weight.values, None)[0])
    return _SMALLEST_HALF <= largest <= _LARGEST_HALF or largest == 0


def to_dynamic(model: Model) -> Model:
    """int8 weights, by channel where runtimes know that; inputs are quantized while the network runs."""
    tensors = list(model.tensors)
    for op in model.operators:
        weight = tensors[op.inputs[1]] if op.kind.name in WEIGHTED else None
        if weight is not None and weight.values.size >= _FEWEST:
            tensors[op.inputs[1]] = _quantized(weight, weight.values, WEIGHTED[op.kind.name].axis)
    return replace(model, tensors=tuple(tensors))


def _quantized(weight: Tensor, data: NDArray[np.float32], axis: int | None) -> Tensor:
    scale = symmetric.scales(symmetric.peaks(data, axis)).astype(np.float32)
    stored = symmetric.quantized(data, scale, axis)
    return replace(weight, dtype=INT8, data=stored, quantization=Quantization(scale, 0, axis or 0))
