"""A latency model: the kernels' times added up, and a Gaussian process on what the sum does not tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from archlang.device.predict import additive, interval, residual
from archlang.device.predict.additive import Additive, all_weights
from archlang.device.predict.features import EXECUTIONS, Ends, Floats, Kernel, Kernels, executed_piece, kernels
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


FOLDS = 8
"""Into how many parts the measured networks are divided to find out how wide intervals have to be."""

_LEAST_MS = 1e-9
_LEAST_DEVIATION = 1e-6

_PRIOR = residual.COMMON**2 + residual.APART**2
"""Variance of what all whole networks deviate alike, before anything is measured."""


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
    unknown: tuple[str, ...] = field(default=(), compare=False)
    outside: tuple[str, ...] = field(default=(), compare=False)

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


Sums = Sequence[float]
"""What `LatencyModel.features` makes of a network, or of its pieces, added up: the figures of `Ends`; how many kernels
are unknown; the summed times, the elements of weights, pull, spread and beyond as in `_Known`; and how many kernels of
each kind there are."""

_WHOLE = astuple(Ends())


@dataclass(frozen=True)
class _Known:
    """What one kernel adds to a network. ms: its time in the sum. pull: what the process adds to the logarithm of the
    latency, spread: the deviation that is left, beyond: what is added to it outside the measured sizes; each times ms.
    """

    ms: float
    pull: float
    spread: float
    beyond: float
    kind: int | None

    @property
    def outside(self) -> bool:
        return self.beyond > 0


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
    factor: float = 1.0
    _met: dict[Kernel, _Known] = field(default_factory=dict, repr=False, compare=False)

    def predict(self, graph: Graph) -> Prediction:
        """The latency of a network."""
        return self._prediction(kernels(graph, self.execution))

    def predict_all(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """The latency of each network."""
        return self.predict_kernels([kernels(graph, self.execution) for graph in graphs])

    def predict_kernels(self, networks: Sequence[Kernels]) -> list[Prediction]:
        """As `predict_all`, for networks whose kernels are known already (with this model's `execution`)."""
        self._meet(dict.fromkeys(kernel for network in networks for kernel in network))
        return [self._prediction(network) for network in networks]

    # a network in pieces

    def features(self, graph: Graph) -> tuple[float, ...]:
        """Figures of a network, or of a piece of one, that add up: the sums over the pieces are the network's own.

        A search that keeps them for each piece (`archlang.lower.pieces`) needs `from_features` alone for a candidate.
        Where kernels span two pieces the sums say so: ask `exact` before they are believed.
        """
        piece = executed_piece(graph, self.execution)
        return (*astuple(piece.ends), *self._amounts(piece.kernels))

    def exact(self, sums: Sums) -> bool:
        """Whether the sums over pieces are those of the whole network. If not, `predict` needs its Graph."""
        return Ends(*map(int, sums[: len(_WHOLE)])).decided

    def from_features(self, sums: Sums) -> Prediction:
        """The latency that the sums mean: equal to that of `predict`, but for the names of kernels."""
        unknown, times, weights, pull, spread, beyond, *counts = sums[len(_WHOLE) :]
        if unknown:
            return Prediction(None, None, None, ("an op",))
        ms = max(times + self.additive.network_ms(weights), _LEAST_MS)
        mean, variance = self._of_all
        mean += pull / ms
        variance += (spread / ms) ** 2
        if self.settings.networks:
            alike = self._alike(counts, ms)
            mean += self.settings.networks**2 * float(alike @ self._process.alpha)
            variance += self.settings.networks**2 * max(1.0 - float(alike.max()) ** 2, 0.0)
        half = self.factor * math.hypot(math.sqrt(variance), beyond / ms)
        centre = ms * math.exp(mean)
        return Prediction(centre, centre * math.exp(-half), centre * math.exp(half))

    def _amounts(self, network: Kernels) -> list[float]:
        """The figures that add up, from `unknown` on."""
        self._meet(network)
        unknown = weights = 0
        ms = pull = spread = beyond = 0.0
        counts = [0.0] * len(self.additive.kinds)
        for kernel, count in network.items():
            known = self._met[kernel]
            if known.kind is None:
                unknown += count
            else:
                counts[known.kind] += count
            weights += count * kernel.weights
            ms += count * known.ms
            pull += count * known.pull
            spread += count * known.spread
            beyond += count * known.beyond
        return [unknown, ms, weights, pull, spread, beyond, *counts]

    def _prediction(self, network: Kernels) -> Prediction:
        found = self.from_features((*_WHOLE, *self._amounts(network)))
        parts = [(kernel, count, self._met[kernel]) for kernel, count in network.items()]
        unknown = tuple(str(kernel) for kernel, _, known in parts if known.kind is None)
        total = sum(count * known.ms for _, count, known in parts)
        outside = tuple(
            str(k) for k, count, known in parts if known.outside and count * known.ms > WORTH_TELLING * total
        )
        return replace(found, unknown=unknown, outside=outside) if unknown or outside else found

    # how well it does

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
            "factor": self.factor,
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
        sums = Additive.from_json(document["additive"])
        return cls(document["execution"], sums, settings, samples, float(document["factor"]))

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
    def _ranges(self) -> dict[str, tuple[Floats, Floats]]:
        """Of each kind the smallest and the largest work that was measured, in octaves."""
        groups: dict[str, list[Floats]] = {}
        for kernel in self._kernels:
            groups.setdefault(kernel.kind, []).append(_octaves(kernel))
        return {kind: (np.min(group, 0), np.max(group, 0)) for kind, group in groups.items()}

    # one network

    def _meet(self, some: Iterable[Kernel]) -> None:
        """Find out what is to be known of the kernels that are new, all at once."""
        new = [kernel for kernel in some if kernel not in self._met]
        if not new:
            return
        covariance = self._covariance(new)
        pulls = covariance @ self._process.alpha
        spreads = interval.deviations(covariance, self.settings.kernels**2, self._process)
        for kernel, pull, spread in zip(new, pulls.tolist(), spreads.tolist(), strict=True):
            ms = self.additive.kernel_ms(kernel)
            beyond = ms * BEYOND * self._outside(kernel)
            self._met[kernel] = _Known(ms, ms * pull, ms * spread, beyond, self._kinds.get(kernel.kind))

    def _covariance(self, some: list[Kernel]) -> Floats:
        """Of each kernel's deviation with each sample's, (kernels, samples)."""
        if not self.settings.kernels:
            return np.zeros((len(some), len(self.samples)))
        found: Floats = self.settings.kernels**2 * self._correlation(some) @ self._place.shares.T
        return found

    def _correlation(self, some: list[Kernel]) -> Floats:
        return residual.between_kernels(some, list(self._kernels))

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
        return max(times + self.additive.network_ms(all_weights(network)), _LEAST_MS)

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
        """Covariance of what all whole networks deviate alike with each sample."""
        common: Floats = residual.COMMON**2 + residual.APART**2 * (self._place.alone == 0)
        return common

    @cached_property
    def _of_all(self) -> tuple[float, float]:
        """The deviation that all whole networks have; and its variance, with that of noise."""
        unknown = float(interval.deviations(self._common[None], _PRIOR, self._process)[0])
        return float(self._common @ self._process.alpha), unknown**2 + self.settings.noise**2

    def _alike(self, counts: Sequence[float], ms: float) -> Floats:
        """Correlation of a network of this composition with each sample, (n): as `between_compositions` has it."""
        here = np.array((*counts, math.log(ms)))
        here /= self._scales
        directions, norms, scale = self._distances
        alike: Floats = np.exp(directions @ here + (norms - scale * float(here @ here)))
        return alike

    @cached_property
    def _distances(self) -> tuple[Floats, Floats, float]:
        """What the square of a distance to each sample is made of: its composition, and its square."""
        places = self._place.composition
        scale = 1 / (2 * self.settings.reach**2 * places.shape[1])
        return 2 * scale * places, -scale * (places**2).sum(1), scale


def _octaves(kernel: Kernel) -> Floats:
    octaves: Floats = np.log2(np.array(kernel.work, dtype=np.float64) + 1)
    return octaves


def fit(networks: Sequence[tuple[Graph, float]], execution: str | None = None) -> LatencyModel:
    """A model of measured networks. networks: a graph and its latency in milliseconds.

    execution: one of `EXECUTIONS`; None: the one that explains the measurements better. Raises ArchError where there
    are too few networks, OutsideError without SciPy.
    """
    candidates = (execution,) if execution else EXECUTIONS
    models = [_settled([Sample(kernels(graph, each), ms) for graph, ms in networks], each) for each in candidates]
    return _with_interval(min(models, key=lambda model: float(np.abs(model.held_out).mean())))


def fit_samples(samples: Sequence[Sample], execution: str) -> LatencyModel:
    """A model of samples whose kernels were found with `execution`. Raises as `fit` does."""
    return _with_interval(_settled(samples, execution))


def _settled(samples: Sequence[Sample], execution: str) -> LatencyModel:
    """With the settings that suit the samples; how wide an interval is to be is not known yet."""
    if len(samples) < LEAST_SAMPLES:
        raise fail("E1011", f"{len(samples)} measurements are too few for a latency model", help="measure more of them")
    plain = _conditioned(samples, execution, Settings())
    return replace(plain, settings=plain.tuned(None).settings)


def _with_interval(model: LatencyModel) -> LatencyModel:
    return replace(model, factor=_factor(model.samples, model.execution, model.settings))


def _conditioned(samples: Sequence[Sample], execution: str, settings: Settings) -> LatencyModel:
    sums, _ = additive.fit([sample.kernels for sample in samples], np.array([sample.ms for sample in samples]))
    return LatencyModel(execution, sums, settings, tuple(samples))


def _factor(samples: Sequence[Sample], execution: str, settings: Settings) -> float:
    """Of the expected deviation, such that the interval holds `LEVEL` of networks that the model was not fitted to:
    fitted anew to all of `FOLDS` parts but one, it is asked for that one (cross-conformal prediction, Vovk,
    arXiv:1208.0806). The settings, a few values chosen from a grid, are those of all measurements. Where few whole
    networks are known, block instances are asked for too."""
    whole = [i for i, sample in enumerate(samples) if not sample.alone]
    asked = whole if len(whole) >= LEAST_SAMPLES else list(range(len(samples)))
    scores: list[float] = []
    for fold in range(FOLDS):
        left_out = set(asked[fold::FOLDS])
        model = _conditioned([s for i, s in enumerate(samples) if i not in left_out], execution, settings)
        scores.extend(_scores(model, [samples[i] for i in sorted(left_out)]))
    scores.sort()
    rank = math.ceil((len(scores) + 1) * LEVEL)
    return scores[rank - 1] if rank <= len(scores) else 1.2 * max(scores, default=1.0)


def _scores(model: LatencyModel, samples: Sequence[Sample]) -> Iterator[float]:
    """How many of its expected deviations each sample is from its prediction, where there is one."""
    for sample, found in zip(samples, model.predict_kernels([sample.kernels for sample in samples]), strict=True):
        if found.ms and found.high_ms:
            yield abs(math.log(sample.ms / found.ms)) / max(math.log(found.high_ms / found.ms), _LEAST_DEVIATION)
