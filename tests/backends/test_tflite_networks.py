"""Whole networks: float against PyTorch, int8 on a network trained here, what the files are made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch.nn import functional as F

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.tflite.placeholder import placeholders
from archlang.ir import Builder, Graph, verify
from archlang.ops.activation import HardSwish, Relu6, Sigmoid
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Concat, Mul
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import GlobalAvgPool, MaxPool2d
from archlang.ops.regularize import Dropout
from archlang.ops.shape import Flatten, Shuffle
from tests.backends import reference
from tests.backends.tflite_dump import parse
from tests.backends.tflite_run import Kernels, compile_tflite, interpreter, run_tflite

ROOT = Path(__file__).parents[2]

ZOO = [("zoo:mobilenet_v2", {"width": 0.5}), ("zoo:resnet:r18", {}), ("zoo:efficientnet:b0", {"res": 64})]


def image(graph: Graph, count: int = 1, seed: int = 0) -> NDArray[np.float32]:
    shape = graph.nodes[graph.inputs[0]].type.shape
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def cosine(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


@pytest.mark.parametrize(("spec", "overrides"), ZOO)
def test_zoo_net_agrees_with_pytorch(spec: str, overrides: dict[str, Any]) -> None:
    graph = archlang.load(spec, **overrides).graph
    weights, x = weights_module.random(graph, 1), image(graph)
    wanted = reference.run(graph, weights, x)
    for name, found in run_tflite(compile_tflite(graph, weights).data, x).items():
        np.testing.assert_allclose(found, wanted[name], rtol=0, atol=2e-5 * float(np.abs(wanted[name]).max()))


@pytest.mark.parametrize(("spec", "overrides"), ZOO)
@pytest.mark.parametrize("mode", ["none", "fp16", "dynamic", "int8", "int16x8"])
def test_zoo_net_without_weights_runs_and_depends_on_its_input(spec: str, overrides: dict[str, Any], mode: str) -> None:
    graph = archlang.load(spec, **overrides).graph
    artifact = compile_tflite(graph, None, mode)
    assert "TRANSPOSE" not in artifact.ops
    wanted = {"int8": np.int8, "int16x8": np.int16}.get(mode, np.float32)
    made = interpreter(artifact.data)
    assert {d["dtype"] for d in (*made.get_input_details(), *made.get_output_details())} == {wanted}
    y = run_tflite(artifact.data, image(graph, 2))[graph.outputs[0].name]
    assert len(np.unique(y)) > 5
    assert not np.array_equal(y[0], y[1])


def test_mobilenet_v2_is_made_of_the_fewest_operators() -> None:
    """One for each convolution, sum, pool and linear layer, and a PAD for each stride-2 convolution."""
    graph = archlang.load("zoo:mobilenet_v2").graph
    wanted = {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 10, "PAD": 5, "MEAN": 1, "FULLY_CONNECTED": 1}
    for mode in ("none", "dynamic", "int8", "int16x8"):
        assert compile_tflite(graph, None, mode).ops == wanted


# A network that is trained here, in a few seconds, on scikit-learn's digits.


def digits_net() -> Graph:
    builder = Builder("Digits")

    def conv(x: int, channels: int, size: int = 3, stride: int = 1, groups: int = 1, act: bool = True) -> int:
        pad, op = size // 2, Conv2d(channels, (size, size), (stride, stride), (size // 2,) * 4, (1, 1), groups, False)
        assert pad * 2 + 1 == size
        x = builder.add(BatchNorm(), builder.add(op, x))
        return builder.add(Relu6(), x) if act else x

    x = conv(builder.input(1, 8, 8), 16)
    wide = conv(conv(x, 32, 1), 32, 3, groups=32)
    gate = builder.add(Sigmoid(), builder.add(Conv2d(32, (1, 1)), builder.add(GlobalAvgPool(), wide)))
    x = builder.add(Add(), x, conv(builder.add(Mul(), wide, gate), 16, 1, act=False))
    y = builder.add(HardSwish(), conv(x, 16, 3, 2, act=False))
    x = builder.add(Concat(), builder.add(MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), x), y)
    x = conv(builder.add(Shuffle(2), x), 32, 3, groups=2)
    x = builder.add(Dropout(0.1), builder.add(Flatten(), x))
    builder.output(builder.add(Linear(10), x), "logits")
    return verify(builder.build())


@cache
def trained() -> tuple[Graph, Mapping[str, Any], NDArray[np.float32], NDArray[np.int64]]:
    """The network, its weights, and the images and labels that it has not seen. One thread: the net is that small."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images.reshape(-1, 1, 8, 8) / 8 - 1).float(), torch.tensor(labels)
    graph = digits_net()
    params = {name: torch.tensor(value) for name, value in weights_module.initial(graph, 0).items()}
    learnt = [tensor.requires_grad_() for name, tensor in params.items() if "running" not in name]
    optimizer = torch.optim.Adam(learnt, lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(100):
        batch = torch.randint(0, 1400, (48,), generator=generator)
        loss = F.cross_entropy(reference.forward(graph, params, x[batch])[graph.outputs[0].value], y[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.set_num_threads(threads)
    return graph, {name: tensor.detach().numpy() for name, tensor in params.items()}, x[1400:].numpy(), labels[1400:]


@pytest.mark.parametrize(
    ("mode", "least"),
    [("none", 0.999999), ("fp16", 0.99999), ("dynamic", 0.999), ("int8", 0.995), ("int16x8", 0.9999)],
)
def test_trained_network_keeps_its_accuracy(mode: str, least: float) -> None:
    graph, weights, x, labels = trained()
    wanted = reference.run(graph, weights, x)["logits"]
    assert (wanted.argmax(1) == labels).mean() > 0.9
    data = compile_tflite(graph, weights, mode, x[:32]).data
    kernels: tuple[Kernels, ...] = ("xnnpack", "builtin")
    for kind in kernels:
        found = run_tflite(data, x, kernels=kind)["logits"]
        assert cosine(wanted - wanted.mean(0), found - found.mean(0)) > least
        assert (found.argmax(1) == labels).mean() > (wanted.argmax(1) == labels).mean() - 0.0101


def test_ranges_without_calibration_are_plausible() -> None:
    """With real weights and no inputs the guessed ranges still let most of the signal through."""
    graph, weights, x, labels = trained()
    found = run_tflite(compile_tflite(graph, weights, "int8").data, x)["logits"]
    assert (found.argmax(1) == labels).mean() > 0.85


def test_guessed_ranges_do_not_run_away() -> None:
    """Cells that join a large value and small ones, under kernels wider than what they look at: as NASNet's end."""
    builder = Builder("cells")
    x = builder.input(8, 2, 2)
    for _ in range(12):
        far = builder.add(Conv2d(8, (5, 5), padding=(2, 2, 2, 2), groups=8), x)
        x = builder.add(Conv2d(8, (1, 1)), builder.add(Concat(), x, far, builder.add(Add(), x, far)))
    builder.output(x, "y")
    graph = verify(builder.build())
    images = np.random.default_rng(0).standard_normal((8, 8, 2, 2)).astype(np.float32)
    wanted, found = (
        run_tflite(compile_tflite(graph, placeholders(graph), mode).data, images)["y"] for mode in ("none", "int8")
    )
    assert cosine(wanted, found) > 0.95


# Files.


@pytest.mark.parametrize("mode", ["none", "fp16", "dynamic", "int8", "int16x8"])
@pytest.mark.parametrize("calibrated", [False, True])
def test_equal_input_gives_equal_bytes(mode: str, calibrated: bool) -> None:
    graph = digits_net()
    inputs = image(graph, 3) if calibrated else None
    files = {compile_tflite(digits_net(), None, mode, inputs).data for _ in range(3)}
    assert len(files) == 1


_COMPILED = """
import hashlib
import numpy as np
import archlang
from archlang.backend import Request, compile_graph

graph = archlang.load("zoo:mobilenet_v3:small", res=32).graph
samples = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
for mode in ("none", "fp16", "dynamic", "int8", "int16x8"):
    for inputs in (None, samples):
        request = Request(quantize=mode, calibration=inputs if mode.startswith("int") else None)
        print(mode, hashlib.sha256(compile_graph(graph, "tflite", request).data).hexdigest())
"""


def test_bytes_do_not_depend_on_the_process() -> None:
    """Sets and dicts of strings come in another order with another PYTHONHASHSEED."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _COMPILED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(found[0].splitlines()) == 10
    assert found[0] == found[1]


def test_seed_changes_fresh_weights() -> None:
    graph = digits_net()
    for mode in ("none", "int8"):
        files = [compile_graph(graph, "tflite", Request(quantize=mode, seed=seed)).data for seed in (0, 0, 1)]
        assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("mode", ["none", "fp16", "dynamic", "int8", "int16x8"])
def test_file_names_its_origin_and_lies_aligned(mode: str) -> None:
    graph = digits_net()
    artifact = compile_tflite(graph, None, mode)
    model = parse(artifact.data)
    facts = json.loads(model.metadata["archlang"])
    assert facts["digest"] == graph.digest
    assert facts["quantize"] == mode
    assert model.signature[0].keys() == {"x"}
    assert model.signature[1].keys() == {"logits"}
    assert sum(artifact.ops.values()) == len(model.operators)
    assert all(place % 16 == 0 for place in buffer_places(artifact.data))


def buffer_places(data: bytes) -> list[int]:
    """Where the contents of the buffers begin in the file."""
    model = schema.Model.GetRootAs(data)
    tables = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    field = 4  # of `data` in the vtable of Buffer
    return [table.Vector(table.Offset(field)) for table in tables if table.Offset(field)]
