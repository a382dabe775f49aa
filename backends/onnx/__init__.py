"""ONNX: a model file straight from the Graph."""

from __future__ import annotations

import os
from dataclasses import dataclass

from archlang.backend import Artifact, Request
from archlang.backends.onnx.model import OPSET, build_model
from archlang.ir.graph import Graph
from archlang.weights import MAX_BYTES, initial


@dataclass(frozen=True)
class OnnxBackend:
    """Writes float32 models."""

    suffix: str = ".onnx"
    modes: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ("opset", "batch", "keep_bn")

    def compile(self, graph: Graph, request: Request) -> Artifact:
        weights = initial(graph, request.seed, _memory()) if request.weights is None else request.weights
        opset = OPSET if request.opset is None else request.opset
        model = build_model(graph, weights, request.origin, opset, request.batch, request.keep_bn, request.file)
        beside = {model.outside.name: model.outside.pieces} if model.outside else {}
        return Artifact(model.pieces, dict(model.ops), beside)


def _memory() -> int:
    """The bytes of this machine's memory, half of which fresh weights may take."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else MAX_BYTES


BACKEND = OnnxBackend()

__all__ = ["BACKEND", "OnnxBackend", "build_model"]
