"""Ops that move values: slices, shuffles, shapes, sizes."""

from __future__ import annotations

import numpy as np

from archlang.backends.tflite.convolution import broadcast, pad
from archlang.backends.tflite.schema import (
    CONCATENATION,
    MUL,
    RESIZE_BILINEAR,
    RESIZE_NEAREST_NEIGHBOR,
    SLICE,
    STRIDED_SLICE,
    TRANSPOSE,
)
from archlang.backends.tflite.site import Site
from archlang.ops.join import Concat
from archlang.ops.shape import Crop, Shift, Shuffle, Slice, Subsample, Take, Upsample, Zero


def concat(site: Site) -> int:
    """CONCATENATION along the channels or features, which lie last, or along the tokens of sequences."""
    op = site.node.op
    assert isinstance(op, Concat)
    if len(site.inputs) == 1:
        return site.x
    axis = 1 if op.axis == "tokens" else len(site.shape) - 1
    return site.emit(CONCATENATION, site.inputs, site.shape, {"axis": axis})


def slice_channels(site: Site) -> int:
    op = site.node.op
    assert isinstance(op, Slice)
    begin = [0] * (len(site.shape) - 1) + [op.start]
    return cut(site, site.x, begin, site.shape)


def cut(site: Site, x: int, begin: list[int], shape: tuple[int, ...]) -> int:
    """A SLICE of x, of that shape, from `begin` on."""
    return site.emit(SLICE, (x, site.indices(begin), site.indices(shape)), shape)


def crop(site: Site) -> int:
    op = site.node.op
    assert isinstance(op, Crop)
    if site.shape_at(site.x) == site.shape:
        return site.x
    return cut(site, site.x, [0, *op.origin(site.type), 0], site.shape)


def shuffle(site: Site) -> int:
    """Channels as a table of groups, transposed: reshape, transpose, reshape, in four dimensions."""
    op = site.node.op
    assert isinstance(op, Shuffle)
    channels, height, width = site.type.shape
    if op.groups in (1, channels):
        return site.x
    table = site.reshape(site.x, (1, height * width, op.groups, channels // op.groups))
    turned = transpose(site, table, (0, 1, 3, 2))
    return site.reshape(turned, site.shape)


def transpose(site: Site, x: int, order: tuple[int, ...]) -> int:
    shape = [site.shape_at(x)[i] for i in order]
    return site.emit(TRANSPOSE, (x, site.indices(order)), shape)


def upsample(site: Site) -> int:
    """A resize. Nearest neighbours are asked for at pixel centres only where their corners would be rounded wrongly."""
    op = site.node.op
    assert isinstance(op, Upsample)
    size = site.indices(site.shape[1:3])
    if op.mode == "bilinear":
        return site.emit(RESIZE_BILINEAR, (site.x, size), site.shape, {"half_pixel_centers": True})
    centres = not all(_corners_are_exact(n, op.factor) for n in site.type.shape[1:])
    return site.emit(RESIZE_NEAREST_NEIGHBOR, (site.x, size), site.shape, {"half_pixel_centers": centres})


def _corners_are_exact(size: int, factor: int) -> bool:
    """Whether floor(i * (size / (size * factor))), computed in float32 as the runtime does, is i // factor."""
    positions = np.arange(size * factor)
    ratio = np.float32(size) / np.float32(size * factor)
    return bool(np.array_equal(np.floor(positions.astype(np.float32) * ratio), positions // factor))


def subsample(site: Site) -> int:
    op = site.node.op
    assert isinstance(op, Subsample)
    return _every(site, op.stride)


def _every(site: Site, stride: int) -> int:
    """Each `stride`-th row and column."""
    if stride == 1:
        return site.x
    end, steps = site.indices(site.shape_at(site.x)), site.indices([1, stride, stride, 1])
    return site.emit(STRIDED_SLICE, (site.x, site.indices([0, 0, 0, 0]), end, steps), site.shape)


def shift(site: Site) -> int:
    """Cut off the first rows and columns, and pad zeros after the last."""
    op = site.node.op
    assert isinstance(op, Shift)
    batch, height, width, channels = site.shape
    kept = cut(site, site.x, [0, op.by, op.by, 0], (batch, height - op.by, width - op.by, channels))
    return pad(site, kept, (0, op.by), (0, op.by)) if op.by else kept


def zero(site: Site) -> int:
    """The input times zero: runtimes and their delegates do not expect a constant where a value should be computed."""
    op = site.node.op
    assert isinstance(op, Zero)
    return broadcast(site, MUL, (_every(site, op.stride), site.constant("zero", [0.0])), site.shape)


def flatten(site: Site) -> int:
    """A vector in the order C, H, W. The driver calls it only where the order matters to a reader."""
    if not site.type.is_image or site.type.channels == 1:
        return site.reshape(site.x, site.shape)
    if site.type.height * site.type.width == 1:
        return site.reshape(site.x, site.shape)
    return site.reshape(transpose(site, site.x, (0, 3, 1, 2)), site.shape)


def tokens(site: Site) -> int:
    """Rows of pixels are tokens as they lie, the parts of a pixel too."""
    return site.reshape(site.x, site.shape)


def take(site: Site) -> int:
    """One token, without its axis."""
    op = site.node.op
    assert isinstance(op, Take)
    features = site.type.shape[1]
    begin, end = site.indices([0, op.index, 0]), site.indices([1, op.index + 1, features])
    inputs = (site.x, begin, end, site.indices([1, 1, 1]))
    return site.emit(STRIDED_SLICE, inputs, site.shape, {"shrink_axis_mask": 0b010})
