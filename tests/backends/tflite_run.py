"""Runs .tflite files through LiteRT, with arrays in the Graph's layout: batch first, channels first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from archlang.backend import Artifact, Request, compile_graph
from archlang.ir import Graph

Kernels = Literal["xnnpack", "builtin", "reference"]

_INTEGERS = (np.int8, np.int16)

_RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def compile_tflite(
    graph: Graph,
    weights: Mapping[str, Any] | None = None,
    quantize: str = "none",
    calibration: NDArray[np.float32] | None = None,
    io: str | None = None,
) -> Artifact:
    request = Request(weights=weights, quantize=quantize, calibration=calibration, io=io)
    return compile_graph(graph, "tflite", request)


def interpreter(data: bytes, kernels: Kernels = "xnnpack", keep: bool = False) -> Any:
    """keep: every tensor can be read after a run, not only the outputs."""
    made = Interpreter(
        model_content=data,
        num_threads=1,
        experimental_op_resolver_type=_RESOLVERS[kernels],
        experimental_preserve_all_tensors=keep,
    )
    made.allocate_tensors()
    return made


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def stored(x: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    """Floats as the tensor holds them."""
    scale, zero_point = detail["quantization"]
    if detail["dtype"] not in _INTEGERS:
        return x.astype(detail["dtype"])
    steps, info = np.rint(x.astype(np.float64) / scale) + zero_point, np.iinfo(detail["dtype"])
    return np.asarray(np.clip(steps, info.min, info.max), detail["dtype"])


def real(x: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    """What the tensor holds as floats."""
    scale, zero_point = detail["quantization"]
    return (x.astype(np.float64) - zero_point) * scale if detail["dtype"] in _INTEGERS else x


def run_tflite(data: bytes, *inputs: NDArray[Any], kernels: Kernels = "xnnpack") -> dict[str, NDArray[Any]]:
    """Every output by its name, as floats. Samples of a batch are run one by one."""
    made = interpreter(data, kernels)
    signature = made.get_signature_list()["serving_default"]
    runner = made.get_signature_runner("serving_default")
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in signature["outputs"]}
    into, out = runner.get_input_details(), runner.get_output_details()
    for sample in zip(*inputs, strict=True):
        fed = zip(_in_order(made, signature["inputs"], into), sample, strict=True)
        results = runner(**{name: stored(channels_last(x[None]), into[name]) for name, x in fed})
        for name, y in results.items():
            found[name].append(real(channels_first(y), out[name]))
    return {name: np.concatenate(ys) for name, ys in found.items()}


def _in_order(made: Any, names: list[str], details: Mapping[str, Any]) -> list[str]:
    """Names of the inputs in the order of the network: a signature's are sorted."""
    order = [detail["index"] for detail in made.get_input_details()]
    return sorted(names, key=lambda name: order.index(details[name]["index"]))
