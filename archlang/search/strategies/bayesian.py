"""Bayesian optimisation over decisions: the strategy that needs the fewest evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from random import Random
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from archlang.search.objective import Objective
from archlang.search.strategies.gaussian import Codes, Floats, Kernel, Process
from archlang.search.strategies.kinds import Count
from archlang.search.strategies.protocol import Kept
from archlang.search.trial import Picks, Proposal, Space, Trial

NEIGHBOURS = 300
"""Candidates in one decision from a good one that are thought about, at most."""

FARTHER = 100
"""Candidates in two decisions from a good one."""

SAMPLES = 300
"""Candidates from anywhere in the space."""

_DRAWN = 64
"""Samples of the space from which its decisions are known."""

SHORTLIST = 64
"""Candidates whose deviation is computed: those that promise most by a bound of it."""

FITTED = 100
"""Observations that the kernel is fitted to, at most."""

REMEMBERED = 400
"""Observations that the process holds when it begins anew, at most."""


@dataclass(frozen=True)
class Bayesian:
    """A Gaussian process over the decisions proposes what may be best (Thompson sampling).

    After `initial` random candidates, each candidate in one or two decisions from the `elite` best, and samples of the
    whole space, get a predicted value and its uncertainty; a value is drawn for each, and the highest is next. Values
    are observed ranks, spread like a normal distribution, so that no scale matters; several objectives are weighed by
    random weights, new ones each time (ParEGO, Knowles 2006). Numpy alone; for spaces of choices.
    """

    initial: Count = 16
    elite: Count = 16

    needs_decisions = True
    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        if len(history) < max(self.initial, 2):
            return Proposal(space.sample(rng), None, "sampled")
        model: _Model = self._kept.grown(space, objective, history, lambda: _Model(space, objective))
        model.learn(history)
        return model.proposal(self.elite, rng)


class _Vocabulary:
    """The decisions of a space as columns, met in samples of it; and these samples."""

    def __init__(self, space: Space) -> None:
        rng = Random(0)
        drawn = [space.sample(rng) for _ in range(_DRAWN)]
        self.keys = sorted({key for picks in drawn for key in picks})
        self.samples: Codes = np.array([self.codes(picks) for picks in drawn], np.int16)
        self.counts: Codes = self.samples.max(axis=0) + 1

    def codes(self, picks: Picks) -> Codes:
        return np.array([picks.get(key, -1) for key in self.keys], np.int16)

    def picks(self, codes: Codes) -> Picks:
        return {key: int(code) for key, code in zip(self.keys, codes, strict=True) if code >= 0}

    def neighbours(self, codes: Codes) -> Codes:
        """Every candidate that differs from one of these in one active decision; repeated where several lead to it."""
        columns, shifts = self._moves
        rows, moves = np.nonzero((codes >= 0)[:, columns])
        found = codes[rows]
        moved, counts = columns[moves], self.counts[columns[moves]]
        found[np.arange(len(rows)), moved] = (codes[rows, moved] + shifts[moves]) % counts
        return found

    @cached_property
    def _moves(self) -> tuple[NDArray[np.intp], Codes]:
        """The decision of each change, and by how much its alternative is moved on, from the last to the first one."""
        columns = np.repeat(np.arange(len(self.counts)), self.counts - 1)
        shifts = [np.arange(1, count, dtype=np.int16) for count in self.counts]
        return columns, np.concatenate(shifts)

    def changed(self, codes: Codes, generator: np.random.Generator) -> Codes:
        """Each candidate with one active decision changed at random."""
        found, rows = codes.copy(), np.arange(len(codes))
        columns = np.where(codes >= 0, generator.random(codes.shape), -1).argmax(axis=1)
        counts = self.counts[columns]
        found[rows, columns] = (codes[rows, columns] + generator.integers(1, np.maximum(counts, 2))) % counts
        return found

    def mixed(self, count: int, generator: np.random.Generator) -> Codes:
        """Candidates that have each decision from one of two samples."""
        first, second = generator.integers(len(self.samples), size=(2, count))
        donor = generator.random((count, len(self.keys))) < 0.5
        mixed: Codes = np.where(donor, self.samples[first], self.samples[second])
        return mixed


class _Model:
    """What was learnt from a history. It depends on the trials and their order alone, not on when they were learnt:
    a run that goes on learns them anew one by one, with the same rounding."""

    def __init__(self, space: Space, objective: Objective) -> None:
        self._space, self._objective = space, objective
        self._vocabulary = _Vocabulary(space)
        self._trials: list[Trial] = []
        self._codes: list[Codes] = []
        self._known: set[bytes] = set()
        self._kernel = Kernel.prior(len(self._vocabulary.keys))
        self._process: Process | None = None
        self._observed: list[int] = []
        self._next_fit = 16
        self._points = np.empty((0, 0))

    def learn(self, history: Sequence[Trial]) -> None:
        for trial in history[len(self._trials) :]:
            self._add(trial)

    def _add(self, trial: Trial) -> None:
        codes = self._vocabulary.codes(trial.picks)
        self._trials.append(trial)
        self._codes.append(codes)
        self._known.add(codes.tobytes())
        point = np.array([self._objective.worth(trial.metrics)])
        self._points = np.concatenate([self._points, point]) if self._points.size else point
        if len(self._trials) >= self._next_fit or self._process is None:
            self._begin()
        else:
            self._observed.append(len(self._trials) - 1)
            self._process.add(codes)

    def _begin(self) -> None:
        """Fit the kernel anew, twice in every doubling, and begin a process with it."""
        count = len(self._trials)
        values = self._values(np.arange(count), None)
        if count >= self._next_fit:
            chosen = _chosen(values, FITTED)
            self._kernel = self._kernel.fitted(self._rows(chosen), _centred(values[chosen]))
            self._next_fit = min(count * 3 // 2, count + REMEMBERED // 2)
        self._observed = _chosen(values, REMEMBERED).tolist()
        self._process = Process(self._kernel, self._rows(self._observed), self._vocabulary.counts)

    def _rows(self, indices: Sequence[int] | NDArray[np.intp]) -> Codes:
        return np.array([self._codes[i] for i in indices], np.int16)

    def _values(self, indices: Sequence[int] | NDArray[np.intp], weights: Floats | None) -> Floats:
        """The worth of trials: normal scores, of several objectives by the worst in weights (and a bit of all)."""
        points = self._points[indices]
        scores = np.stack([_scores(points[:, axis]) for axis in range(points.shape[1])], axis=1)
        if scores.shape[1] == 1:
            return np.asarray(scores[:, 0])
        weighed = (scores - 3) * (np.full(scores.shape[1], 1 / scores.shape[1]) if weights is None else weights)
        return np.asarray(weighed.min(axis=1) + 0.05 * weighed.sum(axis=1))

    def proposal(self, elite: int, rng: Random) -> Proposal:
        assert self._process is not None
        generator = np.random.default_rng(rng.getrandbits(64))
        weights = generator.dirichlet(np.ones(self._points.shape[1]))
        values = _centred(self._values(self._observed, weights))
        best = [self._observed[i] for i in np.argsort(-values, kind="stable")[:elite]]
        pool = self._pool(best, generator)
        if not len(pool):
            return Proposal(self._space.sample(rng), None, "sampled")
        across = self._process.across(pool)
        means = self._process.means(across, values)
        short = np.argsort(-means - self._process.bounds(across), kind="stable")[:SHORTLIST]
        drawn = means[short] + self._process.deviations(across[short]) * generator.standard_normal(len(short))
        return self._proposed(pool[short[drawn.argmax()]], best, rng)

    def _pool(self, best: Sequence[int], generator: np.random.Generator) -> Codes:
        """Candidates that are not known, each once."""
        vocabulary, good = self._vocabulary, self._rows(best)
        near = vocabulary.neighbours(good)
        if len(near) > NEIGHBOURS:
            near = near[generator.choice(len(near), NEIGHBOURS, replace=False)]
        far = vocabulary.changed(near[generator.integers(len(near), size=FARTHER)], generator)
        pool = np.concatenate([near, far, vocabulary.mixed(SAMPLES, generator)])
        unknown = {row.tobytes(): row for row in pool}
        return np.array([row for key, row in unknown.items() if key not in self._known], np.int16)

    def _proposed(self, codes: Codes, best: Sequence[int], rng: Random) -> Proposal:
        """The candidate; decisions that a change wakes are drawn."""
        differences = (self._rows(best) != codes).sum(axis=1)
        nearest = int(differences.argmin())
        picks = self._vocabulary.picks(codes)
        story = f"{differences[nearest]} decisions changed, by prediction"
        return Proposal(self._space.crossover(picks, picks, rng), self._trials[best[nearest]].id, story)


def _chosen(values: Floats, most: int) -> NDArray[np.intp]:
    """Of many observations three in five from the best, the others evenly from the rest; in their order."""
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(-values, kind="stable")
    best = most * 3 // 5
    rest = order[best:][np.linspace(0, len(order) - best - 1, most - best).astype(np.intp)]
    return np.sort(np.concatenate([order[:best], rest]))


def _centred(values: Floats) -> Floats:
    spread = values.std()
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))


def _scores(values: Floats) -> Floats:
    """Values as normal scores of their ranks; equal values get equal ones."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[place.reshape(-1)] / len(values)
    return _quantiles(2 * len(values))[np.rint(ranks * 2 * len(values)).astype(np.intp)]


@cache
def _quantiles(count: int) -> Floats:
    """The normal distribution's quantiles at 1/count, 2/count, ...; the ends are not used."""
    normal = NormalDist()
    return np.array([0.0, *(normal.inv_cdf(i / count) for i in range(1, count)), 0.0])
