"""Weights from parent to child: a mutated network goes on from what its parent has learnt.

Where a mutation preserves the function, so do the weights: a wider layer gets copies of channels, and what reads them
shares out its weights between the copies (Net2WiderNet); a new layer begins as the identity (Net2DeeperNet, both
arXiv:1511.05641); a new branch of a sum as zero, a new gate as one; a larger kernel has zeros around the old one.
Elsewhere a layer takes what fits of the parent's, and the rest starts anew.

The layers of the two graphs are laid beside each other in the order of evaluation. Then the child's values are followed
from the inputs on: each is known as a value of the parent, its channels as that value's channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.ir.graph import Graph, Node
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear
from archlang.weights import Array, Weights, initial, specs

Channels = NDArray[np.int64]
"""A channel of the child -> the parent's."""

FULL_GATE = {"sigmoid": 16.0, "hsigmoid": 3.0}
"""What makes a gate 1: sigmoid(16) is 1 - 1.1e-7."""

ZERO_AT_ZERO = {"relu", "relu6", "leaky_relu", "hswish", "swish", "gelu", "tanh", "dropout", "drop_path", "scale"}
"""Ops that give 0 for 0."""

PASSING = {"maxpool", "avgpool", "gap", "upsample", "crop", "subsample", "shift", "lrn", "tokens", "bn", "layernorm"}
"""Ops whose output has the channels of their input."""


@dataclass(frozen=True)
class Report:
    """What became of the child's arrays, by name.

    exact: the child computes what the parent does, in evaluation. kept: as they were. adapted: channels copied, left
    out or shared out, kernels padded or cut. neutral: a new layer that changes nothing yet. fresh: they start anew.
    """

    exact: bool
    kept: tuple[str, ...]
    adapted: tuple[str, ...]
    neutral: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        same = "computes what its parent does" if self.exact else "computes something else than its parent"
        counts = (f"{len(getattr(self, name))} {name}" for name in ("kept", "adapted", "neutral", "fresh"))
        return f"{', '.join(counts)}; the child {same}"


def inherit(parent: Graph, weights: Weights, child: Graph, rng: Random) -> tuple[dict[str, Array], Report]:
    """Weights for `child` out of those of `parent`, and what became of each array.

    rng: which channels are copied, how weights are shared out between copies (evenly they would never part in
    training), and what starts anew.
    """
    heir = _Heir(parent, weights, child, rng)
    for index in range(len(child.nodes)):
        heir.visit(index)
    return heir.arrays, heir.report()


@dataclass(frozen=True)
class _State:
    """A value of the child as one of the parent. exact: it is equal to it, channel for channel."""

    value: int
    channels: Channels
    exact: bool

    @property
    def is_plain(self) -> bool:
        """Whether the channels are the parent's, in their order."""
        return bool(np.array_equal(self.channels, np.arange(len(self.channels))))


@dataclass
class _Heir:
    parent: Graph
    weights: Weights
    child: Graph
    rng: Random
    states: dict[int, _State] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    chosen: dict[tuple[int, int, int], Channels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.arrays = initial(self.child, self.rng.getrandbits(32))
        self.noise = np.random.default_rng(self.rng.getrandbits(64))
        self.pairs = aligned(self.parent, self.child)
        self.classes = _channel_classes(self.child)
        plain = [
            (i, node) for i, node in enumerate(self.parent.nodes) if not node.op.params(*self.parent.input_types(node))
        ]
        self.computed = {(node.op, node.inputs): i for i, node in plain}

    def report(self) -> Report:
        names = {kind: tuple(n for n in self.arrays if self.how.get(n, "fresh") == kind) for kind in _KINDS}
        return Report(self._same_outputs(), names["kept"], names["adapted"], names["neutral"], names["fresh"])

    def _same_outputs(self) -> bool:
        theirs = {output.name: output.value for output in self.parent.outputs if not output.aux}
        ours = {output.name: self.states.get(output.value) for output in self.child.outputs if not output.aux}
        return theirs.keys() == ours.keys() and all(
            state is not None and state.exact and state.is_plain and state.value == theirs[name]
            for name, state in ours.items()
        )

    def visit(self, index: int) -> None:
        node = self.child.nodes[index]
        other = self._computed(node)
        other = self.pairs.get(index) if other is None else other
        state = self._new(node) if other is None else self._matched(index, node, other)
        if state is not None:
            self.states[index] = state

    def _computed(self, node: Node) -> int | None:
        """The parent's node that does the same to the same values, of ops without arrays: whatever it is called."""
        states = [self.states.get(i) for i in node.inputs]
        known = tuple(state.value for state in states if state is not None)
        return self.computed.get((node.op, known)) if known and len(known) == len(states) else None

    # a layer that the parent has too

    def _matched(self, index: int, node: Node, other: int) -> _State | None:
        theirs = self.parent.nodes[other]
        inputs = [self.states.get(i) for i in node.inputs]
        known = [state for state in inputs if state is not None]
        follows = len(known) == len(inputs) == len(theirs.inputs) and all(
            state.value == i for state, i in zip(known, theirs.inputs, strict=False)
        )
        exact = follows and all(state.exact for state in known)
        sources = [self._source(state, node, theirs, k) for k, state in enumerate(inputs)]
        rule = _MATCHED.get(node.op.name, _Heir._same_op)
        return rule(self, index, node, other, sources, exact)

    def _source(self, state: _State | None, node: Node, theirs: Node, k: int) -> Channels:
        """The channels of an input as those of the parent's layer; where nothing tells, in their order."""
        ours = self.child.input_types(node)[k].channels
        there = self.parent.input_types(theirs)
        count = there[k].channels if k < len(there) else ours
        if state is not None and len(state.channels) == ours and state.channels.max(initial=0) < count:
            return state.channels
        return np.arange(ours) % max(1, count)

    def _output(self, index: int, ours: int, theirs: int, strength: Array) -> Channels:
        """Which of the parent's channels a layer gives: all and some of them again, or the strongest."""
        key = (self.classes[index], ours, theirs)
        if key not in self.chosen:
            if ours >= theirs:
                again = self.noise.integers(0, theirs, ours - theirs)
                self.chosen[key] = np.concatenate([np.arange(theirs), again])
            else:
                self.chosen[key] = np.sort(np.argsort(-strength, kind="stable")[:ours])
        return self.chosen[key]

    def convolution(
        self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool
    ) -> _State | None:
        ours, theirs = node.op, self.parent.nodes[other].op
        assert isinstance(ours, Conv2d)
        assert isinstance(theirs, Conv2d)
        x = self.child.input_types(node)[0]
        y = self.parent.input_types(self.parent.nodes[other])[0]
        exact = exact and _same_window(ours, theirs)
        if ours.groups == theirs.groups == 1:
            return self._dense(index, node, other, sources[0], exact)
        depthwise = ours.groups == ours.channels == x.channels and theirs.groups == theirs.channels == y.channels
        if depthwise:
            self._put(node, other, "weight", lambda w: _resized(w[sources[0]], ours.kernel))
            self._put_bias(node, other, sources[0])
            return _State(other, sources[0], exact)
        return self._same_op(index, node, other, sources, exact)

    def linear(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        return self._dense(index, node, other, sources[0], exact)

    def transposed(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        ours, theirs = node.op, self.parent.nodes[other].op
        assert isinstance(ours, ConvTranspose2d)
        assert isinstance(theirs, ConvTranspose2d)
        same = (ours.kernel, ours.stride, ours.padding) == (theirs.kernel, theirs.stride, theirs.padding)
        if ours.kernel != theirs.kernel:
            return None
        return self._dense(index, node, other, sources[0], exact and same, out_axis=1)

    def _dense(
        self, index: int, node: Node, other: int, source: Channels, exact: bool, out_axis: int = 0
    ) -> _State | None:
        """A layer of which every output reads every input channel."""
        weight = self._theirs(other, "weight")
        if weight is None:
            return None
        weight = weight if out_axis == 0 else np.swapaxes(weight, 0, 1)
        shape = self.arrays[f"{node.name}.weight"].shape
        strength = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
        given = self._output(index, shape[out_axis], len(weight), strength)
        covered = len(np.unique(source)) == weight.shape[1]
        shares = self._shares(source).reshape(1, -1, *[1] * (weight.ndim - 2))
        new = weight[given][:, source] * shares
        new = _resized(new, shape[2:]) if len(shape) > 2 else new
        self._put(node, other, "weight", lambda _: new if out_axis == 0 else np.swapaxes(new, 0, 1))
        same_bias = self._put_bias(node, other, given)
        return _State(other, given, exact and covered and same_bias)

    def _shares(self, source: Channels) -> Array:
        """How much of the parent's weight each copy of a channel gets; together one."""
        if len(np.unique(source)) == len(source):
            return np.ones(len(source), np.float32)
        parts = self.noise.uniform(0.5, 1.5, len(source))
        shares: Array = (parts / np.bincount(source, parts)[source]).astype(np.float32)
        return shares

    def _put_bias(self, node: Node, other: int, given: Channels) -> bool:
        """The bias by channel. Whether both layers have one, or neither."""
        ours, theirs = f"{node.name}.bias" in self.arrays, self._theirs(other, "bias")
        if ours and theirs is not None:
            self._put(node, other, "bias", lambda b: b[given])
        elif ours:
            self._set(f"{node.name}.bias", np.zeros(len(given), np.float32), "neutral")
        return theirs is None or ours

    def per_channel(
        self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool
    ) -> _State | None:
        """Normalisations and scales: an entry a channel."""
        source = sources[0]
        for local in node.op.params(*self.child.input_types(node)):
            self._put(node, other, local, lambda array: array[source] if array.ndim == 1 else array)
        same = node.op == self.parent.nodes[other].op
        state = _State(other, source, exact and same)
        return state if node.op.name != "layernorm" or state.is_plain else replace(state, exact=False)

    def sum(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        largest = max(sources, key=len)
        agree = all(np.array_equal(source, largest) for source in sources)
        return _State(other, largest, exact and agree and node.op == self.parent.nodes[other].op)

    def concat(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        theirs = self.parent.nodes[other]
        if len(sources) != len(theirs.inputs) or node.op != theirs.op:
            return None
        if getattr(node.op, "axis", "channels") != "channels":
            return self._same_op(index, node, other, sources, exact)
        ends = np.cumsum([0, *(kind.channels for kind in self.parent.input_types(theirs))])
        return _State(other, np.concatenate([s + e for s, e in zip(sources, ends, strict=False)]), exact)

    def flatten(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        ours, theirs = self.child.input_types(node)[0], self.parent.input_types(self.parent.nodes[other])[0]
        if ours.rank != 3 or ours.shape[1:] != theirs.shape[1:]:
            return None
        positions = ours.height * ours.width
        spread = sources[0][:, None] * positions + np.arange(positions)
        return _State(other, spread.reshape(-1), exact)

    def _same_op(self, index: int, node: Node, other: int, sources: Sequence[Channels], exact: bool) -> _State | None:
        """Any other op: arrays of the same shape, channels that stay as they are."""
        theirs = self.parent.nodes[other]
        for local in node.op.params(*self.child.input_types(node)):
            self._put(node, other, local, lambda array: array)
        same = node.op == theirs.op or node.op.training_only
        if sources and (node.op.elementwise or node.op.training_only or node.op.name in PASSING):
            state = _State(other, sources[0], exact and same)
            return state if node.op.name != "lrn" or state.is_plain else replace(state, exact=False)
        plain = all(np.array_equal(source, np.arange(len(source))) for source in sources)
        if not plain or node.type.channels != theirs.type.channels:
            return None
        return _State(other, np.arange(node.type.channels), exact and same)

    # a layer that the parent has not

    def _new(self, node: Node) -> _State | None:
        if node.op.name == "add":
            return self._new_join(node, self._silenced)
        if node.op.name == "mul":
            return self._new_join(node, self._opened)
        state = self.states.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if state is None or node.type != self.child.input_types(node)[0]:
            return None
        arrays = _identity(node, self.child.input_types(node)[0].channels)
        if arrays is not None:
            for local, array in arrays.items():
                self._set(f"{node.name}.{local}", array, "neutral")
            return state
        neutral = node.op.training_only or _idempotent(self.parent, node.op.name, state.value)
        return replace(state, exact=state.exact and neutral) if node.op.elementwise else None

    def _new_join(self, node: Node, neutralised: Callable[[int], dict[str, Array] | None]) -> _State | None:
        """A sum or product: all inputs but one become neutral, if they are new."""
        for kept in reversed(node.inputs):
            state = self.states.get(kept)
            found = [neutralised(i) for i in node.inputs if i != kept]
            if state is None or len(found) != len(node.inputs) - 1 or any(each is None for each in found):
                continue
            if self.child.nodes[kept].type != node.type:
                continue
            for arrays in found:
                for name, array in (arrays or {}).items():
                    self._set(name, array, "neutral")
            return state
        return None

    def _silenced(self, value: int) -> dict[str, Array] | None:
        """Arrays that make a new value zero; None where none do."""
        node = self.child.nodes[value]
        if value in self.pairs:
            return None
        arrays = {f"{node.name}.{local}": local for local in node.op.params(*self.child.input_types(node))}
        if node.op.name in ("bn", "conv", "linear", "scale", "layernorm"):
            zero = {name for name, local in arrays.items() if local in ("weight", "bias", "scale")}
            return {name: np.zeros_like(self.arrays[name]) for name in zero}
        return self._silenced(node.inputs[0]) if node.op.name in ZERO_AT_ZERO else None

    def _opened(self, value: int) -> dict[str, Array] | None:
        """Arrays that make a new gate one; None where none do."""
        gate = self.child.nodes[value]
        if value in self.pairs or gate.op.name not in FULL_GATE or gate.inputs[0] in self.pairs:
            return None
        arrays = self._silenced(gate.inputs[0])
        bias = f"{self.child.nodes[gate.inputs[0]].name}.bias"
        if arrays is None or bias not in arrays:
            return None
        return {**arrays, bias: np.full_like(arrays[bias], FULL_GATE[gate.op.name])}

    # arrays

    def _theirs(self, other: int, local: str) -> Array | None:
        array = self.weights.get(f"{self.parent.nodes[other].name}.{local}")
        return None if array is None else np.asarray(array, np.float32)

    def _put(self, node: Node, other: int, local: str, change: Callable[[Array], Array]) -> None:
        """An array of the parent's, changed to fit; where it does not, the array starts anew."""
        name, theirs = f"{node.name}.{local}", self._theirs(other, local)
        if theirs is None or name not in self.arrays:
            return
        new = change(theirs)
        if new.shape == self.arrays[name].shape:
            self._set(name, new, "kept" if new.shape == theirs.shape and np.array_equal(new, theirs) else "adapted")

    def _set(self, name: str, array: Array, how: str) -> None:
        self.arrays[name] = np.ascontiguousarray(array, np.float32)
        self.how[name] = how


_KINDS = ("kept", "adapted", "neutral", "fresh")

_MATCHED: Mapping[str, Callable[..., _State | None]] = {
    "conv": _Heir.convolution,
    "linear": _Heir.linear,
    "conv_transpose": _Heir.transposed,
    "bn": _Heir.per_channel,
    "layernorm": _Heir.per_channel,
    "scale": _Heir.per_channel,
    "add": _Heir.sum,
    "mul": _Heir.sum,
    "mean": _Heir.sum,
    "concat": _Heir.concat,
    "flatten": _Heir.flatten,
}


# ---- single layers ---------------------------------------------------------------------------------------------------


def _same_window(ours: Conv2d, theirs: Conv2d) -> bool:
    """Whether a convolution can do what another does: the same steps, its kernel around the other's."""
    if (ours.stride, ours.dilation) != (theirs.stride, theirs.dilation):
        return False
    rings = [(a - b) / 2 * d for a, b, d in zip(ours.kernel, theirs.kernel, ours.dilation, strict=True)]
    wanted = (rings[0], rings[1], rings[0], rings[1])
    more = [a - b for a, b in zip(ours.padding, theirs.padding, strict=True)]
    return min(rings) >= 0 and all(a == b for a, b in zip(more, wanted, strict=True))


def _resized(weight: Array, kernel: Sequence[int]) -> Array:
    """The kernels with zeros around them, or their middle."""
    for axis, size in enumerate(kernel, start=2):
        have = weight.shape[axis]
        if size > have:
            before = (size - have) // 2
            edges = [(0, 0)] * weight.ndim
            edges[axis] = (before, size - have - before)
            weight = np.pad(weight, edges)
        elif size < have:
            start = (have - size) // 2
            weight = np.take(weight, range(start, start + size), axis=axis)
    return weight


def _identity(node: Node, channels: int) -> dict[str, Array] | None:
    """Arrays with which a layer gives its input; None where none do. Its output has the input's type."""
    rule: Callable[[Any, int], dict[str, Array] | None] | None = _IDENTITY.get(node.op.name)
    return None if rule is None else rule(node.op, channels)


def _identity_convolution(op: Conv2d, channels: int) -> dict[str, Array] | None:
    if op.groups not in (1, channels) or op.stride != (1, 1) or any(k % 2 == 0 for k in op.kernel):
        return None
    weight = np.zeros((channels, channels // op.groups, *op.kernel), np.float32)
    middle = (op.kernel[0] // 2, op.kernel[1] // 2)
    rows = np.arange(channels)
    weight[rows, rows if op.groups == 1 else 0, middle[0], middle[1]] = 1
    return {"weight": weight, **({"bias": np.zeros(channels, np.float32)} if op.bias else {})}


def _identity_linear(op: Linear, channels: int) -> dict[str, Array]:
    bias = {"bias": np.zeros(channels, np.float32)} if op.bias else {}
    return {"weight": np.eye(channels, dtype=np.float32), **bias}


def _identity_norm(op: Any, channels: int) -> dict[str, Array]:
    """weight * (x - 0) / sqrt(1 + eps) is x."""
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    weight = np.full(channels, np.sqrt(1 + op.eps), np.float32)
    return {"weight": weight, "bias": zeros, "running_mean": zeros, "running_var": ones}


_IDENTITY: Mapping[str, Callable[[Any, int], dict[str, Array] | None]] = {
    "conv": _identity_convolution,
    "linear": _identity_linear,
    "bn": _identity_norm,
}

_AT_LEAST_ZERO = {"relu", "relu6", "sigmoid", "hsigmoid"}
_AT_MOST_SIX = {"relu6", "sigmoid", "hsigmoid"}
_KEEPING_BOUNDS = {
    "maxpool",
    "avgpool",
    "gap",
    "dropout",
    "concat",
    "flatten",
    "crop",
    "subsample",
    "tokens",
    "shuffle",
}


def _idempotent(graph: Graph, activation: str, value: int) -> bool:
    """Whether an activation leaves a value of the parent as it is, whatever the input."""
    bounds = {"relu": _AT_LEAST_ZERO, "leaky_relu": _AT_LEAST_ZERO, "relu6": _AT_MOST_SIX}.get(activation)
    return bounds is not None and _within(graph, value, bounds)


def _within(graph: Graph, value: int, bounds: set[str]) -> bool:
    node = graph.nodes[value]
    if node.op.name in bounds:
        return True
    return node.op.name in _KEEPING_BOUNDS and all(_within(graph, i, bounds) for i in node.inputs)


# ---- the two graphs beside each other --------------------------------------------------------------------------------


def _channel_classes(graph: Graph) -> list[int]:
    """A number for each value, equal for values whose channels must be in one order because they are summed."""
    roots = list(range(len(graph.nodes)))

    def root(i: int) -> int:
        while roots[i] != i:
            roots[i] = roots[roots[i]]
            i = roots[i]
        return i

    for index, node in enumerate(graph.nodes):
        depthwise = isinstance(node.op, Conv2d) and node.op.groups == node.op.channels > 1
        joins = node.op.name in ("add", "mul", "mean")
        if joins or depthwise or node.op.elementwise or node.op.training_only or node.op.name in (*PASSING, "scale"):
            for i in node.inputs:
                roots[root(index)] = root(i)
    return [root(i) for i in range(len(graph.nodes))]


def aligned(parent: Graph, child: Graph) -> dict[int, int]:
    """Nodes of the child -> those of the parent that they are, in the order of evaluation: the pairing of equal ops
    that agrees best in attributes, types and names (Needleman and Wunsch 1970, without a cost for gaps)."""
    first = 0
    shorter = min(len(parent.nodes), len(child.nodes))
    while first < shorter and _alike(parent.nodes[first], child.nodes[first]):
        first += 1
    last = 0
    while last < shorter - first and _alike(parent.nodes[-1 - last], child.nodes[-1 - last]):
        last += 1
    theirs = parent.nodes[first : len(parent.nodes) - last]
    ours = child.nodes[first : len(child.nodes) - last]
    pairs = {i: i for i in range(first)}
    pairs.update((len(child.nodes) - 1 - i, len(parent.nodes) - 1 - i) for i in range(last))
    pairs.update((first + j, first + i) for i, j in _best(theirs, ours))
    return pairs


def _alike(a: Node, b: Node) -> bool:
    return a.name == b.name and a.op == b.op and a.type == b.type


IN_A_ROW = 3.0
"""What it is worth that the nodes before two that are paired are paired too: what is new is new in one piece."""


def _best(theirs: Sequence[Node], ours: Sequence[Node]) -> list[tuple[int, int]]:
    """The pairs of the best alignment. best[i, j]: of the first i and j nodes; paired: if the last two are a pair."""
    best = np.zeros((len(theirs) + 1, len(ours) + 1))
    paired = np.full(best.shape, -np.inf)
    for i, a in enumerate(theirs):
        for j, b in enumerate(ours):
            if a.op.name == b.op.name:
                paired[i + 1, j + 1] = _score(a, b) + max(best[i, j], paired[i, j] + IN_A_ROW)
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], paired[i + 1, j + 1])
    return _traced(best, paired)


def _traced(best: NDArray[np.float64], paired: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs that made the best score."""
    pairs = []
    i, j = best.shape[0] - 1, best.shape[1] - 1
    in_row = False
    while i and j:
        if in_row or best[i, j] == paired[i, j]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
            in_row = paired[i, j] + IN_A_ROW > best[i, j]
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs


def _score(a: Node, b: Node) -> float:
    """How well two nodes of one op agree: their attributes most, then their types, then their names."""
    last = a.name.rpartition(".")[2] == b.name.rpartition(".")[2]
    return 4.0 + 3.0 * (a.op == b.op) + 2.0 * (a.type == b.type) + 1.0 * last + 1.0 * (a.name == b.name)


def carried(report: Report, child: Graph) -> float:
    """The share of the child's parameters that come from its parent."""
    sizes = {name: int(np.prod(param.shape)) for name, param in specs(child).items()}
    taken = sum(sizes[name] for name in (*report.kept, *report.adapted))
    return taken / max(1, sum(sizes.values()))
