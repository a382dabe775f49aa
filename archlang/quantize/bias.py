"""Bias correction (Nagel et al., arXiv:1906.04721, section 4.2): rounded weights shift the mean of what a layer makes,
and its bias can take the shift back.

The shift is the mean, over the calibration inputs and all positions, of the layer's input under the weights' rounding
errors. A layer is linear, so the mean input is enough, and the padding at the borders is counted as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """Where a kernel lies along one axis of `size`: first at `-before`, then every `stride`, `count` times; its
    elements are `dilation` apart."""

    size: int
    count: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def inside(self, tap: int) -> NDArray[np.int64]:
        """Where a kernel's element meets the input, and not the zeros around it."""
        positions = np.arange(self.count) * self.stride + tap * self.dilation - self.before
        return positions[(positions >= 0) & (positions < self.size)]


def shift_of_convolution(error: Floats, mean: Floats, rows: Windows, columns: Windows) -> NDArray[np.float64]:
    """error: of the weights, (out, height, width, in / groups). mean: input (H, W, in), or (1, 1, in) where all
    positions are taken to have the same. The mean shift, (out)."""
    outputs, height, width, depth = error.shape
    groups = mean.shape[2] // depth
    parted = error.reshape(groups, outputs // groups, height * width * depth)
    seen = np.array([[_tap(mean, rows, columns, i, j) for j in range(width)] for i in range(height)])
    seen = seen.reshape(height, width, groups, depth).transpose(2, 0, 1, 3).reshape(groups, -1, 1)
    return np.asarray(np.matmul(parted, seen.astype(error.dtype)).reshape(-1), np.float64)


def _tap(mean: Floats, rows: Windows, columns: Windows, i: int, j: int) -> Floats:
    """The mean over all windows of what one element of the kernel meets: (in). Padding is zeros."""
    above, beside = rows.inside(i), columns.inside(j)
    count = rows.count * columns.count
    if mean.shape[:2] == (1, 1):
        return np.asarray(mean[0, 0] * (len(above) * len(beside) / count))
    return np.asarray(mean[np.ix_(above, beside)].sum(axis=(0, 1)) / count)


def shift_of_linear(error: Floats, mean: Floats) -> NDArray[np.float64]:
    """error: (out, in). mean: input (..., in). The mean shift, (out)."""
    return np.asarray(error @ mean.reshape(-1, mean.shape[-1]).mean(axis=0).astype(error.dtype), np.float64)
