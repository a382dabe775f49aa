"""Plausible ranges of activations without running the network, for files whose latency is all that is asked for.

The mean and variance of each tensor are carried from the inputs (as of normalised images) to the outputs, as if values
were normal and weights independent of them: a sum of products has the mean square of its inputs times the sum of the
squared weights as its variance. A range is eight standard deviations to both sides of the mean, cut by what follows
from the operator: learnt weights agree with what they meet, and what is cut off is lost while coarse steps only blur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erf, exp, inf, pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.model import FLOAT, Model, Operator, Tensor
from archlang.backends.tflite.schema import Activation, Padding
from archlang.backends.tflite.specification import WEIGHTED

_DEVIATIONS = 8.0

_LARGEST = 1e9
"""Of a mean or a deviation."""

Range = tuple[float, float]
"""Smallest and largest value of a tensor."""


@dataclass(frozen=True)
class _Moments:
    """Mean and variance of a tensor, and bounds of its values."""

    mean: float
    variance: float
    low: float = -inf
    high: float = inf

    @property
    def square(self) -> float:
        """The mean square."""
        return self.mean**2 + self.variance

    @property
    def range(self) -> Range:
        reach = _DEVIATIONS * sqrt(self.variance)
        return max(self.low, self.mean - reach), min(self.high, self.mean + reach)


_INPUT = _Moments(0.0, 1.0, -3.0, 3.0)

_Rule = Callable[[Sequence[_Moments], Sequence[Tensor]], _Moments]


def _squared(values: NDArray[np.float32]) -> float:
    flat = values.reshape(-1)
    return float(np.dot(flat, flat))


def _weighted(xs: Sequence[_Moments], tensors: Sequence[Tensor]) -> _Moments:
    weight, bias = tensors[1].values, tensors[2].values
    return _Moments(0.0, (xs[0].square * _squared(weight) + _squared(bias)) / bias.size)


def _product(xs: Sequence[_Moments], tensors: Sequence[Tensor]) -> _Moments:
    mean = xs[0].mean * xs[1].mean
    return _Moments(mean, max(0.0, xs[0].square * xs[1].square - mean**2))


def _mixture(xs: Sequence[_Moments], tensors: Sequence[Tensor]) -> _Moments:
    """Of values side by side. The largest of them alone would do for the range (which the inputs share in the end), but
    what reads them would seem to grow with it: after some twenty cells of NASNet a hundred thousand times too much."""
    sizes = [prod(tensor.shape) for tensor in tensors]
    shares = [size / sum(sizes) for size in sizes]
    mean = sum(share * x.mean for share, x in zip(shares, xs, strict=True))
    square = sum(share * x.square for share, x in zip(shares, xs, strict=True))
    return _Moments(mean, max(0.0, square - mean**2), min(x.low for x in xs), max(x.high for x in xs))


def _rectified(x: _Moments, floor: float = 0.0, cap: float = inf) -> _Moments:
    """min(max(x, 0), cap) of a normal x, whose values stay above `floor`."""
    mean, square = _above(x, 0.0)
    if cap < inf:  # what lies above the cap is taken off: x becomes x - (x - cap), x ** 2 becomes cap ** 2
        excess, excess_square = _above(x, cap)
        mean, square = mean - excess, square - excess_square - 2 * cap * excess
    return _Moments(mean, max(0.0, square - mean**2), floor, max(0.0, min(x.range[1], cap)))


def _above(x: _Moments, start: float) -> tuple[float, float]:
    """Mean and mean square of max(x - start, 0) for a normal x."""
    mean, deviation = x.mean - start, sqrt(x.variance)
    if deviation == 0:
        return max(0.0, mean), max(0.0, mean) ** 2
    z = mean / deviation
    share, density = (1 + erf(z / sqrt(2))) / 2, exp(-(z**2) / 2) / sqrt(2 * pi)
    return mean * share + deviation * density, (mean**2 + x.variance) * share + mean * deviation * density


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(WEIGHTED, _weighted),
    "ADD": lambda xs, tensors: _Moments(xs[0].mean + xs[1].mean, xs[0].variance + xs[1].variance),
    "SUB": lambda xs, tensors: _Moments(xs[0].mean - xs[1].mean, xs[0].variance + xs[1].variance),
    "MUL": _product,
    "BATCH_MATMUL": lambda xs, tensors: _Moments(0.0, xs[0].square * xs[1].square * tensors[0].shape[-1]),
    "CONCATENATION": _mixture,
    "RELU": lambda xs, tensors: _rectified(xs[0]),
    "RELU6": lambda xs, tensors: _rectified(xs[0], cap=6.0),
    "HARD_SWISH": lambda xs, tensors: _rectified(xs[0], floor=-0.375),
    "GELU": lambda xs, tensors: _rectified(xs[0], floor=-0.17),
    "LOGISTIC": lambda xs, tensors: _Moments(0.5, 0.05, 0.0, 1.0),
    "SOFTMAX": lambda xs, tensors: _Moments(1 / tensors[0].shape[-1], tensors[0].shape[-1] ** -2.0, 0.0, 1.0),
    "L2_NORMALIZATION": lambda xs, tensors: _Moments(0.0, 1 / tensors[0].shape[-1], -1.0, 1.0),
    "TANH": lambda xs, tensors: _Moments(0.0, min(xs[0].variance, 1.0), -1.0, 1.0),
    "SQUARED_DIFFERENCE": lambda xs, tensors: _Moments(xs[0].square, 2 * xs[0].square ** 2, 0.0),
    "RSQRT": lambda xs, tensors: _Moments(1 / sqrt(max(xs[0].mean, 1e-6)), 0.0),
}
"""Operator -> the moments of its output; those of the first input where none is given (moves, pools, means)."""

_ARITHMETIC = frozenset({"ADD", "SUB", "MUL", "BATCH_MATMUL", "CONCATENATION", "SQUARED_DIFFERENCE"})
"""Operators all of whose inputs count alike, constants among them."""

_FUSED = {Activation.RELU: inf, Activation.RELU6: 6.0}


def estimated(model: Model) -> dict[int, Range]:
    """A range for every activation of a float model."""
    moments = {index: _INPUT for _, index in model.inputs}
    for op in model.operators:
        moments[op.output] = _plausible(_after(model, op, moments))
    return {index: moment.range for index, moment in moments.items()}


def _plausible(x: _Moments) -> _Moments:
    """What a trained network could make: hundreds of sums one after the other would double past all floats."""
    return _Moments(max(-_LARGEST, min(x.mean, _LARGEST)), min(x.variance, _LARGEST**2), x.low, x.high)


def _after(model: Model, op: Operator, moments: dict[int, _Moments]) -> _Moments:
    tensors = [model.tensors[i] for i in op.inputs]
    read = op.inputs if op.kind.name in _ARITHMETIC else op.inputs[:1]
    xs = [moments[i] if i in moments else _constant(model.tensors[i]) for i in read]
    xs = [_among_zeros(xs[0], _share_met(model, op)), *xs[1:]]
    rule = _RULES.get(op.kind.name)
    found = rule(xs, tensors) if rule else xs[0]
    fused = Activation(int(op.options.get("activation", Activation.NONE)))
    return _rectified(found, cap=_FUSED[fused]) if fused in _FUSED else found


def _among_zeros(x: _Moments, share: float) -> _Moments:
    """The values are `share` of all, the rest are zeros."""
    if share == 1:
        return x
    mean = share * x.mean
    return _Moments(mean, max(0.0, share * x.square - mean**2), min(x.low, 0.0), max(x.high, 0.0))


def _share_met(model: Model, op: Operator) -> float:
    """How many of the places that a convolution looks at hold values and not the zeros of the padding. In the last
    cells of NASNet kernels are as large as what they look at, and in most places there is nothing."""
    if op.kind.name == "PAD":
        return prod(model.tensors[op.inputs[0]].shape) / prod(model.tensors[op.output].shape)
    if op.options.get("padding") != Padding.SAME or op.kind.name not in WEIGHTED:
        return 1.0
    sizes, kernel = (model.tensors[i].shape[1:3] for i in op.inputs[:2])
    sides = zip(sizes, kernel, "hw", strict=True)
    return prod(
        _share_inside(n, k, int(op.options[f"stride_{side}"]), int(op.options[f"dilation_{side}"]))
        for n, k, side in sides
    )


def _share_inside(size: int, kernel: int, stride: int, dilation: int) -> float:
    """The same along one axis."""
    starts = stride * np.arange(-(-size // stride))
    taps = dilation * np.arange(kernel)
    padding = max(0, int(starts[-1] + taps[-1]) + 1 - size)
    places = starts[:, None] + taps - padding // 2
    return float(np.mean((places >= 0) & (places < size)))


def _constant(tensor: Tensor) -> _Moments:
    assert tensor.dtype == FLOAT
    mean = float(tensor.values.mean())
    return _Moments(mean, max(0.0, _squared(tensor.values) / tensor.values.size - mean**2))
