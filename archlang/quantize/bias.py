"""Bias correction (Nagel et al., arXiv:1906.04721, section 4.2): rounded weights shift the mean of what a layer makes,
and its bias can take the shift back.

The shift is the mean, over the calibration inputs and all positions, of the layer's input under the weights' rounding
errors. A layer is linear, so the mean input is enough, and the padding at the borders is counted as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """Where a kernel lies along one axis: first at `-before`, then every `stride`, `count` times; its elements are
    `dilation` apart."""

    count: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def positions(self, tap: int) -> NDArray[np.int64]:
        """Of a kernel's element, in the input; some may lie outside it."""
        return np.arange(self.count) * self.stride + tap * self.dilation - self.before


def shift_of_convolution(error: Floats, mean: Floats, rows: Windows, columns: Windows) -> Floats:
    """error: of the weights, (out, height, width, in / groups). mean: input (H, W, in). The mean shift, (out)."""
    outputs, height, width, depth = error.shape
    groups = mean.shape[2] // depth
    parted = error.reshape(groups, outputs // groups, height, width, depth)
    seen = np.array(
        [[_tap(mean, rows.positions(i), columns.positions(j)) for j in range(width)] for i in range(height)]
    ).reshape(height, width, groups, depth)
    return np.asarray(np.einsum("gohwi,hwgi->go", parted, seen).reshape(-1))


def _tap(mean: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """The mean over all windows of what one element of the kernel meets: (in). Padding is zeros."""
    inside = [part[(part >= 0) & (part < size)] for part, size in ((rows, mean.shape[0]), (columns, mean.shape[1]))]
    return np.asarray(mean[np.ix_(*inside)].sum(axis=(0, 1)) / (len(rows) * len(columns)))


def shift_of_linear(error: Floats, mean: Floats) -> Floats:
    """error: (out, in). mean: input (..., in). The mean shift, (out)."""
    return np.asarray(error @ mean.reshape(-1, mean.shape[-1]).mean(axis=0))
