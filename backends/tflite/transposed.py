"""Transposed convolutions: a convolution at the input's size whose channels are then spread over the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.convolution import pad
from archlang.backends.tflite.schema import CONV_2D, DEPTH_TO_SPACE, SLICE, Padding
from archlang.backends.tflite.site import Site
from archlang.ops.conv import ConvTranspose2d

_OPTIONS = {"padding": Padding.VALID, "stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}


def square_stride(op: object) -> str:
    uneven = isinstance(op, ConvTranspose2d) and op.stride[0] != op.stride[1]
    return "it spreads channels over square blocks only, so `s` must be one number" if uneven else ""


def conv_transpose(site: Site) -> int:
    """CONV_2D and DEPTH_TO_SPACE, then a SLICE where `pad` cuts rows off.

    Output row s * q + a is the sum over m of x[q - m] * w[a + s * m]: for each of the s * s phases a convolution with
    ceil(k / s) rows. Both operators quantize as all others do, which TRANSPOSE_CONV, with its weight before its input,
    does not in every runtime.
    """
    op = site.node.op
    assert isinstance(op, ConvTranspose2d)
    weight, taps = _phases(site.param("weight"), op.stride[0])
    bias = site.param("bias") if op.bias else np.zeros(op.channels, np.float32)
    rows, columns = ((count - 1, count - 1) for count in taps)
    x = pad(site, site.x, rows, columns) if max(taps) > 1 else site.x
    blocks = op.stride[0] ** 2
    inputs = (x, site.constant("weight", weight), site.constant("bias", np.tile(bias, blocks)))
    batch, height, width, _ = site.shape_at(x)
    shape = (batch, height - taps[0] + 1, width - taps[1] + 1, blocks * op.channels)
    return _cut(site, _spread(site, site.emit(CONV_2D, inputs, shape, _OPTIONS), op.stride[0]), op.padding)


def _phases(weight: NDArray[np.float32], stride: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The kernel (in, out, height, width) as one of (stride * stride * out, rows, columns, in), phase after phase, and
    how many rows and columns that has."""
    inputs, outputs, height, width = weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    whole = np.zeros((inputs, outputs, rows * stride, columns * stride), np.float32)
    whole[:, :, :height, :width] = weight
    split = whole.reshape(inputs, outputs, rows, stride, columns, stride)[:, :, ::-1, :, ::-1]
    phases = split.transpose(3, 5, 1, 2, 4, 0).reshape(stride * stride * outputs, rows, columns, inputs)
    return phases, (rows, columns)


def _spread(site: Site, x: int, stride: int) -> int:
    if stride == 1:
        return x
    batch, height, width, channels = site.shape_at(x)
    shape = (batch, height * stride, width * stride, channels // stride**2)
    return site.emit(DEPTH_TO_SPACE, (x,), shape, {"block_size": stride})


def _cut(site: Site, x: int, padding: tuple[int, int]) -> int:
    if site.shape_at(x) == site.shape:
        return x
    return site.emit(SLICE, (x, site.indices([0, *padding, 0]), site.indices(site.shape)), site.shape)
