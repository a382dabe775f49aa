"""What a way of training a supernet is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from archlang.search.space import Picks

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet
    from archlang.supernet.train.run import Run

Open = Mapping[str, tuple[int, ...]]
"""Decision -> the alternatives that it may take; one that is missing may take all of its own."""


@dataclass(frozen=True)
class Stage:
    """A part of a training with a schedule of its own. rate: its peak learning rate over the recipe's. sampled: how
    many sub-networks a step trains. distilled: whether they learn from a teacher too."""

    name: str
    epochs: int
    open: Open = field(default_factory=dict)
    rate: float = 1.0
    sampled: int = 1
    distilled: bool = False


@dataclass(frozen=True)
class Batch:
    """Images (N, C, H, W) as the data has them, and labels (N). rng: equal in all processes of a training."""

    x: torch.Tensor
    y: torch.Tensor
    rng: Random


class Course:
    """A training on its way: what a method does in a step, and what it remembers. stage: the one that is on."""

    stage: Stage

    def __init__(self, run: Run) -> None:
        self.run = run

    def enter(self) -> None:
        """A stage begins; the net is as the one before left it. A training that is resumed within it does without."""

    def step(self, batch: Batch) -> torch.Tensor:
        """Add the gradients of the shared weights on these images; the loss, detached."""
        raise NotImplementedError

    def close_epoch(self, rng: Random) -> None:
        """All images were seen once more."""

    def found(self) -> Picks | None:
        """The sub-network that the training has settled on, for methods that do."""
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, as `torch.load(weights_only=True)` reads it."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


class Method(Protocol):
    """A frozen dataclass whose fields are the arguments of `--method NAME(...)`."""

    @property
    def held(self) -> float:
        """Share of the training images that train what the method itself learns, and not the shared weights."""
        ...

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        """The parts of a training of so many epochs. Raises ArchError E1321 where they are too few."""
        ...

    def course(self, run: Run) -> Course: ...
