"""Random programs of the language: every backend computes what their networks mean."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings

import archlang
from archlang.errors import ArchError
from archlang.ir import Graph
from tests.backends.test_agreement import BACKENDS, assert_agree
from tests.unit.programs import NETS


def network(text: str) -> Graph:
    """The last net of the program; the example is given up where that is none, or a large one."""
    try:
        graph = archlang.loads(text).graph
    except ArchError:
        assume(False)
    sizes = [node.type.size for node in graph.nodes]
    assume(len(sizes) < 120 and max(sizes) < 20_000 and archlang.loads(text).cost().total.params < 200_000)
    return graph


def able(text: str) -> list[str]:
    """The backends that take the network: a stage may be called as no Python name can be."""
    return [backend for backend in BACKENDS if _takes(backend, text)]


def _takes(backend: str, text: str) -> bool:
    try:
        archlang.loads(text).compile(backend)
    except ArchError:
        return False
    return True


def agree(text: str) -> None:
    graph = network(text)
    backends = able(text)
    assert "onnx" in backends
    assert_agree(graph, *backends)


@given(NETS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(text: str) -> None:
    agree(text)


@pytest.mark.slow
@given(NETS)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(text: str) -> None:
    agree(text)
