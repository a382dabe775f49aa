"""What an evaluator is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from archlang.search.trial import Candidate, Metrics

Evaluate = Callable[[Candidate], Iterator[Metrics]]
"""Gives metrics as they become known, cheap ones first: what breaks a constraint is not evaluated further."""


class Evaluator(Protocol):
    """The settings of an evaluation; a worker process gets them and calls `prepare`.

    isolated: whether candidates must run in processes of their own, as code that may crash or hang. One that is not may
    have `instant = True`: an evaluation costs less than writing it down, which is then done for several together.
    metrics: the names of what it gives.
    """

    @property
    def name(self) -> str: ...

    @property
    def isolated(self) -> bool: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def identity(self) -> dict[str, object]:
        """The settings that change what a candidate is worth; a run is resumed with equal ones only."""
        ...

    def prepare(self) -> Evaluate:
        """Load what all candidates need. Raises ArchError or OutsideError where none can be evaluated."""
        ...
