"""TFLite, written straight from the Graph as a flatbuffer: no converter, no TensorFlow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from archlang.backend import Artifact, Request
from archlang.backends.tflite import calibrate
from archlang.backends.tflite.estimate import estimated
from archlang.backends.tflite.integer import to_int8
from archlang.backends.tflite.lowering import lower
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.placeholder import placeholders
from archlang.backends.tflite.rewrites import drop_zeros, fuse_affine_activations
from archlang.backends.tflite.via_tensorflow import compile_via_tensorflow
from archlang.backends.tflite.weight_only import to_dynamic, to_fp16
from archlang.backends.tflite.writer import write
from archlang.ir.graph import Graph
from archlang.passes import Pass, fuse_activations, fuse_norms, inference, run
from archlang.weights import Weights, initial

PIPELINE: tuple[Pass, ...] = (inference, drop_zeros, fuse_norms, fuse_activations, fuse_affine_activations)
"""What happens to a Graph before it is lowered."""

Mode = Callable[[Model, Graph, Request], Model]


def _int8(model: Model, graph: Graph, request: Request) -> Model:
    """Ranges as seen on the calibration inputs, or plausible ones where there are none."""
    if request.calibration is None:
        return to_int8(model, estimated(model))
    return to_int8(model, calibrate.observed(model, calibrate.checked(graph, request.calibration)))


MODES: Mapping[str, Mode] = {
    "none": lambda model, graph, request: model,
    "fp16": lambda model, graph, request: to_fp16(model),
    "dynamic": lambda model, graph, request: to_dynamic(model),
    "int8": _int8,
}
"""Quantization mode -> what it makes of the float model."""


@dataclass(frozen=True)
class TfliteBackend:
    """The backend `tflite`."""

    suffix: str = ".tflite"
    modes: tuple[str, ...] = tuple(MODES)
    options: tuple[str, ...] = ("via",)

    def compile(self, graph: Graph, request: Request) -> Artifact:
        if request.via == "tensorflow":
            return compile_via_tensorflow(graph, request)
        plain = run(graph, PIPELINE)
        model = MODES[request.quantize](lower(plain, _weights(graph, request)), plain, request)
        described = replace(model, description=f"{graph.name}, written by archlang", metadata=_metadata(graph, request))
        return Artifact(write(described), Counter(op.kind.name for op in model.operators))


def _weights(graph: Graph, request: Request) -> Weights:
    """Those given, else fresh ones; where only the latency of the result can matter, ones that are made faster."""
    if request.weights is not None:
        return request.weights
    latency_only = request.quantize == "int8" and request.calibration is None
    return placeholders(graph, request.seed) if latency_only else initial(graph, request.seed)


def _metadata(graph: Graph, request: Request) -> dict[str, bytes]:
    """`archlang`: where the file comes from, as JSON."""
    facts = {"net": graph.name, "origin": request.origin, "digest": graph.digest, "quantize": request.quantize}
    return {"archlang": json.dumps(facts).encode()}


BACKEND = TfliteBackend()
