"""Whose time it was: operators of a profile, mapped back to the layers, blocks and source lines that they came from.

A runtime tells its own steps, not the file's operators: XNNPACK drops paddings that a convolution can do itself, and
adds reshapes. Both are in the order of evaluation, so they are aligned, by kind, as two texts are by their letters.
An operator's tensor is called like the layer that makes it; the Graph knows that layer's place and scopes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archlang.cost import cost
from archlang.device.model_file import Operator, operators
from archlang.device.transport import OpTime
from archlang.ir.graph import Graph, Node

# ---- steps of the runtime to operators of the file -------------------------------------------------------------------

STEPS = {
    "CONV_2D": r"Convolution|Fully Connected",
    "DEPTHWISE_CONV_2D": r"Convolution",
    "FULLY_CONNECTED": r"Fully Connected|Convolution",
    "BATCH_MATMUL": r"Batch Matrix Multiply|Fully Connected",
    "TRANSPOSE_CONV": r"Deconvolution",
    "MEAN": r"Mean|Sum|Average Pooling",
    "AVERAGE_POOL_2D": r"Average Pooling",
    "MAX_POOL_2D": r"Max Pooling",
    "ADD": r"Add|Binary",
    "SUB": r"Subtract|Binary",
    "MUL": r"Multiply|Binary",
    "DIV": r"Divide|Binary",
    "LOGISTIC": r"Sigmoid",
    "RELU": r"Clamp",
    "RELU6": r"Clamp",
    "RELU_0_TO_1": r"Clamp",
    "RELU_N1_TO_1": r"Clamp",
    "QUANTIZE": r"Convert",
    "DEQUANTIZE": r"Convert",
    "PAD": r"Constant Pad",
    "PADV2": r"Constant Pad",
    "RESHAPE": r"Static Reshape|Copy",
    "CONCATENATION": r"Copy|Concat",
    "SPLIT": r"Slice|Copy",
    "SLICE": r"Slice",
    "STRIDED_SLICE": r"Slice",
    "RSQRT": r"Reciprocal Square Root",
    "SQRT": r"Square Root",
}
"""TFLite's kind -> how XNNPACK calls the step that does it. Other kinds are called alike: `HARD_SWISH`, `HardSwish`."""

_FULL, _HALF = 4, 3
"""What a step counts that does an operator of its kind: more where the kind leaves no doubt."""

_DEPTHWISE = "DWConv"


def aligned(steps: Sequence[str], kinds: Sequence[str]) -> list[int | None]:
    """For each step the operator that it does, in the same order on both sides, such that as much as possible fits
    (Needleman and Wunsch's alignment without a cost of gaps). None: a step that stands for no operator."""
    best = _scores(steps, kinds)
    found: list[int | None] = [None] * len(steps)
    i = j = 0
    while i < len(steps) and j < len(kinds):
        fit = _fit(steps[i], kinds[j])
        if fit and best[i][j] == fit + best[i + 1][j + 1]:
            found[i] = j
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    return found


def _scores(steps: Sequence[str], kinds: Sequence[str]) -> list[list[int]]:
    """What the steps from i on and the operators from j on can score together, at [i][j]."""
    fits = {(step, kind): _fit(step, kind) for step in set(steps) for kind in set(kinds)}
    below = [0] * (len(kinds) + 1)
    rows = [below]
    for step in reversed(steps):
        row = [0] * (len(kinds) + 1)
        for j in range(len(kinds) - 1, -1, -1):
            fit = fits[step, kinds[j]]
            row[j] = max(below[j], row[j + 1], fit + below[j + 1] if fit else 0)
        rows.append(row)
        below = row
    return rows[::-1]


def _fit(step: str, kind: str) -> int:
    if step == kind:
        return _FULL
    if kind not in STEPS:
        return _FULL if _letters(step.partition("(")[0]) == _letters(kind) else 0
    if not re.match(STEPS[kind], step):
        return 0
    return _FULL if (_DEPTHWISE in step) == (kind == "DEPTHWISE_CONV_2D") else _HALF


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ---- operators to layers ---------------------------------------------------------------------------------------------


def attributed(ops: Sequence[OpTime], content: bytes, graph: Graph | None) -> tuple[OpTime, ...]:
    """The operators with the layers that they came from and their MACs; with lines and blocks where the Graph that the
    file was made from is known. Raises ArchError where a .tflite file is damaged."""
    places = Places(graph) if graph is not None else None
    if content[4:8] == b"TFL3":
        return tuple(_from_file(ops, operators(content), places))
    return tuple(_from_graph(ops, places)) if places is not None else tuple(ops)


def _from_file(ops: Sequence[OpTime], made: Sequence[Operator], places: Places | None) -> Iterable[OpTime]:
    """A step that stands for no operator belongs to the one before it: XNNPACK adds reshapes behind what it does."""
    before: Operator | None = None
    for op, index in zip(ops, aligned([op.op for op in ops], [each.kind for each in made]), strict=True):
        operator = made[index] if index is not None else before
        before = operator
        if operator is None:
            yield op
            continue
        named = replace(op, name=operator.output, macs=operator.macs if index is not None else 0)
        yield _placed(named, operator.output, places)


def _from_graph(ops: Sequence[OpTime], places: Places) -> Iterable[OpTime]:
    """By the names alone, which nodes of an ONNX file share with the layers. What ONNX Runtime puts in between, such as
    changes of layout, belongs to what is before it."""
    nodes = [places.node(op.name) for op in ops]
    known = {node.name for node in nodes if node is not None}
    before: Node | None = None
    for op, node, count in zip(ops, nodes, places.macs_of([op.name for op in ops]), strict=True):
        before = places.root(node, known) if node is not None else before
        yield replace(_at(op, before, places) if before is not None else op, macs=count)


def _placed(op: OpTime, name: str, places: Places | None) -> OpTime:
    layer = name.partition("/")[0]
    if places is None:
        return replace(op, layer=layer, block=layer.rpartition(".")[0] or layer)
    node = places.node(name)
    return op if node is None else _at(op, node, places)


def _at(op: OpTime, node: Node, places: Places) -> OpTime:
    file, line = (node.span.source.name, node.span.line) if node.span is not None else ("", None)
    return replace(op, layer=node.name, file=file, line=line, block=places.block(node.name))


@dataclass(frozen=True)
class Places:
    """The layers of a Graph by what operators are called."""

    graph: Graph

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Outputs of the network may be called by their own names."""
        outputs = {output.name: self.graph.nodes[output.value] for output in self.graph.outputs}
        return {**outputs, **{node.name: node for node in self.graph.nodes}}

    def node(self, name: str) -> Node | None:
        """The layer of an operator: `a.b/pad_3`, and ONNX Runtime's `a.b_nchwc` and `a.b:Gemm`, are parts of `a.b`."""
        return next((self.nodes[each] for each in _names(name) if each in self.nodes), None)

    def root(self, node: Node, known: Collection[str]) -> Node:
        """The layer that a norm or an activation was merged into, where no operator of `known` has its name."""
        while (node.op.elementwise or node.op.name == "bn") and len(node.inputs) == 1:
            above = self.graph.nodes[node.inputs[0]]
            if above.name in known or not above.inputs:
                break
            node = above
        return node

    def block(self, name: str) -> str:
        """The path of the innermost block that a layer is in, or else the outermost part of its name."""
        parts = name.split(".")
        paths = (".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
        found = (path for path in paths if path in self.graph.scopes and self.graph.scopes[path].kind == "block")
        return next(found, parts[0])

    def macs_of(self, names: Sequence[str]) -> list[int]:
        """MACs of each operator. Those of a layer that no operator is called like are done by the next one that reads
        it and has one; those of a layer with several operators are shared out evenly."""
        layers = [node.name if (node := self.node(name)) is not None else "" for name in names]
        doer = self._doers(set(layers))
        totals: dict[str, int] = {}
        for layer in cost(self.graph).layers:
            totals[doer.get(layer.name, "")] = totals.get(doer.get(layer.name, ""), 0) + layer.cost.macs
        return [totals.get(layer, 0) // layers.count(layer) if layer else 0 for layer in layers]

    def _doers(self, known: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in reversed(self.graph.nodes):
            doer = node.name if node.name in known else found.get(node.name, "")
            found[node.name] = doer
            for i in node.inputs:
                found[self.graph.nodes[i].name] = doer
        return found


_ADDED = re.compile(r"(_nchwc|_nhwc|_token_\d+|_quant)+$")
"""What ONNX Runtime adds to the names of nodes that it has changed."""


def _names(name: str) -> Iterable[str]:
    layer = re.split("[/:]", name, maxsplit=1)[0]
    return name, layer, _ADDED.sub("", name), _ADDED.sub("", layer)


# ---- together --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Operators that came from one place, together. share: of the time of all. what: the source line, or what the block
    was called with."""

    name: str
    what: str
    ops: int
    macs: int
    ms: float
    share: float

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def by_line(ops: Sequence[OpTime], graph: Graph) -> list[Part]:
    """A part for each source line, the slowest first."""
    texts = {(file, line): text for node in graph.nodes for file, line, text in _line(node)}
    return _parts(ops, lambda op: (f"{op.file}:{op.line}" if op.line else "", texts.get((op.file, op.line or 0), "")))


def by_block(ops: Sequence[OpTime], graph: Graph | None) -> list[Part]:
    """A part for each block instance, in the order of evaluation."""
    scopes = graph.scopes if graph is not None else {}
    parts = _parts(ops, lambda op: (op.block, scopes[op.block].label if op.block in scopes else ""))
    order = {op.block: i for i, op in reversed(list(enumerate(ops)))}
    return sorted(parts, key=lambda part: order[part.name])


def _line(node: Node) -> Iterable[tuple[str, int, str]]:
    if node.span is not None:
        source, line = node.span.source, node.span.line
        yield source.name, line, source.text.splitlines()[line - 1].strip()


def _parts(ops: Sequence[OpTime], key: Callable[[OpTime], tuple[str, str]]) -> list[Part]:
    groups: dict[tuple[str, str], list[OpTime]] = {}
    for op in ops:
        groups.setdefault(key(op), []).append(op)
    parts = [
        Part(
            name, what, len(own), sum(op.macs or 0 for op in own), sum(op.ms for op in own), sum(op.share for op in own)
        )
        for (name, what), own in groups.items()
    ]
    return sorted(parts, key=lambda part: -part.ms)
