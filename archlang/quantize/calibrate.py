"""Ranges of the values of a network, seen while it runs on calibration inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from archlang.errors import fail
from archlang.quantize import observers
from archlang.quantize.options import Executor, Range, Samples, Tuning
from archlang.source import Span


def each(samples: Samples, most: int | None = None) -> Iterator[Samples]:
    """The samples one by one, each with a batch of 1; the first `most` of them."""
    count = min(len(array) for array in samples.values())
    for i in range(count if most is None else min(count, most)):
        yield {name: array[i : i + 1] for name, array in samples.items()}


def observed(
    executor: Executor, samples: Samples, tuning: Tuning, places: Mapping[str, Span | None]
) -> dict[str, Range]:
    """A range for every value that the executor shows. places: of the layers in the source.

    Raises ArchError, naming the sample and the layer, where a value is not finite.
    """
    found = {name: observers.made(tuning) for name in executor.names}

    def see(name: str, values: NDArray[np.float32], number: int) -> None:
        low, high = float(values.min()), float(values.max())  # both keep a NaN
        if not (np.isfinite(low) and np.isfinite(high)):
            raise not_finite(name, number, low, high, places.get(name.partition("/")[0]))
        found[name].see(values, low, high)

    for number, inputs in enumerate(each(samples)):
        executor.run(inputs, partial(see, number=number))
    return {name: observer.range() for name, observer in found.items()}


def not_finite(name: str, sample: int, low: float, high: float, span: Span | None) -> Exception:
    layer = name.partition("/")[0]
    return fail(
        "E0812",
        f"`{layer}` makes values that are not finite of calibration input {sample} ({low:g} to {high:g})",
        span,
        help="compile with `none` and look where they come from: the weights, or the scale of the inputs",
    )


@dataclass
class Channels:
    """Of each channel, or feature, of a value: the smallest and the largest number over all samples."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @property
    def largest(self) -> NDArray[np.float32]:
        return np.maximum(-self.low, self.high)


def channels(executor: Executor, samples: Samples) -> dict[str, Channels]:
    """The ranges of the channels of every value that the executor shows."""
    found: dict[str, Channels] = {}

    def see(name: str, values: NDArray[np.float32]) -> None:
        rows = values.reshape(-1, values.shape[-1])
        low, high = rows.min(axis=0), rows.max(axis=0)
        if name in found:
            low, high = np.minimum(low, found[name].low), np.maximum(high, found[name].high)
        found[name] = Channels(low, high)

    for inputs in each(samples):
        executor.run(inputs, see)
    return found


def means(executor: Executor, samples: Samples, flat: Mapping[str, bool]) -> dict[str, NDArray[np.float64]]:
    """The mean over the samples of each of the values in `flat`, element by element, without the batch; where `flat`
    says so, over all positions too, which become one."""
    sums: dict[str, NDArray[np.float32]] = {}
    count = 0

    def see(name: str, values: NDArray[np.float32]) -> None:
        axes = tuple(range(values.ndim - 2))
        seen = values[0].mean(axis=axes, keepdims=True) if flat[name] else values[0]
        if name in sums:
            sums[name] += seen
        else:
            sums[name] = seen.copy()

    for inputs in each(samples):
        executor.run(inputs, see)
        count += 1
    return {name: total.astype(np.float64) / count for name, total in sums.items()}
