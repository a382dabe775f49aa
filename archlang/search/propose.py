"""The next candidate: new, and within the constraints that are known before its network is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from archlang.errors import ArchError
from archlang.search.objective import Objective
from archlang.search.strategies import Strategy
from archlang.search.trial import Candidate, Picks, Proposal, Sketch, Space, Status, Trial, identity_of

ATTEMPTS = 1000
"""Proposals for one trial before the space counts as exhausted."""

STUBBORN = 100
"""Proposals before the strategy is passed over for random ones: all around its parents may be known."""


@dataclass(frozen=True)
class Proposed:
    """A trial to begin, and its network; None where the picks make none, and the trial has failed already."""

    trial: Trial
    candidate: Candidate | None


def candidate_of(space: Space, trial: Trial) -> Candidate:
    """The network of a trial that was proposed before."""
    sketch = space.sketch(trial.picks)
    return _candidate(space, sketch, trial.id, trial.fidelity, trial.parent)


def _candidate(space: Space, sketch: Sketch, id: int, fidelity: float, parent: int | None) -> Candidate:
    return Candidate(
        id, partial(space.graph, sketch.picks), sketch.amounts, fidelity, parent, sketch.features, sketch.picks
    )


class Proposer:
    """Asks the strategy until a proposal is new. What it does for a trial follows from the seed, the trial's number,
    the history and the trials before it, and from nothing else.

    exact: networks are told apart by the digests of their graphs, for evaluations that are worth building a graph. Else
    by their sketches: equal networks that come from parts which the source cuts differently may both be tried.
    """

    def __init__(self, space: Space, objective: Objective, strategy: Strategy, seed: int, exact: bool = True) -> None:
        self._space, self._objective, self._strategy, self._seed = space, objective, strategy, seed
        self._exact = exact
        self._tried: set[tuple[Hashable, float]] = set()
        self._digests: set[tuple[str, float]] = set()

    def remember(self, trials: Iterable[Trial]) -> None:
        """These are not to be proposed again."""
        for trial in trials:
            self._tried.add((identity_of(trial.picks), trial.fidelity))
            if trial.digest is not None:
                self._digests.add((trial.digest, trial.fidelity))

    def propose(self, id: int, history: Sequence[Trial]) -> Proposed | None:
        """Trial `id`; None where `ATTEMPTS` proposals in a row were known, or broke a constraint."""
        rng = Random(f"{self._seed}/{id}")
        passed_over: Counter[str] = Counter()
        for attempt in range(ATTEMPTS):
            try:
                proposal = self._ask(attempt, history, rng)
            except ArchError as error:  # what was drawn cannot even be lowered
                passed_over[error.diagnostics[0].message] += 1
                continue
            found = self._judged(id, proposal, passed_over)
            if found is not None:
                self.remember([found.trial])
                return found
        return None

    def _ask(self, attempt: int, history: Sequence[Trial], rng: Random) -> Proposal:
        if attempt < STUBBORN:
            return self._strategy.ask(self._space, self._objective, history, rng)
        return Proposal(self._space.sample(rng), None, "sampled")

    def _judged(self, id: int, proposal: Proposal, passed_over: Counter[str]) -> Proposed | None:
        """The proposal as a trial, unless it is passed over."""
        picks, fidelity = proposal.picks, proposal.fidelity
        try:
            picks = self._space.canonical(picks)
            if (identity_of(picks), fidelity) in self._tried:
                passed_over["known"] += 1
                return None
            sketch = self._space.sketch(picks)
            candidate = _candidate(self._space, sketch, id, fidelity, proposal.parent)
            digest = candidate.graph.digest if self._exact else sketch.digest
        except ArchError as error:
            known = (identity_of(picks), fidelity) in self._tried
            return None if known else self._misfit(id, picks, proposal, error, passed_over)
        if (digest, fidelity) in self._digests:
            passed_over["known"] += 1
            return None
        if (broken := self._objective.broken_at_once(candidate)) is not None:
            passed_over[str(broken)] += 1
            return None
        return Proposed(self._trial(id, picks, digest, proposal, passed_over), candidate)

    def _trial(self, id: int, picks: Picks, digest: str | None, proposal: Proposal, passed_over: Counter[str]) -> Trial:
        return Trial(
            id,
            picks,
            digest,
            proposal.parent,
            _story(proposal),
            passed_over=dict(passed_over),
            fidelity=proposal.fidelity,
        )

    def _misfit(
        self, id: int, picks: Picks, proposal: Proposal, error: ArchError, passed_over: Counter[str]
    ) -> Proposed:
        """A trial that has failed before it began."""
        trial = self._trial(id, picks, None, proposal, passed_over)
        return Proposed(replace(trial, status=Status.FAILED, reason=error.diagnostics[0].message), None)


def _story(proposal: Proposal) -> str:
    """What the strategy did, and what the space did to draw it, where it tells."""
    stories: Sequence[str] = getattr(proposal.picks, "stories", ())
    return "; ".join([proposal.story, *stories])
