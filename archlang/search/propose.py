"""The next candidate: new, and within the constraints that a graph alone tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from archlang.errors import ArchError
from archlang.search.evaluators.cost import static_metrics
from archlang.search.objective import Objective
from archlang.search.strategies import Strategy
from archlang.search.trial import Candidate, Picks, Proposal, Space, Status, Trial, key_of

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
    graph = space.graph(trial.picks)
    return Candidate(trial.id, graph, static_metrics(graph))


class Proposer:
    """Asks the strategy until a proposal is new. What it does for a trial follows from the seed, the trial's number,
    the history and the trials before it, and from nothing else."""

    def __init__(self, space: Space, objective: Objective, strategy: Strategy, seed: int) -> None:
        self._space, self._objective, self._strategy, self._seed = space, objective, strategy, seed
        self._keys: set[str] = set()
        self._digests: set[str] = set()

    def remember(self, trials: Iterable[Trial]) -> None:
        """These are not to be proposed again."""
        for trial in trials:
            self._keys.add(trial.key)
            if trial.digest is not None:
                self._digests.add(trial.digest)

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
        picks = proposal.picks
        try:
            picks = self._space.canonical(picks)
            if key_of(picks) in self._keys:
                passed_over["known"] += 1
                return None
            graph = self._space.graph(picks)
        except ArchError as error:
            return None if key_of(picks) in self._keys else self._misfit(id, picks, proposal, error, passed_over)
        digest = graph.digest
        if digest in self._digests:
            passed_over["known"] += 1
            return None
        static = static_metrics(graph)
        if (broken := self._objective.broken(static)) is not None:
            passed_over[str(broken)] += 1
            return None
        trial = Trial(id, picks, digest, proposal.parent, proposal.story, passed_over=dict(passed_over))
        return Proposed(trial, Candidate(id, graph, static))

    def _misfit(
        self, id: int, picks: Picks, proposal: Proposal, error: ArchError, passed_over: Counter[str]
    ) -> Proposed:
        """A trial that has failed before it began."""
        reason = error.diagnostics[0].message
        trial = Trial(
            id, picks, None, proposal.parent, proposal.story, Status.FAILED, {}, reason, 0.0, dict(passed_over)
        )
        return Proposed(trial, None)
