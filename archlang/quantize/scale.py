"""Whether calibration inputs are scaled as the inputs of the training were.

BatchNorm knows: its running statistics are those of its input in training. Behind the first convolution, which is
linear, that input's variance follows from the covariance of the patches that the convolution sees.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from archlang.ir.graph import Graph, Node
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.norm import BatchNorm
from archlang.quantize.options import Samples
from archlang.weights import Weights

_SUSPICIOUS = 8.0
"""Times larger or smaller than in training. Another crop or another subject makes a factor of 2 at most."""

_SAMPLES = 4
_PATCHES = 4096
_PIXELS = 16.0
"""Whole numbers from 0 on that reach beyond this are taken for pixels that nobody has scaled."""
_RESIZED = 96.0
"""And those of an image that reach beyond this, whole or not: resizing makes fractions."""


def suspicion(graph: Graph, weights: Weights | None, samples: Samples) -> list[str]:
    """A sentence for each input that is scaled as it was not in training, with both ranges; none where all seems well.

    graph: as it was lowered, nothing fused. weights: None where they are fresh, so that nothing was trained.
    """
    if weights is None:
        return []
    found = []
    for i in graph.inputs:
        name = graph.nodes[i].name
        ratio = _ratio(graph, i, weights, samples[name][:_SAMPLES])
        found.append(_by_statistics(name, samples[name], ratio) if ratio else _by_look(name, samples[name]))
    return [sentence for sentence in found if sentence]


def _by_statistics(name: str, values: NDArray[np.float32], ratio: float) -> str:
    if 1 / _SUSPICIOUS < ratio < _SUSPICIOUS:
        return ""
    low, high = float(values.min()), float(values.max())
    factor = ratio if ratio > 1 else 1 / ratio
    how = f"{factor:.0f} times {'smaller' if ratio > 1 else 'larger'}"
    return (
        f"the calibration inputs `{name}` run from {low:.4g} to {high:.4g}, but the first BatchNorm was trained on "
        f"inputs about {how}, as from {low / ratio:.3g} to {high / ratio:.3g}: scale them as for the training"
    )


def _by_look(name: str, values: NDArray[np.float32]) -> str:
    low, high = float(values.min()), float(values.max())
    if low < 0 or not _PIXELS < high <= 255:
        return ""
    if np.all(values[0] == np.rint(values[0])):
        what = "are whole numbers"
    elif values.ndim == 4 and high > _RESIZED:
        what = "run"
    else:
        return ""
    return (
        f"the calibration inputs `{name}` {what} from {low:.4g} to {high:.4g}; most networks are trained on "
        "pixels from 0 to 1, or from about -2 to 2: scale them as for the training"
    )


def _ratio(graph: Graph, value: int, weights: Weights, samples: NDArray[np.float32]) -> float:
    """How many times more than in training the input spreads, going by the first BatchNorm; 0 where none can tell."""
    layer = _reader(graph, value)
    if layer is None:
        return 0.0
    norm = _reader(graph, layer)
    node = graph.nodes[layer]
    if norm is None or not isinstance(node.op, Conv2d | Linear) or not isinstance(graph.nodes[norm].op, BatchNorm):
        return 0.0
    trained = weights[f"{graph.nodes[norm].name}.running_var"].astype(np.float64)
    if np.all(trained == 1.0):
        return 0.0  # as fresh ones are
    seen = _variances(node, weights[f"{node.name}.weight"].astype(np.float64), samples)
    known = (seen > 1e-12) & (trained > 1e-12)
    return float(np.exp(0.5 * np.median(np.log(seen[known] / trained[known])))) if known.any() else 0.0


def _reader(graph: Graph, value: int) -> int | None:
    """The only node that reads a value."""
    readers = [i for i, node in enumerate(graph.nodes) if value in node.inputs]
    return readers[0] if len(readers) == 1 else None


def _variances(node: Node, weight: NDArray[np.float64], samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each output channel of the layer, over the samples and all positions inside the image."""
    if isinstance(node.op, Linear):
        return np.asarray(np.var(samples.reshape(-1, samples.shape[-1]) @ weight.T, axis=0))
    op = node.op
    assert isinstance(op, Conv2d)
    reach = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(op.kernel, op.dilation, strict=True)]
    if min(samples.shape[2] - reach[0], samples.shape[3] - reach[1]) < 0:
        return np.zeros(len(weight))
    windows = sliding_window_view(samples, reach, (2, 3))[:, :, :, :, :: op.dilation[0], :: op.dilation[1]]
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, op.groups, weight.shape[1], *op.kernel)
    patches = patches[:: max(1, len(patches) // _PATCHES) | 1].reshape(-1, op.groups, weight[0].size)
    grouped = weight.reshape(op.groups, -1, weight[0].size)
    variances: NDArray[np.float64] = np.var(np.einsum("pgk,gok->pgo", patches, grouped), axis=0)
    return variances.reshape(-1)
