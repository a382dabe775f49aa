"""The training of a supernet: stages of epochs of steps, what is kept of them, and how it goes on after it was killed.

Whatever is drawn in an epoch follows from the recipe's seed and the epoch's number, so that a training that goes on
from the end of an epoch ends as if it had not been stopped.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from archlang.data import Dataset
from archlang.errors import fail
from archlang.search.space import Picks
from archlang.supernet.judge import fitted
from archlang.supernet.train.parallel import Processes
from archlang.supernet.train.protocol import Batch, Course, Method, Stage
from archlang.supernet.train.run import Run
from archlang.supernet.train.single import Single
from archlang.train import Recipe, check_recipe
from archlang.train.checkpoint import Checkpoint, key_of
from archlang.train.loop import batches, optimizer_of, seeded
from archlang.train.network import load_torch

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet


@dataclass(frozen=True)
class Progress:
    """How far a training is. epoch: those that are done, of `epochs`, with the share of the one that is on; it is whole
    after each one alone. stage: the name of the one that is on. loss: the last whole epoch's mean; None before."""

    epoch: float
    epochs: int
    stage: str
    loss: float | None


@dataclass(frozen=True)
class Trained:
    """What a training ended with. losses: the mean of each epoch. found: what the method has settled on, or None.
    seconds: of this go alone."""

    net: SuperNet
    losses: tuple[float, ...]
    found: Picks | None
    seconds: float


Show = Callable[[Progress], None]


def train(
    net: SuperNet,
    data: Dataset,
    recipe: Recipe,
    method: Method | None = None,
    show: Show | None = None,
    checkpoint: Path | None = None,
    processes: Processes | None = None,
) -> Trained:
    """Train the net in place, on the training images alone. method: uniform single-path sampling if None.

    checkpoint: a file that keeps what each epoch ended with; a training that finds its own there goes on, and ends as
    if it had not been killed. The same net, data, recipe, method, and numbers of threads and processes give the same
    weights on the CPU. Raises ArchError where the data does not fit the space, a setting cannot be, or the loss is not
    finite; the checkpoint then holds the last epoch before.
    """
    begun = time.perf_counter()
    torch, method, processes = load_torch(), method or Single(), processes or Processes()
    _check(recipe, processes)
    images = fitted(data, net.space.graph(net.largest()))
    key = f"{net.space.digest}\n{method}\n{processes.count}"
    kept = Checkpoint(checkpoint, key_of(key, data, recipe, _arrays(net))) if checkpoint is not None else None
    net.to(processes.device)
    with seeded(torch, recipe.seed):
        training = _Training(torch, net, images, recipe, method, processes)
        training.go(show, kept)
        found = training.course.found()
    net.eval()
    return Trained(net, tuple(training.losses), found, time.perf_counter() - begun)


def _check(recipe: Recipe, processes: Processes) -> None:
    check_recipe(recipe)
    if recipe.ema or recipe.patience:
        name = "ema" if recipe.ema else "patience"
        raise fail("E1103", f"the training of a supernet knows no `{name}`", help="leave it out")
    if recipe.precision == "float16" and processes.device == "cpu":
        raise fail("E1103", "`float16` is for CUDA", help="on the CPU: `precision=bfloat16`, or `float32`")
    if recipe.batch_size < 2 * processes.count:
        help = f"--batch-size {2 * processes.count} or more: BatchNorm needs two images in each process"
        raise fail("E1103", f"a batch of {recipe.batch_size} is too small for {processes.count} processes", help=help)


def _arrays(net: SuperNet) -> dict[str, Any]:
    return {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}


class _Training:
    """The state of a training: all that changes from step to step."""

    def __init__(
        self, torch: Any, net: SuperNet, data: Dataset, recipe: Recipe, method: Method, processes: Processes
    ) -> None:
        self.torch, self.net, self.recipe, self.processes = torch, net, recipe, processes
        held = data.held_out(method.held, recipe.seed) if method.held else None
        data = data if held is None else replace(data, x_train=held.x_train, y_train=held.y_train)
        self.images, self.labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        self.run = Run(net, data, held, recipe, processes)
        self.stages = method.stages(net, recipe.epochs)
        self.course: Course = method.course(self.run)
        self.losses: list[float] = []
        self.steps = sum(1 for _ in self._batches(torch.arange(len(self.labels))))

    # epochs

    def go(self, show: Show | None, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and (state := checkpoint.read(self.torch)) is not None:
            self._load(state)
        while len(self.losses) < self.recipe.epochs:
            stage, epoch = self._place(len(self.losses))
            if epoch == 0:
                self._begin(stage)
                self.course.enter()
            self._epoch(show)
            if checkpoint is not None and self.processes.is_first:
                checkpoint.write(self.torch, self._state())

    def _place(self, epoch: int) -> tuple[Stage, int]:
        """The stage of an epoch, and which of its own it is, from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage, epoch
            epoch -= stage.epochs
        raise AssertionError("more epochs than the stages have")

    def _begin(self, stage: Stage) -> None:
        """The optimizer of a stage, and the schedule of its learning rate."""
        recipe = replace(self.recipe, epochs=stage.epochs, lr=self.recipe.lr * stage.rate)
        self.run.optimizer, self.schedule = optimizer_of(self.torch, self.net, recipe, self.steps)
        self.course.stage = stage

    def _epoch(self, show: Show | None) -> None:
        self.net.train()
        number, rank = len(self.losses), self.processes.rank
        rng = Random(f"{self.recipe.seed}/{number}")
        # What changes images, and what dropout forgets, is drawn for each process by itself.
        generator = self.torch.Generator().manual_seed(self._seed(number, rank))
        self.torch.manual_seed(self._seed(number, rank))
        losses = []
        for batch in self._order(number):
            x, y = self.images[batch].to(self.run.device), self.labels[batch].to(self.run.device)
            losses.append(self._step(Batch(self.run.changed(x, generator), y, rng)))
            self._tell(show, min(len(losses), self.steps - 1) / self.steps)
        loss = self.processes.mean(float(self.torch.stack(losses).mean()))
        self._need_finite(loss)
        self.course.close_epoch(rng)
        self._agree()
        self.losses.append(loss)
        self._tell(show, 0.0)

    def _step(self, batch: Batch) -> torch.Tensor:
        run = self.run
        run.optimizer.zero_grad()
        loss = self.course.step(batch)
        self.processes.average(weight.grad for weight in run.weights if weight.grad is not None)
        if self.recipe.clip:
            run.scaler.unscale_(run.optimizer)
            self.torch.nn.utils.clip_grad_norm_(run.weights, self.recipe.clip)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        self.schedule.step()
        return loss

    def _order(self, epoch: int) -> Iterator[torch.Tensor]:
        """This process's images of each batch, in the order of the epoch."""
        generator = self.torch.Generator().manual_seed(self._seed(epoch))
        for batch in self._batches(self.torch.randperm(len(self.labels), generator=generator)):
            yield self.processes.share(batch)

    def _batches(self, order: torch.Tensor) -> Iterator[torch.Tensor]:
        """A last batch that is too small is left out: BatchNorm needs two images in each process."""
        return (each for each in batches(order, self.recipe.batch_size) if len(each) >= 2 * self.processes.count)

    def _seed(self, *parts: int) -> int:
        return zlib.crc32(repr((self.recipe.seed, *parts)).encode())

    def _agree(self) -> None:
        """Statistics of BatchNorms, which each process takes of its own images, become equal."""
        self.processes.average(value for value in self.net.buffers() if value.is_floating_point())

    def _need_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            where = f"in epoch {len(self.losses) + 1} ({self.course.stage.name})"
            raise fail("E1102", f"the loss is {loss} {where}", help="train with a smaller learning rate: --lr")

    def _tell(self, show: Show | None, share: float) -> None:
        if show is not None:
            last = self.losses[-1] if self.losses else None
            show(Progress(len(self.losses) + share, self.recipe.epochs, self.course.stage.name, last))

    # what a checkpoint holds

    def _state(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "course": self.course.state(), "losses": self.losses}

    def _load(self, state: Mapping[str, Any]) -> None:
        self.losses = list(state["losses"])
        self._begin(self._place(len(self.losses) - 1)[0])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.course.load(state["course"])

    def _parts(self) -> dict[str, Any]:
        run = self.run
        return {"net": self.net, "optimizer": run.optimizer, "schedule": self.schedule, "scaler": run.scaler}
