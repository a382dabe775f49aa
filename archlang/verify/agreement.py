"""How near two arrays are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log10

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Agreement:
    """Of values `found` with those `wanted`.

    largest: the largest absolute difference. relative: the difference's Euclidean length by that of what is wanted.
    snr_db: 10 log10 of the energy of what is wanted, without its mean, by that of the difference; a constant output,
    which has none without its mean, is taken with it. cosine: of the angle between the two. top1: whether the largest
    value is at the same place in both, as a share of the samples.
    """

    largest: float
    relative: float
    snr_db: float
    cosine: float
    top1: float


def agreement(found: Floats, wanted: Floats) -> Agreement:
    """Both (samples, ...), of one shape."""
    x, y = found.astype(np.float64).reshape(len(found), -1), wanted.astype(np.float64).reshape(len(wanted), -1)
    noise = float(((x - y) ** 2).sum())
    energy = float((y**2).sum())
    lengths = float((x**2).sum()) ** 0.5 * energy**0.5
    return Agreement(
        largest=float(np.abs(x - y).max(initial=0.0)),
        relative=_ratio(noise, energy) ** 0.5,
        snr_db=_decibels(float(((y - y.mean()) ** 2).sum()) or energy, noise),
        cosine=float((x * y).sum()) / lengths if lengths else float(noise == 0),
        top1=float((x.argmax(1) == y.argmax(1)).mean()),
    )


def worst(agreements: Iterable[Agreement]) -> Agreement:
    """The one with the lowest signal-to-noise ratio."""
    return min(agreements, key=lambda one: one.snr_db)


def _ratio(noise: float, energy: float) -> float:
    if noise == 0:
        return 0.0
    return noise / energy if energy else inf


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal > 0 else -inf
