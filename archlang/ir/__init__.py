"""The flat IR: types, graph, builder, text, verifier."""

from archlang.ir.builder import Builder
from archlang.ir.graph import Graph, Node, Output, Scope, rewrite
from archlang.ir.text import parse_graph, print_graph
from archlang.ir.types import TensorType
from archlang.ir.verify import verify

__all__ = [
    "Builder",
    "Graph",
    "Node",
    "Output",
    "Scope",
    "TensorType",
    "parse_graph",
    "print_graph",
    "rewrite",
    "verify",
]
