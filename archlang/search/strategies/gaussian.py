"""A Gaussian process over decisions, in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
"""A row for each candidate, a column for each decision: the alternative that is taken, -1 where it is inactive."""

_STEPS = 20
_PRIOR_MEAN = (np.log(0.3), np.log(0.02), 0.0)
_PRIOR_DEVIATION = (1.0, 1.5, 0.7)
"""Of the logarithms of weights, noise and variance: log-normal priors, with a candidate's neighbours in one decision
correlated by exp(-0.3)."""


@dataclass(frozen=True)
class Kernel:
    """variance * exp(-sum of the weights of the decisions in which two candidates differ), and noise.

    The product of an own factor for each decision: it holds all interactions, the high ones less. logs: the logarithms
    of the weights, of the noise's variance and of the variance.
    """

    logs: Floats

    @classmethod
    def prior(cls, decisions: int) -> Kernel:
        return cls(_prior(decisions, _PRIOR_MEAN))

    @cached_property
    def weights(self) -> Floats:
        return np.exp(self.logs[:-2])

    @property
    def noise(self) -> float:
        return float(np.exp(self.logs[-2])) + 1e-6

    @property
    def variance(self) -> float:
        return float(np.exp(self.logs[-1]))

    def features(self, codes: Codes, counts: Codes) -> Floats:
        """Candidates as vectors whose products are the weights of the decisions in which they agree."""
        widths = counts.astype(np.intp) + 1
        ends = widths.cumsum()
        found = np.zeros((len(codes), ends[-1]))
        np.put_along_axis(found, codes + 1 + ends - widths, np.sqrt(self.weights)[None], axis=1)
        return found

    def between(self, a: Floats, b: Floats) -> Floats:
        """Covariances of candidates that are given by their features."""
        return np.asarray(self.variance * np.exp(a @ b.T - self.weights.sum()))

    def fitted(self, codes: Codes, values: Floats) -> Kernel:
        """The kernel with the logarithms of the highest posterior, as far as some steps of Rprop (without
        backtracking) from here come. values: with mean 0."""
        differ = (codes[:, None, :] != codes[None, :, :]).transpose(2, 0, 1).reshape(codes.shape[1], -1)
        differ = differ.astype(np.float64)
        logs, best, least = self.logs, self.logs, np.inf
        step, before = np.full(len(logs), 0.3), np.zeros(len(logs))
        for _ in range(_STEPS):
            loss, slope = _loss(logs, differ, values)
            if loss < least:
                least, best = loss, logs
            sign = np.sign(slope)
            step = np.clip(step * np.where(sign * before > 0, 1.2, np.where(sign * before < 0, 0.5, 1.0)), 0.01, 1.0)
            logs, before = logs - sign * step, sign
        return Kernel(best)


def _prior(decisions: int, of: tuple[float, float, float]) -> Floats:
    return np.array([of[0]] * decisions + [of[1], of[2]])


def _loss(logs: Floats, differ: Floats, values: Floats) -> tuple[float, Floats]:
    """The negative logarithm of the posterior, without constants, and its gradient (Rasmussen and Williams, 5.9)."""
    count, kernel = len(values), Kernel(logs)
    signal = kernel.variance * np.exp(-(kernel.weights @ differ)).reshape(count, count)
    covariance = signal + kernel.noise * np.eye(count)
    inverse = np.linalg.inv(covariance)
    alpha = inverse @ values
    outer = inverse - np.outer(alpha, alpha)
    inner = outer * signal
    deviation = (logs - _prior(len(differ), _PRIOR_MEAN)) / _prior(len(differ), _PRIOR_DEVIATION)
    loss = 0.5 * (values @ alpha + 2 * np.log(np.linalg.cholesky(covariance).diagonal()).sum() + deviation @ deviation)
    slope = np.empty_like(logs)
    slope[:-2] = -0.5 * kernel.weights * (differ @ inner.ravel())
    slope[-2] = 0.5 * kernel.noise * np.trace(outer)
    slope[-1] = 0.5 * inner.sum()
    return float(loss), slope + deviation / _prior(len(differ), _PRIOR_DEVIATION)


class Process:
    """A Gaussian process that takes observations one by one. codes: those that it begins with."""

    def __init__(self, kernel: Kernel, codes: Codes, counts: Codes) -> None:
        self.kernel, self._counts = kernel, counts
        self._features = kernel.features(codes, counts)
        covariance = kernel.between(self._features, self._features)
        self._inverse = np.linalg.inv(covariance + kernel.noise * np.eye(len(codes)))

    def add(self, codes: Codes) -> None:
        """One observation more: the inverse of a bordered matrix."""
        added = self.kernel.features(codes[None], self._counts)
        across = self.kernel.between(self._features, added)[:, 0]
        column = self._inverse @ across
        rest = self.kernel.variance + self.kernel.noise - across @ column
        size = len(column)
        inverse = np.empty((size + 1, size + 1))
        inverse[:size, :size] = self._inverse + np.outer(column, column) / rest
        inverse[:size, size] = inverse[size, :size] = -column / rest
        inverse[size, size] = 1 / rest
        self._inverse, self._features = inverse, np.concatenate([self._features, added])

    def across(self, codes: Codes) -> Floats:
        """Covariances of candidates with the observations."""
        return self.kernel.between(self.kernel.features(codes, self._counts), self._features)

    def means(self, across: Floats, values: Floats) -> Floats:
        """Expected values; `values` are those observed, with mean 0."""
        return np.asarray(across @ (self._inverse @ values))

    def deviations(self, across: Floats) -> Floats:
        """Their standard deviations."""
        explained = np.einsum("ij,ij->i", across @ self._inverse, across)
        return np.asarray(np.sqrt(np.maximum(self.kernel.variance - explained, 1e-9)))

    def bounds(self, across: Floats) -> Floats:
        """What the deviations are at most: those that the most similar observation alone would leave."""
        nearest = across.max(axis=1)
        left = self.kernel.variance - nearest**2 / (self.kernel.variance + self.kernel.noise)
        return np.asarray(np.sqrt(np.maximum(left, 0.0)))
