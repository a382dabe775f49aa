"""The training itself: epochs of steps, what is kept of them, and how it goes on after it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.data import Dataset
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.train.augment import augmented, names_of
from archlang.train.checkpoint import Checkpoint, key_of
from archlang.train.network import accelerator, arrays_of, check_fit, evaluate, load_torch, logits, module_of
from archlang.train.recipe import Recipe, check_recipe
from archlang.train.schedule import factor

if TYPE_CHECKING:
    import torch
    from torch import nn

AUX_WEIGHT = 0.3
"""Share of an auxiliary classifier's loss (GoogLeNet, arXiv:1409.4842, section 5)."""

VALIDATION = 0.1
"""Share of the training images that early stopping watches."""

DEFAULT = Recipe()


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch. number: from 1. loss: the mean over its batches. validation: the loss on the images
    that early stopping watches; None without."""

    number: int
    epochs: int
    loss: float
    validation: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """The trained weights, the accuracy on the test images, the mean loss of each epoch, and the epoch whose weights
    these are, from 1."""

    weights: dict[str, NDArray[np.float32]]
    accuracy: float
    loss: tuple[float, ...]
    seconds: float
    epoch: int = 0


Progress = Callable[[Epoch], None]


def train(
    graph: Graph,
    data: Dataset,
    recipe: Recipe = DEFAULT,
    start: weights.Weights | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> TrainResult:
    """Train from fresh weights (of the recipe's seed), or from `start`.

    The same graph, data, recipe and number of threads give the same weights on the CPU. checkpoint: a file that keeps
    what each epoch ended with; a training that finds its own there goes on, and ends as if it had not been killed.
    Raises ArchError where the network does not fit the data, or the loss is not finite; OutsideError where PyTorch or
    the device is missing.
    """
    begun = time.perf_counter()
    torch = load_torch()
    check_fit(graph, data)
    check_recipe(recipe)
    device = accelerator(recipe.device)
    if recipe.precision == "float16" and device == "cpu":
        raise fail("E1103", "`float16` is for CUDA", help="on the CPU: `precision=bfloat16`, or `float32`")
    values = start or weights.initial(graph, recipe.seed)
    kept = Checkpoint(checkpoint, key_of(graph.digest, data, recipe, values)) if checkpoint is not None else None
    with seeded(torch, recipe.seed):
        # Depthwise convolutions train more than twice as fast so on CPUs.
        module = module_of(graph, values).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = _Training(torch, module, data, recipe, device)
        training.run(progress, kept)
        trained = training.trained
        accuracy = evaluate(trained, data.x_test, data.y_test)
    return TrainResult(
        arrays_of(graph, trained), accuracy, tuple(training.losses), time.perf_counter() - begun, training.best_epoch
    )


@contextmanager
def seeded(torch: Any, seed: int) -> Iterator[None]:
    """Deterministic inside, the caller's generators and settings untouched."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = before


class _Training:
    """The state of a training: all that changes from step to step."""

    def __init__(self, torch: Any, module: nn.Module, data: Dataset, recipe: Recipe, device: str) -> None:
        self.torch, self.module, self.recipe, self.device = torch, module, recipe, device
        held = data.held_out(VALIDATION, recipe.seed) if recipe.patience else data
        self.images = torch.from_numpy(held.x_train).to(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(held.y_train)
        self.validation = (held.x_test, held.y_test)
        self.changes = names_of(recipe.augment)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        count = batch_count(len(self.labels), recipe.batch_size)
        self.optimizer, self.schedule = optimizer_of(torch, module, recipe, count)
        self.scaler = torch.amp.GradScaler(device, enabled=recipe.precision == "float16")
        self.average = _average(torch, module, recipe.ema)
        self.losses: list[float] = []
        self.best_loss, self.best_epoch = math.inf, 0
        self.best: dict[str, Any] = {}

    @property
    def trained(self) -> nn.Module:
        """The module whose weights are the result, as far as the training has come."""
        found: nn.Module = self.average.module if self.average is not None else self.module
        return found

    def run(self, progress: Progress | None, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and (state := checkpoint.read(self.torch)) is not None:
            self.load(state)
        self.module.train()
        while not self._finished():
            self._epoch()
            validation = self._watch()
            if checkpoint is not None:
                checkpoint.write(self.torch, self.state())
            if progress is not None:
                progress(Epoch(len(self.losses), self.recipe.epochs, self.losses[-1], validation))
        if self.best:
            self.trained.load_state_dict(self.best)

    def _finished(self) -> bool:
        done, patience = len(self.losses), self.recipe.patience
        return done == self.recipe.epochs or (patience > 0 and done - self.best_epoch >= patience)

    def _epoch(self) -> None:
        torch, recipe = self.torch, self.recipe
        losses = []
        for batch in batches(torch.randperm(len(self.labels), generator=self.generator), recipe.batch_size):
            x, y = self.images[batch].to(self.device), self.labels[batch].to(self.device)
            losses.append(self._step(augmented(x, self.changes, self.generator), y))
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            help = "train with a smaller learning rate: --lr"
            raise fail("E1102", f"the loss is {loss} in epoch {len(self.losses) + 1}", help=help)
        self.losses.append(loss)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        loss = self._loss(x, y)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            self.torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.module)
        return loss.detach()

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        """Cross-entropy of the output, and of auxiliary ones at their share."""
        torch, recipe = self.torch, self.recipe
        narrow = recipe.precision != "float32"
        with torch.autocast(self.device, getattr(torch, recipe.precision) if narrow else None, enabled=narrow):
            outputs = self.module(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = 0.0
        for i, output in enumerate(outputs):
            scores = output.flatten(1).float()
            part = torch.nn.functional.cross_entropy(scores, y, label_smoothing=recipe.label_smoothing)
            loss = loss + (part if i == 0 else AUX_WEIGHT * part)
        return loss

    def _watch(self) -> float | None:
        """The loss on the images that early stopping watches; what is best so far is kept."""
        if not self.recipe.patience:
            self.best_epoch = len(self.losses)
            return None
        loss = _cross_entropy(logits(self.trained, self.validation[0]), self.validation[1])
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, len(self.losses)
            self.best = {name: value.clone() for name, value in self.trained.state_dict().items()}
        return loss

    # what a checkpoint holds

    def state(self) -> dict[str, Any]:
        cuda = self.torch.cuda.get_rng_state() if self.device == "cuda" else None
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        generators = (self.generator.get_state(), self.torch.get_rng_state(), cuda)
        best = (self.best_loss, self.best_epoch, self.best)
        return {**parts, "generators": generators, "losses": self.losses, "best": best}

    def load(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        shuffle, drops, cuda = state["generators"]
        self.generator.set_state(shuffle)
        self.torch.set_rng_state(drops)
        if cuda is not None:
            self.torch.cuda.set_rng_state(cuda)
        self.losses = list(state["losses"])
        self.best_loss, self.best_epoch, self.best = state["best"]

    def _parts(self) -> dict[str, Any]:
        parts = {"module": self.module, "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler}
        return parts if self.average is None else {**parts, "average": self.average}


def _cross_entropy(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]).mean())


def batch_count(count: int, size: int) -> int:
    """A last batch of one image is left out: BatchNorm cannot train on it."""
    return count // size + (count % size > 1)


def batches(order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    for start in range(batch_count(len(order), size)):
        yield order[start * size : (start + 1) * size]


def optimizer_of(torch: Any, module: nn.Module, recipe: Recipe, batches: int) -> tuple[Any, Any]:
    """The optimizer and its schedule, a step a batch."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = _OPTIMIZERS[recipe.optimizer](torch, groups, recipe)
    rate = factor(recipe.schedule, batches * recipe.epochs, recipe.warmup)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _sgd(torch: Any, groups: list[dict[str, Any]], recipe: Recipe) -> Any:
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _adamw(torch: Any, groups: list[dict[str, Any]], recipe: Recipe) -> Any:
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))


_OPTIMIZERS: dict[str, Callable[[Any, list[dict[str, Any]], Recipe], Any]] = {"sgd": _sgd, "adamw": _adamw}


def _average(torch: Any, module: nn.Module, decay: float) -> Any:
    """An average of the weights and statistics over the steps; None without a decay."""
    if not decay:
        return None
    swa = torch.optim.swa_utils
    return swa.AveragedModel(module, multi_avg_fn=swa.get_ema_multi_avg_fn(decay), use_buffers=True)
