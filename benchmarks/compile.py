"""From a network and its weights in memory to a model file, in process; and what the file costs to run."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import archlang
from archlang import weights
from archlang.backend import Request, compile_graph
from benchmarks.measure import Result, medians

if TYPE_CHECKING:
    import torch

    from archlang.ir.graph import Graph

NETS = ("zoo:mobilenet_v2", "zoo:efficientnet:b0", "zoo:resnet:r50")

EXPORTERS = {"torch.onnx.export": True, "torch.onnx.export, legacy": False}
"""PyTorch's exporters, and whether each is the one by torch.export, which needs onnxscript."""


def results(runs: int) -> Iterator[Result]:
    (int8,) = medians([_int8], runs)
    yield Result("zoo:mobilenet_v2 to int8 TFLite", int8, limit=200)
    for spec in NETS:
        with tempfile.TemporaryDirectory() as folder:
            yield from _onnx(spec, Path(folder), runs)


def _int8() -> object:
    """From the text: nothing is kept between two calls."""
    return compile_graph(archlang.load(NETS[0]).graph, "tflite", Request(quantize="int8"))


def _onnx(spec: str, folder: Path, runs: int) -> Iterator[Result]:
    """A file of equal weights, written by us and by PyTorch's exporters; and ONNX Runtime on each."""
    import torch

    net = archlang.load(spec)
    arrays = weights.random(net.graph)
    module = net.to_torch(arrays).eval()
    x = torch.zeros(1, *net.graph.nodes[net.graph.inputs[0]].type.shape)
    known = {name: dynamo for name, dynamo in EXPORTERS.items() if not dynamo or find_spec("onnxscript")}
    for name, dynamo in known.items():
        ours, theirs = folder / "ours.onnx", folder / f"theirs{dynamo}.onnx"
        writers = [_written(net.graph, arrays, ours), _exported(module, x, theirs, dynamo)]
        yield Result(f"{spec} to ONNX", *_with_peer(medians(writers, runs), name))
    for name, dynamo in known.items():
        sessions = [_session(folder / "ours.onnx", x), _session(folder / f"theirs{dynamo}.onnx", x)]
        ours_ms, theirs_ms = medians(sessions, 20 * runs, 5, time.process_time)
        yield Result(f"{spec} in ONNX Runtime", ours_ms, f"the file of {name}", theirs_ms, 1.03 * theirs_ms)


def _with_peer(times: list[float], peer: str) -> tuple[float, str, float]:
    return times[0], peer, times[1]


def _written(graph: Graph, arrays: weights.Weights, path: Path) -> Callable[[], object]:
    def run() -> None:
        path.unlink(missing_ok=True)  # to replace a file takes longer than to write one
        compile_graph(graph, "onnx", Request(weights=arrays, file=path.name)).write(path)

    return run


def _exported(module: torch.nn.Module, x: torch.Tensor, path: Path, dynamo: bool) -> Callable[[], object]:
    import torch

    def run() -> None:
        path.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), str(path), dynamo=dynamo, external_data=False, verbose=False)

    return run


def _session(path: Path, x: torch.Tensor) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)
