"""What each op computes: two tables, op class -> function. Values have no batch; images are (C, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from archlang.evaluate import windows
from archlang.evaluate.windows import Array, Params
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Rescale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero

Elementwise = Callable[[Any, Params, Array, Array], object]
"""f(op, parameters, x, out) fills `out`, which may be x itself."""

Rule = Callable[..., Array]
"""f(op, parameters, *inputs) gives the value. It may be a view of an input."""


def channelwise(values: Array, x: Array) -> Array:
    """One value a channel, or a feature, in a shape that meets x."""
    return values[:, None, None] if x.ndim == 3 else values


# Elementwise: what may be computed in place.


def _affine(gain: Array, offset: Array, x: Array, out: Array) -> None:
    np.multiply(x, channelwise(gain.astype(x.dtype), x), out=out)
    np.add(out, channelwise(offset.astype(x.dtype), x), out=out)


def _batch_norm(op: BatchNorm, p: Params, x: Array, out: Array) -> None:
    """arXiv:1502.03167, algorithm 2."""
    deviation = np.sqrt(p["running_var"].astype(np.float64) + op.eps)
    gain = p["weight"] / deviation
    _affine(gain, p["bias"] - p["running_mean"] * gain, x, out)


def _sigmoid(op: Op, p: Params, x: Array, out: Array) -> None:
    np.negative(x, out=out)
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is the 0 that it should be
        np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _swish(op: Swish, p: Params, x: Array, out: Array) -> None:
    gate = np.empty_like(x)
    _sigmoid(op, p, x, gate)
    np.multiply(x, gate, out=out)


def _hard_sigmoid(op: Op, p: Params, x: Array, out: Array) -> None:
    np.add(x, 3, out=out)
    np.clip(out, 0, 6, out=out)
    np.divide(out, 6, out=out)


def _hard_swish(op: HardSwish, p: Params, x: Array, out: Array) -> None:
    gate = np.empty_like(x)
    _hard_sigmoid(op, p, x, gate)
    np.multiply(x, gate, out=out)


_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def erf(x: Array) -> Array:
    """To 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26)."""
    size = np.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    series = reduce(lambda total, factor: total * t + factor, _ERF[1:], np.full_like(x, _ERF[0]))
    return np.asarray(np.copysign(1 - series * t * np.exp(-(size**2)), x))


def _gelu(op: Gelu, p: Params, x: Array, out: Array) -> None:
    np.multiply(x, 0.5 * (1 + erf(x * np.asarray(0.5**0.5, x.dtype))), out=out)


ELEMENTWISE: dict[type[Op], Elementwise] = {
    BatchNorm: _batch_norm,
    Scale: lambda op, p, x, out: np.multiply(x, channelwise(p["weight"], x), out=out),
    Relu: lambda op, p, x, out: np.maximum(x, 0, out=out),
    Relu6: lambda op, p, x, out: np.clip(x, 0, 6, out=out),
    LeakyRelu: lambda op, p, x, out: np.copyto(out, np.where(x >= 0, x, x * np.asarray(op.slope, x.dtype))),
    Sigmoid: _sigmoid,
    Tanh: lambda op, p, x, out: np.tanh(x, out=out),
    Swish: _swish,
    HardSigmoid: _hard_sigmoid,
    HardSwish: _hard_swish,
    Gelu: _gelu,
    Rescale: lambda op, p, x, out: np.multiply(x, op.factor, out=out),
}


# All others.


def _linear(op: Linear, p: Params, x: Array) -> Array:
    y = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


def _channel_axis(x: Array) -> int:
    return 0 if x.ndim == 3 else -1


def _layer_norm(op: LayerNorm, p: Params, x: Array) -> Array:
    axis = _channel_axis(x)
    centred = x - x.mean(axis, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis, keepdims=True) + np.asarray(op.eps, x.dtype))
    return np.asarray(centred / spread * channelwise(p["weight"], x) + channelwise(p["bias"], x))


def _local_response_norm(op: LocalResponseNorm, p: Params, x: Array) -> Array:
    """The window of channel c is c - size // 2 to c + (size - 1) // 2, as in PyTorch."""
    before, after = op.size // 2, (op.size - 1) // 2
    squares = np.pad(x**2, ((before, after), (0, 0), (0, 0)))
    total = sum(squares[i : i + len(x)] for i in range(op.size))
    return np.asarray(x / (op.bias + op.alpha / op.size * total) ** op.beta, x.dtype)


def _l2_norm(op: L2Norm, p: Params, x: Array) -> Array:
    length = np.sqrt((x**2).sum(_channel_axis(x), keepdims=True))
    return np.asarray(x / np.maximum(length, np.asarray(op.eps, x.dtype)))


def _softmax(x: Array, axis: int) -> Array:
    y: Array = np.exp(x - x.max(axis, keepdims=True))
    y /= y.sum(axis, keepdims=True)
    return y


def _concat(op: Concat, p: Params, *xs: Array) -> Array:
    return np.concatenate(xs, 0 if op.axis == "tokens" else _channel_axis(xs[0]))


def _slice(op: Slice, p: Params, x: Array) -> Array:
    return x[op.start : op.stop] if x.ndim == 3 else x[..., op.start : op.stop]


def _shuffle(op: Shuffle, p: Params, x: Array) -> Array:
    return x.reshape(op.groups, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def _upsample(op: Upsample, p: Params, x: Array) -> Array:
    if op.mode == "nearest":
        return x.repeat(op.factor, 1).repeat(op.factor, 2)
    rows, columns = (_interpolation(size, op.factor).astype(x.dtype) for size in x.shape[1:])
    return np.asarray(rows @ x @ columns.T)


def _interpolation(size: int, factor: int) -> Array:
    """The matrix (factor * size, size) of linear interpolation between pixels' centres, the outermost held."""
    at = np.clip((np.arange(factor * size) + 0.5) / factor - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(size))))


def _crop(op: Crop, p: Params, x: Array) -> Array:
    top, left = (x.shape[1] - op.height) // 2, (x.shape[2] - op.width) // 2
    return x[:, top : top + op.height, left : left + op.width]


def _shift(op: Shift, p: Params, x: Array) -> Array:
    return windows.padded(x[:, op.by :, op.by :], (0, 0, op.by, op.by))


def _tokens(op: Tokens, p: Params, x: Array) -> Array:
    """b (a c) h w -> b (h w a) c."""
    parts = x.reshape(op.parts, -1, *x.shape[1:])
    return parts.transpose(2, 3, 0, 1).reshape(-1, parts.shape[1])


def _zero(op: Zero, p: Params, x: Array) -> Array:
    return np.zeros_like(x[:, :: op.stride, :: op.stride] if op.stride > 1 else x)


def _attention(op: Attention, p: Params, x: Array) -> Array:
    """arXiv:1706.03762, section 3.2, the heads at once."""
    tokens, features = x.shape
    size = features // op.heads
    mixed = x @ p["qkv.weight"].T + p["qkv.bias"]
    q, k, v = mixed.reshape(tokens, 3, op.heads, size).transpose(1, 2, 0, 3)
    scores = _softmax(q @ k.swapaxes(1, 2) * np.asarray(size**-0.5, x.dtype), -1)
    joined = (scores @ v).swapaxes(0, 1).reshape(tokens, features)
    return np.asarray(joined @ p["proj.weight"].T + p["proj.bias"])


RULES: dict[type[Op], Rule] = {
    Conv2d: windows.conv,
    ConvTranspose2d: windows.conv_transpose,
    MaxPool2d: windows.max_pool,
    AvgPool2d: windows.average_pool,
    GlobalAvgPool: lambda op, p, x: x.mean((1, 2), keepdims=True) if x.ndim == 3 else x.mean(0),
    Linear: _linear,
    RadialBasis: lambda op, p, x: ((x - p["weight"]) ** 2).sum(1),
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response_norm,
    L2Norm: _l2_norm,
    Softmax: lambda op, p, x: _softmax(x, _channel_axis(x)),
    Add: lambda op, p, *xs: reduce(np.add, xs),
    Mul: lambda op, p, *xs: reduce(np.multiply, xs),
    Mean: lambda op, p, *xs: reduce(np.add, xs) / len(xs),
    Concat: _concat,
    Flatten: lambda op, p, x: x.reshape(-1),
    Slice: _slice,
    Shuffle: _shuffle,
    Upsample: _upsample,
    Subsample: lambda op, p, x: x[:, :: op.stride, :: op.stride],
    Crop: _crop,
    Shift: _shift,
    Zero: _zero,
    Tokens: _tokens,
    Take: lambda op, p, x: x[op.index],
    Attention: _attention,
    ClassToken: lambda op, p, x: np.concatenate([p["weight"], x]),
    PosEmbed: lambda op, p, x: x + p["weight"],
}
