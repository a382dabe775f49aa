"""What a network costs: sums over a Graph, known before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.ops.base import Cost
from archlang.passes import inference


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One op of the network. name: its module path; output: the type that it makes."""

    name: str
    op: str
    output: TensorType
    cost: Cost


@dataclass(frozen=True)
class NetCost:
    """The whole network, batch 1.

    activation_bytes: every value that is made, 4 bytes an element (float32). peak_memory_bytes: the most that is alive
    at once when the ops run in their order, an op's inputs and output counted, elementwise ops writing over
    a dying input.
    """

    layers: tuple[LayerCost, ...]
    total: Cost
    activation_bytes: int
    peak_memory_bytes: int


def cost(graph: Graph) -> NetCost:
    """Cost of the network in evaluation mode, but for the parameters: those of auxiliary heads count."""
    plain = inference(graph) if any(output.aux for output in graph.outputs) else graph
    layers = tuple(
        LayerCost(node.name, node.op.name, node.type, node.op.cost(graph.input_types(node), node.type))
        for node in graph.nodes
        if node.op.name != "input"
    )
    kept = {node.name for node in plain.nodes}
    params = sum(layer.cost.params for layer in layers)
    run = [layer.cost for layer in layers if layer.name in kept]
    total = Cost(params, sum(c.macs for c in run), sum(c.flops for c in run))
    activations = sum(4 * node.type.size for node in plain.nodes if not node.op.training_only)
    return NetCost(layers, total, activations, peak_memory(plain))


def peak_memory(graph: Graph, element_bytes: int = 4) -> int:
    """The largest sum of values alive at once over the order of evaluation, in bytes.

    A value lives from the op that makes it to the last that reads it; outputs live to the end. An elementwise op may
    write over an input of the same size that dies there, as all runtimes do.
    """
    last = list(range(len(graph.nodes)))
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            last[j] = i
    for output in graph.outputs:
        last[output.value] = len(graph.nodes)
    alive, peak = 0, 0
    for i, node in enumerate(graph.nodes):
        dying = {j for j in node.inputs if last[j] == i}
        in_place = node.op.elementwise and any(graph.nodes[j].type.size == node.type.size for j in dying)
        peak = max(peak, alive + (0 if in_place else node.type.size))
        alive += node.type.size - sum(graph.nodes[j].type.size for j in dying)
        if last[i] == i:
            alive -= node.type.size
    return peak * element_bytes
