"""From an .arch file to a model file, in process."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import archlang
from archlang.backend import Request, compile_graph
from benchmarks.measure import Result, medians

if TYPE_CHECKING:
    import torch

NETS = ("zoo:mobilenet_v2", "zoo:efficientnet:b0", "zoo:resnet:r50")


def results(runs: int) -> Iterator[Result]:
    (int8,) = medians([_ours("zoo:mobilenet_v2", "tflite", "int8")], runs)
    yield Result("zoo:mobilenet_v2 to int8 TFLite", int8, limit_ms=200)
    for spec in NETS:
        yield from _onnx(spec, runs)


def _ours(spec: str, target: str, quantize: str = "none") -> Callable[[], object]:
    """From the text: nothing is kept between two calls."""
    return lambda: compile_graph(archlang.load(spec).graph, target, Request(quantize=quantize))


def _onnx(spec: str, runs: int) -> Iterator[Result]:
    """Beside PyTorch's exporters, which are given the built module; each writes a file."""
    import torch

    net = archlang.load(spec)
    module = net.to_torch().eval()
    x = torch.zeros(1, *net.graph.nodes[net.graph.inputs[0]].type.shape)
    exporters = {"torch.onnx.export, legacy": False} | ({"torch.onnx.export": True} if find_spec("onnxscript") else {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        for peer, dynamo in exporters.items():
            ours, theirs = medians([_written(spec, path), _exported(module, x, path, dynamo)], runs)
            yield Result(f"{spec} to ONNX", ours, peer, theirs)


def _written(spec: str, path: Path) -> Callable[[], object]:
    return lambda: archlang.load(spec).to_onnx(path)


def _exported(module: torch.nn.Module, x: torch.Tensor, path: Path, dynamo: bool) -> Callable[[], object]:
    import torch

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), str(path), dynamo=dynamo, verbose=False)

    return run
