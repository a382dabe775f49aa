"""Generated Keras source: the numbers of the Graph on one backend of Keras, and the text itself.

Which backend: `KERAS_BACKEND`, PyTorch where nothing is said. The others have a process of their own in
test_keras_backends.py.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backends.keras import KerasSource, build_model, generate
from archlang.backends.keras.lowering import LOWERINGS, UNSUPPORTED
from archlang.backends.keras.names import AUTOMATIC
from archlang.backends.pytorch import build_module
from archlang.backends.pytorch import generate as generate_pytorch
from archlang.errors import ArchError
from archlang.ir import Builder, Graph, Scope, verify
from archlang.ops import OPS, Op, ShapeError
from archlang.ops.activation import Relu, Rescale
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.conv import Conv2d, Linear, RadialBasis
from archlang.ops.join import Mean
from archlang.ops.norm import BatchNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.shape import Flatten, Take
from archlang.passes import inference
from tests.backends import reference
from tests.backends.agreement import is_conditioned
from tests.backends.drawing import ONE_OP, OneOp, block_networks, networks, resized, scoped_networks
from tests.backends.keras_run import outputs, run_keras
from tests.unit.test_hostile_names import NAMES, PAYLOADS, program, shape_of

pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore")

NETWORKS = ("zoo:resnet:r18", "zoo:mobilenet_v2", "zoo:efficientnet:b0", "zoo:googlenet", "zoo:densenet:d121")


def samples(graph: Graph, count: int = 2) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(5)
    return [generator.normal(0.2, 1.3, (count, *graph.nodes[i].type.shape)).astype(np.float32) for i in graph.inputs]


def assert_agrees(graph: Graph) -> None:
    """As near to the network in float64 as float32 allows: how far PyTorch's float32 is off, some thirtyfold, and 1e-5
    of the largest value."""
    weights, inputs = weights_module.random(graph, 3), samples(graph)
    plain = inference(graph)
    assume(is_conditioned(plain, weights, inputs))
    exact = reference.run(plain, weights, *inputs, dtype=torch.float64)
    single = reference.run(plain, weights, *inputs)
    found = run_keras(graph, weights, inputs)
    assert set(found) == set(exact)
    for name, wanted in exact.items():
        bound = 30 * np.abs(single[name] - wanted).max() + 1e-5 * max(1e-3, np.abs(wanted).max())
        assert found[name].shape == wanted.shape, name
        assert np.abs(found[name] - wanted).max() <= bound, name


def small(spec: str, size: int = 64) -> Graph:
    return resized(archlang.load(spec).graph, (3, size, size))


def _examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


def _fits(drawn: OneOp) -> bool:
    try:
        drawn.graph()
    except ShapeError:
        return False
    return True


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_every_op_is_lowered_or_listed_with_a_reason() -> None:
    assert set(LOWERINGS) | set(UNSUPPORTED) == set(OPS.values()) - {OPS["input"]}
    assert not set(LOWERINGS) & set(UNSUPPORTED)
    assert all(UNSUPPORTED.values())


@pytest.mark.parametrize("cls", ONE_OP, ids=lambda cls: cls.name)
@given(data=st.data())
@_examples(8)
def test_op(cls: type[Op], data: st.DataObject) -> None:
    drawn: OneOp = data.draw(ONE_OP[cls].filter(_fits))
    assert_agrees(drawn.graph())


@given(networks())
@_examples(15)
def test_random_networks(graph: Graph) -> None:
    assert_agrees(graph)


@given(scoped_networks())
@_examples(15)
def test_random_scopes(graph: Graph) -> None:
    assert_agrees(graph)


@given(block_networks())
@_examples(15)
def test_random_blocks(graph: Graph) -> None:
    assert_agrees(graph)


@pytest.mark.parametrize("spec", NETWORKS[:1])
def test_networks_that_ship(spec: str) -> None:
    assert_agrees(small(spec))


@pytest.mark.slow
@pytest.mark.parametrize("spec", NETWORKS[1:])
def test_more_networks_that_ship(spec: str) -> None:
    assert_agrees(small(spec, 128))


def test_auxiliary_outputs_are_there_where_they_are_asked_for() -> None:
    builder = Builder("Helped")
    x = builder.add(Conv2d(4), builder.input(3, 8, 8, name="x"), name="conv")
    head = builder.add(Conv2d(5, (1, 1)), builder.add(Relu(), x), name="head")
    builder.output(builder.add(Linear(3), builder.add(Flatten(), x), name="fc"), name="y")
    builder.output(head, name="aux1", aux=True)
    graph = verify(builder.build())
    weights, inputs = weights_module.random(graph, 1), samples(graph)
    wanted = reference.run(graph, weights, *inputs)
    source = generate(graph)
    plain = outputs(build_model(source, weights), inputs)
    both = outputs(build_model(source, weights, auxiliary=True), inputs)
    assert len(plain) == 1
    assert len(both) == 2
    np.testing.assert_allclose(plain[0], wanted["y"], atol=1e-5)
    np.testing.assert_allclose(both[0], wanted["y"], atol=1e-5)
    np.testing.assert_allclose(both[1], wanted["aux1"], atol=1e-5)


def test_batch_norm_trains_as_in_pytorch() -> None:
    """Equal outputs and means. The new variance is that of the batch in Keras, that of the population (n - 1) in
    PyTorch."""
    builder = Builder("Norms")
    x = builder.add(Conv2d(4), builder.input(3, 8, 8, name="x"), name="conv")
    builder.output(builder.add(BatchNorm(1e-4, 0.2), x, name="bn"))
    graph = verify(builder.build())
    weights, inputs = weights_module.random(graph, 2), samples(graph, 5)
    source = generate_pytorch(graph)
    module = build_module(source.text, source.class_name)
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in weights.items()}
    module.load_state_dict(state, strict=False)
    wanted = module.train()(torch.from_numpy(inputs[0])).detach().numpy()
    model = build_model(generate(graph), weights)
    np.testing.assert_allclose(outputs(model, inputs, training=True)[0], wanted, atol=2e-5)
    after = {weight.path: np.array(weight.numpy()) for weight in model.weights}
    torch_after = module.state_dict()
    np.testing.assert_allclose(after["bn/moving_mean"], torch_after["bn.running_mean"].numpy(), atol=1e-5)
    count = 5 * 6 * 6
    added = torch_after["bn.running_var"].numpy() - 0.8 * weights["bn.running_var"]
    expected = 0.8 * weights["bn.running_var"] + added * (count - 1) / count
    np.testing.assert_allclose(after["bn/moving_variance"], expected, rtol=1e-4)


def test_a_single_column_is_the_same_in_all_joins() -> None:
    builder = Builder("Columns")
    x = builder.input(4, name="x")
    for name in ("first", "second"):
        paths = [builder.add(Rescale(factor), x) for factor in (1.0, 2.0, 3.0)]
        builder.output(builder.add(Mean(0.0, 1.0), *paths), name=name)
    model = build_model(generate(verify(builder.build())))
    ones = [np.ones((2, 4), np.float32)]
    np.testing.assert_allclose(outputs(model, ones)[0], 2.0, rtol=1e-6)
    seen = [outputs(model, ones, training=True) for _ in range(12)]
    assert all(np.array_equal(first, second) for first, second in seen)
    assert {float(first[0, 0]) for first, _ in seen} == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("p", [0.3, 0.999])
def test_joins_keep_at_least_one_path(p: float) -> None:
    builder = Builder("Paths")
    x = builder.input(4, name="x")
    builder.output(builder.add(Mean(p), *(builder.add(Rescale(factor), x) for factor in (1.0, 2.0, 4.0))))
    model = build_model(generate(verify(builder.build())))
    seen = {round(float(outputs(model, [np.ones((1, 4), np.float32)], training=True)[0][0, 0]), 4) for _ in range(40)}
    assert seen <= {1.0, 2.0, 4.0, 1.5, 2.5, 3.0, round(7 / 3, 4)}
    assert len(seen) > 1


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_fresh_weights_follow_he() -> None:
    builder = Builder("Fresh")
    x = builder.add(Conv2d(64, (3, 3), bias=False), builder.input(32, 6, 6), name="conv")
    x = builder.add(Conv2d(64, (3, 3), groups=64), x, name="depthwise")
    builder.output(builder.add(Linear(200), builder.add(Flatten(), x), name="fc"))
    model = build_model(generate(verify(builder.build())))
    found = {weight.path: float(np.std(np.array(weight.numpy()))) for weight in model.weights}
    assert found["conv/kernel"] == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert found["depthwise/kernel"] == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.15)
    assert found["fc/kernel"] == pytest.approx(0.01, rel=0.05)
    assert found["fc/bias"] == 0


def test_a_missing_array_is_an_error_and_others_are_passed_over() -> None:
    graph = one_of_each()
    weights = weights_module.random(graph)
    source = generate(graph)
    build_model(source, {**weights, "nobody.weight": np.ones(3)})
    missing = {name: array for name, array in weights.items() if name != "body.0.conv.weight"}
    with pytest.raises(KeyError, match=r"body\.0\.conv\.weight"):
        build_model(source, missing)


def test_layers_with_weights_of_their_own_can_be_made_again() -> None:
    builder = Builder("Own")
    x = builder.add(PosEmbed(), builder.add(ClassToken(), builder.input(5, 6)), name="pos")
    x = builder.add(Scale(0.4), builder.add(Attention(3), x, name="attention"), name="scale")
    builder.output(builder.add(RadialBasis(4), builder.add(Take(0), x), name="rbf"))
    model = build_model(generate(verify(builder.build())))
    for name in ("pos", "attention", "scale", "rbf"):
        layer = model.get_layer(name)
        again = type(layer).from_config(layer.get_config())
        again.build(layer.input.shape)
        assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
        assert again.get_config() == layer.get_config()


# ---- text ------------------------------------------------------------------------------------------------------------


def one_of_each() -> Graph:
    """A block that repeats, in a network with an open stage."""
    builder, scopes = Builder("Small"), {"body": Scope("repeat")}
    x = builder.input(3, 16, 16, name="image")
    for i, stride in enumerate((2, 1, 1)):
        path = f"body.{i}"
        scopes[path] = Scope("block", "unit", (("c", 8), ("s", stride)), doc="a convolution and its norm")
        x = builder.add(Conv2d(8, (3, 3), (stride, stride), (1, 1, 1, 1), bias=False), x, name=f"{path}.conv")
        x = builder.add(Relu(), builder.add(BatchNorm(), x, name=f"{path}.bn"), name=f"{path}.act")
    x = builder.add(MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), x)
    builder.output(builder.add(Linear(10), builder.add(Flatten(), builder.add(GlobalAvgPool(), x)), name="fc"))
    return verify(replace(builder.build(), scopes=scopes))


def test_what_a_block_looks_like() -> None:
    body = generate(one_of_each()).text
    assert (
        """
def unit(x: KerasTensor, s: int = 1, *, name: str) -> KerasTensor:
    \"\"\"A convolution and its norm.\"\"\"
    if s != 1:
        x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(
        8,
        3,
        strides=s,
        padding="same" if s == 1 else "valid",
        use_bias=False,
        name=f"{name}-conv",
    )(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}-bn")(x)
    return layers.Activation("relu")(x)
"""
        in body
    )
    assert (
        """
    x = unit(image, s=2, name="body-0")
    for i in range(1, 3):
        x = unit(x, name=f"body-{i}")
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(10, name="fc")(x)
"""
        in body
    )


def test_padding_as_the_graph_says() -> None:
    """Zeros before a pooling that may see negative numbers would win; elsewhere they are enough."""
    builder = Builder("Pools")
    x = builder.input(2, 9, 9, name="x")
    builder.output(builder.add(MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), x), name="a")
    builder.output(builder.add(MaxPool2d((2, 2), (2, 2), (0, 0, 0, 0), ceil=True), x), name="b")
    builder.output(builder.add(AvgPool2d((3, 3), (2, 2), (1, 1, 1, 1), count_pad=True), x), name="c")
    graph = verify(builder.build())
    inputs = [-1 - np.random.default_rng(0).random((2, 2, 9, 9), np.float32)]
    found, wanted = run_keras(graph, {}, inputs), reference.run(graph, {}, *inputs)
    for name, y in wanted.items():
        np.testing.assert_allclose(found[name], y, atol=1e-6)


SHOWN = ("zoo:resnet:r50", "zoo:mobilenet_v2", "zoo:efficientnet:b0", "zoo:googlenet", "zoo:vgg:v16", "zoo:squeezenet")


def test_formatters_and_linters_find_nothing(tmp_path: Path) -> None:
    for number, graph in enumerate([one_of_each(), *(archlang.load(spec).graph for spec in SHOWN)]):
        (tmp_path / f"net{number}.py").write_text(generate(graph, "zoo").text)
    for command in (["ruff", "check"], ["ruff", "format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, "--isolated", str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_the_file_needs_keras_alone() -> None:
    for spec in SHOWN[:2]:
        tree = ast.parse(generate(archlang.load(spec).graph).text)
        found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert found <= {"collections.abc", "keras", "math", "numpy", "typing"}
    assert len(generate(archlang.load("zoo:resnet:r50").graph).text.splitlines()) <= 140


# ---- names -----------------------------------------------------------------------------------------------------------


@given(networks())
@_examples(15)
def test_names_that_keras_makes_up_are_known(graph: Graph) -> None:
    """So that `check_layer_names` can refuse a layer that would have one of them."""
    model = build_model(generate(graph))
    own = {node.name.replace(".", "-") for node in graph.nodes}
    made_up = {operation.name for operation in model.operations} - own
    assert all(AUTOMATIC.fullmatch(name) for name in made_up), made_up


@pytest.mark.parametrize("name", ["add", "max_pooling2d", "dropout_1"])
def test_a_layer_may_not_be_called_as_keras_calls_its_own(name: str) -> None:
    builder = Builder("Clash")
    x = builder.input(3, 4, 4, name="x")
    builder.output(builder.add(Conv2d(3, (1, 1)), x, name=name))
    with pytest.raises(ArchError, match="cannot be the name of a layer in Keras"):
        generate(verify(builder.build()))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_texts_are_texts_in_the_source(payload: str) -> None:
    hostile = archlang.loads(program(payload, payload)).compile("keras").data.decode()
    harmless = archlang.loads(program("why", "why")).compile("keras").data.decode()
    assert shape_of(hostile) == shape_of(harmless)


KERAS_NAMES = [
    *NAMES,
    "keras",
    "layers",
    "ops",
    "np",
    "math",
    "name",
    "i",
    "KerasTensor",
    "build_a",
    "load_weights",
    "state_dict",
]


@pytest.mark.parametrize("name", [*KERAS_NAMES, "y", "z", "model", "initialise", "auxiliary", "in_channels"])
def test_names_that_mean_something_to_the_text(name: str) -> None:
    """As nets, blocks, modules, stages, inputs, outputs and parameters: a model, or an error that says which name."""
    texts = [
        f"net {name}:\n  input 3x8x8\n  conv(8, 3)\n",
        f"block {name}(c):\n  conv(c, 3)\n  relu\n  conv(c, 3)\n\nnet A:\n  input 3x8x8\n  {name}(8)\n",
        f"net A:\n  input 3x8x8\n  conv(8, 3) as {name}\n",
        f"net A:\n  input 3x8x8\n  stage {name}:\n    conv(8, 3)\n    relu\n",
        f"net A:\n  input {name} (3, 8, 8)\n  conv(8, 3)\n  output _ as {name}\n",
        f"block b({name}):\n  conv({name}, 3)\n  relu\n  conv({name}, 3)\n\nnet A:\n  input 3x8x8\n  b(8)\n  b(4)\n",
    ]
    for text in texts:
        source = _source(text, name)
        if source:
            build_model(source, weights_module.random(archlang.loads(text).graph))


def _source(text: str, name: str) -> KerasSource | None:
    """Nothing where an error says that the name is none for Keras."""
    try:
        return generate(archlang.loads(text).graph)
    except ArchError as error:
        if name not in str(error):
            raise
        return None
