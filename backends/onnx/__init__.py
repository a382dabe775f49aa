"""ONNX: a model file straight from the Graph."""

from __future__ import annotations

from dataclasses import dataclass

from archlang.backend import Artifact, Request
from archlang.backends.onnx.model import build_model
from archlang.ir.graph import Graph
from archlang.weights import initial


@dataclass(frozen=True)
class OnnxBackend:
    """Writes float32 models."""

    suffix: str = ".onnx"
    modes: tuple[str, ...] = ("none",)

    def compile(self, graph: Graph, request: Request) -> Artifact:
        weights = initial(graph, request.seed) if request.weights is None else request.weights
        data, ops = build_model(graph, weights, request.origin)
        return Artifact(data, dict(ops))


BACKEND = OnnxBackend()

__all__ = ["BACKEND", "OnnxBackend", "build_model"]
