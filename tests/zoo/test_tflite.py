"""The zoo as .tflite files: every net in every mode is loaded and run by LiteRT, and floats agree with PyTorch.

Where a net has a resolution it is a small one: what operators do does not depend on it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import archlang
from archlang import catalogue
from archlang import weights as weights_module
from archlang.ir import Graph
from archlang.lower import LIBRARY
from tests.backends import reference
from tests.backends.tflite_run import compile_tflite, interpreter, run_tflite, stored

MODES = ("none", "fp16", "dynamic", "int8", "int16x8")

RESOLUTIONS = (64, 96, 128, 224, 256, 320)
"""Tried in this order; some nets cannot be so small."""

FAST = {
    "zoo:lenet:LeNet5Original": "rbf, averages and factors",
    "zoo:mobilenet_v3:small": "squeeze and excitation, hard-swish",
    "zoo:shufflenet_v2:x0_5": "slices and shuffles",
    "zoo:squeezenet:v1_1": "ceil mode",
    "zoo:fractalnet:c1": "means of paths",
}
"""Spec -> what it is here for."""

WITHIN = {"none": 2e-5, "fp16": 5e-3, "dynamic": 0.1, "int16x8": 0.1}
"""How far the outputs are from PyTorch's, beside the largest of them: float32 rounding, and that of weights to half
precision and to eight bits, which deep networks with random statistics make larger from layer to layer."""


@cache
def small(spec: str) -> Graph:
    """The net at the smallest resolution that it takes, or as it is where it has none."""
    for resolution in RESOLUTIONS:
        try:
            return archlang.load(spec, res=resolution).graph
        except archlang.errors.ArchError:
            continue
    return archlang.load(spec).graph


def images(graph: Graph, count: int = 2) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    shapes = [graph.nodes[i].type.shape for i in graph.inputs]
    return [generator.standard_normal((count, *shape)).astype(np.float32) for shape in shapes]


def assert_agrees(graph: Graph, modes: tuple[str, ...]) -> None:
    weights, inputs = weights_module.random(graph, 1), images(graph)
    kept = {output.name for output in graph.outputs if not output.aux}
    wanted = reference.run(graph, weights, *inputs)
    for mode in modes:
        calibration = inputs[0] if mode.startswith("int") else None
        found = run_tflite(compile_tflite(graph, weights, mode, calibration).data, *inputs)
        assert found.keys() == kept
        for name, values in found.items():
            off = np.abs(values - wanted[name]).max() / np.abs(wanted[name]).max()
            assert off <= WITHIN[mode], f"{mode}: `{name}` is off by {off:.2g}"


def turns(graph: Graph, mode: str) -> int:
    """Shuffles, and in int16x8 transposed convolutions: they spread channels over pixels, which is DEPTH_TO_SPACE, and
    the runtime has none of sixteen bits."""
    turning = {"shuffle", "conv_transpose"} if mode == "int16x8" else {"shuffle"}
    return sum(node.op.name in turning for node in graph.nodes)


TOO_DEEP = ("zoo:preresnet:r1001", "zoo:resnet_cifar:r1202")
"""With statistics of BatchNorm that are not learnt, values double from block to block, past float32."""


def assert_runs(graph: Graph, mode: str, finite: bool = True) -> None:
    """Without weights and calibration inputs. An image network has no transpose but where channels change places."""
    artifact = compile_tflite(graph, None, mode)
    if all(node.type.is_image or node.type.is_vector for node in graph.nodes):
        assert artifact.ops.get("TRANSPOSE", 0) <= turns(graph, mode)
    made = interpreter(artifact.data)
    for detail in made.get_input_details():
        shape = tuple(detail["shape"])
        values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        made.set_tensor(detail["index"], stored(values, detail))
    made.invoke()
    for detail in made.get_output_details():
        result = made.get_tensor(detail["index"])
        if finite:
            assert np.isfinite(result.astype(np.float64)).all()
            assert result.size == 1 or len(np.unique(result)) > 1


@pytest.mark.parametrize("spec", FAST)
def test_net_agrees_with_pytorch(spec: str) -> None:
    assert_agrees(small(spec), ("none", "fp16", "dynamic", "int16x8"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", FAST)
def test_net_runs_without_weights(spec: str, mode: str) -> None:
    assert_runs(small(spec), mode)


def smallest() -> list[str]:
    """Of each family the net with the fewest parameters."""
    found: dict[str, Any] = {}
    for entry in catalogue.nets():
        found.setdefault(entry.family, []).append((entry.net.cost().total.params, entry.spec))
    return [min(entries)[1] for entries in found.values()]


@pytest.mark.slow
def test_every_family_agrees_with_pytorch(subtests: pytest.Subtests) -> None:
    specs = smallest()
    assert len(specs) == len(list(LIBRARY.glob("*.arch")))
    for spec in specs:
        with subtests.test(spec=spec):
            assert_agrees(small(spec), ("none",))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_net_runs(mode: str, subtests: pytest.Subtests) -> None:
    for entry in catalogue.nets():
        with subtests.test(spec=entry.spec):
            assert_runs(small(entry.spec), mode, finite=entry.spec not in TOO_DEEP)
