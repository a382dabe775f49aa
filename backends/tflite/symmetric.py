"""Weights as int8: symmetric about zero, one scale for each index along an axis, or one for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def peaks(values: NDArray[np.float32], axis: int | None) -> NDArray[np.float64]:
    """The largest absolute value at each index along the axis; of everything where there is no axis."""
    rest = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    return np.atleast_1d(np.maximum(values.max(axis=rest), -values.min(axis=rest))).astype(np.float64)


def scales(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scales that make these values 127. A channel of zeros takes the largest of the others', for any will do."""
    spare = float(largest.max()) or 1.0
    return np.where(largest > 0, largest, spare) / 127


def quantized(values: NDArray[np.float32], scale: NDArray[np.float32], axis: int | None) -> NDArray[np.int8]:
    """Values in steps of their scale, -127 to 127."""
    steps = values * (1 / _along(scale, values.ndim, axis))
    return np.rint(steps, out=steps).astype(np.int8)


def restored(steps: NDArray[np.int8], scale: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """The values that steps of a scale stand for."""
    return steps * _along(scale, steps.ndim, axis)


def _along(scale: NDArray[np.float32], rank: int, axis: int | None) -> NDArray[np.float32]:
    shape = [1] * rank
    if axis is not None:
        shape[axis] = len(scale)
    return scale.reshape(shape)
