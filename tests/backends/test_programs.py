"""Random programs of the language: every backend computes what their networks mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, assume, given, settings

import archlang
from archlang.errors import ArchError
from archlang.ir import Graph
from tests.backends.agreement import ALL, Case, assert_agree, is_conditioned
from tests.backends.keras_run import OTHER_BACKENDS, KerasProcess, forget, processes
from tests.unit.programs import NETS

pytestmark = pytest.mark.filterwarnings("ignore")

BACKENDS = [backend for backend in ALL if backend != "keras" or find_spec("keras")]


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


def agree(text: str, others: Mapping[str, KerasProcess] | None = None) -> None:
    case = Case(network(text))
    assume(is_conditioned(case.graph, case.weights, case.inputs))
    backends = able(text)
    assert "onnx" in backends
    assert_agree(case, others or {}, backends)
    forget()


def _examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


@given(NETS)
@_examples(25)
def test_random_programs(text: str) -> None:
    agree(text)


@pytest.mark.slow
@given(NETS)
@_examples(400)
def test_many_random_programs(text: str) -> None:
    agree(text)


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHER_BACKENDS)
def test_random_programs_on_other_backends_of_keras(backend: str) -> None:
    with processes(backend) as others:

        @given(NETS)
        @_examples(100)
        def check(text: str) -> None:
            agree(text, others)

        check()
