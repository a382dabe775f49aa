"""Convolutions, linear layers, and the per-channel affine maps that are convolutions in disguise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.padding import scheme, windows
from archlang.backends.tflite.schema import (
    ADD,
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
    MUL,
    PAD,
    Activation,
    Padding,
)
from archlang.backends.tflite.site import Site
from archlang.ops.activation import Rescale
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.norm import BatchNorm, Scale
from archlang.weights import batch_norm_affine, folded, gained


def conv(site: Site) -> int:
    """CONV_2D, also for groups, or DEPTHWISE_CONV_2D; a PAD before it where the padding has no name."""
    op = site.node.op
    assert isinstance(op, Conv2d)
    weight, bias = _folded(site)
    x, padding = _padded(site, op)
    options = {
        "padding": padding,
        "stride_h": op.stride[0],
        "stride_w": op.stride[1],
        "dilation_h": op.dilation[0],
        "dilation_w": op.dilation[1],
        "activation": site.activation,
    }
    if op.is_depthwise(site.type):
        options["depth_multiplier"] = op.channels // site.type.channels
        inputs = (x, site.constant("weight", weight.transpose(1, 2, 3, 0)), site.constant("bias", bias))
        return _finished(site, site.emit(DEPTHWISE_CONV_2D, inputs, site.shape, options))
    inputs = (x, site.constant("weight", weight.transpose(0, 2, 3, 1)), site.constant("bias", bias))
    return _finished(site, site.emit(CONV_2D, inputs, site.shape, options))


def _finished(site: Site, y: int) -> int:
    """A fused hard sigmoid divides by 6 behind its relu6."""
    if not site.is_hard_sigmoid:
        return y
    return broadcast(site, MUL, (y, site.constant("sixth", [1 / 6])), site.shape)


def _padded(site: Site, op: Conv2d) -> tuple[int, Padding]:
    size, out = site.type.shape[1:], site.node.type.shape[1:]
    rows, columns = windows((size[0], size[1]), op.kernel, op.stride, op.padding, (out[0], out[1]), op.dilation)
    padding = scheme(rows, columns)
    if padding is not None:
        return site.x, padding
    return pad(site, site.x, (rows.before, rows.after), (columns.before, columns.after)), Padding.VALID


def pad(site: Site, x: int, rows: tuple[int, int], columns: tuple[int, int]) -> int:
    """Zeros around an image: (before, after) along the rows and the columns."""
    batch, height, width, channels = site.shape_at(x)
    shape = (batch, height + sum(rows), width + sum(columns), channels)
    return site.emit(PAD, (x, site.indices([(0, 0), rows, columns, (0, 0)])), shape)


def _folded(site: Site) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias with all that was fused multiplied in; zeros where there is no bias, for TFLite wants one."""
    with np.errstate(all="ignore"):  # `Site.constant` says where numbers are not finite
        weight, found = folded(site.node, site.weights)
        bias = np.zeros(len(weight), np.float32) if found is None else found
        gain = _gain(site)
        if gain is not None:
            weight, bias = gained(weight, gain), (bias * gain).astype(np.float32)
    return weight, bias + np.float32(3) if site.is_hard_sigmoid else bias


def _gain(site: Site) -> NDArray[np.float32] | None:
    """The product of the fused factors, of each output channel."""
    parts = [part for part in site.node.fused if isinstance(part.op, Rescale | Scale)]
    gain = np.ones(site.node.type.channels, np.float64)
    for part in parts:
        gain *= part.op.factor if isinstance(part.op, Rescale) else site.weights[f"{part.name}.weight"]
    return gain.astype(np.float32) if parts else None


def linear(site: Site) -> int:
    """FULLY_CONNECTED. A flattened image keeps its order H, W, C: the weights' columns are put in that order."""
    op = site.node.op
    assert isinstance(op, Linear)
    weight, bias = _folded(site)
    if site.layout is not None:
        weight = weight.reshape(-1, *site.layout).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return _finished(site, fully_connected(site, site.x, weight, bias, site.activation))


def fully_connected(
    site: Site,
    x: int,
    weight: NDArray[Any],
    bias: NDArray[Any],
    activation: Activation = Activation.NONE,
    label: str = "",
) -> int:
    """x @ weight.T + bias; (1, N, D) stays a sequence."""
    shape = (*site.shape[:-1], len(weight))
    options = {"activation": activation, "keep_num_dims": len(shape) > 2}
    inputs = (x, site.constant(f"{label}weight", weight), site.constant(f"{label}bias", bias))
    return site.emit(FULLY_CONNECTED, inputs, shape, options)


def batch_norm(site: Site) -> int:
    """A BatchNorm that nothing could be folded into."""
    assert isinstance(site.node.op, BatchNorm)
    with np.errstate(all="ignore"):
        gain, offset = batch_norm_affine(site.node, site.weights)
    return _per_channel(site, gain, offset)


def scale(site: Site) -> int:
    assert isinstance(site.node.op, Scale)
    gain = site.param("weight")
    return _per_channel(site, gain, np.zeros_like(gain))


def _per_channel(site: Site, gain: NDArray[Any], offset: NDArray[Any]) -> int:
    """x * gain + offset. Of an image: a depthwise 1x1 convolution, one operator, whose gains quantize one by one.

    MUL and ADD would quantize all gains with one scale, and the offsets to eight bits.
    """
    if site.type.is_image:
        weight, bias = site.constant("weight", gain[None, None, None]), site.constant("bias", offset)
        options = {"padding": Padding.VALID, "stride_h": 1, "stride_w": 1, "depth_multiplier": 1}
        options |= {"dilation_h": 1, "dilation_w": 1, "activation": site.activation}
        return site.emit(DEPTHWISE_CONV_2D, (site.x, weight, bias), site.shape, options)
    y = broadcast(site, MUL, (site.x, site.constant("weight", gain)), site.shape)
    return broadcast(site, ADD, (y, site.constant("bias", offset)), site.shape, site.activation)


def broadcast(
    site: Site, kind: Any, inputs: Sequence[int], shape: Sequence[int], activation: Activation = Activation.NONE
) -> int:
    """ADD, MUL or SUB of two tensors."""
    return site.emit(kind, inputs, shape, {"activation": activation})
