"""A float model whose large convolutions multiply in eight bits: what calibration runs on where that is faster.

It is TensorFlow Lite's dynamic range quantization: weights are int8, and XNNPACK rounds the input of an operator by the
range that it has just then. All values stay floats, and their ranges are those of the float network to about a percent.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from archlang.backends.tflite import symmetric
from archlang.backends.tflite.model import INT8, Model, Operator, Quantization, Tensor
from archlang.backends.tflite.specification import WEIGHTED
from archlang.device import runner

_RUNTIME = "ai_edge_litert"
"""Whose kernels are fast; older ones round in loops that are slower than the floats."""

_PRODUCTS = 128
"""Each number of an input must meet so many weights for its rounding to pay; depthwise convolutions never pay."""

_DEPTH = 16
"""Channels of an input below which nothing is gained: the first layers keep floats."""

_SHARE = 0.75
"""Of all products, that such operators must have for the network to become much faster."""

_FEWEST_SAMPLES = 4
_FEWEST_MACS = 2e8
"""What makes up for the float network having to run once all the same."""


def hybrid(model: Model, samples: int) -> Model | None:
    """None where it would not be faster."""
    if samples < _FEWEST_SAMPLES or not _runs_hybrids():
        return None
    weighted = [op for op in model.operators if op.kind.name in WEIGHTED]
    chosen = [op for op in weighted if _pays(model, op)]
    macs, total = (sum(_macs(model, op) for op in ops) for ops in (chosen, weighted))
    if macs < max(_FEWEST_MACS, _SHARE * total):
        return None
    tensors = list(model.tensors)
    for op in chosen:
        tensors[op.inputs[1]] = _rounded(tensors[op.inputs[1]])
    return replace(model, tensors=tuple(tensors))


def _runs_hybrids() -> bool:
    """False where no runtime is installed too: whoever runs the model says so."""
    try:
        return runner.interpreter_class()[0].__module__.partition(".")[0] == _RUNTIME
    except runner.Failure:
        return False


def _pays(model: Model, op: Operator) -> bool:
    if op.kind.name != "CONV_2D" or op.precise:
        return False
    outputs, height, width, depth = model.tensors[op.inputs[1]].shape
    dense = depth == model.tensors[op.inputs[0]].shape[-1]
    return dense and depth >= _DEPTH and outputs * height * width >= _PRODUCTS


def _macs(model: Model, op: Operator) -> int:
    """Multiply-accumulates: each number that is made takes those of one filter."""
    weight = model.tensors[op.inputs[1]].shape
    filter_ = weight[1] * weight[2] if op.kind.name == "DEPTHWISE_CONV_2D" else prod(weight[1:])
    return prod(model.tensors[op.output].shape) * filter_


def _rounded(weight: Tensor) -> Tensor:
    scale = symmetric.scales(symmetric.peaks(weight.values, 0)).astype(np.float32)
    data = symmetric.quantized(weight.values, scale, 0)
    return replace(weight, dtype=INT8, data=data, quantization=Quantization(scale))
