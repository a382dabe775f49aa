"""Accuracies of sub-networks, predicted from those of a sample (once-for-all, arXiv:1908.09791, section 3.4).

Where once-for-all learns a perceptron from 16,000 sub-networks, this is a Gaussian process over the decisions, which
needs some hundred. It learns the logit of the accuracy, in which the steps between good networks are not small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.errors import fail, missing_extra
from archlang.files import write_whole
from archlang.search.strategies.gaussian import Codes, Floats, Kernel, Process

Sample = tuple[Mapping[str, int], float]
"""Picks and accuracy, 0..1."""

LEAST = 10
"""Sub-networks that a predictor learns from at least."""

EDGE = 1e-3
"""Accuracies nearer to 0 or 1 than this count as this near."""

FORMAT = "archlang predictor 1"


@dataclass(frozen=True)
class Predictor:
    """keys, counts: the decisions that the samples meet, and how many alternatives each has, as far as they tell.
    logs: of the kernel. space: the digest of the space that it is of."""

    space: str
    keys: tuple[str, ...]
    counts: tuple[int, ...]
    samples: tuple[Sample, ...]
    logs: tuple[float, ...]

    def accuracies(self, picks: Iterable[Mapping[str, int]]) -> Floats:
        """What to expect of sub-networks, 0..1. An alternative that no sample took says nothing for or against."""
        process, mean, deviation = self._process
        found = process.means(process.across(_codes(self.keys, picks)), (self._logits - mean) / deviation)
        return np.asarray(1 / (1 + np.exp(-(found * deviation + mean))))

    @cached_property
    def _logits(self) -> Floats:
        return _logits([accuracy for _, accuracy in self.samples])

    @cached_property
    def _process(self) -> tuple[Process, float, float]:
        """The process, and the mean and deviation of the logits."""
        codes = _codes(self.keys, [picks for picks, _ in self.samples])
        process = Process(Kernel(np.array(self.logs)), codes, np.array(self.counts, np.int16))
        return process, float(self._logits.mean()), float(self._logits.std()) or 1.0

    def save(self, path: Path) -> None:
        document = {
            "format": FORMAT,
            "space": self.space,
            "keys": self.keys,
            "counts": self.counts,
            "logs": self.logs,
            "samples": [{"picks": dict(picks), "accuracy": accuracy} for picks, accuracy in self.samples],
        }
        write_whole(path, json.dumps(document) + "\n")


def load(path: Path, space: str) -> Predictor:
    """The predictor that `save` wrote, for the space of this digest. Raises ArchError E1327 where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        samples = tuple((each["picks"], float(each["accuracy"])) for each in found["samples"])
        made = Predictor(
            found["space"], tuple(found["keys"]), tuple(found["counts"]), samples, tuple(map(float, found["logs"]))
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        help = "`archlang supernet predictor FILE SPACE --data D -o P.json` writes one"
        raise fail("E1327", f"{path} holds no predictor", help=help) from error
    if made.space != space:
        raise fail("E1327", f"{path} is a predictor for another space", help="make one for this")
    return made


def fitted(space: str, samples: Sequence[Sample]) -> Predictor:
    """A predictor that has learnt from these. Raises ArchError E1327 where they are too few."""
    if len(samples) < LEAST:
        raise fail("E1327", f"{len(samples)} sub-networks are too few to learn from", help=f"at least {LEAST}")
    keys = tuple(sorted({key for picks, _ in samples for key in picks}))
    codes = _codes(keys, [picks for picks, _ in samples])
    logits = _logits([accuracy for _, accuracy in samples])
    kernel = Kernel.prior(len(keys)).fitted(codes, (logits - logits.mean()) / (logits.std() or 1.0))
    counts = tuple(int(count) for count in codes.max(axis=0) + 1)
    return Predictor(space, keys, counts, tuple(samples), tuple(map(float, kernel.logs)))


def _codes(keys: Sequence[str], picks: Iterable[Mapping[str, int]]) -> Codes:
    """A row for each sub-network: what it takes, -1 for a decision that it does not meet."""
    return np.array([[each.get(key, -1) for key in keys] for each in picks], np.int16).reshape(-1, len(keys))


def _logits(accuracies: Sequence[float]) -> Floats:
    shares: NDArray[np.float64] = np.clip(np.array(accuracies, np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(shares / (1 - shares)))


@dataclass(frozen=True)
class Agreement:
    """How well a predictor does on sub-networks that it has not learnt from. held: how many. spearman, kendall: rank
    correlations (Kendall's tau-b). error: the mean of the absolute errors of the accuracy."""

    held: int
    spearman: float
    kendall: float
    error: float


def agreement(space: str, samples: Sequence[Sample], folds: int = 5) -> Agreement:
    """Each of `folds` parts of the samples predicted from the others. Raises OutsideError without scipy."""
    try:
        from scipy.stats import kendalltau, spearmanr
    except ImportError as error:
        raise missing_extra("rank correlations", "search") from error
    true = np.array([accuracy for _, accuracy in samples])
    predicted = np.empty(len(samples))
    for fold in range(folds):
        rest = [sample for i, sample in enumerate(samples) if i % folds != fold]
        held = [picks for i, (picks, _) in enumerate(samples) if i % folds == fold]
        predicted[fold::folds] = fitted(space, rest).accuracies(held)
    varied = len(set(predicted)) > 1 and len(set(true)) > 1  # equal numbers have no ranks
    spearman, kendall = (
        float(rank(predicted, true)[0]) if varied else float("nan") for rank in (spearmanr, kendalltau)
    )
    return Agreement(len(samples), spearman, kendall, float(np.abs(predicted - true).mean()))
