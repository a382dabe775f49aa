"""How the generated file makes fresh weights, and in which layouts it takes and gives arrays."""

from __future__ import annotations

from archlang.ir.graph import Graph
from archlang.ops.attention import Attention
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear
from archlang.weights import specs

OWN = "keras"
"""What Keras' own initialisation is called."""


def initialised(graph: Graph, scheme: str) -> dict[str, str | bool]:
    """Which layers the file must give fresh weights other than Keras' own, for its template; empty where none."""
    convolutions, transposed = _convolutions(graph), any(isinstance(node.op, ConvTranspose2d) for node in graph.nodes)
    linear = any(isinstance(node.op, Linear) for node in graph.nodes)
    if scheme == OWN or not (convolutions or transposed or linear):
        return {}
    return {
        "truncated": scheme == "truncated-normal",
        "convolutions": _one_or_tuple(convolutions),
        "transposed": transposed,
        "linear": linear,
        "kinds": _one_or_tuple([*convolutions, *["layers.Conv2DTranspose"] * transposed, *["layers.Dense"] * linear]),
    }


def layouts(graph: Graph) -> dict[str, bool]:
    """Which kinds of arrays change their layout between PyTorch and Keras; empty where the network has no arrays."""
    if not specs(graph):
        return {}
    return {
        "images": any(isinstance(node.op, Conv2d | ConvTranspose2d) for node in graph.nodes),
        "depthwise": "layers.DepthwiseConv2D" in _convolutions(graph),
        "dense": any(isinstance(node.op, Linear | Attention) for node in graph.nodes),
    }


def _convolutions(graph: Graph) -> list[str]:
    """The classes of Keras that the network's convolutions are."""
    nodes = [node for node in graph.nodes if isinstance(node.op, Conv2d)]
    depthwise = {isinstance(node.op, Conv2d) and node.op.is_depthwise(graph.input_types(node)[0]) for node in nodes}
    names = {False: "layers.Conv2D", True: "layers.DepthwiseConv2D"}
    return [name for kind, name in names.items() if kind in depthwise]


def _one_or_tuple(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"
