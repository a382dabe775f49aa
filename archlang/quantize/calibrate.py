"""Ranges of the values of a network, seen while it runs on calibration inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from archlang.errors import fail
from archlang.quantize import observers
from archlang.quantize.options import Executor, Range, Samples, Told, Tuning, silent
from archlang.source import Span


def each(samples: Samples, most: int | None = None) -> Iterator[Samples]:
    """The samples one by one, each with a batch of 1; the first `most` of them."""
    for i in range(count(samples) if most is None else min(count(samples), most)):
        yield {name: array[i : i + 1] for name, array in samples.items()}


def count(samples: Samples) -> int:
    return min(len(array) for array in samples.values())


_GRID = 8
"""Positions of one sample along each axis, at least, that the mean over all positions is taken from."""

_AVERAGED = 8
"""Samples, at least, that means over all positions are taken of, evenly chosen: positions make up for the others."""

_BLOCK = 1 << 16
"""Values that are looked at at once: 256 kB."""


@dataclass(frozen=True)
class Seen:
    """What calibration inputs show, by the name of the value. means: over the samples, element by element, without the
    batch; with one position where the mean is over all of them."""

    ranges: dict[str, Range]
    means: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Wanted:
    """What to look for. ranges: the values that get one. positive: those of them that are never negative. means: the
    values whose mean is taken, and whether over all positions too."""

    ranges: Collection[str]
    positive: Collection[str] = ()
    means: Mapping[str, bool] = field(default_factory=dict)


def observed(
    executor: Executor,
    samples: Samples,
    tuning: Tuning,
    places: Mapping[str, Span | None],
    wanted: Wanted,
    told: Told = silent,
) -> Seen:
    """Every value is looked at once. places: of the layers in the source.

    Raises ArchError, naming the sample and the layer, where a value is not finite.
    """
    watches = {name: _Watch(name, wanted, tuning) for name in executor.names}
    step = max(1, count(samples) // _AVERAGED)

    def see(name: str, values: NDArray[np.float32], number: int) -> None:
        low, high = watches[name].see(values, skipped=number % step > 0)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise not_finite(name, number, low, high, places.get(name.partition("/")[0]))

    for number, inputs in enumerate(each(samples)):
        told("calibrating", number, count(samples))
        executor.run(inputs, partial(see, number=number))
    return Seen(
        {name: watches[name].observer.range() for name in wanted.ranges},
        {name: watches[name].mean() for name in wanted.means},
    )


class _Watch:
    """One value over all samples."""

    def __init__(self, name: str, wanted: Wanted, tuning: Tuning) -> None:
        self.observer = observers.made(tuning)
        self.ranged, self.positive = name in wanted.ranges, name in wanted.positive
        self.averaged, self.flat = name in wanted.means, wanted.means.get(name, False)
        self.total: NDArray[np.float32] | None = None
        self.count = 0

    def see(self, values: NDArray[np.float32], skipped: bool) -> Range:
        """The smallest and the largest number of one sample's, as far as they are looked for; both keep a NaN.
        skipped: whether the sample does not count for a mean over all positions."""
        low, high = 0.0, 0.0
        if self.ranged:
            low, high = ends(values, self.positive)
            if not (np.isfinite(low) and np.isfinite(high)):
                return low, high
            self.observer.see(values, low, high)
        if self.averaged and not (self.flat and skipped):
            self.add(_some_positions(values) if self.flat else values)
        return low, high

    def add(self, batch: NDArray[np.float32]) -> None:
        self.count += len(batch)
        with np.errstate(over="ignore"):  # what adds up to infinity has ranges that are refused
            values = batch.sum(axis=0)
            self.total = values if self.total is None else self.total + values

    def mean(self) -> NDArray[np.float64]:
        assert self.total is not None, "no sample was seen"
        found = self.total.astype(np.float64) / self.count
        return found[None, None] if self.flat else found


def _some_positions(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grid of positions, (count, channels): in one sample neighbours say much the same. Odd steps, since a
    convolution with a stride may have left a pattern of even ones."""
    steps = [size // _GRID | 1 for size in values.shape[1:-1]]
    grid = tuple(slice(step // 2, None, step) for step in steps)
    return np.asarray(values[0][grid], np.float32).reshape(-1, values.shape[-1])


def ends(values: NDArray[np.float32], positive: bool = False) -> Range:
    """The smallest and the largest number; where none can be negative, 0 does for the smallest. Block by block, which
    stay in the core's cache between the two."""
    if values.size > _BLOCK:
        flat = values.reshape(-1)
        pairs = [ends(flat[i : i + _BLOCK], positive) for i in range(0, flat.size, _BLOCK)]
        return float(np.min([low for low, _ in pairs])), float(np.max([high for _, high in pairs]))
    return 0.0 if positive else float(values.min()), float(values.max())


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


def channels(executor: Executor, samples: Samples, told: Told = silent) -> dict[str, Channels]:
    """The ranges of the channels of every value that the executor shows."""
    found: dict[str, Channels] = {}

    def see(name: str, values: NDArray[np.float32]) -> None:
        rows = values.reshape(-1, values.shape[-1])
        low, high = rows.min(axis=0), rows.max(axis=0)
        if name in found:
            low, high = np.minimum(low, found[name].low), np.maximum(high, found[name].high)
        found[name] = Channels(low, high)

    for number, inputs in enumerate(each(samples)):
        told("looking at channels", number, count(samples))
        executor.run(inputs, see)
    return found
