"""A latency model: the kernels' times added up, and a Gaussian process on what the sum does not tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from archlang.device.predict import additive, residual
from archlang.device.predict.additive import Additive, all_weights
from archlang.device.predict.features import EXECUTIONS, Floats, Kernel, Kernels, kernels
from archlang.device.predict.residual import Place, Settings
from archlang.errors import fail
from archlang.ir.graph import Graph

LEVEL = 0.9
"""The share of networks whose measured latency the interval is to hold."""

LEAST_SAMPLES = 8

SLACK = 0.25
"""Octaves by which a kernel may be larger or smaller than all measured ones of its kind."""

BEYOND = 0.3
"""Deviation of a kernel's time for each octave outside what was measured."""

WORTH_TELLING = 0.01
"""The share of a network's time from which a kernel outside the measured sizes is told."""


@dataclass(frozen=True)
class Sample:
    """A measured network, or a block instance measured alone. ms: median latency."""

    kernels: Kernels
    ms: float
    alone: bool = False


@dataclass(frozen=True)
class Prediction:
    """Latency in milliseconds, with the interval that is to hold 90 % of measurements.

    ms is None where an op was never measured: `unknown` names such kernels. `outside`: kernels larger or smaller than
    all measured ones, for which the interval is widened.
    """

    ms: float | None
    low_ms: float | None
    high_ms: float | None
    unknown: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "ms": self.ms,
            "low_ms": self.low_ms,
            "high_ms": self.high_ms,
            "level": LEVEL,
            "unknown": list(self.unknown),
            "outside": list(self.outside),
        }

    def __str__(self) -> str:
        if self.ms is None:
            return f"no figure: never measured: {', '.join(self.unknown)}"
        return f"{self.ms:.3f} ms ({self.low_ms:.3f} to {self.high_ms:.3f} for {LEVEL:.0%} of networks)"


@dataclass(frozen=True)
class _Known:
    """What is known of one kernel: its time in the sum, and its covariance with each sample, (n)."""

    ms: float
    covariance: Floats
    outside: float


@dataclass(frozen=True)
class LatencyModel:
    """Made by `fit`. Predictions need numpy alone.

    settings: of the process. factor: which multiple of the expected deviation the interval is wide.
    held_out: each whole network's relative error when the model is conditioned on all other samples.
    """

    execution: str
    additive: Additive
    settings: Settings
    samples: tuple[Sample, ...]
    _met: dict[Kernel, _Known] = field(default_factory=dict, repr=False, compare=False)

    def predict(self, graph: Graph) -> Prediction:
        """The latency of a network."""
        return self.predict_all([graph])[0]

    def predict_all(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """The latency of each network; several at once are quicker."""
        return self.predict_kernels([kernels(graph, self.execution) for graph in graphs])

    def predict_kernels(self, networks: Sequence[Kernels]) -> list[Prediction]:
        """As `predict_all`, for networks whose kernels are known already (with this model's `execution`)."""
        if not networks:
            return []
        self._meet(networks)
        sums = [self._sum(network) for network in networks]
        composition = np.stack([self._composition(network, ms) for network, ms in zip(networks, sums, strict=True)])
        covariance = (
            self._common
            + self._between(composition)
            + np.stack([self._by_kernel(network, ms) for network, ms in zip(networks, sums, strict=True)])
        )
        mean = covariance @ self._process.alpha
        explained = ((covariance @ self._process.precision) * covariance).sum(1)
        return [
            self._prediction(network, ms, float(mean[i]), float(explained[i]))
            for i, (network, ms) in enumerate(zip(networks, sums, strict=True))
        ]

    @property
    def held_out(self) -> Floats:
        """Relative errors (predicted / measured - 1) of the whole networks, each predicted from all other samples.

        The kernels' times are those that were fitted to all, so these errors are a little small."""
        whole = np.array([not sample.alone for sample in self.samples])
        errors: Floats = np.exp(-self._process.held_out[whole if whole.any() else slice(None)]) - 1
        return errors

    def as_json(self) -> dict[str, Any]:
        """All of the model, in plain figures. Kernels are a table that the samples refer to."""
        table = list(self._kernels)
        number = {kernel: i for i, kernel in enumerate(table)}
        return {
            "execution": self.execution,
            "additive": self.additive.as_json(),
            "settings": self.settings.as_json(),
            "kernels": [kernel.as_json() for kernel in table],
            "samples": [
                {"ms": s.ms, "alone": s.alone, "kernels": [[number[k], n] for k, n in s.kernels.items()]}
                for s in self.samples
            ],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> LatencyModel:
        table = [Kernel.from_json(values) for values in document["kernels"]]
        samples = tuple(
            Sample(Kernels({table[i]: n for i, n in s["kernels"]}), float(s["ms"]), bool(s["alone"]))
            for s in document["samples"]
        )
        settings = Settings(**document["settings"])
        return cls(document["execution"], Additive.from_json(document["additive"]), settings, samples)

    # what is known of the samples

    @cached_property
    def _kernels(self) -> dict[Kernel, int]:
        """Every kernel that was measured, and its number."""
        return {kernel: i for i, kernel in enumerate(dict.fromkeys(k for s in self.samples for k in s.kernels))}

    @cached_property
    def _sums(self) -> Floats:
        return np.array([self._sum(sample.kernels) for sample in self.samples])

    @cached_property
    def _kinds(self) -> dict[str, int]:
        return {kind: i for i, kind in enumerate(self.additive.kinds)}

    @cached_property
    def _scales(self) -> Floats:
        """Of each coordinate of a composition: its deviation among the samples, 1 where it is always the same."""
        spread = np.stack([self._counts(s.kernels, ms) for s, ms in zip(self.samples, self._sums, strict=True)]).std(0)
        scales: Floats = np.where(spread > 0, spread, 1.0)
        return scales

    @cached_property
    def _place(self) -> Place:
        shares = np.zeros((len(self.samples), len(self._kernels)))
        for row, sample, total in zip(shares, self.samples, self._sums, strict=True):
            for kernel, count in sample.kernels.items():
                row[self._kernels[kernel]] = count * self.additive.kernel_ms(kernel) / total
        compositions = [self._composition(s.kernels, ms) for s, ms in zip(self.samples, self._sums, strict=True)]
        return Place(shares, np.stack(compositions), np.array([float(sample.alone) for sample in self.samples]))

    @cached_property
    def _process(self) -> residual.Tuned:
        return self.tuned(self.settings)

    def tuned(self, settings: Settings | None) -> residual.Tuned:
        """The process conditioned on the samples; without settings the best ones are looked for."""
        every = list(self._kernels)
        residuals = np.log(np.array([sample.ms for sample in self.samples]) / self._sums)
        return residual.tuned(self._place, residual.between_kernels(every, every), residuals, settings)

    @cached_property
    def factor(self) -> float:
        """Of the expected deviation, such that the interval holds `LEVEL` of the whole networks that are held out
        (split conformal prediction's quantile, over scores of leaving one out)."""
        whole = np.array([not sample.alone for sample in self.samples])
        chosen = whole if np.count_nonzero(whole) >= LEAST_SAMPLES else np.ones(len(whole), bool)
        scores = np.sort(np.abs(self._process.held_out / self._process.expected)[chosen])
        rank = math.ceil((len(scores) + 1) * LEVEL)
        return float(scores[rank - 1]) if rank <= len(scores) else 1.2 * float(scores[-1])

    @cached_property
    def _ranges(self) -> dict[str, tuple[Floats, Floats]]:
        """Of each kind the smallest and the largest work that was measured, in octaves."""
        groups: dict[str, list[Floats]] = {}
        for kernel in self._kernels:
            groups.setdefault(kernel.kind, []).append(_octaves(kernel))
        return {kind: (np.min(group, 0), np.max(group, 0)) for kind, group in groups.items()}

    # one network

    def _meet(self, networks: Sequence[Kernels]) -> None:
        """Find out what is to be known of the kernels that are new, all at once."""
        new = list(dict.fromkeys(kernel for network in networks for kernel in network if kernel not in self._met))
        if not new:
            return
        correlation = residual.between_kernels(new, list(self._kernels))
        covariances = self.settings.kernels**2 * correlation @ self._place.shares.T
        for kernel, covariance in zip(new, covariances, strict=True):
            self._met[kernel] = _Known(self.additive.kernel_ms(kernel), covariance, self._outside(kernel))

    def _known(self, kernel: Kernel) -> _Known:
        return self._met[kernel]

    def _outside(self, kernel: Kernel) -> float:
        """Octaves by which the kernel's work is outside what was measured of its kind."""
        if kernel.kind not in self._ranges:
            return 0.0
        low, high = self._ranges[kernel.kind]
        here = _octaves(kernel)
        octaves = float(np.maximum(low - here, here - high).max())
        return octaves if octaves > SLACK else 0.0

    def _sum(self, network: Kernels) -> float:
        times = sum(count * self.additive.kernel_ms(kernel) for kernel, count in network.items())
        return max(times + self.additive.network_ms(all_weights(network)), 1e-9)

    def _counts(self, network: Kernels, ms: float) -> Floats:
        counts = np.zeros(len(self._kinds) + 1)
        for kernel, count in network.items():
            counts[self._kinds.get(kernel.kind, -1)] += count
        counts[-1] = math.log(ms)
        return counts

    def _composition(self, network: Kernels, ms: float) -> Floats:
        """How many kernels of each kind, and the logarithm of the summed time, each in its own deviations."""
        return self._counts(network, ms) / self._scales

    @cached_property
    def _common(self) -> Floats:
        """Covariance of a whole network with each sample that all whole networks have."""
        alone = self._place.alone
        common: Floats = residual.COMMON**2 + residual.APART**2 * (alone == 0)
        return common

    def _between(self, composition: Floats) -> Floats:
        if not self.settings.networks:
            return np.zeros((len(composition), len(self.samples)))
        alike = residual.between_compositions(composition, self._place.composition, self.settings.reach)
        return self.settings.networks**2 * alike

    def _by_kernel(self, network: Kernels, ms: float) -> Floats:
        found = np.zeros(len(self.samples))
        if self.settings.kernels:
            for kernel, count in network.items():
                known = self._known(kernel)
                found += count * known.ms / ms * known.covariance
        return found

    def _prediction(self, network: Kernels, ms: float, mean: float, explained: float) -> Prediction:
        unknown = tuple(dict.fromkeys(str(k) for k in network if k.kind not in self._kinds))
        shares = {kernel: count * self._known(kernel).ms / ms for kernel, count in network.items()}
        far = {kernel: share for kernel, share in shares.items() if self._known(kernel).outside}
        outside = tuple(str(kernel) for kernel, share in far.items() if share > WORTH_TELLING)
        if unknown:
            return Prediction(None, None, None, unknown, outside)
        beyond = sum(share * BEYOND * self._known(kernel).outside for kernel, share in far.items())
        deviation = math.sqrt(max(self._prior(shares) - explained, 0.0) + self.settings.noise**2)
        half = self.factor * math.hypot(deviation, beyond)
        centre = ms * math.exp(mean)
        return Prediction(centre, centre * math.exp(-half), centre * math.exp(half), (), outside)

    def _prior(self, shares: dict[Kernel, float]) -> float:
        """The variance of a network's deviation before anything was measured."""
        settings = self.settings
        own = residual.COMMON**2 + residual.APART**2 + settings.networks**2
        if not settings.kernels:
            return own
        every, values = list(shares), np.array(list(shares.values()))
        return own + settings.kernels**2 * float(values @ residual.between_kernels(every, every) @ values)


def _octaves(kernel: Kernel) -> Floats:
    octaves: Floats = np.log2(np.array(kernel.work, dtype=np.float64) + 1)
    return octaves


def fit(networks: Sequence[tuple[Graph, float]], execution: str | None = None) -> LatencyModel:
    """A model of measured networks. networks: a graph and its latency in milliseconds.

    execution: one of `EXECUTIONS`; None: the one that explains the measurements better. Raises ArchError where there
    are too few networks, OutsideError without SciPy.
    """
    candidates = (execution,) if execution else EXECUTIONS
    models = [fit_samples([Sample(kernels(graph, each), ms) for graph, ms in networks], each) for each in candidates]
    return min(models, key=lambda model: float(np.abs(model.held_out).mean()))


def fit_samples(samples: Sequence[Sample], execution: str) -> LatencyModel:
    """A model of samples whose kernels were found with `execution`. Raises as `fit` does."""
    if len(samples) < LEAST_SAMPLES:
        raise fail("E1011", f"{len(samples)} measurements are too few for a latency model", help="measure more of them")
    found, _ = additive.fit([sample.kernels for sample in samples], np.array([sample.ms for sample in samples]))
    untuned = LatencyModel(execution, found, Settings(), tuple(samples))
    return LatencyModel(execution, found, untuned.tuned(None).settings, tuple(samples))
