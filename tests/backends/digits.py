"""Networks that are trained here, in seconds, on scikit-learn's digits: random weights cannot rank ways to quantize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

import archlang
from archlang import weights
from archlang.backends.pytorch import build_module, generate
from archlang.ir import Graph

MOBILE = """
from std.mobile import mbconv
net Mobile:
  default conv(norm=bn, act=relu6)
  input (1, 8, 8)
  conv(12, 3) as stem
  mbconv(12, e=3)
  mbconv(16, e=3, s=2)
  mbconv(16, e=3)
  conv(32, 1) as head
  gap -> linear(10) as classifier
"""

SWISH = MOBILE.replace("Mobile:", "Swish:").replace("relu6", "swish").replace("e=3", "e=3, se=0.25")
"""The same with EfficientNet's swish and squeeze-and-excitation."""

TRAINED_ON = 1400


@dataclass(frozen=True)
class Trained:
    """weights: the state dict's arrays. x, labels: images that the network has not seen; seen: some that it has."""

    graph: Graph
    module: nn.Module
    weights: Mapping[str, NDArray[Any]]
    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    seen: NDArray[np.float32]

    @property
    def weights_only(self) -> dict[str, NDArray[np.float32]]:
        """Without what a state dict counts beside them."""
        return weights.checked(self.graph, self.weights)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images.reshape(-1, 1, 8, 8) / 8 - 1).float(), torch.tensor(labels)


@cache
def trained(text: str) -> Trained:
    """The network of `text`, trained by its generated PyTorch."""
    return _trained(text, None, {}, 140, 5e-3)


@cache
def fine_tuned(text: str, qat: str) -> Trained:
    """The trained network, trained on a while with the roundings of int8."""
    return _trained(text, qat, trained(text).weights, 30, 1e-3)


def _trained(text: str, qat: str | None, start: Mapping[str, Any], steps: int, rate: float) -> Trained:
    """On one thread: the nets are that small."""
    graph = archlang.loads(text).graph
    source = generate(graph, qat=qat)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = build_module(source.text, source.class_name)
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in start.items()}, strict=False)
    x, labels = digits()
    _train(module, x[:TRAINED_ON], labels[:TRAINED_ON], steps, rate)
    torch.set_num_threads(threads)
    arrays = {name: value.detach().numpy() for name, value in module.eval().state_dict().items()}
    tests = x[TRAINED_ON:].numpy(), labels[TRAINED_ON:].numpy()
    return Trained(graph, module, arrays, *tests, x[:64].numpy())


def _train(module: nn.Module, x: torch.Tensor, labels: torch.Tensor, steps: int, rate: float) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for _ in range(steps):
        batch = torch.randint(0, len(x), (48,), generator=generator)
        loss = F.cross_entropy(module(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(1) == labels).mean())
