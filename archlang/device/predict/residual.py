"""The second stage of the model: what the sum of the kernels' times does not tell, as a Gaussian process.

The logarithm of measured over summed time has a covariance of three parts: kernels of like sizes deviate alike, in
proportion to their share of the time; networks of like composition deviate alike (what fusion, caches and memory do to
sums); and block instances measured alone deviate from whole networks. Rasmussen and Williams, Gaussian Processes for
Machine Learning, 2006: regression in chapter 2, leaving one out in section 5.4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from archlang.device.predict.additive import outlier_weights
from archlang.device.predict.features import Floats, Kernel

COMMON = 0.02
"""Deviation that all samples share."""

APART = 0.10
"""Deviation between block instances and whole networks."""

_ALONE = 0.3
"""The part of a kernel's variance that no other kernel shares."""

_OCTAVES = 4.0
"""Distance in sizes at which two kernels have little in common."""

_KERNEL_DEVIATIONS = (0.0, 0.1, 0.3)
_NETWORK_DEVIATIONS = (0.0, 0.03, 0.08)
_REACHES = (0.5, 1.0, 2.0)
_LEAST_NOISE = 0.003
_TUNED_ON = 300
_ROUNDS = 6


@dataclass(frozen=True)
class Settings:
    """Of the covariance. kernels, networks: standard deviations of the logarithm. reach: the distance between
    compositions over which networks deviate alike. noise: of a measurement."""

    kernels: float = 0.1
    networks: float = 0.0
    reach: float = 1.0
    noise: float = 0.02

    def as_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """Where samples are. shares (n, kernels): of the summed time. composition (n, d). alone (n): whether a sample is
    a block instance."""

    shares: Floats
    composition: Floats
    alone: Floats

    def rows(self, index: Any) -> Place:
        return Place(self.shares[index], self.composition[index], self.alone[index])


def between_kernels(first: list[Kernel], second: list[Kernel]) -> Floats:
    """Correlation of the kernels' deviations, (len(first), len(second)): none between kinds."""
    found: Floats = np.zeros((len(first), len(second)))
    rows, columns = _by_kind(first), _by_kind(second)
    for kind in rows.keys() & columns.keys():
        here, there = rows[kind], columns[kind]
        squares = _squares(np.stack([first[i].place for i in here]), np.stack([second[j].place for j in there]))
        found[np.ix_(here, there)] = (1 - _ALONE) * np.exp(-squares / (2 * _OCTAVES**2))
    column = {kernel: j for j, kernel in enumerate(second)}
    for i, kernel in enumerate(first):
        if kernel in column:
            found[i, column[kernel]] += _ALONE
    return found


def _by_kind(some: list[Kernel]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for i, kernel in enumerate(some):
        groups.setdefault(kernel.kind, []).append(i)
    return groups


def _squares(first: Floats, second: Floats) -> Floats:
    """Squared distances between rows, (n, d) and (m, d) -> (n, m)."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    found: Floats = np.maximum(squares, 0)
    return found


def between_compositions(first: Floats, second: Floats, reach: float) -> Floats:
    """Correlation of the networks' deviations. first (n, d), second (m, d) -> (n, m)."""
    found: Floats = np.exp(-_squares(first, second) / (2 * reach**2 * max(first.shape[1], 1)))
    return found


@dataclass(frozen=True)
class Tuned:
    """A process with the samples it is conditioned on. precision: inverse of their covariance with noise, (n, n).
    held_out: each sample's deviation from what the others predict."""

    settings: Settings
    weights: Floats
    precision: Floats
    alpha: Floats
    held_out: Floats


def tuned(place: Place, correlation: Floats, residuals: Floats, settings: Settings | None = None) -> Tuned:
    """The process that predicts each whole network best from the other samples.

    correlation: between kernels, (kernels, kernels). residuals: (n). settings: known already, as in a stored model.
    """
    if settings is None:
        chosen = np.arange(len(residuals))
        if len(chosen) > _TUNED_ON:
            chosen = np.random.default_rng(0).choice(chosen, _TUNED_ON, replace=False)
        settings = _best(place.rows(chosen), correlation, residuals[chosen])
    return _conditioned(place, correlation, residuals, settings)


def _best(place: Place, correlation: Floats, residuals: Floats) -> Settings:
    whole = place.alone == 0 if np.count_nonzero(place.alone == 0) >= 5 else np.ones(len(residuals), bool)
    parts = {reach: between_compositions(place.composition, place.composition, reach) for reach in _REACHES}
    by_kernel = place.shares @ correlation @ place.shares.T
    base = _base(place.alone, place.alone)
    best, least = Settings(), np.inf
    for settings in _grid():
        covariance = base + settings.kernels**2 * by_kernel + settings.networks**2 * parts[settings.reach]
        found = _robust(covariance, residuals, settings)
        error = float(np.abs(found.held_out[whole]).mean())
        if error < 0.99 * least:  # a richer covariance must be worth it
            best, least = found.settings, error
    return best


def _grid() -> Iterator[Settings]:
    """From plain to rich."""
    for networks in _NETWORK_DEVIATIONS:
        for kernels in _KERNEL_DEVIATIONS:
            for reach in _REACHES if networks else _REACHES[1:2]:
                yield Settings(kernels, networks, reach)


def _base(first: Floats, second: Floats) -> Floats:
    together: Floats = COMMON**2 + APART**2 * (first[:, None] == second[None])
    return together


def _conditioned(place: Place, correlation: Floats, residuals: Floats, settings: Settings) -> Tuned:
    return _robust(covariance_of(place, place, correlation, settings), residuals, settings)


def covariance_of(first: Place, second: Place, correlation: Floats, settings: Settings) -> Floats:
    """Covariance without noise. correlation: between the kernels of `first` and those of `second`."""
    networks = between_compositions(first.composition, second.composition, settings.reach)
    by_kernel = first.shares @ correlation @ second.shares.T
    total: Floats = _base(first.alone, second.alone) + settings.kernels**2 * by_kernel + settings.networks**2 * networks
    return total


def _robust(covariance: Floats, residuals: Floats, settings: Settings) -> Tuned:
    """Regression with Student's t as noise, by reweighting: what the others do not expect counts little."""
    weights, noise = outlier_weights(residuals - np.median(residuals)), settings.noise
    for _ in range(_ROUNDS):
        precision: Floats = np.linalg.inv(covariance + np.diag(noise**2 / weights)).astype(np.float64)
        alpha = precision @ residuals
        variance = 1 / np.diag(precision)
        held_out = alpha * variance
        weights = outlier_weights(held_out)
        noise = max(float(np.sqrt(np.mean(weights * (residuals - covariance @ alpha) ** 2))), _LEAST_NOISE)
    return Tuned(replace(settings, noise=noise), weights, precision, alpha, held_out)
