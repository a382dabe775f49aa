"""Layers: the arrays that belong together, of a graph and of a foreign state dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archlang import weights
from archlang.ir.graph import Graph
from archlang.passes import inference

Kind = tuple[tuple[str, tuple[int, ...]], ...]
"""What two layers must share to be the same layer: the roles and shapes of their arrays, sorted by role."""

Shapes = Mapping[str, tuple[int, ...]]

_TOGETHER = (
    frozenset({"weight", "bias", "running_mean", "running_var"}),
    frozenset({"weight", "bias"}),
)
"""Arrays of one module that make one layer: a BatchNorm; a convolution, linear layer or other norm."""

_ALIASES = {"in_proj_weight": "in_proj.weight", "in_proj_bias": "in_proj.bias"}
"""Arrays that PyTorch keeps directly in a module where they are a layer: those of nn.MultiheadAttention."""


@dataclass(frozen=True)
class Layer:
    """name: the module's path. roles: role -> the array's full name. An array that is alone has the role ``."""

    name: str
    kind: Kind
    roles: tuple[tuple[str, str], ...]

    @property
    def squeezed(self) -> Kind:
        """The kind but for axes of length 1: a 1x1 convolution and a linear layer hold the same numbers."""
        return tuple((role, tuple(size for size in shape if size != 1)) for role, shape in self.kind)

    def __str__(self) -> str:
        shapes = ", ".join("x".join(map(str, shape)) for _, shape in sorted(self.kind, key=lambda item: -len(item[1])))
        return f"{self.name} ({shapes})"


def of_arrays(shapes: Shapes) -> list[Layer]:
    """The layers of a state dict, in the order in which their first arrays come. `num_batches_tracked` is left out."""
    modules: dict[str, dict[str, str]] = {}
    for name in shapes:
        parent, _, local = _alias(name).rpartition(".")
        if local != "num_batches_tracked":
            modules.setdefault(parent, {})[local] = name
    return [layer for parent, locals_ in modules.items() for layer in _of_module(parent, locals_, shapes)]


def _alias(name: str) -> str:
    parent, dot, local = name.rpartition(".")
    return f"{parent}{dot}{_ALIASES.get(local, local)}"


def _of_module(parent: str, names: Mapping[str, str], shapes: Shapes) -> Iterable[Layer]:
    if frozenset(names) in _TOGETHER:
        roles = tuple(sorted(names.items()))
        yield Layer(parent, tuple((role, shapes[name]) for role, name in roles), roles)
        return
    for local, name in names.items():
        path = parent if local == "weight" and len(names) == 1 else f"{parent}.{local}".lstrip(".")
        yield Layer(path, (("", shapes[name]),), (("", name),))


@dataclass(frozen=True)
class Ours:
    """The layers of a graph in the order of evaluation.

    nodes: of each, the index of the node that it belongs to. ancestors: of each node, the nodes that it depends on, as
    bits. training: the names of layers that exist in training only.
    """

    layers: tuple[Layer, ...]
    nodes: tuple[int, ...]
    ancestors: tuple[int, ...]
    training: frozenset[str]

    def without(self, names: Iterable[str]) -> Ours:
        gone = set(names)
        kept = [i for i, layer in enumerate(self.layers) if layer.name not in gone]
        return Ours(
            tuple(self.layers[i] for i in kept), tuple(self.nodes[i] for i in kept), self.ancestors, self.training
        )

    def before(self, first: range, second: range) -> bool:
        """Whether something in the layers `second` is computed from something in the layers `first`."""
        mask = 0
        for i in first:
            mask |= 1 << self.nodes[i]
        same_node = self.nodes[first[-1]] == self.nodes[second[0]] and first[-1] < second[0]
        return same_node or any(self.ancestors[self.nodes[j]] & mask for j in second)


def of_graph(graph: Graph) -> Ours:
    layers = of_arrays({name: param.shape for name, param in weights.specs(graph).items()})
    owner = {node.name: i for i, node in enumerate(graph.nodes)}
    nodes = tuple(_owner(layer.roles[0][1], owner) for layer in layers)
    ancestors: list[int] = []
    for node in graph.nodes:
        bits = 0
        for j in node.inputs:
            bits |= ancestors[j] | 1 << j
        ancestors.append(bits)
    run = {node.name for node in inference(graph).nodes}
    training = {layer.name for layer, i in zip(layers, nodes, strict=True) if graph.nodes[i].name not in run}
    return Ours(tuple(layers), nodes, tuple(ancestors), frozenset(training))


def _owner(array: str, owner: Mapping[str, int]) -> int:
    """The node whose array it is: `attention.qkv.weight` is of `attention`."""
    path = array
    while path not in owner:
        path = path.rpartition(".")[0]
    return owner[path]


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in arrays.items()}
