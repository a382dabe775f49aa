"""What an evaluator is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from archlang.search.trial import Candidate, Metrics

Evaluate = Callable[[Candidate], Iterator[Metrics]]
"""Gives metrics as they become known, cheap ones first: what breaks a constraint is not evaluated further."""


class Evaluator(Protocol):
    """The settings of an evaluation; a worker process gets them and calls `prepare`.

    isolated: whether candidates must run in processes of their own, as code that may crash or hang. One that is not may
    have `instant = True`: an evaluation costs less than writing it down, which is then done for several together.
    metrics: the names of what it gives. One that can be evaluated in stages, each on a machine of its own, has a method
    `stages`, which gives them in their order.
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


@dataclass(frozen=True)
class Stage:
    """A part of an evaluation, on one machine of a cluster.

    device: that must be attached to the machine; none where it is empty. cpus, gpus: what it takes there. inherits:
    whether it starts from the parent's trained weights. evaluator: of this part. One that writes files has a method
    `placed(folder, shared)`: the same with its files in `folder`, and in `shared` what the processes of one machine
    agree by.
    """

    evaluator: Evaluator
    device: str = ""
    cpus: int = 1
    gpus: int = 0
    inherits: bool = False

    def placed(self, folder: Path, shared: Path) -> Evaluator:
        """The evaluator as it works on a machine of the cluster."""
        place = getattr(self.evaluator, "placed", None)
        found: Evaluator = self.evaluator if place is None else place(folder, shared)
        return found


def stages_of(evaluator: Evaluator) -> tuple[Stage, ...]:
    """The evaluation in stages; in one where it cannot be divided."""
    stages: Any = getattr(evaluator, "stages", None)
    return (Stage(evaluator),) if stages is None else tuple(stages())
