"""Trains the generated PyTorch of a network to classify images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.data import Dataset
from archlang.errors import OutsideError, fail, missing_extra
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    import torch
    from torch import nn

AUX_WEIGHT = 0.3
"""Share of an auxiliary classifier's loss (GoogLeNet, arXiv:1409.4842, section 5)."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum, a linear warm-up, then a cosine decay to zero.

    lr: the peak, for batches of `batch_size`. warmup: share of all steps. label_smoothing: arXiv:1512.00567.
    weight_decay: on weights of convolutions and linear layers, not on norms and biases. ema: decay of an average of
    the weights that replaces them at the end; 0 is none.
    """

    epochs: int = 10
    batch_size: int = 32
    lr: float = 0.1
    seed: int = 0
    device: str = "cpu"
    momentum: float = 0.9
    warmup: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 5e-4
    ema: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch. number: from 1. loss: the mean over its batches."""

    number: int
    epochs: int
    loss: float


@dataclass(frozen=True)
class TrainResult:
    """The trained weights, the accuracy on the test images, the mean loss of each epoch."""

    weights: dict[str, NDArray[np.float32]]
    accuracy: float
    loss: tuple[float, ...]
    seconds: float


def train(
    graph: Graph,
    data: Dataset,
    recipe: Recipe = Recipe(),
    start: weights.Weights | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """Train from fresh weights (of the recipe's seed), or from `start`.

    The same graph, data, recipe and number of threads give the same weights on the CPU. Raises ArchError where the
    network does not fit the data, or the loss is not finite; OutsideError where PyTorch or the device is missing.
    """
    begun = time.perf_counter()
    torch = _torch(recipe.device)
    check_fit(graph, data)
    _check_recipe(recipe)
    with _seeded(torch, recipe.seed):
        module = module_of(graph, start or weights.initial(graph, recipe.seed)).to(recipe.device)
        # Depthwise convolutions train more than twice as fast so on CPUs.
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = _average(torch, module, recipe.ema)
        losses = tuple(_epochs(torch, module, average, data, recipe, progress))
        trained = average.module if average is not None else module
        accuracy = evaluate(trained, data.x_test, data.y_test)
    return TrainResult(arrays_of(graph, trained), accuracy, losses, time.perf_counter() - begun)


def evaluate(module: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int = 256) -> float:
    """Share of the images whose label has the largest output, in evaluation mode. The module's mode is kept."""
    torch = _torch("cpu")
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            images = torch.from_numpy(x[start : start + batch_size]).to(device)
            best = _first(module(images)).flatten(1).argmax(1).cpu().numpy()
            right += int((best == y[start : start + batch_size]).sum())
    module.train(training)
    return right / len(x)


def module_of(graph: Graph, values: weights.Weights) -> nn.Module:
    """The generated module with these weights in it."""
    import torch

    from archlang.backends.pytorch import build_module, generate

    source = generate(graph)
    module = build_module(source.text, source.class_name)
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in values.items()}, strict=False)
    return module


def arrays_of(graph: Graph, module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The module's state, by the names that the graph knows."""
    state = module.state_dict()
    return {name: np.ascontiguousarray(state[name].cpu().numpy(), np.float32) for name in weights.specs(graph)}


def check_fit(graph: Graph, data: Dataset) -> None:
    """Raise ArchError unless the network classifies images like these into at least as many classes."""
    inputs = graph.inputs
    if len(inputs) != 1 or not graph.nodes[inputs[0]].type.is_image:
        raise fail("E1101", f"{graph.name} cannot be trained on images: it has not one image as its input")
    wanted, shape = graph.nodes[inputs[0]], data.shape
    if wanted.type.shape != shape:
        have = "x".join(map(str, shape))
        raise fail("E1101", f"{graph.name} takes {wanted.type}, but {data.name} holds {have}", wanted.span)
    outputs = [output for output in graph.outputs if not output.aux]
    if len(outputs) != 1:
        raise fail("E1101", f"{graph.name} has {len(outputs)} outputs; a classifier has one")
    last = graph.nodes[outputs[0].value]
    if last.type.size < data.classes or last.type.size != last.type.channels:
        raise fail(
            "E1101",
            f"{graph.name} ends in {last.type}, but {data.name} has {data.classes} classes",
            last.span,
            help=f"end in `linear({data.classes})`; where the net has a parameter for it: --set classes={data.classes}",
        )


def _check_recipe(recipe: Recipe) -> None:
    if recipe.epochs < 1 or recipe.batch_size < 2 or not 0 < recipe.lr < math.inf:
        given = f"{recipe.epochs} epochs in batches of {recipe.batch_size} at a rate of {recipe.lr:g}"
        raise fail("E1103", f"cannot train {given}", help="at least one epoch, batches of 2, a rate above 0")


def _torch(device: str) -> Any:
    """PyTorch. Raises OutsideError where it or the device is missing."""
    try:
        import torch
    except ImportError as error:
        raise missing_extra("training", "torch") from error
    if device not in ("cpu", "cuda"):
        raise fail("E1103", f"cannot train on `{device}`", help="the devices are `cpu` and `cuda`")
    if device == "cuda" and not torch.cuda.is_available():
        raise OutsideError("this PyTorch finds no CUDA device: leave out --device cuda, or install a CUDA build")
    return torch


@contextmanager
def _seeded(torch: Any, seed: int) -> Iterator[None]:
    """Deterministic inside, the caller's generators untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _epochs(
    torch: Any,
    module: nn.Module,
    average: Any,
    data: Dataset,
    recipe: Recipe,
    progress: Callable[[Epoch], None] | None,
) -> Iterator[float]:
    """Train epoch by epoch; the mean loss of each."""
    images = torch.from_numpy(data.x_train).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(data.y_train)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    optimizer, schedule = _optimizer(torch, module, recipe, _batch_count(len(labels), recipe.batch_size))
    module.train()
    for number in range(1, recipe.epochs + 1):
        losses = []
        for batch in _batches(torch.randperm(len(labels), generator=shuffle), recipe.batch_size):
            x, y = images[batch].to(recipe.device), labels[batch].to(recipe.device)
            losses.append(_step(torch, module, optimizer, x, y, recipe.label_smoothing))
            schedule.step()
            if average is not None:
                average.update_parameters(module)
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise fail(
                "E1102", f"the loss is {loss} in epoch {number}", help="train with a smaller learning rate: --lr"
            )
        if progress is not None:
            progress(Epoch(number, recipe.epochs, loss))
        yield loss


def _batch_count(count: int, size: int) -> int:
    """A last batch of one image is left out: BatchNorm cannot train on it."""
    return count // size + (count % size > 1)


def _batches(order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    for start in range(_batch_count(len(order), size)):
        yield order[start * size : (start + 1) * size]


def _step(torch: Any, module: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor, smoothing: float) -> Any:
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = 0.0
    for i, output in enumerate(outputs):
        part = torch.nn.functional.cross_entropy(output.flatten(1), y, label_smoothing=smoothing)
        loss = loss + (part if i == 0 else AUX_WEIGHT * part)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[attr-defined]
    optimizer.step()
    return loss.detach()  # type: ignore[attr-defined]


def _optimizer(torch: Any, module: nn.Module, recipe: Recipe, batches: int) -> tuple[Any, Any]:
    """SGD and its schedule, a step a batch."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    total = batches * recipe.epochs
    warm = max(1, round(total * recipe.warmup))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _average(torch: Any, module: nn.Module, decay: float) -> Any:
    """An average of the weights and statistics over the steps; None without a decay."""
    if not decay:
        return None
    swa = torch.optim.swa_utils
    return swa.AveragedModel(module, multi_avg_fn=swa.get_ema_multi_avg_fn(decay), use_buffers=True)


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) else outputs
