"""Pools. TFLite's average never counts padding, and its pools know no padding but SAME and VALID."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.convolution import broadcast, pad
from archlang.backends.tflite.padding import Window, scheme, windows
from archlang.backends.tflite.schema import AVERAGE_POOL_2D, MAX_POOL_2D, MEAN, MUL, PADV2, Activation, Builtin, Padding
from archlang.backends.tflite.site import Site
from archlang.ops.pool import AvgPool2d, Pool2d

_LOWEST = float(np.finfo(np.float32).min)


def max_pool(site: Site) -> int:
    """MAX_POOL_2D. Padding without a name is made by hand, with a value that never wins: the lowest there is."""
    rows, columns = _windows(site)
    padding = scheme(rows, columns)
    if padding is not None:
        return _pool(site, MAX_POOL_2D, site.x, padding, site.activation)
    paddings = [(0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)]
    batch, height, width, channels = site.shape_at(site.x)
    shape = (batch, height + rows.before + rows.after, width + columns.before + columns.after, channels)
    x = site.emit(PADV2, (site.x, site.indices(paddings), site.constant("lowest", [_LOWEST])), shape)
    return _pool(site, MAX_POOL_2D, x, Padding.VALID, site.activation)


def max_pool_of_positive(site: Site) -> int:
    """MAX_POOL_2D of values that are never negative: among them zeros never win either, and PAD is delegated."""
    rows, columns = _windows(site)
    if scheme(rows, columns) is not None:
        return max_pool(site)
    x = pad(site, site.x, (rows.before, rows.after), (columns.before, columns.after))
    return _pool(site, MAX_POOL_2D, x, Padding.VALID, site.activation)


def average_pool(site: Site) -> int:
    """AVERAGE_POOL_2D, as it is where it divides by what it should, else over zeros padded by hand; where that still
    divides by the wrong number (padding that does not count, without a name), multiplied by what is missing."""
    op = site.node.op
    assert isinstance(op, AvgPool2d)
    rows, columns = _windows(site)
    wanted = _divisors(op, rows, columns)
    padding = scheme(rows, columns)
    if padding is not None and np.array_equal(wanted, _covered(rows, columns)):
        return _pool(site, AVERAGE_POOL_2D, site.x, padding, site.activation)
    _, _, bottom, right = op.padding
    below, beside = (rows.before, min(bottom, rows.after)), (columns.before, min(right, columns.after))
    padding = scheme(rows.padded(*below), columns.padded(*beside))
    if padding is not None and np.array_equal(wanted, _covered(rows.padded(*below), columns.padded(*beside))):
        return _pool(site, AVERAGE_POOL_2D, pad(site, site.x, below, beside), padding, site.activation)
    x = pad(site, site.x, (rows.before, rows.after), (columns.before, columns.after))
    y = _pool(site, AVERAGE_POOL_2D, x, Padding.VALID, Activation.NONE)
    factors = op.kernel[0] * op.kernel[1] / wanted
    return broadcast(site, MUL, (y, site.constant("factors", factors[None, :, :, None])), site.shape, site.activation)


def global_average(site: Site) -> int:
    """MEAN over the positions: an image keeps its rank, unless it is flattened behind it."""
    axes, keep = ([1, 2], len(site.shape) == 4) if site.type.is_image else ([1], False)
    return site.emit(MEAN, (site.x, site.indices(axes)), site.shape, {"keep_dims": keep})


def _windows(site: Site) -> tuple[Window, Window]:
    op = site.node.op
    assert isinstance(op, Pool2d)
    size, out = site.type.shape[1:], site.node.type.shape[1:]
    return windows((size[0], size[1]), op.kernel, op.stride, op.padding, (out[0], out[1]))


def _pool(site: Site, kind: Builtin, x: int, padding: Padding, activation: Activation) -> int:
    op = site.node.op
    assert isinstance(op, Pool2d)
    options = {
        "padding": padding,
        "stride_h": op.stride[0],
        "stride_w": op.stride[1],
        "filter_height": op.kernel[0],
        "filter_width": op.kernel[1],
        "activation": activation,
    }
    return site.emit(kind, (x,), site.shape, options)


def _covered(rows: Window, columns: Window) -> NDArray[np.int64]:
    """What TFLite divides by: the positions of the input under each window."""
    return np.outer(rows.counts(0, rows.size), columns.counts(0, columns.size))


def _divisors(op: AvgPool2d, rows: Window, columns: Window) -> NDArray[np.int64]:
    """What the network divides by. Padding that counts does so up to its end: what ceil mode adds beyond never does."""
    if not op.count_pad:
        return _covered(rows, columns)
    top, left, bottom, right = op.padding
    return np.outer(rows.counts(-top, rows.size + bottom), columns.counts(-left, columns.size + right))
