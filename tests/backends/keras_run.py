"""Builds generated Keras source and runs it, in the Graph's layout: batch first, channels first.

A process has one Keras backend: the one of `KERAS_BACKEND`, PyTorch where nothing is said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.keras import build_model, generate
from archlang.ir import Graph
from tests.backends.tflite_run import channels_first, channels_last

os.environ.setdefault("KERAS_BACKEND", "torch")


def run_keras(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every output but the auxiliary ones by its name, in evaluation mode."""
    model = build_model(generate(graph), weights)
    names = [output.name for output in graph.outputs if not output.aux]
    return dict(zip(names, outputs(model, inputs), strict=True))


def outputs(model: Any, inputs: list[NDArray[Any]], training: bool = False) -> list[NDArray[Any]]:
    from keras import ops

    fed = [channels_last(x) for x in inputs]
    results = model(fed if len(fed) > 1 else fed[0], training=training)
    return [
        channels_first(np.array(ops.convert_to_numpy(y))) for y in (results if isinstance(results, list) else [results])
    ]
