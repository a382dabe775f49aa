"""Full-integer quantization: a float Model and the ranges of its tensors -> a Model of int8 or int16 tensors.

Operators that keep floats are fenced off (`fences`), tensors that must share a scale are put in groups (`groups`), each
group gets a scale, and tensors, weights and biases are quantized by it. The rules are in `specification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite import symmetric
from archlang.backends.tflite.bias import Means, shift
from archlang.backends.tflite.estimate import Range
from archlang.backends.tflite.fences import fenced
from archlang.backends.tflite.groups import Groups, grouped
from archlang.backends.tflite.model import FLOAT, INT8, INT16, Model, Operator, Quantization, Tensor
from archlang.backends.tflite.schema import RELU6, Activation
from archlang.backends.tflite.specification import (
    LARGEST_SCALE_16,
    LEAST_SCALE,
    LEAST_SCALE_OF_RELU6,
    SMALLEST_SCALE,
    WEIGHTED,
    Parameters,
    Scheme,
)
from archlang.errors import ArchError, fail

_LARGEST_SCALE = 1e18
"""The same from the other side."""

_SMALLEST_STEP = 2.0**-31
"""Runtimes take a step of the accumulator that is a smaller part of the output's for zero (`QuantizeMultiplier`)."""

_LARGEST_STEP = 64.0
"""Runtimes refuse operators one step of whose accumulator is many steps of the output (XNNPACK, HARD_SWISH: 128)."""


def to_integers(
    model: Model,
    ranges: Mapping[int, Range],
    scheme: Scheme,
    float_ends: bool = False,
    means: Means = MappingProxyType({}),
) -> Model:
    """model: float32, batch 1. ranges: of its tensors; those that share another's scale, or have one that is fixed, may
    be missing. float_ends: inputs and outputs stay float, with a QUANTIZE behind each and a DEQUANTIZE before.
    means: of what goes into the operators whose biases are to take back what rounded weights add."""
    with_fences, known = fenced(model, dict(ranges), float_ends)
    complete, known, groups = grouped(with_fences, known, scheme)
    scales = _Scales(complete, known | _constant_ranges(complete), groups, scheme)
    complete = replace(complete, operators=tuple(_with_options(op, scheme) for op in complete.operators))
    tensors = list(complete.tensors)
    for x in _activations(complete, float_ends):
        tensors[x] = replace(tensors[x], dtype=scheme.activation, quantization=_quantization(*scales.of(x)))
    for op in complete.operators:
        if op.precise:
            continue
        if op.kind.name in WEIGHTED:
            _quantize_weights(tensors, op, scales, means.get(op.inputs[1]))
        else:
            _quantize_operands(tensors, op, scales)
    return replace(complete, tensors=tuple(tensors))


def _activations(model: Model, float_ends: bool) -> list[int]:
    """Tensors that are computed, or fed, as integers."""
    fed = [] if float_ends else [x for _, x in model.inputs]
    return [*fed, *(op.output for op in model.operators if not op.precise)]


def _with_options(op: Operator, scheme: Scheme) -> Operator:
    """int16 sums are told that their scales are no powers of two."""
    if op.precise or scheme.activation != INT16 or "pot_scale_int16" not in op.kind.options:
        return op
    return replace(op, options={**op.options, "pot_scale_int16": False})


def _quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), zero_point)


def _constant_ranges(model: Model) -> dict[int, Range]:
    """Of constants that are quantized as activations are. That which pads before a maximum is the lowest value of any
    scale, and asks for no range."""
    ranges: dict[int, Range] = {}
    for op in model.operators:
        if op.precise or op.kind.name in WEIGHTED or op.kind.name == "PADV2":
            continue
        for x in op.inputs:
            data = model.tensors[x].data
            if data is not None and data.dtype == FLOAT:
                ranges[x] = (float(data.min()), float(data.max()))
    return ranges


# Scales.


class _Scales:
    """Scale and zero point of every group, scales of every weight."""

    def __init__(self, model: Model, ranges: Mapping[int, Range], groups: Groups, scheme: Scheme) -> None:
        self.model, self.groups, self.scheme = model, groups, scheme
        self.ranges: dict[int, Range] = {}
        self.least = _least_scales(model, groups)
        for x, (low, high) in ranges.items():
            root = groups.find(x)
            known = self.ranges.get(root, (low, high))
            self.ranges[root] = min(known[0], low), max(known[1], high)
        self.peaks = {op.output: _peaks(model, op) for op in model.operators if op.kind.name in WEIGHTED}
        self.widen()

    def of(self, x: int) -> Parameters:
        root = self.groups.find(x)
        if root in self.groups.fixed:
            return self.groups.fixed[root]
        least = self.least.get(root, SMALLEST_SCALE)
        return self.scheme.parameters(*self.ranges[root], symmetric=root in self.groups.symmetric, least=least)

    def weight(self, op: Operator) -> NDArray[np.float32]:
        """The weight's scales, never so fine that the bias overflows, or that runtimes take a step for nothing."""
        weights, biases = self.peaks[op.output]
        x = self.of(op.inputs[0])[0]
        for_bias = biases / (x * self.scheme.largest_bias)
        least = max(SMALLEST_SCALE, self.of(op.output)[0] * _SMALLEST_STEP / x)
        return np.maximum(np.maximum(symmetric.scales(weights), for_bias), least).astype(np.float32)

    def widen(self) -> None:
        """Make the scales of outputs coarse enough for what their operators accumulate: only values that are zero, or
        next to nothing beside their operands, have finer ones."""
        for _ in range(4):  # a group may reach back to earlier operators, which then ask again
            changes = [self.widened(op) for op in self.model.operators if not op.precise]
            if not any(changes):
                return

    def widened(self, op: Operator) -> bool:
        root, needed = self.groups.find(op.output), self.step(op) / _LARGEST_STEP
        if needed > _LARGEST_SCALE:
            raise _too_large(op, needed)
        if self.scheme.activation == INT16 and op.kind.name in LARGEST_SCALE_16:
            self.check_fits(op)
        if root in self.groups.fixed or self.of(op.output)[0] >= float(np.float32(needed)):
            return False
        self.least[root] = needed
        return True

    def check_fits(self, op: Operator) -> None:
        scale = self.of(op.inputs[0])[0]
        if scale > LARGEST_SCALE_16[op.kind.name]:
            raise _too_large(op, scale)

    def step(self, op: Operator) -> float:
        """One step of the accumulator, in real numbers."""
        if op.kind.name == "QUANTIZE":
            return 0.0  # its input may be float
        scale = self.of(op.inputs[0])[0]
        if op.kind.name in WEIGHTED:
            return scale * float(self.weight(op).max())
        if op.kind.name in ("MUL", "BATCH_MATMUL"):
            return scale * self.of(op.inputs[1])[0]
        return max(scale, self.of(op.inputs[1])[0]) if op.kind.name in ("ADD", "SUB") else scale


def _too_large(op: Operator, step: float) -> ArchError:
    return fail(
        "E0812",
        f"`{op.node.name}` makes values too large to quantize: one step would be {step:g}",
        op.node.span,
        help="compile with `none` and look where they come from: the weights, or the scale of the inputs",
    )


def _least_scales(model: Model, groups: Groups) -> dict[int, float]:
    """By group, what its operators' kernels ask for."""
    least: dict[int, float] = {}
    for op in model.operators:
        wanted = [(op.inputs[0], LEAST_SCALE.get(op.kind.name, 0.0))]
        if op.kind is RELU6 or op.options.get("activation") == Activation.RELU6:
            wanted.append((op.output, LEAST_SCALE_OF_RELU6))
        for x, scale in wanted:
            root = groups.find(x)
            least[root] = max(least.get(root, SMALLEST_SCALE), scale)
    return least


def _peaks(model: Model, op: Operator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest absolute weight and bias, by channel or of all."""
    axis = WEIGHTED[op.kind.name].axis
    weight, bias = model.tensors[op.inputs[1]].values, model.tensors[op.inputs[2]].values
    return symmetric.peaks(weight, axis), symmetric.peaks(bias, None if axis is None else 0)


# Values.


def _quantize_operands(tensors: list[Tensor], op: Operator, scales: _Scales) -> None:
    for x in op.inputs:
        tensor = tensors[x]
        if tensor.data is not None and tensor.dtype == FLOAT:
            tensors[x] = _operand(tensor, tensor.data, scales.scheme, *scales.of(x))


def _operand(tensor: Tensor, data: NDArray[np.float32], scheme: Scheme, scale: float, zero_point: int) -> Tensor:
    steps = np.clip(np.rint(data.astype(np.float64) / scale) + zero_point, scheme.low, scheme.high)
    stored = steps.astype(scheme.activation)
    return replace(tensor, dtype=scheme.activation, data=stored, quantization=_quantization(scale, zero_point))


def _quantize_weights(tensors: list[Tensor], op: Operator, scales: _Scales, mean: NDArray[np.float64] | None) -> None:
    """mean: of the operator's input, where its bias is to be corrected."""
    axis = WEIGHTED[op.kind.name].axis
    x, w, b = op.inputs
    weight, bias, scale = tensors[w].values, tensors[b].values.astype(np.float64), scales.weight(op)
    steps = symmetric.quantized(weight, scale, axis)
    if mean is not None:
        bias -= shift(tensors, op, symmetric.restored(steps, scale, axis) - weight, mean)
    tensors[w] = replace(tensors[w], dtype=INT8, data=steps, quantization=Quantization(scale, 0, axis or 0))
    product = np.float32(scales.of(x)[0]) * scale
    stored = np.rint(bias / product).astype(scales.scheme.bias)
    tensors[b] = replace(tensors[b], dtype=scales.scheme.bias, data=stored, quantization=Quantization(product))
