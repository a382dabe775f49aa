"""What a method's steps are given: the net, the images held back for it, how a loss is made and followed."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from archlang.supernet.judge import first, resized
from archlang.supernet.train.parallel import Processes
from archlang.train import Recipe
from archlang.train.augment import augmented, names_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from archlang.data import Dataset
    from archlang.supernet.net import SuperNet


class Run:
    """net: in training mode, on the device. held: images for the method's own use; None without. optimizer: of the
    stage that is on. data: what the net is trained on, without the held images."""

    optimizer: Any = None

    def __init__(
        self, net: SuperNet, data: Dataset, held: Dataset | None, recipe: Recipe, processes: Processes
    ) -> None:
        import torch

        self.net, self.data, self.held, self.recipe, self.processes = net, data, held, recipe, processes
        self.device = processes.device
        self._kind = torch.device(self.device).type
        self.scaler = torch.amp.GradScaler(self._kind, enabled=recipe.precision == "float16")
        self._changes = names_of(recipe.augment)

    def scores(self, x: torch.Tensor, picks: Mapping[str, int], net: SuperNet | None = None) -> torch.Tensor:
        """What the sub-network gives for the images: (N, classes) in float32. net: another one with the same space."""
        module = net or self.net
        module.select(picks)
        return self.given(x, module)

    def given(self, x: torch.Tensor, net: SuperNet | None = None) -> torch.Tensor:
        """What the net gives as it is selected."""
        import torch

        module, recipe = net or self.net, self.recipe
        images = resized(x, *module.resolution).contiguous(memory_format=torch.channels_last)
        narrow = recipe.precision != "float32"
        with torch.autocast(self._kind, getattr(torch, recipe.precision) if narrow else None, enabled=narrow):
            outputs = module(images)
        return first(outputs).flatten(1).float()

    def loss(self, scores: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The recipe's cross-entropy with labels."""
        import torch

        return torch.nn.functional.cross_entropy(scores, y, label_smoothing=self.recipe.label_smoothing)

    def backward(self, loss: torch.Tensor) -> torch.Tensor:
        """Add the gradients of the loss; the loss, detached."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def held_batch(self, rng: Random) -> tuple[torch.Tensor, torch.Tensor]:
        """This process's part of a batch of the held images, drawn at random."""
        import torch

        assert self.held is not None
        size = min(len(self.held.y_test), self.recipe.batch_size)
        places = self.processes.share(torch.tensor(rng.sample(range(len(self.held.y_test)), size)))
        x, y = torch.from_numpy(self.held.x_test)[places], torch.from_numpy(self.held.y_test)[places]
        return x.to(self.device), y.to(self.device)

    def changed(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The images as the recipe augments them."""
        return augmented(x, self._changes, generator)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The shared weights."""
        return list(self.net.parameters())


def soft_loss(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with what a teacher says, both (N, classes) before softmax (arXiv:1503.02531, temperature 1)."""
    import torch

    return torch.nn.functional.cross_entropy(scores, teacher.softmax(1))


def total(losses: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.stack(losses).sum()
