"""A network as a PyTorch module that is trained: made, held against the data, evaluated, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.data import Dataset
from archlang.errors import OutsideError, fail, missing_extra
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from torch import nn


def load_torch() -> Any:
    """PyTorch. Raises OutsideError where it is missing."""
    try:
        import torch
    except ImportError as error:
        raise missing_extra("training", "torch") from error
    return torch


def accelerator(name: str) -> str:
    """`cpu` or `cuda`; `auto` is CUDA where PyTorch finds it. Raises OutsideError where the device is missing."""
    found = load_torch().cuda.is_available()
    if name == "auto":
        return "cuda" if found else "cpu"
    if name == "cuda" and not found:
        raise OutsideError("this PyTorch finds no CUDA device: train on the CPU, or install a CUDA build")
    return name


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


def evaluate(module: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int = 256) -> float:
    """Share of the images whose label has the largest output, in evaluation mode. The module's mode is kept."""
    return float((logits(module, x, batch_size).argmax(1) == y).mean())


def logits(module: nn.Module, x: NDArray[np.float32], batch_size: int = 256) -> NDArray[np.float32]:
    """What the module gives for images (N, C, H, W): (N, classes), in evaluation mode. The module's mode is kept."""
    torch = load_torch()
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            images = torch.from_numpy(x[start : start + batch_size]).to(device)
            found.append(_first(module(images)).flatten(1).float().cpu().numpy())
    module.train(training)
    return np.concatenate(found)


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def check_fit(graph: Graph, data: Dataset) -> None:
    """Raise ArchError unless the network classifies images like these into at least as many classes."""
    check_classifier(graph)
    wanted, shape = graph.nodes[graph.inputs[0]], data.shape
    if wanted.type.shape != shape:
        have = "x".join(map(str, shape))
        raise fail("E1101", f"{graph.name} takes {wanted.type}, but {data.name} holds {have}", wanted.span)
    last = graph.nodes[next(output.value for output in graph.outputs if not output.aux)]
    if last.type.size < data.classes or last.type.size != last.type.channels:
        raise fail(
            "E1101",
            f"{graph.name} ends in {last.type}, but {data.name} has {data.classes} classes",
            last.span,
            help=f"end in `linear({data.classes})`; where the net has a parameter for it: --set classes={data.classes}",
        )


def check_classifier(graph: Graph) -> None:
    """Raise ArchError unless the network has one image as its input, and one output."""
    inputs = graph.inputs
    if len(inputs) != 1 or not graph.nodes[inputs[0]].type.is_image:
        raise fail("E1101", f"{graph.name} cannot be trained on images: it has not one image as its input")
    count = sum(not output.aux for output in graph.outputs)
    if count != 1:
        raise fail("E1101", f"{graph.name} has {count} outputs; a classifier has one")
