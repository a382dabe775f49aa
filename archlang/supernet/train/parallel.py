"""Several processes that train one supernet, as torchrun starts them: each has a part of every batch.

All draw the same sub-networks, and the gradients are averaged before each step, so that the weights stay equal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from archlang.train.network import accelerator, load_torch

if TYPE_CHECKING:
    import torch

TIMEOUT = timedelta(minutes=10)
"""After which a process waits no longer for one that is gone."""


@dataclass(frozen=True)
class Processes:
    """rank: of this one, from 0. count: how many there are. device: this one's."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this one writes the files and tells how far the training is."""
        return self.rank == 0

    def share(self, x: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch's rows; all parts are of one size, so that their mean is the batch's."""
        size = len(x) // self.count
        return x[self.rank * size : (self.rank + 1) * size]

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Each tensor, in place, becomes the mean of those of all processes."""
        if self.count == 1:
            return
        import torch

        found = list(tensors)
        if not found:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in found])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(found, torch.split(flat, [each.numel() for each in found]), strict=True):
            tensor.detach().copy_(mean.reshape(tensor.shape))

    def mean(self, value: float) -> float:
        """The mean of a number of each process."""
        import torch

        tensor = torch.tensor([value], dtype=torch.float32, device=self.device)
        self.average([tensor])
        return float(tensor)


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Those that torchrun started, by the variables that it sets; this one alone elsewhere.

    device: `cpu`, `cuda` or `auto`. Raises OutsideError where it is missing.
    """
    kind, count = accelerator(device), int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=kind)
        return
    torch = load_torch()
    local = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" else kind
    if kind == "cuda":
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(torch.distributed.get_rank(), count, local)
    finally:
        torch.distributed.destroy_process_group()
