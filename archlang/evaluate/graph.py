"""The walk over a Graph that computes its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.evaluate.rules import ELEMENTWISE, RULES
from archlang.ir.graph import Graph, Node
from archlang.passes import inference
from archlang.weights import Weights

Array = NDArray[Any]

Seen = Callable[[int, Node, Array], Array]
"""seen(index, node, value) is told of each value as it is made, and gives the one that later ops shall read."""


def unknown(graph: Graph) -> str:
    """The name of the first op that cannot be computed here (a third party's); empty where all can."""
    known = ELEMENTWISE.keys() | RULES.keys()
    ops = (node.op for node in graph.nodes if not node.op.training_only and node.op.name != "input")
    return next((op.name for op in ops if type(op) not in known), "")


def inputs_for(graph: Graph, seed: int = 0) -> list[Array]:
    """A standard normal array for each input of the network, as normalised images are."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(graph.nodes[i].type.shape, np.float32) for i in graph.inputs]


def evaluate(graph: Graph, weights: Weights, inputs: Sequence[Array], dtype: Any = np.float32) -> dict[str, Array]:
    """The network's outputs in evaluation mode, by name, for one sample.

    weights: every array of `weights.specs(graph)`. inputs: one for each of the graph's, without a batch. dtype: what
    is computed in. The graph is taken as it is, without any pass that a backend runs but the one that drops what only
    trains. Values are forgotten after their last use.
    """
    walk = _Walk(inference(graph), weights, np.dtype(dtype))
    return walk.outputs(inputs)


def guided(graph: Graph, weights: Weights, inputs: Sequence[Array], seen: Seen) -> dict[str, Array]:
    """The same, each value being what `seen` makes of it."""
    return _Walk(inference(graph), weights, np.dtype(np.float32), seen).outputs(inputs)


class _Walk:
    """values: of the nodes so far, by index; those that are not read any more are gone. fresh: those that no other
    value shares its memory with."""

    def __init__(self, graph: Graph, weights: Weights, dtype: np.dtype[Any], seen: Seen | None = None) -> None:
        self.graph, self.weights, self.dtype, self.seen = graph, weights, dtype, seen
        self.values: dict[int, Array] = {}
        self.fresh: set[int] = set()
        self.left = graph.uses()

    def outputs(self, inputs: Sequence[Array]) -> dict[str, Array]:
        given = iter(inputs)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for i, node in enumerate(self.graph.nodes):
                value = next(given).astype(self.dtype) if node.op.name == "input" else self.computed(i, node)
                self.values[i] = self.seen(i, node, value) if self.seen else value
                self.forget(node.inputs)
        return {output.name: self.values[output.value] for output in self.graph.outputs}

    def computed(self, i: int, node: Node) -> Array:
        xs = [self.values[j] for j in node.inputs]
        compute = ELEMENTWISE.get(type(node.op))
        if compute is None:
            return self.kept(i, node, np.ascontiguousarray(RULES[type(node.op)](node.op, self.params(node), *xs)))
        out = xs[0] if self.spare(node.inputs[0]) else np.empty_like(xs[0])
        compute(node.op, self.params(node), xs[0], out)
        self.fresh.add(i)
        return out

    def kept(self, i: int, node: Node, y: Array) -> Array:
        """y, once it is known whether it is a view of a value: then neither may be overwritten."""
        lenders = [j for j in node.inputs if np.may_share_memory(y, self.values[j])]
        self.fresh.difference_update(lenders)
        if not lenders:
            self.fresh.add(i)
        return y

    def spare(self, i: int) -> bool:
        """Whether a value may be overwritten by the one op that still reads it."""
        return self.seen is None and i in self.fresh and self.left[i] == 1

    def params(self, node: Node) -> dict[str, Array]:
        names = node.op.params(*self.graph.input_types(node))
        return {local: np.asarray(self.weights[f"{node.name}.{local}"], self.dtype) for local in names}

    def forget(self, read: Sequence[int]) -> None:
        for j in read:
            self.left[j] -= 1
            if not self.left[j]:
                del self.values[j]
