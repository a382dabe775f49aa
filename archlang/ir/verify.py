"""The verifier: what must hold of every Graph. A violation is a bug in the code that made the graph."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node
from archlang.ops.base import ShapeError


def verify(graph: Graph) -> Graph:
    """Return the graph unchanged; AssertionError, naming the node, where it is malformed."""
    names: set[str] = set()
    for i, node in enumerate(graph.nodes):
        _verify_node(graph, i, node)
        for part in (node, *node.fused):
            assert part.name not in names, f"two nodes are called {part.name}"
            names.add(part.name)
    assert graph.outputs, f"{graph.name} has no output"
    labels = [output.name for output in graph.outputs]
    assert len(labels) == len(set(labels)), f"two outputs are called the same: {labels}"
    for output in graph.outputs:
        assert 0 <= output.value < len(graph.nodes), f"output {output.name} reads no value"
    return graph


def _verify_node(graph: Graph, i: int, node: Node) -> None:
    where = f"%{i} {node.name}"
    assert all(0 <= j < i for j in node.inputs), f"{where} reads a value that is not made before it"
    arity = node.op.arity
    assert len(node.inputs) == arity if arity is not None else node.inputs, f"{where}: {len(node.inputs)} inputs"
    parts = node.name.split(".")
    assert all(part.isidentifier() or part.isdigit() for part in parts), f"{where}: not a dotted name"
    try:
        inferred = node.op.infer(*graph.input_types(node))
        for part in node.fused:
            inferred = part.op.infer(inferred)
    except ShapeError as error:
        raise AssertionError(f"{where}: {error}") from error
    assert inferred == node.type, f"{where} has type {node.type}, but its op makes {inferred}"
