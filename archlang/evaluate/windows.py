"""Convolutions and pools in numpy. Images are (C, H, W), without a batch.

Work is cut into blocks that stay in the processor's cache: what an op needs beside its input and output is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from archlang.ir.types import TensorType
from archlang.ops.conv import Conv2d, ConvTranspose2d
from archlang.ops.pool import AvgPool2d, MaxPool2d, Pool2d

Array = NDArray[Any]
Params = Mapping[str, Array]

_COLUMNS = 1 << 20
"""Elements of the largest matrix of patches that is made at a time."""

_BLOCK = 1 << 15
"""Elements of a block of channels."""


def padded(x: Array, padding: tuple[int, int, int, int], value: float = 0.0) -> Array:
    """padding: top, left, bottom, right."""
    top, left, bottom, right = padding
    if not any(padding):
        return x
    c, h, w = x.shape
    y = np.full((c, top + h + bottom, left + w + right), value, x.dtype)
    y[:, top : top + h, left : left + w] = x
    return y


def conv(op: Conv2d, p: Params, x: Array) -> Array:
    """Cross-correlation, with the bias."""
    compute = _depthwise if op.groups == op.channels == len(x) else _grouped
    return _plus_bias(compute(op, p["weight"], padded(x, op.padding)), p)


def _plus_bias(y: Array, p: Params) -> Array:
    if "bias" in p:
        y += p["bias"][:, None, None]
    return y


def _out(op: Conv2d, x: Array) -> tuple[int, int]:
    spans = zip(x.shape[1:], op.kernel, op.stride, op.dilation, strict=True)
    height, width = ((size - dilation * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, dilation in spans)
    return height, width


def _grouped(op: Conv2d, weight: Array, x: Array) -> Array:
    """A matrix product per group and block of rows: weights times patches."""
    height, width = _out(op, x)
    kernels = weight.reshape(op.groups, op.channels // op.groups, -1)
    y = np.empty((op.groups, op.channels // op.groups, height, width), x.dtype)
    rows = max(1, _COLUMNS // (kernels.shape[2] * op.groups * width))
    for first in range(0, height, rows):
        patches = _patches(op, x, first, min(rows, height - first), width)
        y[:, :, first : first + rows] = (kernels @ patches).reshape(*y.shape[:2], -1, width)
    return y.reshape(op.channels, height, width)


def _patches(op: Conv2d, x: Array, first: int, rows: int, width: int) -> Array:
    """What the kernel covers at each output position of some rows: (groups, C / groups * kernel, rows * width)."""
    start, step = first * op.stride[0], op.stride[1]
    reach = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(op.kernel, op.dilation, strict=True)]
    part = x[:, start : start + (rows - 1) * op.stride[0] + reach[0], : (width - 1) * step + reach[1]]
    seen = sliding_window_view(part, reach, axis=(1, 2))
    seen = seen[:, :: op.stride[0], ::step, :: op.dilation[0], :: op.dilation[1]]
    patches: Array = seen.transpose(0, 3, 4, 1, 2).reshape(op.groups, -1, rows * width)
    return patches


def _depthwise(op: Conv2d, weight: Array, x: Array) -> Array:
    """A multiplication and an addition of all positions for each element of the kernel."""
    height, width = _out(op, x)
    y = np.zeros((op.channels, height, width), x.dtype)
    for part in _blocks(op.channels, height * width):
        scratch = np.empty_like(y[part])
        for row, column, seen in _shifts(op.kernel, op.stride, op.dilation, x[part], (height, width)):
            np.multiply(seen, weight[part, 0, row, column, None, None], out=scratch)
            y[part] += scratch
    return y


def _blocks(channels: int, size: int) -> Iterator[slice]:
    step = max(1, _BLOCK // size)
    return (slice(first, first + step) for first in range(0, channels, step))


def _shifts(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], x: Array, out: tuple[int, int]
) -> Iterator[tuple[int, int, Array]]:
    """For each element of the kernel, what it meets at each output position."""
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            rows = slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1])
            yield row, column, x[:, rows, columns]


def conv_transpose(op: ConvTranspose2d, p: Params, x: Array) -> Array:
    """Every input value times the kernel, added up where it falls; then the padding is cut off."""
    c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = op.kernel, op.stride, op.padding
    whole = np.zeros((op.channels, (h - 1) * sh + kh, (w - 1) * sw + kw), x.dtype)
    flat = x.reshape(c, -1)
    for row in range(kh):
        for column in range(kw):
            part = (p["weight"][:, :, row, column].T @ flat).reshape(op.channels, h, w)
            whole[:, row : row + (h - 1) * sh + 1 : sh, column : column + (w - 1) * sw + 1 : sw] += part
    return _plus_bias(whole[:, ph : whole.shape[1] - ph, pw : whole.shape[2] - pw], p)


# Pools.


def max_pool(op: MaxPool2d, p: Params, x: Array) -> Array:
    return _slid(op, x, padded(x, op.padding, -inf), np.maximum, -inf)


def average_pool(op: AvgPool2d, p: Params, x: Array) -> Array:
    """A window's sum over how many of its positions count: the input's, and with `count_pad` the padding's."""
    counted = padded(np.ones((1, *x.shape[1:]), x.dtype), op.padding, float(op.count_pad))
    return _slid(op, x, padded(x, op.padding), np.add) / _slid(op, x, counted, np.add)


def _slid(op: Pool2d, x: Array, image: Array, join: np.ufunc, beyond: float = 0.0) -> Array:
    """`join` over the rows under each window, then over the columns.

    image: x with its padding. beyond: what lies after it, into which a last window reaches that rounding up has added.
    """
    _, height, width = op.infer(TensorType(x.shape)).shape
    (kh, kw), (sh, sw) = op.kernel, op.stride
    needed = (height - 1) * sh + kh - image.shape[1], (width - 1) * sw + kw - image.shape[2]
    image = padded(image, (0, 0, max(0, needed[0]), max(0, needed[1])), beyond)
    rows = image[:, : (height - 1) * sh + 1 : sh].copy()
    for row in range(1, kh):
        join(rows, image[:, row : row + (height - 1) * sh + 1 : sh], out=rows)
    y = rows[:, :, : (width - 1) * sw + 1 : sw].copy()
    for column in range(1, kw):
        join(y, rows[:, :, column : column + (width - 1) * sw + 1 : sw], out=y)
    return y
