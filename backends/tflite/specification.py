"""TFLite's quantization specification, as tables over the operators that are emitted here, and what differs between its
two schemes: activations of eight bits, and of sixteen.

https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_integer_quant_16x8
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from archlang.backends.tflite.model import INT8, INT16

Parameters = tuple[float, int]
"""Scale and zero point."""

SHARED = frozenset(
    {
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "MAX_POOL_2D",
        "PAD",
        "PADV2",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)
"""Operators whose inputs and output have one scale and one zero point. None of them makes a value beyond its inputs.

The specification lets RELU and RELU6 alone rescale. But finer steps would hold nothing that was not in the input's,
XNNPACK takes them only so, and tflite-micro's RELU6 gives wrong numbers otherwise."""

SMALLEST_SCALE = 1e-18
"""Runtimes refuse scales, and products of two of them, that are not normal float32 numbers."""


@dataclass(frozen=True)
class Scheme:
    """How a full-integer mode stores numbers.

    activation, bias: their types. fixed: operators whose output has a scale and zero point that never change.
    symmetric: whether every zero point is 0. largest_bias: what leaves the accumulator room for the products.
    precise: operators that kernels do not know in these types, which therefore keep floats.
    """

    activation: np.dtype[Any]
    bias: np.dtype[Any]
    fixed: Mapping[str, Parameters]
    largest_bias: float
    symmetric: bool = False
    precise: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def low(self) -> int:
        """The smallest stored value."""
        return int(np.iinfo(self.activation).min)

    @cached_property
    def high(self) -> int:
        """The largest stored value."""
        return int(np.iinfo(self.activation).max)

    def parameters(self, low: float, high: float, symmetric: bool = False, least: float = SMALLEST_SCALE) -> Parameters:
        """Scale and zero point that cover a range and hold zero exactly. least: the smallest scale to take."""
        low, high = min(low, 0.0), max(high, 0.0)
        if symmetric or self.symmetric:
            return float(np.float32(max(-low / self.high, high / self.high, least))), 0
        scale = float(np.float32(max((high - low) / (self.high - self.low), least)))
        steps = round(self.low - low / scale, 3)  # first: a range that is symmetric but for rounding has zero point 0
        return scale, max(self.low, min(self.high, round(steps)))

    def range_of(self, scale: float, zero_point: int) -> tuple[float, float]:
        """The smallest and the largest number that these parameters can store."""
        return scale * (self.low - zero_point), scale * (self.high - zero_point)


INT8_SCHEME = Scheme(
    INT8,
    np.dtype(np.int32),
    {"L2_NORMALIZATION": (1 / 128, 0), "LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)},
    largest_bias=2.0**30,
)
"""int8 activations, asymmetric. Half of what fits int32 is left for the products."""

INT16X8_SCHEME = Scheme(
    INT16,
    np.dtype(np.int64),
    dict.fromkeys(("LOGISTIC", "SOFTMAX", "TANH"), (1 / 32768, 0)),
    largest_bias=2.0**46,
    symmetric=True,
    precise=frozenset({"GELU", "L2_NORMALIZATION"}),
)
"""int16 activations, symmetric, under int8 weights. Kernels accumulate in 64 bits, of which they rescale 48."""

LEAST_SCALE: dict[str, float] = {
    "SOFTMAX": 2.0**-24,
    "LOGISTIC": 2.0**-24,
    "TANH": 2.0**-24,
    "HARD_SWISH": 2.0**-34,
}
"""Operators whose kernels shift by a negative number, or abort, where their input's scale is smaller. All of the first
three are constant to eight bits there."""

LEAST_SCALE_OF_RELU6 = 2.0**-26
"""Of an output that is cut at 6: a finer step would put 6 beyond what the kernels count with."""

LARGEST_SCALE_16: dict[str, float] = dict.fromkeys(("LOGISTIC", "TANH"), 2.5)
"""Operators whose int16 kernels keep three times 4096 times the scale of their input in an int16 number."""

SYMMETRIC: dict[str, int] = {"BATCH_MATMUL": 1}
"""Operators with an activation that is better off with zero point 0, and which input that is: XNNPACK wants it."""


@dataclass(frozen=True)
class Weighted:
    """An operator with weights: input 1 is the weight, input 2 the bias."""

    axis: int | None


WEIGHTED: dict[str, Weighted] = {
    "CONV_2D": Weighted(0),
    "DEPTHWISE_CONV_2D": Weighted(3),
    "FULLY_CONNECTED": Weighted(None),
}
"""Linear layers are quantized as a whole: runtimes before 2.16 and tflite-micro before 2024 take per-channel scales of
a FULLY_CONNECTED without complaint and apply the first to all channels."""
