"""What a network costs: sums over a Graph, known before anything is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from archlang.collector import paused
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.memory import FLOAT32, INT8, peak_memory
from archlang.ops.base import Cost
from archlang.passes import inference
from archlang.records import record


@record(frozen=True, slots=True)
class LayerCost:
    """One op of the network. name: its module path; output: the type that it makes."""

    name: str
    op: str
    output: TensorType
    cost: Cost


@dataclass(frozen=True)
class NetCost:
    """The whole network, batch 1.

    activation_bytes: every value that is made, 4 bytes an element (float32). plain: the network in evaluation mode.
    """

    layers: tuple[LayerCost, ...]
    total: Cost
    activation_bytes: int
    plain: Graph = field(repr=False, compare=False)

    @cached_property
    def peak_memory_bytes(self) -> int:
        """The most bytes of activations alive at once when the ops run in their order, in float32."""
        return peak_memory(self.plain)

    @cached_property
    def peak_memory_int8_bytes(self) -> int:
        """The same for a model quantized to int8."""
        if any(node.op.keeps_float for node in self.plain.nodes):
            return peak_memory(self.plain, INT8)
        return self.peak_memory_bytes // FLOAT32

    def _repr_html_(self) -> str:
        """For notebooks: the figures, and the layers that they are the sums of."""
        from archlang.draw.notebook import cost

        return cost(self)


@paused()
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
    return NetCost(layers, total, activations, plain)
