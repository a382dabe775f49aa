"""Pareto dominance, ranks, crowding, and the objective's fitness."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archlang.errors import ArchError
from archlang.search.front import Front, best_first, crowding, dominates, ranks, undominated
from archlang.search.objective import Constraint, Objective, restricted
from archlang.search.trial import Outcome, Status, Trial, identity_of, key_of

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25)


@given(points)
def test_ranks_peel_off_the_front(found: list[tuple[int, ...]]) -> None:
    level = ranks(found)
    for i, point in enumerate(found):
        above = [level[j] for j, other in enumerate(found) if dominates(other, point)]
        assert level[i] == (max(above) + 1 if above else 0)


pairs = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30)


@given(pairs)
def test_a_front_of_two_objectives_is_what_nothing_dominates(found: list[tuple[int, ...]]) -> None:
    front = Front(lambda trial: found[trial.id])
    added = [front.add(trial(i)) for i in range(len(found))]
    best = {point for point in found if not any(dominates(other, point) for other in found)}
    assert [found[member.id] for member in front.trials] == sorted(best, reverse=True)
    assert all(member.id == found.index(found[member.id]) for member in front.trials)
    seen = [found[:i] for i in range(len(found))]
    assert added == [not any(dominates(o, p) or o == p for o in old) for p, old in zip(found, seen, strict=True)]


@given(st.one_of(points, pairs), st.integers(1, 5))
def test_the_best_come_by_rank_and_then_by_room(found: list[tuple[int, ...]], count: int) -> None:
    best = best_first(found, count)
    assert len(best) == len(set(best)) == min(count, len(found))
    level = ranks(found)
    assert [level[i] for i in best] == sorted(level)[:count]
    first = [i for i in range(len(found)) if level[i] == 0]
    room = dict(zip(first, crowding([found[i] for i in first]), strict=True))
    chosen = [room[i] for i in best if i in room]
    assert chosen == sorted(room.values(), reverse=True)[: len(chosen)]


@given(points)
def test_the_front_is_what_nothing_dominates(found: list[tuple[int, ...]]) -> None:
    front = Front(lambda trial: found[trial.id])
    added = [front.add(trial(i)) for i in range(len(found))]
    best = {point for point in found if not any(dominates(other, point) for other in found)}
    members = [found[member.id] for member in front.trials]
    assert set(members) == best
    assert len(members) == len(best)
    assert members == sorted(members, reverse=True)
    assert all(member.id == found.index(found[member.id]) for member in front.trials)
    assert added[0]


def test_crowding_is_the_gap_between_the_neighbours() -> None:
    line = [(0.0, 10.0), (1.0, 8.0), (4.0, 2.0), (10.0, 0.0)]
    assert crowding(line) == [math.inf, pytest.approx(0.4 + 0.8), pytest.approx(0.9 + 0.8), math.inf]
    assert crowding([]) == []
    assert crowding([(1.0,), (1.0,), (1.0,)])[1] == 0.0


def trial(id: int, **metrics: float) -> Trial:
    return Trial(id, {"k": id}, str(id), None, "", Status.DONE, metrics)


def test_fitness_of_one_objective_is_its_value() -> None:
    group = [{"latency": 3.0}, {"latency": 1.0}]
    assert Objective(minimize=("latency",)).fitness(group) == [-3.0, -1.0]
    assert Objective(maximize=("latency",)).fitness(group) == [3.0, 1.0]


@given(st.dictionaries(st.text(max_size=8), st.integers(-3, 99) | st.booleans() | st.text(max_size=3)))
def test_a_key_is_json(picks: dict[str, Any]) -> None:
    assert key_of(picks) == json.dumps(picks, sort_keys=True, separators=(",", ":"))


_PICKS = st.dictionaries(st.text(max_size=2), st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=1))


@given(_PICKS, _PICKS)
def test_picks_are_as_identical_as_their_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Canonical ones, whose keys are sorted."""
    first, second = dict(sorted(one.items())), dict(sorted(other.items()))
    assert (identity_of(first) == identity_of(second)) == (key_of(first) == key_of(second))
    assert identity_of(first) in {identity_of(json.loads(key_of(first)))}


def test_a_trial_ends_with_all_that_it_began_with() -> None:
    begun = Trial(7, {"k": 1}, "d", 3, "k: 0 -> 1", passed_over={"known": 2}, fidelity=0.5)
    ended = begun.ended(Outcome(Status.REJECTED, {"macs": 9.0}, "too many"), 2.5)
    assert ended == replace(begun, status=Status.REJECTED, metrics={"macs": 9.0}, reason="too many", seconds=2.5)
    assert begun.status is Status.RUNNING


@given(pairs, st.integers(1, 5))
def test_the_best_of_pairs_are_those_that_crowding_tells(found: list[tuple[int, ...]], count: int) -> None:
    """Pairs have a shorter way, with the same places in the same order, to the last bit."""
    first = undominated(found)
    room = crowding([found[i] for i in first])
    ordered = sorted(range(len(first)), key=lambda i: -room[i])
    wanted = [first[i] for i in ordered][:count]
    assert best_first(found, count)[: len(wanted)] == wanted


def test_fitness_of_several_is_the_rank_and_then_the_crowding() -> None:
    objective = Objective(maximize=("accuracy",), minimize=("latency",))
    pairs = [(0.9, 9.0), (0.5, 1.0), (0.6, 2.0), (0.8, 5.0), (0.5, 9.0), (0.4, 10.0)]
    fitness = objective.fitness([{"accuracy": a, "latency": ms} for a, ms in pairs])
    assert fitness[0] == fitness[1] == 1.0
    assert 0 < fitness[2] < fitness[3] < 1.0
    assert fitness[4] == 0.0
    assert fitness[5] == -1.0


def test_a_reward_decides_alone_and_a_senseless_one_is_the_worst() -> None:
    def mnasnet(metrics: object) -> float:
        assert isinstance(metrics, dict)
        return float(metrics["accuracy"] * (metrics["latency"] / 80) ** -0.07)

    objective = Objective(maximize=("accuracy",), minimize=("latency",), reward=mnasnet)
    group = [{"accuracy": 0.7, "latency": 80.0}, {"accuracy": 0.7, "latency": 40.0}, {"accuracy": 0.7, "latency": 0.0}]
    fitness = objective.fitness(group)
    assert fitness[0] == pytest.approx(0.7)
    assert fitness[1] == pytest.approx(0.7 * 2**0.07)
    assert fitness[2] == -math.inf
    assert objective.best(group) == 1
    assert objective.point(group[0]) == (0.7, -80.0)
    assert replace(objective, maximize=(), minimize=()).point(group[0])[0] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("op", "held", "broken"),
    [("<=", 5, 6), ("<", 4, 5), (">=", 5, 4), (">", 6, 5), ("==", 5, 4), ("~", 5.04, 5.06)],
)
def test_constraints(op: str, held: float, broken: float) -> None:
    constraint = Constraint("latency", op, 5)
    assert constraint.holds({"latency": held})
    assert not constraint.holds({"latency": broken})
    assert constraint.holds({"params": 100})


def test_cheap_constraints_are_looked_at_first() -> None:
    wanted = Objective((Constraint("latency", "<=", 1), Constraint("params", "<=", 1)), maximize=("accuracy",))
    found, notes = restricted(wanted, ("params", "latency", "accuracy"), "train")
    assert [constraint.metric for constraint in found.require] == ["params", "latency"]
    assert notes == []
    broken = found.broken({"latency": 5, "params": 5})
    assert broken is not None
    assert str(broken) == "params <= 1"


def test_what_an_evaluator_does_not_give_is_replaced_or_left_out_and_said() -> None:
    wanted = Objective((Constraint("latency", "<=", 80),), ("accuracy",), ("latency", "energy"))
    found, notes = restricted(wanted, ("params", "macs"), "cost")
    assert (found.require, found.maximize, found.minimize) == ((), ("params",), ("macs",))
    assert notes == [
        "`cost` does not give `accuracy`: `params` stands for it",
        "`cost` does not give `energy`: `macs` stands for it",
        "`cost` does not give `latency`: `macs` stands for it",
    ]


def test_an_unknown_metric_and_nothing_to_optimise() -> None:
    with pytest.raises(ArchError, match=r"E1203.*`acuracy`") as caught:
        restricted(Objective(maximize=("acuracy",)), ("accuracy",), "train")
    assert "`accuracy`" in caught.value.diagnostics[0].help
    with pytest.raises(ArchError, match="E1204"):
        restricted(Objective((Constraint("params", "<=", 1),)), ("params",), "cost")
