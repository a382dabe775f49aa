"""Bayesian optimisation over decisions: the strategy that needs the fewest evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from archlang.search.front import Point
from archlang.search.objective import Objective
from archlang.search.strategies.gaussian import Codes, Floats, Kernel, Process
from archlang.search.strategies.kinds import Count, Positive
from archlang.search.strategies.protocol import Kept
from archlang.search.strategies.vocabulary import Vocabulary
from archlang.search.trial import Proposal, Space, Trial

NEIGHBOURS = 300
"""Candidates in one decision from a good one that are thought about, at most."""

FARTHER = 100
"""Candidates in two decisions from a good one."""

SAMPLES = 300
"""Candidates from anywhere in the space."""

SHORTLIST = 64
"""Candidates whose deviation is computed: those that promise most by a bound of it."""

FITTED = 100
"""Observations that the kernel is fitted to, at most."""

REMEMBERED = 400
"""Observations that the process holds when it begins anew, at most."""


@dataclass(frozen=True)
class Bayesian:
    """A Gaussian process over the decisions proposes what may be best (Thompson sampling), and starts anew elsewhere
    where nothing better comes.

    After `initial` random candidates, each candidate in one or two decisions from the `elite` best, and samples of the
    whole space, get a predicted value and its uncertainty; a value is drawn for each, and the highest is next. Values
    are observed ranks, spread like a normal distribution, so that no scale matters; several objectives are weighed by
    random weights, new ones each time (ParEGO, Knowles 2006). Numpy alone; for spaces of choices.

    With one objective the process forgets everything, and begins with random candidates again, once there was nothing
    better for `patience` times as many candidates as the best has neighbours in one decision (as the trust regions of
    Eriksson et al., arXiv:1910.01739, do).
    """

    initial: Count = 16
    elite: Count = 16
    patience: Positive = 1.0

    needs_decisions = True
    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        starts: _Starts = self._kept.grown(space, objective, history, lambda: _Starts(space, objective, self))
        for trial in history[len(starts) :]:
            starts.add(trial)
        return starts.proposal(rng)


class _Starts:
    """The model of the present start. It follows from the trials and their order alone, not from when they were learnt:
    a run that goes on learns them anew one by one, with the same rounding.

    What an earlier start has evaluated is not evaluated again: where the best of this start comes next to it, it is
    taken over. The start that comes upon the best of an earlier one ends there.
    """

    def __init__(self, space: Space, objective: Objective, settings: Bayesian) -> None:
        self._space, self._objective, self._settings = space, objective, settings
        self._vocabulary = Vocabulary(space)
        self._trials: list[Trial] = []
        self._codes: Codes = np.empty((0, len(self._vocabulary.names)), np.int16)
        self._known: set[int] = set()
        self._peaks: set[int] = set()
        self._begin()

    def __len__(self) -> int:
        """How many trials were learnt."""
        return len(self._trials)

    def _begin(self) -> None:
        self._model = _Model(self._objective, self._vocabulary)
        self._taken: set[int] = set()
        self._own = self._stalled = 0

    def add(self, trial: Trial) -> None:
        codes = self._vocabulary.codes(trial.picks)[None]
        self._codes = np.concatenate([self._codes, codes])
        self._trials.append(trial)
        self._known.update(self._vocabulary.keys(codes).tolist())
        self._own += 1
        self._stalled += not self._opening
        self._take(len(self) - 1)
        if self._ended:
            self._peaks.add(self._model.best)
            self._begin()

    def _take(self, place: int) -> None:
        """Learn a trial; where it is the best, also what is known next to it, and so on."""
        waiting = [place]
        while waiting:
            place = waiting.pop()
            if place in self._taken:
                continue
            self._taken.add(place)
            self._model.add(place, self._codes[place], self._objective.worth(self._trials[place].metrics))
            if self._model.best == place:
                self._stalled = 0
                waiting += np.nonzero((self._codes != self._codes[place]).sum(axis=1) == 1)[0].tolist()

    @property
    def _opening(self) -> bool:
        return self._own < max(self._settings.initial, 2)

    @property
    def _ended(self) -> bool:
        if self._opening or self._model.axes > 1:
            return False
        reach = self._vocabulary.reach(self._codes[self._model.best])
        return bool(self._peaks & self._taken) or self._stalled >= self._settings.patience * reach

    def proposal(self, rng: Random) -> Proposal:
        found = None if self._opening else self._model.candidate(self._settings.elite, self._known, rng.getrandbits(64))
        if found is None:
            return Proposal(self._space.sample(rng), None, "sampled")
        differences = (self._codes[found.best] != found.codes).sum(axis=1)
        nearest = int(differences.argmin())
        picks = self._vocabulary.picks(found.codes)
        story = f"{differences[nearest]} decisions changed, by prediction"
        # Decisions that a change wakes are drawn.
        return Proposal(self._space.crossover(picks, picks, rng), self._trials[found.best[nearest]].id, story)


@dataclass(frozen=True)
class _Found:
    """A candidate, and the places of the trials near which it was looked for."""

    codes: Codes
    best: list[int]


class _Model:
    """What was learnt from trials, which are told apart by their places. axes: how many objectives there are. best: the
    first trial of those with the highest worth."""

    def __init__(self, objective: Objective, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._places: list[int] = []
        self._codes: Codes = np.empty((0, len(vocabulary.names)), np.int16)
        self._points = np.empty((0, 0))
        self._kernel = Kernel.prior(len(vocabulary.names))
        self._process: Process | None = None
        self._observed: list[int] = []
        self._next_fit = 16
        self.best = -1
        self._highest: Point = ()

    @property
    def axes(self) -> int:
        return int(self._points.shape[1])

    def add(self, place: int, codes: Codes, worth: Point) -> None:
        if not self._places or worth > self._highest:
            self.best, self._highest = place, worth
        self._places.append(place)
        self._codes = np.concatenate([self._codes, codes[None]])
        self._points = np.concatenate([self._points.reshape(-1, len(worth)), np.array([worth])])
        if self._process is None or len(self._places) >= self._next_fit:
            self._process = self._begun()
        else:
            self._observed.append(len(self._places) - 1)
            self._process.add(codes)

    def _begun(self) -> Process:
        """Fit the kernel anew, twice in every doubling, and begin a process with it."""
        count = len(self._places)
        values = self._values(np.arange(count), None)
        if count >= self._next_fit:
            chosen = _chosen(values, FITTED)
            self._kernel = self._kernel.fitted(self._codes[chosen], _centred(values[chosen]))
            self._next_fit = min(count * 3 // 2, count + REMEMBERED // 2)
        self._observed = _chosen(values, REMEMBERED).tolist()
        return Process(self._kernel, self._codes[self._observed], self._vocabulary.counts)

    def _values(self, indices: Sequence[int] | NDArray[np.intp], weights: Floats | None) -> Floats:
        """The worth of trials: normal scores, of several objectives by the worst in weights (and a bit of all)."""
        points = self._points[indices]
        scores = np.stack([_scores(points[:, axis]) for axis in range(self.axes)], axis=1)
        if self.axes == 1:
            return np.asarray(scores[:, 0])
        weighed = (scores - 3) * (np.full(self.axes, 1 / self.axes) if weights is None else weights)
        return np.asarray(weighed.min(axis=1) + 0.05 * weighed.sum(axis=1))

    def candidate(self, elite: int, known: set[int], seed: int) -> _Found | None:
        """What may be best; None where everything that was thought about is known."""
        assert self._process is not None
        generator = np.random.default_rng(seed)
        values = _centred(self._values(self._observed, generator.dirichlet(np.ones(self.axes))))
        best = [self._observed[i] for i in np.argsort(-values, kind="stable")[:elite]]
        pool = self._pool(self._codes[best], known, generator)
        if not len(pool):
            return None
        across = self._process.across(pool)
        means = self._process.means(across, values)
        short = np.argsort(-means - self._process.bounds(across), kind="stable")[:SHORTLIST]
        drawn = means[short] + self._process.deviations(across[short]) * generator.standard_normal(len(short))
        return _Found(pool[short[drawn.argmax()]], [self._places[i] for i in best])

    def _pool(self, good: Codes, known: set[int], generator: np.random.Generator) -> Codes:
        """Candidates that are not known, each once."""
        vocabulary = self._vocabulary
        near = vocabulary.neighbours(good)
        if len(near) > NEIGHBOURS:
            near = near[generator.choice(len(near), NEIGHBOURS, replace=False)]
        far = vocabulary.changed(near[generator.integers(len(near), size=FARTHER)], generator)
        pool = np.concatenate([near, far, vocabulary.mixed(SAMPLES, generator)])
        keys, first = np.unique(vocabulary.keys(pool), return_index=True)
        return pool[first[[key not in known for key in keys.tolist()]]]


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
