"""Zero-cost proxies: what an untrained network tells of how well it will learn, from a batch or two.

All are to be large. They are compared with one another and with parameters and MACs in docs/search.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.ir.graph import Graph, Node, Output, rewrite
from archlang.ops.activation import Gelu, HardSwish, LeakyRelu, Relu, Relu6, Swish
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear
from archlang.ops.norm import BatchNorm, LayerNorm
from archlang.passes import dead_code, inference
from archlang.train import module_of

if TYPE_CHECKING:
    import torch
    from torch import nn

GATES = (Relu, Relu6, LeakyRelu, Swish, HardSwish, Gelu)
"""Activations that let positive inputs through and hold negative ones back, or nearly."""

SMALLEST = 1e-300
"""What stands for a score of zero whose logarithm is asked for."""


@dataclass(frozen=True)
class Batches:
    """Images (B, N, C, H, W) with labels (B, N), and the seed of the network's fresh weights."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    seed: int = 0

    def network(self, graph: Graph) -> nn.Module:
        """The network with fresh weights, BatchNorms using the batch's statistics, nothing dropped."""
        plain = inference(graph)
        return module_of(plain, weights.initial(plain, self.seed)).train()


def synflow(graph: Graph, batches: Batches) -> float:
    """SynFlow (arXiv:2006.05467, equation 3) as a score of a network (arXiv:2101.08134): the natural logarithm of the
    sum over all weights of |w * dR/dw|, where R is the sum of the outputs for an image of ones when every weight is
    replaced by its absolute value and normalisations are left out. No data. Computed in float64."""
    import torch

    plain = _without_norms(inference(graph))
    module = module_of(plain, weights.initial(plain, batches.seed)).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    shape = plain.nodes[plain.inputs[0]].type.shape
    module(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    scores = [float((w * g).abs().sum()) for w, g in _weights(plain, module)]
    return math.log(max(sum(scores), SMALLEST))


def naswot(graph: Graph, batches: Batches) -> float:
    """NASWOT (arXiv:2006.04647, section 3): log |det K|, where K[i, j] counts the rectifiers that are both on or both
    off for images i and j. Eigenvalues under 1e-6 count as that, where two images look the same to the network."""
    plain = inference(graph)
    gates = [node.inputs[0] for node in plain.nodes if isinstance(node.op, GATES)]
    if not gates:
        return _log_det(np.zeros((len(batches.labels[0]),) * 2))
    # The inputs of the rectifiers become the outputs, so that the generated module gives them.
    watched = replace(plain, outputs=tuple(Output(f"y{i}", value) for i, value in enumerate(gates)))
    return _log_det(sum(map(_agreement, _codes(batches.network(watched), batches.images[0]))))


def _agreement(codes: NDArray[np.float32]) -> Any:
    """How many units are equal for each two images, (N, N): counts that float32 holds exactly below 2**24 units."""
    both_on = (codes @ codes.T).astype(np.float64)
    on = np.diag(both_on)
    return codes.shape[1] - on[:, None] - on + 2 * both_on


def _codes(module: nn.Module, images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Of each rectifier layer, which of its units are on: (N, units) of 0 and 1."""
    import torch

    with torch.no_grad():
        found = module(torch.from_numpy(images))
    for values in found if isinstance(found, tuple) else (found,):
        yield (values.flatten(1) > 0).numpy().astype(np.float32)


def _log_det(kernel: NDArray[np.float64]) -> float:
    return float(np.log(np.maximum(np.linalg.eigvalsh(kernel), 1e-6)).sum())


def grad_norm(graph: Graph, batches: Batches) -> float:
    """The Euclidean norms of the loss's gradients by the weights of each convolution and linear layer, summed
    (arXiv:2101.08134, section 3.1)."""
    gradients = next(_gradients(graph, batches))
    return float(sum(np.linalg.norm(gradient) for gradient in gradients))


def zico(graph: Graph, batches: Batches) -> float:
    """ZiCo (arXiv:2301.11300, equation 15): the sum over convolutions and linear layers of the logarithm of the sum
    over its weights of mean / deviation of the gradient's absolute value over the batches. Weights whose gradient
    does not differ between batches are left out, and so are layers of such weights alone."""
    found = list(_gradients(graph, batches))
    layers = (np.abs(np.stack(each)) for each in zip(*found, strict=True))
    return math.fsum(math.log(total) for layer in layers if (total := _steadiness(layer)) > 0)


def _steadiness(layer: NDArray[np.float64]) -> float:
    """Sum of mean / deviation over the batches, of gradients (B, ...)."""
    deviation = layer.std(0)
    varies = deviation > 0
    return float((layer.mean(0)[varies] / deviation[varies]).sum())


def _gradients(graph: Graph, batches: Batches) -> Iterator[list[NDArray[np.float64]]]:
    """For each batch, the gradients of the cross-entropy by the weights of every layer."""
    import torch

    plain = inference(graph)
    module = batches.network(graph)
    for images, labels in zip(batches.images, batches.labels, strict=True):
        module.zero_grad()
        scores = module(torch.from_numpy(images)).flatten(1)
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        yield [gradient.numpy().astype(np.float64) for _, gradient in _weights(plain, module)]


def _weights(graph: Graph, module: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The weights of convolutions and linear layers, each with its gradient. None is left out: a layer that the output
    does not depend on has zeros."""
    import torch

    parameters = dict(module.named_parameters())
    for node in graph.nodes:
        if isinstance(node.op, Conv2d | ConvTranspose2d | Linear):
            weight = parameters[f"{node.name}.weight"]
            yield weight.detach(), torch.zeros_like(weight) if weight.grad is None else weight.grad


def _without_norms(graph: Graph) -> Graph:
    def step(i: int, node: Node, new: list[int]) -> Node | int:
        return node.inputs[0] if isinstance(node.op, BatchNorm | LayerNorm) else node

    return dead_code(rewrite(graph, step))


Proxy = Callable[[Graph, Batches], float]

PROXIES: dict[str, Proxy] = {"synflow": synflow, "naswot": naswot, "grad_norm": grad_norm, "zico": zico}
"""Cheapest first."""
