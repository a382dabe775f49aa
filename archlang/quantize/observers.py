"""How the values of many samples become one range. Observers see a tensor sample by sample and keep little of it.

All but `min-max` may cut values off: a few outliers would make the steps coarse for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from archlang.errors import fail, nearest
from archlang.quantize.options import Range, Tuning

Values = NDArray[np.float32]

STEPS = 255
"""Between the smallest and the largest number of eight bits."""

_BINS = 2048
"""On each side of zero."""

_MOST = 1 << 15
"""Values of one tensor of one sample that a histogram counts; of larger tensors, evenly chosen ones."""


class Observer(Protocol):
    """`see` takes a tensor's values in one sample, and their smallest and largest; `range` is what they come to."""

    def see(self, values: Values, low: float, high: float) -> None: ...

    def range(self) -> Range: ...


class MinMax:
    """From the smallest value to the largest."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def see(self, values: Values, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)

    def range(self) -> Range:
        return float(self.low), float(self.high)


class MovingAverage:
    """The smallest and the largest value of a sample, averaged exponentially over the samples."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.ends: Range | None = None

    def see(self, values: Values, low: float, high: float) -> None:
        old = self.ends or (low, high)
        keep, new = self.momentum, 1 - self.momentum
        self.ends = keep * old[0] + new * low, keep * old[1] + new * high

    def range(self) -> Range:
        assert self.ends is not None, "no sample was seen"
        return self.ends


class Histogram:
    """Counts of values in equal bins. Zero lies between two of them, and a bin's width is a power of two that doubles
    where values lie beyond: then two bins become one, and no count is lost. Zeros, which every range holds exactly,
    are counted apart."""

    def __init__(self) -> None:
        self.exponent: int | None = None
        self.counts = np.zeros(2 * _BINS, np.int64)
        self.zeros = 0
        self.ends = MinMax()

    def see(self, values: Values, low: float, high: float) -> None:
        self.ends.see(values, low, high)
        self._reach(max(-low, high))
        chosen = _some(values.reshape(-1))
        nonzero = chosen[chosen != 0]
        self.zeros += chosen.size - nonzero.size
        bins = np.floor(nonzero / np.float32(self.width)).astype(np.int64) + _BINS
        self.counts += np.bincount(np.clip(bins, 0, 2 * _BINS - 1), minlength=2 * _BINS)

    @property
    def width(self) -> float:
        return 2.0 ** (self.exponent or 0)

    @property
    def centres(self) -> NDArray[np.float64]:
        return np.asarray((np.arange(-_BINS, _BINS) + 0.5) * self.width, np.float64)

    def _reach(self, largest: float) -> None:
        if largest == 0:
            return
        needed = max(ceil(log2(largest / _BINS)), -120)
        if self.exponent is None:
            self.exponent = needed
        for _ in range(needed - self.exponent):
            self.counts = _halved(self.counts)
        self.exponent = max(self.exponent, needed)


def _some(values: Values) -> Values:
    """Evenly chosen values; an odd step meets every channel."""
    step = values.size // _MOST
    return values[:: step | 1] if step > 1 else values


def _halved(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = counts.reshape(-1, 2).sum(axis=1)
    return np.pad(pairs, _BINS // 2)


class Percentile(Histogram):
    """What `percent` of all values do not exceed, at either end."""

    def __init__(self, percent: float) -> None:
        super().__init__()
        self.percent = percent

    def range(self) -> Range:
        whole, counts = self.ends.range(), self.counts.copy()
        counts[_BINS] += self.zeros
        spare = counts.sum() * (1 - self.percent / 100)
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])
        low = (np.searchsorted(below, spare, side="right") - _BINS) * self.width
        high = (_BINS - np.searchsorted(above, spare, side="right")) * self.width
        return max(whole[0], min(float(low), 0.0)), min(whole[1], max(float(high), 0.0))


class _Search(Histogram):
    """The best of many ranges, each a part of the whole; first both ends move together, then each alone."""

    shares: NDArray[np.float64] = np.linspace(1.0, 0.1, 46)

    def loss(self, low: float, high: float) -> float:
        raise NotImplementedError

    def range(self) -> Range:
        low, high = self.ends.range()
        if not self.counts.any():
            return low, high
        best = min(self.shares, key=lambda share: self.loss(low * share, high * share))
        low, high = low * best, high * best
        if low < 0 < high:
            high *= min(self.shares, key=lambda share: self.loss(low, high * share))
            low *= min(self.shares, key=lambda share: self.loss(low * share, high))
        return float(low), float(high)


class MeanSquares(_Search):
    """The range whose rounding and cutting off leave the smallest mean square error."""

    def loss(self, low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / STEPS, 1e-30)
        centres = self.centres
        kept = np.clip(np.rint(centres / step) * step, low, high)
        return float(np.dot(self.counts, (centres - kept) ** 2))


class Entropy(_Search):
    """The range after which the distribution of values tells the most of that before: the smallest Kullback-Leibler
    divergence (Migacz, 8-bit inference with TensorRT, GTC 2017)."""

    def loss(self, low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / STEPS, 1e-30)
        before = self.counts.astype(np.float64)
        kept = np.clip(self.centres, low, high)
        cells = np.rint((kept - low) / step).astype(np.int64)
        inside = (self.centres >= low) & (self.centres <= high)
        clipped = np.bincount(np.floor(kept / self.width).astype(np.int64) + _BINS, before, 2 * _BINS)[: 2 * _BINS]
        filled = inside & (before > 0)
        share = np.bincount(cells[filled], minlength=STEPS + 1)
        total = np.bincount(cells[filled], before[filled], STEPS + 1)
        after = np.where(filled, (total / np.maximum(share, 1))[cells], 0.0)
        return _divergence(clipped / clipped.sum(), after / max(after.sum(), 1e-30))


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Of q from p; where q holds nothing it counts as next to nothing."""
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))))


@dataclass(frozen=True)
class Kind:
    """make: an observer from its parameter. default: the parameter; None where there is none. least, most: of it."""

    make: Callable[[float], Observer]
    default: float | None = None
    least: float = 0.0
    most: float = 0.0


OBSERVERS: dict[str, Kind] = {
    "min-max": Kind(lambda _: MinMax()),
    "moving-average": Kind(MovingAverage, 0.9, 0.0, 0.9999),
    "percentile": Kind(Percentile, 99.99, 50.0, 100.0),
    "entropy": Kind(lambda _: Entropy()),
    "mse": Kind(lambda _: MeanSquares()),
}
"""What `--observer` takes: by name, with what is after an equals sign as the parameter."""


def parsed(text: str) -> Tuning:
    """`percentile=99.9`: an observer and its parameter. Raises ArchError where there is none of the name, or where it
    takes no such parameter."""
    name, equals, number = text.partition("=")
    kind = OBSERVERS.get(name)
    if kind is None:
        raise fail("E0820", f"there is no observer `{name}`", help=nearest(name, OBSERVERS))
    if not equals:
        return Tuning(name)
    if kind.default is None:
        raise fail("E0820", f"the observer `{name}` takes no parameter, but was given `{number}`")
    value = _number(number)
    if value is None or not kind.least <= value <= kind.most:
        message = f"`{number}` is no parameter of the observer `{name}`"
        raise fail("E0820", message, help=f"it takes a number from {kind.least:g} to {kind.most:g}")
    return Tuning(name, value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def made(tuning: Tuning) -> Observer:
    kind = OBSERVERS[tuning.observer]
    return kind.make(tuning.parameter if tuning.parameter is not None else kind.default or 0.0)
