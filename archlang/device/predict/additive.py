"""The first stage of the model: a time for each kernel, linear in its work, and the network's is their sum.

Coefficients are not negative (work takes time) and are fitted to relative errors, with little weight for outliers,
which measured latencies always hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device.predict.features import Floats, Kernel, Kernels
from archlang.errors import missing_extra

WORK = 4
"""Columns of a kind: how many kernels, their MACs, elements moved, elements of weights."""

SPILLS = (2**16, 2**18, 2**20)
"""Elements moved beyond which a kernel's activations may leave a level of cache."""

RESIDENT = (2**18, 2**20, 2**22)
"""Elements of weights beyond which a network's may have left a level of cache when its next run begins."""

DEGREES = 4.0
"""Of freedom of Student's t, the distribution of the relative errors."""

_REACHED = 0.25
"""The share of samples that must go beyond a size of cache for its column to count."""

_RIDGE = 1e-3
_ROUNDS = 12
_LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Additive:
    """kinds: of kernels, as measured. coefficients: ms for each column, `WORK` of each kind, then the spills, a
    constant, and the weights that are not resident."""

    kinds: tuple[str, ...]
    coefficients: Floats

    @cached_property
    def _index(self) -> dict[str, int]:
        return {kind: i for i, kind in enumerate(self.kinds)}

    def kernel_ms(self, kernel: Kernel) -> float:
        """The time of one execution. A kind that was never measured takes none."""
        own = self._index.get(kernel.kind)
        start = 0 if own is None else own * WORK
        time = 0.0 if own is None else float(np.dot((1, *kernel.work), self.coefficients[start : start + WORK]))
        spills = self.coefficients[len(self.kinds) * WORK :][: len(SPILLS)]
        return time + float(np.dot(_beyond(kernel.moved, SPILLS), spills))

    def network_ms(self, weights: float) -> float:
        """What a network takes beside its kernels. weights: elements of all its arrays."""
        constant, *beyond = self._network
        return constant + sum(
            c * (weights - limit) for c, limit in zip(beyond, RESIDENT, strict=True) if weights > limit
        )

    @cached_property
    def _network(self) -> tuple[float, ...]:
        return tuple(self.coefficients[-1 - len(RESIDENT) :].tolist())

    def as_json(self) -> dict[str, Any]:
        return {"kinds": list(self.kinds), "coefficients": self.coefficients.tolist()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Additive:
        return cls(tuple(document["kinds"]), np.array(document["coefficients"]))


def fit(samples: Sequence[Kernels], ms: Floats) -> tuple[Additive, Floats]:
    """The model of least relative error, and the weight of each sample: small for outliers. ms: (n). Raises
    OutsideError without SciPy."""
    kinds = tuple(sorted({kernel.kind for sample in samples for kernel in sample}))
    columns = np.stack([_columns(sample, kinds) for sample in samples])
    columns[:, _rare(columns, len(kinds))] = 0
    columns /= ms[:, None]
    weights = np.ones(len(ms))
    for _ in range(_ROUNDS):
        coefficients = _non_negative(columns, weights)
        weights = outlier_weights(columns @ coefficients - 1)
    return Additive(kinds, coefficients), weights


def _rare(columns: Floats, kinds: int) -> NDArray[np.intp]:
    """The columns of caches that few samples reach. A coefficient from so little would go wrong far beyond them."""
    network = np.array([*range(kinds * WORK, kinds * WORK + len(SPILLS)), *range(-len(RESIDENT), 0)])
    reached = np.count_nonzero(columns[:, network], axis=0)
    rare: NDArray[np.intp] = network[reached < _REACHED * len(columns)]
    return rare


def outlier_weights(errors: Floats) -> Floats:
    """Weights of Student's t, whose scale is the errors' median deviation (1.48 of it is a normal deviation)."""
    scale = max(1.4826 * float(np.median(np.abs(errors))), _LEAST_SCALE)
    weights: Floats = (DEGREES + 1) / (DEGREES + (errors / scale) ** 2)
    return weights


def _columns(sample: Kernels, kinds: tuple[str, ...]) -> Floats:
    index = {kind: i * WORK for i, kind in enumerate(kinds)}
    row = np.zeros(len(kinds) * WORK + len(SPILLS))
    for kernel, count in sample.items():
        start = index[kernel.kind]
        row[start : start + WORK] += count * np.array((1, *kernel.work))
        row[-len(SPILLS) :] += count * np.array(_beyond(kernel.moved, SPILLS))
    return np.concatenate([row, (1,), _beyond(all_weights(sample), RESIDENT)])


def all_weights(sample: Kernels) -> int:
    """Elements of all arrays of a network."""
    return sum(count * kernel.weights for kernel, count in sample.items())


def _beyond(value: int, limits: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, value - limit) for limit in limits)


def _non_negative(columns: Floats, weights: Floats) -> Floats:
    """Coefficients that make the columns add up to 1. A slight ridge decides between columns that grow together."""
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise missing_extra("fitting a latency model", "search") from error
    scale = np.linalg.norm(columns, axis=0)
    used = scale > 0
    root = np.sqrt(weights)
    left = columns[:, used] / scale[used] * root[:, None]
    ridge = _RIDGE * np.eye(left.shape[1])
    found, _ = nnls(np.vstack([left, ridge]), np.concatenate([root, np.zeros(len(ridge))]), maxiter=50 * len(ridge))
    coefficients: Floats = np.zeros(len(scale))
    coefficients[used] = found / scale[used]
    return coefficients
