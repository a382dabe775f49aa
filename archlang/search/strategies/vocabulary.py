"""The decisions of a space as columns of numbers."""

from __future__ import annotations

from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray

from archlang.search.strategies.gaussian import Codes
from archlang.search.trial import Picks, Space

Keys = NDArray[np.int64]
"""A number for each candidate, by which it is known: different ones for different candidates, but for a chance of some
2^-64 a pair."""

_DRAWN = 64
"""Samples of the space from which its decisions are known."""


class Vocabulary:
    """The decisions of a space as columns, met in samples of it; and these samples."""

    def __init__(self, space: Space) -> None:
        rng = Random(0)
        drawn = [space.sample(rng) for _ in range(_DRAWN)]
        self.names = sorted({name for picks in drawn for name in picks})
        self.samples: Codes = np.array([self.codes(picks) for picks in drawn], np.int16)
        self.counts: Codes = self.samples.max(axis=0) + 1
        self._factors = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, len(self.names), np.int64)

    def codes(self, picks: Picks) -> Codes:
        return np.array([picks.get(name, -1) for name in self.names], np.int16)

    def picks(self, codes: Codes) -> Picks:
        return {name: int(code) for name, code in zip(self.names, codes, strict=True) if code >= 0}

    def keys(self, codes: Codes) -> Keys:
        """By random factors, with overflow."""
        found: Keys = codes.astype(np.int64) @ self._factors
        return found

    def reach(self, codes: Codes) -> int:
        """How many candidates are in one decision from this one."""
        return int((self.counts - 1)[codes >= 0].sum())

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
        donor = generator.random((count, len(self.names))) < 0.5
        mixed: Codes = np.where(donor, self.samples[first], self.samples[second])
        return mixed
