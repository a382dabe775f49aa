"""Which networks and block instances to measure: those that tell most about the rest, for the time they take.

Before anything is measured the process of `residual` knows already which kernels deviate alike. So the next to be
measured is the one that lowers the variance of a sample of the space's networks most for each second (greedy
A-optimal design).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from archlang.device.predict.features import Floats, Kernel, Kernels
from archlang.device.predict.residual import between_kernels

NOISE = 0.03
DEVIATION = 0.5
"""Of a kernel's time from what its work tells, before anything is measured."""

OVERHEAD = 0.5
"""What a measurement takes beside its runs, as a share of what the average network's takes."""


@dataclass(frozen=True)
class Option:
    """Something that could be measured."""

    kernels: Kernels
    alone: bool


def order(options: Sequence[Option], targets: Sequence[Kernels], count: int) -> list[int]:
    """The places of the `count` best options, the best first."""
    shares, typical = _shares([*(option.kernels for option in options), *targets])
    seconds = OVERHEAD + typical[: len(options)] / typical[len(options) :].mean()
    covariance = _covariance([*(option.kernels for option in options), *targets], shares)
    chosen: list[int] = []
    for _ in range(min(count, len(options))):
        best = _best(covariance, len(options), seconds, chosen)
        chosen.append(best)
        column = covariance[:, best].copy()
        covariance -= np.outer(column, column) / (column[best] + NOISE**2)
    return chosen


def _best(covariance: Floats, options: int, seconds: Floats, chosen: list[int]) -> int:
    lowered = (covariance[options:, :options] ** 2).sum(0) / (np.diag(covariance)[:options] + NOISE**2)
    worth = lowered / seconds
    worth[chosen] = -1.0
    return int(worth.argmax())


def _shares(networks: Sequence[Kernels]) -> tuple[list[dict[Kernel, float]], Floats]:
    """Of each network, the share of each kernel in its work; and its work."""
    works = [{kernel: count * _work(kernel) for kernel, count in network.items()} for network in networks]
    totals = np.array([sum(work.values()) for work in works])
    shares = [{k: v / total for k, v in work.items()} for work, total in zip(works, totals, strict=True)]
    return shares, totals


_PER_ELEMENT = 8
"""MACs that take as long as moving one element: so that kernels without MACs count."""


def _work(kernel: Kernel) -> float:
    return kernel.macs + _PER_ELEMENT * (kernel.moved + kernel.weights) + prod(kernel.output) * kernel.window


def _covariance(networks: Sequence[Kernels], shares: list[dict[Kernel, float]]) -> Floats:
    every = list(dict.fromkeys(kernel for network in networks for kernel in network))
    number = {kernel: i for i, kernel in enumerate(every)}
    rows = np.zeros((len(networks), len(every)))
    for row, share in zip(rows, shares, strict=True):
        for kernel, value in share.items():
            row[number[kernel]] = value
    found: Floats = np.zeros((len(networks), len(networks)))
    for kind in {kernel.kind for kernel in every}:  # kernels of two kinds have nothing in common
        members = [kernel for kernel in every if kernel.kind == kind]
        columns = rows[:, [number[kernel] for kernel in members]]
        found += columns @ between_kernels(members, members) @ columns.T
    return DEVIATION**2 * found
