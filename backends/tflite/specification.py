"""TFLite's int8 quantization specification, as tables over the operators that are emitted here.

https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

from __future__ import annotations

from dataclasses import dataclass

SHARED = frozenset(
    {
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "MAX_POOL_2D",
        "PAD",
        "PADV2",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)
"""Operators whose inputs and output have one scale and one zero point. None of them makes a value beyond its inputs."""

FIXED: dict[str, tuple[float, int]] = {
    "L2_NORMALIZATION": (1 / 128, 0),
    "LOGISTIC": (1 / 256, -128),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
}
"""Operators whose output has a scale and zero point that never change."""

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
