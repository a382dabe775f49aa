"""TFLite, written straight from the Graph as a flatbuffer: no converter, no TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from archlang.backend import INTEGER_MODES, Artifact, Claim, Pieces, Request
from archlang.backends.tflite import runtimes
from archlang.backends.tflite.lowering import lower
from archlang.backends.tflite.metadata import archive, entries
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.placeholder import placeholders
from archlang.backends.tflite.rewrites import drop_zeros, fuse_all
from archlang.backends.tflite.sixteen import expanded
from archlang.backends.tflite.specification import INT8_SCHEME, INT16X8_SCHEME, Scheme
from archlang.backends.tflite.tuning import Job, quantized
from archlang.backends.tflite.via_tensorflow import compile_via_tensorflow
from archlang.backends.tflite.weight_only import to_dynamic, to_fp16
from archlang.backends.tflite.writer import write
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.passes import Pass, inference, merge_equal, run
from archlang.quantize.options import Options
from archlang.quantize.report import Report
from archlang.weights import Weights, initial

PIPELINE: tuple[Pass, ...] = (inference, merge_equal, drop_zeros, fuse_all)
"""What happens to a Graph before it is lowered."""


@dataclass(frozen=True)
class Made:
    """A model, the weights with which the network computes what it does, and what quantization has to say."""

    model: Model
    weights: Weights
    warnings: tuple[str, ...] = ()
    report: Report | None = None


Mode = Callable[[Job], Made]


def _floats(change: Callable[[Model], Model]) -> Mode:
    return lambda job: Made(change(lower(job.plain, job.weights)), job.weights)


def _integers(scheme: Scheme, prepare: Callable[[Model], Model]) -> Mode:
    def mode(job: Job) -> Made:
        found = quantized(job, scheme, prepare)
        return Made(found.integers, found.weights, found.warnings, found.report)

    return mode


def _as_it_is(model: Model) -> Model:
    return model


MODES: Mapping[str, Mode] = {
    "none": _floats(_as_it_is),
    "fp16": _floats(to_fp16),
    "dynamic": _floats(to_dynamic),
    "int8": _integers(INT8_SCHEME, _as_it_is),
    "int16x8": _integers(INT16X8_SCHEME, expanded),
}
"""Quantization mode -> the model that it makes."""

ENDS: Mapping[str, tuple[str, ...]] = {
    "none": ("float",),
    "fp16": ("float",),
    "dynamic": ("float",),
    "int8": ("int8", "float"),
    "int16x8": ("int16", "float"),
}
"""Quantization mode -> what its inputs and outputs can be; the first where nothing is asked for."""


@dataclass(frozen=True)
class TfliteBackend:
    """The backend `tflite`."""

    suffix: str = ".tflite"
    modes: tuple[str, ...] = tuple(MODES)
    options: tuple[str, ...] = ("via", "io", "runtime", "quantization", "about")

    def compile(self, graph: Graph, request: Request) -> Artifact:
        _check_ends(request)
        _check_quantization(request)
        runtime = runtimes.named(request)
        if request.via == "tensorflow":
            return compile_via_tensorflow(graph, request)
        job = Job(graph, run(graph, PIPELINE), _weights(graph, request), request)
        made = MODES[request.quantize](job)
        model = made.model
        runtimes.check(model, runtime, request.quantize)
        described = replace(model, description=f"{graph.name}, written by archlang", metadata=entries(graph, request))
        claim = Claim(None if request.latency_only else made.weights, learnt=bool(request.quantization.ranges))
        ops = Counter(op.kind.name for op in model.operators)
        return Artifact(_content(described, request), ops, claim=claim, warnings=made.warnings, report=made.report)


def _content(model: Model, request: Request) -> bytes | Pieces:
    """The file, and behind it the labels where there are any."""
    data = write(model)
    tail = archive(request.about, len(data))
    return (lambda: (data, tail)) if tail else data


def _check_ends(request: Request) -> None:
    """Raises ArchError where the mode has no such inputs and outputs."""
    known = ENDS[request.quantize]
    if request.io is not None and request.io not in known:
        raise fail(
            "E0804",
            f"`{request.quantize}` has no {request.io} inputs and outputs",
            help="`io` can be " + " or ".join(f"`{end}`" for end in known),
        )


def _check_quantization(request: Request) -> None:
    """Raises ArchError where options of integer modes meet another, or a converter that does not know them."""
    asked = replace(request.quantization, ranges={}) != Options()
    if asked and (request.quantize not in INTEGER_MODES or request.via is not None):
        what = f"`--via {request.via}`" if request.via else f"`{request.quantize}`"
        raise fail("E0804", f"observers, equalisation and the like are for int8 and int16x8, and not for {what}")


def _weights(graph: Graph, request: Request) -> Weights:
    """Those given, else fresh ones; where only the latency of the result can matter, ones that are made faster."""
    if request.weights is not None:
        return request.weights
    return placeholders(graph, request.seed) if request.latency_only else initial(graph, request.seed)


BACKEND = TfliteBackend()
