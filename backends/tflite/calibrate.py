"""Ranges of activations, seen while the float model runs on calibration inputs.

The float model of the very same operators is run by the TFLite runtime, with every tensor of interest as an output. So
what is measured is what is quantized, tensors inside a lowered op included; nothing is computed in Python; and no torch
is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang import calibration
from archlang.backends.tflite.estimate import Range
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.specification import FIXED, SHARED
from archlang.backends.tflite.writer import write
from archlang.errors import fail, missing_extra
from archlang.ir.graph import Graph

_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")
"""Modules that hold an `Interpreter`, the first that is installed being taken."""


def checked(graph: Graph, samples: NDArray[Any]) -> NDArray[np.float32]:
    """The calibration inputs as float32, batch first, channels first. Raises ArchError where they do not fit the
    network's input, or cannot tell a range."""
    nodes = [graph.nodes[i] for i in graph.inputs]
    if len(nodes) > 1:
        message = f"{graph.name} has {len(nodes)} inputs, and calibration inputs are for the first alone"
        raise fail("E0811", message, nodes[1].span, help="compile without calibration inputs, or with `none`")
    array = calibration.checked(graph, samples)
    if array.min() == array.max():
        message = f"the calibration inputs are all {array.min() + 0.0:g}, which tells nothing about ranges"
        raise fail("E0811", message, nodes[0].span, help="pass some dozen inputs as the network will see them")
    return array


def observed(model: Model, samples: NDArray[np.float32]) -> dict[int, Range]:
    """The smallest and largest value over all samples of every tensor whose range quantization asks for.

    samples: as `checked` gives them. Raises ArchError, at the op in the source, where a value is not finite.
    """
    wanted = _of_interest(model)
    run = _runner(model, wanted)
    lows, highs = zip(*(run(sample) for sample in _channels_last(samples)), strict=True)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)  # both keep a NaN
    ranges = {index: (float(low[i]), float(high[i])) for i, index in enumerate(wanted)}
    _check_finite(model, ranges)
    return ranges


def _of_interest(model: Model) -> list[int]:
    """The input, and what operators make that neither keep their inputs' range nor have one that is fixed."""
    known = SHARED | FIXED.keys()
    return [model.inputs[0][1], *(op.output for op in model.operators if op.precise or op.kind.name not in known)]


def _channels_last(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(samples.transpose(0, 2, 3, 1)) if samples.ndim == 4 else samples


def _runner(model: Model, wanted: list[int]) -> Callable[[NDArray[np.float32]], tuple[list[float], list[float]]]:
    """A function of one sample that gives the smallest and the largest value of each of the wanted tensors."""
    given = model.inputs[0][1]
    seen = replace(model, outputs=tuple((str(index), index) for index in wanted if index != given))
    interpreter = _interpreter(write(seen))
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    views = [interpreter.tensor(detail["index"]) for detail in interpreter.get_output_details()]

    def run(sample: NDArray[np.float32]) -> tuple[list[float], list[float]]:
        interpreter.set_tensor(source, sample[None])
        interpreter.invoke()
        found = [(view().min(), view().max()) for view in views]
        return [sample.min(), *(low for low, _ in found)], [sample.max(), *(high for _, high in found)]

    return run


def _interpreter(content: bytes) -> Any:
    for name in _RUNTIMES:
        try:
            module = import_module(name)
        except ImportError:
            continue
        return module.Interpreter(model_content=content, num_threads=min(4, os.cpu_count() or 1))
    raise missing_extra("int8 with calibration inputs", "tflite")


def _check_finite(model: Model, ranges: dict[int, Range]) -> None:
    nodes = {op.output: op.node for op in model.operators}
    for index, (low, high) in ranges.items():
        if not np.isfinite([low, high]).all():
            node = nodes[index]
            raise fail(
                "E0812",
                f"`{node.name}` makes values that are not finite on the calibration inputs ({low:g} to {high:g})",
                node.span,
                help="compile with `none` and look where they come from: the weights, or the scale of the inputs",
            )
