"""The float Graph in numpy (`archlang.evaluate`), beside PyTorch's ops: what files are checked against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.evaluate import evaluate, inputs_for, unknown
from archlang.evaluate.rules import ELEMENTWISE, RULES, erf
from archlang.ir import Graph
from archlang.ops import OPS, Op
from archlang.passes import inference
from tests.backends import reference
from tests.backends.drawing import ONE_OP, OneOp, fits, networks, resized

drawn = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def assert_right(graph: Graph, seed: int = 0) -> None:
    """Equal to PyTorch in float64, computed in float64: nothing is left to rounding but what erf takes."""
    weights, inputs = weights_module.random(graph, seed), inputs_for(graph, seed)
    found = evaluate(graph, weights, inputs, np.float64)
    wanted = reference.run(inference(graph), weights, *(x[None] for x in inputs), dtype=torch.float64)
    assert set(found) == set(wanted)
    for name, y in wanted.items():
        np.testing.assert_allclose(found[name], y[0], rtol=1e-6, atol=1e-6 * (1 + np.abs(y).max(initial=0.0)))


@pytest.mark.parametrize("kind", [cls for cls in ONE_OP if not cls.training_only], ids=lambda cls: cls.name)
def test_op(kind: type[Op]) -> None:
    @given(ONE_OP[kind].filter(fits), st.integers(0, 3))
    @drawn
    def holds(case: OneOp, seed: int) -> None:
        assert_right(case.graph(), seed)

    holds()


@given(networks(), st.integers(0, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_network(graph: Graph, seed: int) -> None:
    """Values that are views of others, or that are overwritten by their last reader, are those that they should be."""
    assert_right(graph, seed)


@pytest.mark.parametrize("spec", ["zoo:squeezenet", "zoo:efficientnet:b0", "zoo:mobilenet_v3:small"])
def test_network_of_the_zoo(spec: str) -> None:
    assert_right(resized(archlang.load(spec).graph, (3, 64, 64)))


def test_every_op_can_be_computed() -> None:
    known = ELEMENTWISE.keys() | RULES.keys()
    assert not ELEMENTWISE.keys() & RULES.keys()
    assert {cls for cls in OPS.values() if not cls.training_only} - known == {OPS["input"]}


def test_op_of_a_third_party_is_named() -> None:
    graph = archlang.loads("net A:\n  input 3x4x4\n  conv(2, 1)\n").graph
    assert unknown(graph) == ""
    assert unknown(_with_a_strange_op(graph)) == "strange"


def _with_a_strange_op(graph: Graph) -> Graph:
    from dataclasses import replace

    class Strange(Op):
        name = "strange"

    return replace(graph, nodes=(graph.nodes[0], replace(graph.nodes[1], op=Strange())))


def test_error_function() -> None:
    x: NDArray[Any] = np.linspace(-6, 6, 4001)
    wanted = torch.erf(torch.from_numpy(x)).numpy()
    assert np.abs(erf(x) - wanted).max() <= 1.5e-7


def test_inputs_are_not_changed() -> None:
    graph = archlang.loads("net A:\n  input 3x4x4\n  relu -> conv(2, 1)\n").graph
    inputs = inputs_for(graph)
    before = [x.copy() for x in inputs]
    evaluate(graph, weights_module.random(graph), inputs)
    np.testing.assert_array_equal(inputs, before)
