"""Cross-layer equalisation (Nagel et al., arXiv:1906.04721, section 4.1): factors move from layer to layer, so that the
channels of the value between them have about the same range and none is lost in the steps that the largest asks for.

    f(s * x) = s * f(x) for s > 0 and f a relu, a pool or nothing, so  W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1).

The network computes what it did. The paper takes the range of W1's rows for that of the channels, as one scale for all
of W1 is its case. Here rows have scales of their own and what suffers is the value between the layers, so that its
ranges are taken: seen on calibration inputs, else told by BatchNorm. Columns of W2 are measured within their rows, for
the same reason; then no sweep disturbs another and one is enough. A depthwise W2 has one column a row: any factor does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archlang.ir.graph import Graph, Node
from archlang.ops.activation import LeakyRelu, Relu, Relu6
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.regularize import Dropout
from archlang.ops.shape import Flatten
from archlang.weights import Array, Weights

_PASSES_FACTORS = (MaxPool2d, AvgPool2d, GlobalAvgPool, Relu, LeakyRelu, Flatten, Dropout)
"""Ops f with f(s * x) = s * f(x), channel by channel."""

_FUSED = (BatchNorm, Relu, Relu6)
"""What may be fused into a layer whose rows are divided."""

_LIMIT = 1024.0
"""Factors of one value differ by no more than this."""

_ROOM = 0.9
"""Of the 6 at which relu6 cuts, what a channel that was never cut may reach; the rest is for inputs not yet seen."""

_DEVIATIONS = 3.0


@dataclass(frozen=True)
class Chain:
    """A weighted layer and those that read its value. readers: index, and how many columns belong to a channel.
    cut: whether relu6 lies between them."""

    producer: int
    readers: tuple[tuple[int, int], ...]
    cut: bool


@dataclass(frozen=True)
class Equalized:
    """weights: of the same names, and for the same Graph. changed: the layers whose value has new ranges, with the
    ratio of the largest channel's range to the median before. skipped: layers before relu6 that were left alone, since
    no inputs were there to tell which channels it cuts."""

    weights: Weights
    changed: Mapping[str, float]
    skipped: tuple[str, ...]


def equalized(graph: Graph, weights: Weights, largest: Mapping[str, Array] | None = None) -> Equalized:
    """graph: in evaluation mode, norms and activations fused. largest: the largest absolute number in each channel of
    a layer's value, by the layer's name, over the calibration inputs."""
    arrays, changed, skipped = dict(weights), dict[str, float](), list[str]()
    for chain in chains(graph):
        node = graph.nodes[chain.producer]
        if chain.cut and largest is None:
            skipped.append(node.name)
            continue
        ranges = _ranges(node, arrays, largest)
        factors = _factors(ranges, _columns(graph, chain, arrays), chain.cut)
        if np.all(factors == 1.0):
            continue
        changed[node.name] = float(ranges.max() / np.median(ranges[ranges > 0]))
        _divide_rows(node, arrays, factors)
        for reader, repeat in chain.readers:
            _multiply_columns(graph, reader, arrays, np.repeat(factors, repeat))
    return Equalized(arrays, changed, tuple(skipped))


def chains(graph: Graph) -> list[Chain]:
    """The layers whose value only weighted layers read, through ops that pass factors on, in the graph's order."""
    readers: list[list[int]] = [[] for _ in graph.nodes]
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            readers[j].append(i)
    for output in graph.outputs:
        readers[output.value].append(-1)
    found = []
    for i, node in enumerate(graph.nodes):
        fits = isinstance(node.op, Conv2d | Linear) and all(isinstance(part.op, _FUSED) for part in node.fused)
        ends = _ends(graph, i, readers, 1) if fits else None
        if ends and node.type.rank != 2:
            found.append(Chain(i, tuple(ends), any(isinstance(part.op, Relu6) for part in node.fused)))
    return found


def _ends(graph: Graph, value: int, readers: list[list[int]], repeat: int) -> list[tuple[int, int]] | None:
    """The weighted layers behind a value; None where something else reads it."""
    found: list[tuple[int, int]] = []
    for i in readers[value]:
        node = graph.nodes[i]
        if i >= 0 and isinstance(node.op, Conv2d | Linear):
            found.append((i, repeat))
            continue
        if i < 0 or not isinstance(node.op, _PASSES_FACTORS) or any(isinstance(p.op, Relu6) for p in node.fused):
            return None
        type_ = graph.nodes[value].type
        grown = repeat * (type_.size // type_.channels if isinstance(node.op, Flatten) else 1)
        behind = _ends(graph, i, readers, grown)
        if behind is None:
            return None
        found += behind
    return found


# ---- ranges ----------------------------------------------------------------------------------------------------------


def _ranges(node: Node, weights: Weights, largest: Mapping[str, Array] | None) -> NDArray[np.float64]:
    """The range of each channel of the layer's value."""
    rows = np.abs(weights[f"{node.name}.weight"]).reshape(len(weights[f"{node.name}.weight"]), -1).max(axis=1)
    if isinstance(node.op, Linear):
        return np.asarray(rows, np.float64)  # one scale for all rows, as in the paper
    if largest is not None:
        return np.asarray(largest[node.name], np.float64)
    norm = _norm(node)
    if norm is None:
        return np.asarray(rows, np.float64)
    gain, offset = (weights[f"{norm.name}.{local}"].astype(np.float64) for local in ("weight", "bias"))
    if any(isinstance(part.op, Relu) for part in node.fused):
        return np.asarray(np.maximum(offset + _DEVIATIONS * np.abs(gain), 0.0))
    return np.asarray(np.abs(offset) + _DEVIATIONS * np.abs(gain))


def _norm(node: Node) -> Node | None:
    return next((part for part in node.fused if isinstance(part.op, BatchNorm)), None)


def _columns(graph: Graph, chain: Chain, weights: Weights) -> NDArray[np.float64] | None:
    """The largest share that each channel has in a row of a layer that reads it; None where all rows are one column
    wide, so that any factor will do."""
    found = [_shares(graph, reader, repeat, weights) for reader, repeat in chain.readers]
    dense = [shares for shares in found if shares is not None]
    return np.max(dense, axis=0) if dense else None


def _shares(graph: Graph, reader: int, repeat: int, weights: Weights) -> NDArray[np.float64] | None:
    node = graph.nodes[reader]
    weight = np.abs(weights[f"{node.name}.weight"]).astype(np.float64)
    if isinstance(node.op, Linear):
        columns = (weight / max(weight.max(), 1e-30)).max(axis=0)
        return np.asarray(columns.reshape(-1, repeat).max(axis=1))
    assert isinstance(node.op, Conv2d)
    if weight.shape[1] == 1:
        return None
    taps = weight.reshape(*weight.shape[:2], -1).max(axis=2)
    taps = taps / np.maximum(taps.max(axis=1, keepdims=True), 1e-30)
    return np.asarray(taps.reshape(node.op.groups, -1, weight.shape[1]).max(axis=1).reshape(-1))


# ---- factors ---------------------------------------------------------------------------------------------------------


def _factors(ranges: NDArray[np.float64], columns: NDArray[np.float64] | None, cut: bool) -> NDArray[np.float64]:
    """What the rows are divided by, and the columns multiplied with; powers of two, which no rounding disturbs.

    Channels without a range, and those that relu6 cuts, keep theirs.
    """
    free = (ranges > 0) & ((ranges < 6 * _ROOM) if cut else np.isfinite(ranges))
    if columns is not None:
        free &= columns > 0
    if not free.any():
        return np.ones_like(ranges)
    top = ranges[free].max() if not cut else 6 * _ROOM
    shares = np.ones(len(ranges)) if columns is None else np.where(free, columns, 1.0)
    wanted = np.sqrt(np.where(free, ranges, 1.0) / shares) if columns is not None else np.where(free, ranges, 1.0)
    wanted *= np.max((ranges / wanted)[free]) / top
    wanted = np.clip(wanted, wanted[free].max() / _LIMIT, None)
    return np.where(free, 2.0 ** np.ceil(np.log2(wanted) - 1e-9), 1.0)


def _divide_rows(node: Node, arrays: dict[str, Array], factors: NDArray[np.float64]) -> None:
    """Of the BatchNorm where there is one, else of the layer itself."""
    norm = _norm(node)
    names = [f"{norm.name}.weight", f"{norm.name}.bias"] if norm else [f"{node.name}.weight", f"{node.name}.bias"]
    for name in names:
        if name in arrays:
            arrays[name] = _scaled(arrays[name], 1 / factors, lambda array: (-1, *[1] * (array.ndim - 1)))


def _multiply_columns(graph: Graph, reader: int, arrays: dict[str, Array], factors: NDArray[np.float64]) -> None:
    node = graph.nodes[reader]
    name = f"{node.name}.weight"
    if isinstance(node.op, Linear):
        arrays[name] = _scaled(arrays[name], factors, lambda array: (1, -1))
        return
    assert isinstance(node.op, Conv2d)
    weight, groups = arrays[name], node.op.groups
    parted = weight.reshape(groups, -1, *weight.shape[1:])
    columns = factors.reshape(groups, 1, weight.shape[1], 1, 1)
    arrays[name] = (parted * columns).reshape(weight.shape).astype(np.float32)


def _scaled(array: Array, factors: NDArray[np.float64], shape: Callable[[Array], tuple[int, ...]]) -> Array:
    return np.asarray(array * factors.reshape(shape(array)), np.float32)
