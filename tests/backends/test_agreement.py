"""Every backend computes what the Graph says: each op, random networks, and the networks that ship."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.pytorch import build_module, generate
from archlang.backends.tflite.lowering import REFUSED
from archlang.ir import Graph
from archlang.ops import OPS, Op
from archlang.passes import inference
from tests.backends import reference
from tests.backends.drawing import ONE_OP, OneOp, block_networks, fits, networks, resized, scoped_networks
from tests.backends.tflite_run import run_tflite

Arrays = dict[str, NDArray[Any]]
Runner = Callable[[Graph, Mapping[str, Any], list[NDArray[Any]]], Arrays]

BACKENDS = ("pytorch", "onnx", "tflite")


def run_pytorch(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> Arrays:
    """The generated module; `loaded_module` asserts that its state dict has exactly the Graph's parameters."""
    module = loaded_module(graph, weights)
    names = [output.name for output in graph.outputs if not output.aux]
    with torch.no_grad():
        results = module.eval()(*map(torch.from_numpy, inputs))
    results = results if isinstance(results, tuple) else (results,)
    return {name: result.numpy() for name, result in zip(names, results, strict=True)}


def loaded_module(graph: Graph, weights: Mapping[str, Any]) -> torch.nn.Module:
    source = generate(graph)
    module = build_module(source.text, source.class_name)
    counters = {name: value for name, value in module.state_dict().items() if name.endswith("num_batches_tracked")}
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in weights.items()}
    module.load_state_dict({**state, **counters}, strict=True)
    return module


def run_onnx(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> Arrays:
    import onnx
    import onnxruntime

    data = compile_graph(graph, "onnx", Request(weights=weights)).data
    onnx.checker.check_model(data, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {graph.nodes[i].name: x for i, x in zip(graph.inputs, inputs, strict=True)}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def run_litert(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> Arrays:
    return run_tflite(compile_graph(graph, "tflite", Request(weights=weights)).data, *inputs)


RUNNERS: dict[str, Runner] = {"pytorch": run_pytorch, "onnx": run_onnx, "tflite": run_litert}


def lowering(backend: str) -> ModuleType:
    return import_module(f"archlang.backends.{backend}.lowering")


def refused(backend: str, op: Op) -> str:
    """Why the backend cannot do the op as it is, empty where it can."""
    reason: str = "" if op.training_only else lowering(backend).UNSUPPORTED.get(type(op), "")
    return reason or (REFUSED[type(op)](op) if backend == "tflite" and type(op) in REFUSED else "")


def samples(graph: Graph, count: int = 2) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(5)
    return [generator.normal(0.2, 1.3, (count, *graph.nodes[i].type.shape)).astype(np.float32) for i in graph.inputs]


def assert_agree(graph: Graph, *backends: str) -> None:
    """Each backend is as near to the network in float64 as float32 allows: how far PyTorch's float32 is off, which
    says how ill-conditioned the network is, some thirtyfold, and 1e-5 of the largest value."""
    weights, inputs = weights_module.random(graph, 3), samples(graph)
    plain = inference(graph)
    exact = reference.run(plain, weights, *inputs, dtype=torch.float64)
    single = reference.run(plain, weights, *inputs)
    for backend in backends:
        found = RUNNERS[backend](graph, weights, inputs)
        assert set(found) == set(exact), backend
        for name, wanted in exact.items():
            bound = 30 * np.abs(single[name] - wanted).max() + 1e-5 * max(1e-3, np.abs(wanted).max())
            assert found[name].shape == wanted.shape, (backend, name)
            assert np.abs(found[name] - wanted).max() <= bound, (backend, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_op_is_lowered_or_listed_with_a_reason(backend: str) -> None:
    module = lowering(backend)
    assert set(module.LOWERINGS) | set(module.UNSUPPORTED) == set(OPS.values()) - {OPS["input"]}
    assert not set(module.LOWERINGS) & set(module.UNSUPPORTED)
    assert all(module.UNSUPPORTED.values())


def _op_examples(test: Callable[..., None]) -> Callable[..., None]:
    return settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])(test)


@pytest.mark.parametrize("cls", ONE_OP, ids=lambda cls: cls.name)
@given(data=st.data())
@_op_examples
def test_op(cls: type[Op], data: st.DataObject) -> None:
    """Every attribute of every op on every backend that takes it; PyTorch in float64 says what is right."""
    drawn: OneOp = data.draw(ONE_OP[cls].filter(fits))
    assert_agree(drawn.graph(), *(backend for backend in BACKENDS if not refused(backend, drawn.op)))


@given(networks())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks(graph: Graph) -> None:
    able = [backend for backend in BACKENDS if not any(refused(backend, node.op) for node in graph.nodes)]
    assert_agree(graph, *able)


@pytest.mark.parametrize("pool", ["avgpool(1, s=2)", "avgpool(3)", "maxpool(1)", "maxpool(3)", "maxpool(3, pad=0)"])
def test_pools_behind_a_shift(pool: str) -> None:
    """ONNX Runtime merges a `Pad` into the pool behind it, whether that is right or not."""
    assert_agree(archlang.loads(f"net N:\n  input 2x6x6\n  shift(1) -> {pool}\n").graph, *BACKENDS)


@given(scoped_networks())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_scopes_in_pytorch(graph: Graph) -> None:
    assert_agree(graph, "pytorch")


@given(block_networks())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_blocks_in_pytorch(graph: Graph) -> None:
    assert_agree(graph, "pytorch")


@pytest.mark.parametrize("spec", ["zoo:mobilenet_v2", "zoo:resnet:r18", "zoo:resnet:r50", "zoo:efficientnet:b0"])
def test_networks_that_ship(spec: str) -> None:
    assert_agree(resized(archlang.load(spec).graph, (3, 64, 64)), *BACKENDS)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["zoo:resnet:r152", "zoo:efficientnet:b7", "zoo:densenet:d121"])
def test_deep_networks_that_ship(spec: str) -> None:
    assert_agree(resized(archlang.load(spec).graph, (3, 64, 64)), *BACKENDS)
