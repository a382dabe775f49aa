"""ONNX: a model file straight from the Graph."""

from __future__ import annotations

from dataclasses import dataclass

from archlang import archives
from archlang.backend import Artifact, Claim, Request
from archlang.backends.onnx.model import OPSET, build_model
from archlang.ir.graph import Graph
from archlang.weights import initial


@dataclass(frozen=True)
class OnnxBackend:
    """Writes float32 models."""

    suffix: str = ".onnx"
    modes: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ("opset", "batch", "keep_bn", "about")

    def compile(self, graph: Graph, request: Request) -> Artifact:
        weights = initial(graph, request.seed, archives.limit()) if request.weights is None else request.weights
        opset = OPSET if request.opset is None else request.opset
        model = build_model(
            graph, weights, request.origin, opset, request.batch, request.keep_bn, request.file, request.about
        )
        beside = {model.outside.name: model.outside.pieces} if model.outside else {}
        return Artifact(model.pieces, dict(model.ops), beside, Claim(weights))


BACKEND = OnnxBackend()

__all__ = ["BACKEND", "OnnxBackend", "build_model"]
