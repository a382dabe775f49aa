"""What strategies propose, and what is made of it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from archlang.errors import ArchError
from archlang.search.objective import Constraint, Objective
from archlang.search.propose import Proposer
from archlang.search.strategies import make
from archlang.search.strategies.evolution import Evolution
from archlang.search.trial import Status, Trial
from tests.unit.fake_space import CHOICES, FakeSpace

SPACE = FakeSpace(stages=2)
ACCURACY = Objective(maximize=("accuracy",))


def history(count: int) -> list[Trial]:
    """Trials that get better and better."""
    rng = Random(0)
    picks = [SPACE.canonical(SPACE.sample(rng)) for _ in range(count)]
    return [Trial(i + 1, p, str(i), None, "", Status.DONE, {"accuracy": i / count}) for i, p in enumerate(picks)]


def test_evolution_begins_at_random() -> None:
    proposal = Evolution(population=5, sample=2).ask(SPACE, ACCURACY, history(4), Random(1))
    assert (proposal.parent, proposal.story) == (None, "sampled")


def test_evolution_changes_the_fittest_of_a_sample_in_one_decision() -> None:
    trials = history(20)
    strategy = Evolution(population=10, sample=10)
    for seed in range(20):
        proposal = strategy.ask(SPACE, ACCURACY, trials, Random(seed))
        assert proposal.parent == 20
        before, after = trials[-1].picks, proposal.picks
        assert sum(after[key] != index for key, index in before.items()) == 1
        assert "->" in proposal.story


def test_evolution_forgets_the_old() -> None:
    trials = list(reversed(history(20)))
    strategy = Evolution(population=10, sample=3)
    parents = Counter(strategy.ask(SPACE, ACCURACY, trials, Random(seed)).parent for seed in range(200))
    young = {trial.id for trial in trials[-10:]}
    assert set(parents) <= young
    assert parents.most_common(1)[0][0] == max(young)


def test_evolution_can_cross_two() -> None:
    strategy = Evolution(population=10, sample=4, crossover=1.0)
    assert "crossed with trial" in strategy.ask(SPACE, ACCURACY, history(10), Random(0)).story


def test_equal_generators_give_equal_proposals() -> None:
    for name in ("random", "evolution"):
        strategy = make(name, {})
        assert strategy.ask(SPACE, ACCURACY, history(70), Random(5)) == strategy.ask(
            SPACE, ACCURACY, history(70), Random(5)
        )


@pytest.mark.parametrize(
    ("name", "arguments", "code", "help"),
    [
        ("evolutoin", {}, "E1201", "`evolution`"),
        ("evolution", {"populaton": 5}, "E1202", "`population`"),
        ("evolution", {"population": 0}, "E1202", "a whole number from 1"),
        ("evolution", {"population": 2.5}, "E1202", "a whole number from 1"),
        ("evolution", {"population": True}, "E1202", "a whole number from 1"),
        ("evolution", {"crossover": 1.5}, "E1202", "a number from 0 to 1"),
        ("evolution", {"crossover": "much"}, "E1202", "a number from 0 to 1"),
        ("random", {"population": 5}, "E1202", ""),
    ],
)
def test_a_wrong_strategy(name: str, arguments: dict[str, float], code: str, help: str) -> None:
    with pytest.raises(ArchError) as caught:
        make(name, arguments)
    assert caught.value.diagnostics[0].code == code
    assert help in caught.value.diagnostics[0].help


# Proposals


def proposed(proposer: Proposer, count: int) -> list[Trial]:
    found = []
    for id in range(1, count + 1):
        next_ = proposer.propose(id, [])
        if next_ is None:
            break
        assert (next_.candidate is None) == (next_.trial.status is Status.FAILED)
        found.append(next_.trial)
    return found


def test_a_small_space_is_gone_through_once() -> None:
    space = FakeSpace(stages=1)
    trials = proposed(Proposer(space, ACCURACY, make("random", {}), 0), 100)
    # one network without layers; kernels, widths and repeats for the others
    assert len(trials) == 1 + len(CHOICES["k"]) * len(CHOICES["c"]) * 2
    assert len({trial.key for trial in trials}) == len({trial.digest for trial in trials}) == len(trials)
    assert sum(trial.passed_over.get("known", 0) for trial in trials) > 0


def test_what_breaks_a_static_constraint_is_passed_over_and_counted() -> None:
    objective = Objective((Constraint("params", "<=", 1000),), ("macs",))
    trials = proposed(Proposer(FakeSpace(), objective, make("random", {}), 0), 20)
    reasons = Counter[str]()
    for trial in trials:
        reasons.update(trial.passed_over)
    assert reasons["params <= 1000"] > 10
    assert all(FakeSpace().graph(trial.picks).nodes for trial in trials)


def test_what_does_not_fit_is_a_failed_trial() -> None:
    trials = proposed(Proposer(FakeSpace(bad=8), ACCURACY, make("random", {}), 0), 30)
    failed = [trial for trial in trials if trial.status is Status.FAILED]
    assert failed
    assert all(trial.reason == "a width of 8 does not fit" and trial.digest is None for trial in failed)


def test_constraints_that_nothing_keeps_end_the_search() -> None:
    objective = Objective((Constraint("params", "<=", 1),), ("macs",))
    assert proposed(Proposer(FakeSpace(), objective, make("evolution", {}), 0), 1) == []


def test_a_proposer_that_remembers_goes_on_as_if_it_had_not_stopped() -> None:
    whole = proposed(Proposer(SPACE, ACCURACY, make("random", {}), 7), 12)
    again = Proposer(SPACE, ACCURACY, make("random", {}), 7)
    again.remember(whole[:8])
    rest = [found.trial for id in range(9, 13) if (found := again.propose(id, [])) is not None]
    assert rest == whole[8:]
