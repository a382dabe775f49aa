"""Quantization-aware training (Jacob et al., arXiv:1712.05877): a Graph whose values and weights are rounded in
training as int8 will round them, and the ranges that it brings home in its state dict.

Values are rounded where an int8 file holds them: behind each layer with the norm and the activation that become part
of it. Before a concatenation they are not, where nothing else reads them, for it wants one scale for all: they are
rounded behind it. Weights have a scale for each channel, and that makes the treatment of BatchNorm simple: a norm
multiplies a channel's weights and with them their scale, so to round before or after it comes to the same, and the norm
stays as it is, with the statistics of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from archlang.errors import fail
from archlang.ir.graph import Graph, Node
from archlang.ir.types import TensorType
from archlang.ops.activation import Relu, Relu6, Sigmoid, Softmax, Tanh
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, Scale
from archlang.ops.pool import AvgPool2d, MaxPool2d
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample
from archlang.quantize.options import Range
from archlang.records import record

RANGES = ("moving-average", "learned")
"""How a range comes about in training: the ends of each batch, averaged, or parameters with gradients of their own."""

SUFFIX = "_range"
"""What a range's module is called, behind the name of the op whose value it rounds."""


@record(frozen=True)
class FakeQuantize(Op):
    """Rounds values as int8 will. No word of the language: `prepared` puts it into a Graph.

    fixed: the scale and zero point that the specification gives the op before it; None where a range is to be found.
    """

    name: ClassVar[str] = "fake_quantize"
    elementwise: ClassVar[bool] = True

    fixed: tuple[float, int] | None = None

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        return x


_FIXED: dict[type[Op], tuple[float, int]] = {
    Sigmoid: (1 / 256, -128),
    Softmax: (1 / 256, -128),
    Tanh: (1 / 128, 0),
    L2Norm: (1 / 128, 0),
}
"""Ops whose scale and zero point never change, in int8."""

_MOVES = (
    *(MaxPool2d, AvgPool2d, Concat, Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample),
    FakeQuantize,
)
"""Ops that make no value beyond those of their inputs, and keep their scale."""

_WITH_ACTIVATION = (Conv2d, Linear, Add, Mul, Mean, AvgPool2d, MaxPool2d, BatchNorm, Scale)
_WITH_NORM = (Conv2d, Linear)


def prepared(graph: Graph) -> Graph:
    """graph: as it was lowered. The same with a FakeQuantize behind every value that an int8 file holds."""
    readers = _readers(graph)
    wanted = {i: _fixed(node) for i, node in enumerate(graph.nodes) if _is_rounded(graph, i, readers)}
    nodes: list[Node] = []
    new: list[int] = []
    for i, node in enumerate(graph.nodes):
        nodes.append(replace(node, inputs=tuple(new[j] for j in node.inputs)))
        new.append(len(nodes) - 1)
        if i in wanted:
            rounding = FakeQuantize(wanted[i])
            nodes.append(Node(rounding, (new[i],), node.type, range_name(node.name), node.span))
            new[i] = len(nodes) - 1
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def range_name(name: str) -> str:
    """What the range behind an op is called: `block.conv1_range`.

    Members of an nn.Sequential are called by numbers and hand on to each other, so that nothing else can stand among
    them: their ranges stand beside it, `block.downsample_op1_range` for that of `block.downsample.1`.
    """
    parts = name.split(".")
    named = max((depth for depth, part in enumerate(parts, 1) if not part.isdigit()), default=0)
    if named == len(parts):
        return name + SUFFIX
    numbers = f"op{'_'.join(parts[named:])}{SUFFIX}"
    return f"{'.'.join(parts[:named])}_{numbers}" if named else numbers


def _fixed(node: Node) -> tuple[float, int] | None:
    return _FIXED.get(type(node.op))


def _readers(graph: Graph) -> list[list[int]]:
    """Of each value, the nodes that read it; -1 stands for the outputs."""
    found: list[list[int]] = [[] for _ in graph.nodes]
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            found[j].append(i)
    for output in graph.outputs:
        found[output.value].append(-1)
    return found


def _is_rounded(graph: Graph, i: int, readers: list[list[int]]) -> bool:
    """Whether the value is one that the file holds with a scale of its own."""
    node = graph.nodes[i]
    if node.op.training_only or _is_fused(graph, i, readers):
        return False
    if isinstance(node.op, Concat):
        return (
            len(node.inputs) > 1
            and not _all_rounded(graph, node, readers)
            and not _only_concatenated(graph, i, readers)
        )
    return not isinstance(node.op, _MOVES) and not _only_concatenated(graph, i, readers)


def _all_rounded(graph: Graph, node: Node, readers: list[list[int]]) -> bool:
    return all(_is_rounded(graph, j, readers) for j in node.inputs)


def _only_concatenated(graph: Graph, i: int, readers: list[list[int]]) -> bool:
    """Whether all that reads the value is a concatenation; the scale of a fixed one is not up to that."""
    if _fixed(graph.nodes[i]) is not None:
        return False
    found = list(_behind(graph, i, readers))
    return bool(found) and all(j >= 0 and isinstance(graph.nodes[j].op, Concat) for j in found)


def _behind(graph: Graph, i: int, readers: list[list[int]]) -> Iterator[int]:
    """What reads the value, through ops that training alone knows."""
    for j in readers[i]:
        if j >= 0 and graph.nodes[j].op.training_only:
            yield from _behind(graph, j, readers)
        else:
            yield j


def _is_fused(graph: Graph, i: int, readers: list[list[int]]) -> bool:
    """Whether a norm or an activation behind the value becomes part of the op, so that no file holds it."""
    if len(readers[i]) != 1 or readers[i][0] < 0:
        return False
    op, after = graph.nodes[i].op, graph.nodes[readers[i][0]].op
    if isinstance(after, BatchNorm):
        return isinstance(op, _WITH_NORM)
    return isinstance(after, Relu | Relu6) and isinstance(op, _WITH_ACTIVATION)


# ---- the way back ----------------------------------------------------------------------------------------------------


def learnt(arrays: Mapping[str, Any]) -> dict[str, Range]:
    """The ranges among the arrays of a state dict, each called as `range_name` calls it.

    Raises ArchError where an end is missing or is no finite number.
    """
    lows = {name.removesuffix(".low") for name in arrays if name.endswith(f"{SUFFIX}.low")}
    highs = {name.removesuffix(".high") for name in arrays if name.endswith(f"{SUFFIX}.high")}
    for name in sorted(lows ^ highs):
        raise fail("E0823", f"the range `{name}` has one end only")
    return {name: _range(arrays, name) for name in sorted(lows)}


def _range(arrays: Mapping[str, Any], name: str) -> Range:
    low, high = (float(np.asarray(arrays[f"{name}.{end}"]).reshape(())) for end in ("low", "high"))
    if (low, high) == (np.inf, -np.inf):
        help = "train at least one batch with the generated source before its ranges are used"
        raise fail("E0823", f"the range `{name}` was never seen in training", help=help)
    if not (np.isfinite(low) and np.isfinite(high)) or low > high:
        raise fail("E0823", f"the range `{name}` runs from {low:g} to {high:g}, which is none")
    return low, high


def check_complete(ranges: Mapping[str, Range], unknown: Sequence[str]) -> None:
    """Raises ArchError where training told some ranges and not those of these values, inside layers."""
    if not ranges or not unknown:
        return
    names = ", ".join(f"`{name}`" for name in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
    message = f"the weights hold ranges from training, but none for {names}"
    raise fail("E0824", message, help="pass --calibration, which tells those inside layers")
