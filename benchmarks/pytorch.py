"""The generated PyTorch beside torchvision's, with equal weights: a forward pass and a step of training, on one
thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import archlang
from benchmarks.measure import Result, medians
from tests.zoo.libraries import torchvision

if TYPE_CHECKING:
    import torch
    from torch import nn

NETS = {
    "zoo:mobilenet_v2": "mobilenet_v2",
    "zoo:resnet:r50": "resnet50",
    "zoo:efficientnet:b0": "efficientnet_b0",
}
"""Our network -> torchvision's constructor."""

LIMIT = 1.03


def results(runs: int) -> Iterator[Result]:
    import torch

    torch.set_num_threads(1)
    for spec, name in NETS.items():
        ours, theirs = _pair(spec, name)
        x = torch.randn(4, 3, 224, 224)
        for what, make in (("forward", _forward), ("training step", _step)):
            ours_ms, theirs_ms = medians([make(ours, x), make(theirs, x)], 3 * runs, 2, time.process_time)
            yield Result(f"{spec}, {what}", ours_ms, f"torchvision {name}", theirs_ms, LIMIT * theirs_ms)


def _pair(spec: str, name: str) -> tuple[nn.Module, nn.Module]:
    """Our module and torchvision's. They have equal arrays in equal order, whatever each calls them."""
    ours, theirs = archlang.load(spec).to_torch(), torchvision().get_model(name)
    state, wanted = theirs.state_dict(), ours.state_dict()
    assert [value.shape for value in state.values()] == [value.shape for value in wanted.values()]
    ours.load_state_dict(dict(zip(wanted, state.values(), strict=True)))
    return ours, theirs


def _forward(module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    import torch

    def run() -> None:
        module.eval()
        with torch.inference_mode():
            module(x)

    return run


def _step(module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Forward, backward and SGD, in training mode."""
    import torch

    optimizer = torch.optim.SGD(module.parameters(), 0.001)
    labels = torch.arange(len(x))

    def run() -> None:
        module.train()
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(module(x), labels))
        optimizer.step()

    return run
