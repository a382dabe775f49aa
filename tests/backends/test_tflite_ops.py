"""Every op, in float and in int8, on shapes and attributes that hypothesis draws: against PyTorch, and operator by
operator against a plain integer reference, through all three sets of kernels that LiteRT has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archlang import weights as weights_module
from archlang.backends.tflite import schema
from archlang.backends.tflite.lowering import LOWERINGS, UNSUPPORTED
from archlang.ir import Builder, Graph, verify
from archlang.ops import OPS, Op, ShapeError
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Rescale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero
from tests.backends import reference, tflite_integer
from tests.backends.tflite_dump import parse
from tests.backends.tflite_run import Kernels, channels_last, compile_tflite, interpreter, run_tflite, stored

ALL_KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
Shape = tuple[int, ...]


def one_op(op: Op, *shapes: Shape, after: Op | None = None) -> Graph:
    builder = Builder("One")
    inputs = [builder.input(*shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    try:
        value = builder.add(op, *inputs, name="op")
    except ShapeError:
        assume(False)
    if after is not None:
        value = builder.add(after, value, name="after")
    builder.output(value)
    return verify(builder.build())


def samples(shapes: tuple[Shape, ...], count: int = 2) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(len(shapes) + sum(map(sum, shapes)))
    return [generator.normal(0.3, 1.7, (count, *shape)).astype(np.float32) for shape in shapes]


def assert_float(graph: Graph, inputs: list[NDArray[Any]], kernels: tuple[Kernels, ...] = ALL_KERNELS) -> None:
    """LiteRT computes what PyTorch computes, to float32 rounding."""
    weights = weights_module.random(graph, 7)
    wanted = reference.run(graph, weights, *inputs)["y"]
    data = compile_tflite(graph, weights).data
    for kind in kernels:
        found = run_tflite(data, *inputs, kernels=kind)["y"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def assert_integers(
    graph: Graph, inputs: NDArray[np.float32], whole: tuple[Kernels, ...] = ALL_KERNELS, mode: str = "int8"
) -> None:
    """Each operator of the quantized file makes what the specification says, to one step; and so does the file as a
    whole, in the kernels `whole`, where it has but one operator."""
    weights = weights_module.random(graph, 7)
    data = compile_tflite(graph, weights, mode, inputs).data
    model = parse(data)
    covered = [op for op in model.operators if tflite_integer.covers(op, model.tensors[op.output])]
    kinds: tuple[Kernels, ...] = ("builtin", "reference")
    for kind in kinds:
        made = interpreter(data, kind, keep=True)
        detail = made.get_input_details()[0]
        made.set_tensor(detail["index"], stored(channels_last(inputs[:1]), detail))
        made.invoke()
        for op in covered:
            tensors, output = [model.tensors[i] for i in op.inputs], model.tensors[op.output]
            wanted = tflite_integer.evaluate(op, tensors, output, [made.get_tensor(i) for i in op.inputs])
            steps = np.abs(made.get_tensor(op.output).astype(np.int64) - wanted).max()
            assert steps <= tflite_integer.bound(op, output, kind), f"{op.name} is {steps} steps off in {kind} kernels"
    alone = len(model.operators) == len(covered) == 1 and mode == "int8"
    if alone and tflite_integer.bound(covered[0], model.tensors[covered[0].output], "builtin") == 1:
        assert_one_step(data, inputs, whole)


def assert_one_step(data: bytes, inputs: NDArray[np.float32], kernels: tuple[Kernels, ...]) -> None:
    step = parse(data).tensors[parse(data).outputs[0]].parameters[0]
    first, *others = (run_tflite(data, inputs, kernels=kind)["y"] for kind in kernels)
    for other in others:
        assert np.abs(first - other).max() <= 1.01 * step


def test_every_op_is_lowered_or_listed() -> None:
    assert set(OPS.values()) - {OPS["input"]} == set(LOWERINGS) | set(UNSUPPORTED)
    assert not set(LOWERINGS) & set(UNSUPPORTED)
    assert all(UNSUPPORTED.values())


def test_every_operator_that_is_written_has_an_integer_reference() -> None:
    assert set(schema.BUILTINS) == tflite_integer.rules() | tflite_integer.FLOATS
    assert not tflite_integer.rules() & tflite_integer.FLOATS


# Sliding windows.


@st.composite
def convolutions(draw: Callable[..., Any]) -> tuple[Conv2d, Shape, Op | None]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = groups * draw(st.integers(1, 3))
    if draw(st.booleans()):
        groups = channels  # depthwise
    kernel, dilation = draw(_pair(1, 4)), draw(_pair(1, 2))
    op = Conv2d(
        groups * draw(st.integers(1, 3)),
        kernel,
        draw(_pair(1, 3)),
        draw(st.tuples(*[st.integers(0, 3)] * 4)),
        dilation,
        groups,
        draw(st.booleans()),
    )
    return op, (channels, draw(st.integers(3, 9)), draw(st.integers(3, 9))), draw(_ACTIVATIONS)


def _pair(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


_ACTIVATIONS = st.sampled_from([None, Relu(), Relu6()])


@given(convolutions())
@settings(max_examples=60, deadline=None)
def test_convolution(drawn: tuple[Conv2d, Shape, Op | None]) -> None:
    op, shape, activation = drawn
    graph = one_op(op, shape, after=activation)
    assert_float(graph, samples((shape,)))
    assert_integers(graph, samples((shape,))[0])


@given(convolutions())
@settings(max_examples=25, deadline=None)
def test_convolution_in_sixteen_bits(drawn: tuple[Conv2d, Shape, Op | None]) -> None:
    op, shape, activation = drawn
    assert_integers(one_op(op, shape, after=activation), samples((shape,))[0], mode="int16x8")


@st.composite
def pools(draw: Callable[..., Any]) -> tuple[Op, Shape, Op | None]:
    kernel = draw(_pair(1, 4))
    rows, columns = st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)
    arguments = (kernel, draw(_pair(1, 4)), draw(st.tuples(rows, columns, rows, columns)), draw(st.booleans()))
    op = AvgPool2d(*arguments, draw(st.booleans())) if draw(st.booleans()) else MaxPool2d(*arguments)
    return op, (draw(st.integers(1, 4)), draw(st.integers(2, 9)), draw(st.integers(2, 9))), draw(_ACTIVATIONS)


@given(pools())
@settings(max_examples=80, deadline=None)
def test_pool(drawn: tuple[Op, Shape, Op | None]) -> None:
    op, shape, activation = drawn
    graph = one_op(op, shape, after=activation)
    assert_float(graph, samples((shape,)))
    assert_integers(graph, samples((shape,))[0])


@given(pools())
@settings(max_examples=25, deadline=None)
def test_pool_in_sixteen_bits(drawn: tuple[Op, Shape, Op | None]) -> None:
    op, shape, activation = drawn
    assert_integers(one_op(op, shape, after=activation), samples((shape,))[0], mode="int16x8")


@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (0, 0, 1, 1), (1, 1, 0, 0)])
@pytest.mark.parametrize("before", [Relu(), Sigmoid(), Tanh()])
def test_padded_max_pool_of_values_that_may_be_negative_or_not(pad: tuple[int, int, int, int], before: Op) -> None:
    builder = Builder("Pool")
    value = builder.add(before, builder.input(3, 8, 8), name="before")
    builder.output(builder.add(MaxPool2d((3, 3), (2, 2), pad), value))
    graph = verify(builder.build())
    inputs = samples(((3, 8, 8),))
    assert_float(graph, [inputs[0] - 3])
    assert_integers(graph, inputs[0] - 3)
    assert_integers(graph, inputs[0] - 3, mode="int16x8")


# Everything else, on fixed shapes of each kind.

IMAGE, SEQUENCE, VECTOR = (8, 5, 7), (5, 8), (9,)
ELEMENTWISE = [Relu(), Relu6(), LeakyRelu(0.1), Sigmoid(), Tanh(), Swish(), HardSigmoid(), HardSwish(), Gelu()]
ANYWHERE = [
    *[*ELEMENTWISE, Rescale(-0.3), Softmax(), BatchNorm(), LayerNorm(), L2Norm(), Scale(0.3)],
    *[Slice(2, 5), Zero(), Flatten(), Dropout(0.5)],
]
IMAGES = [
    GlobalAvgPool(),
    Shuffle(2),
    Shuffle(8),
    Upsample(2),
    Upsample(3),
    Upsample(41),
    Upsample(2, "bilinear"),
    Upsample(3, "bilinear"),
    Subsample(1),
    Subsample(2),
    Subsample(3),
    Shift(0),
    Shift(1),
    Shift(3),
    Zero(2),
    Tokens(),
    Tokens(4),
    Crop(3, 4),
    ConvTranspose2d(6),
    ConvTranspose2d(4, (3, 3), (2, 2), (1, 1)),
    ConvTranspose2d(5, (3, 2), (1, 1), bias=False),
    DropPath(0.2),
]
SEQUENCES = [Linear(7), Linear(3, bias=False), GlobalAvgPool(), Take(0), Take(3), ClassToken(), PosEmbed()]
SINGLE = [
    *((op, IMAGE) for op in [*ANYWHERE, *IMAGES]),
    *((op, SEQUENCE) for op in [*ANYWHERE, *SEQUENCES, Attention(1), Attention(2)]),
    *((op, VECTOR) for op in [*ANYWHERE, Linear(7), Linear(3, bias=False)]),
]


@pytest.mark.parametrize(("op", "shape"), SINGLE, ids=str)
def test_op_of_one_tensor(op: Op, shape: Shape) -> None:
    graph = one_op(op, shape)
    assert_float(graph, samples((shape,)))
    assert_integers(graph, samples((shape,))[0])


@pytest.mark.parametrize(("op", "shape"), SINGLE, ids=str)
def test_op_of_one_tensor_in_sixteen_bits(op: Op, shape: Shape) -> None:
    assert_integers(one_op(op, shape), samples((shape,))[0], mode="int16x8")


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_bilinear_resize_of_integers(factor: int) -> None:
    """LiteRT's integer kernel rounds coordinates to 1 / 1024 of a pixel."""
    graph, inputs = one_op(Upsample(factor, "bilinear"), IMAGE), samples((IMAGE,))[0]
    data = compile_tflite(graph, None, "int8", inputs).data
    wanted, step = reference.run(graph, {}, inputs)["y"], parse(data).tensors[-1].parameters[0]
    for kind in ALL_KERNELS:
        assert np.abs(run_tflite(data, inputs, kernels=kind)["y"] - wanted).max() <= 4 * step


@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_local_response_norm(size: int) -> None:
    """LiteRT's reference kernel leaves out the last channel of the window, so it is not asked."""
    graph = one_op(LocalResponseNorm(size, alpha=0.3, bias=2.0), IMAGE)
    assert_float(graph, samples((IMAGE,)), ("xnnpack", "builtin"))
    assert_integers(graph, samples((IMAGE,))[0], ("xnnpack", "builtin"))
    assert_integers(graph, samples((IMAGE,))[0], mode="int16x8")


@pytest.mark.parametrize("op", [Add(), Mul(), Mean(), Concat()], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [IMAGE, SEQUENCE, VECTOR])
def test_join(op: Op, count: int, shape: Shape) -> None:
    assert_float(one_op(op, *[shape] * count), samples((shape,) * count))
    assert_float(one_op(op, *[shape] * count, after=Relu6()), samples((shape,) * count))


@pytest.mark.parametrize("op", [Add(), Mul()], ids=str)
@pytest.mark.parametrize("shapes", [((8, 1, 1), IMAGE), (IMAGE, (8, 1, 1)), ((8, 1, 1), (8, 1, 1), IMAGE)])
def test_join_with_one_value_for_each_channel(op: Op, shapes: tuple[Shape, ...]) -> None:
    assert_float(one_op(op, *shapes), samples(shapes))


@pytest.mark.parametrize("op", [Add(), Mul(), Mean(), Concat()], ids=str)
@pytest.mark.parametrize("activation", [None, Relu(), Relu6()])
def test_join_of_branches_with_their_own_scales(op: Op, activation: Op | None) -> None:
    """int8: the branches' ranges differ by an order of magnitude, and one of them has a fixed scale."""
    builder = Builder("Join")
    x = builder.input(*IMAGE)
    branches = [builder.add(Conv2d(8, (1, 1)), x), builder.add(Sigmoid(), x), builder.add(Scale(0.1), x), x]
    value = builder.add(op, *branches)
    builder.output(value if activation is None else builder.add(activation, value))
    graph = verify(builder.build())
    assert_float(graph, samples((IMAGE,)))
    assert_integers(graph, samples((IMAGE,))[0])
    assert_integers(graph, samples((IMAGE,))[0], mode="int16x8")


@pytest.mark.parametrize("op", [BatchNorm(), Scale(0.3)], ids=str)
@pytest.mark.parametrize("shape", [IMAGE, SEQUENCE, VECTOR])
def test_activation_behind_an_affine_map_is_fused(op: Op, shape: Shape) -> None:
    graph = one_op(op, shape, after=Relu())
    assert "RELU" not in compile_tflite(graph).ops
    assert_float(graph, samples((shape,)))
    assert_integers(graph, samples((shape,))[0])


def test_activation_behind_a_mean_is_fused() -> None:
    graph = one_op(Mean(), IMAGE, IMAGE, after=Relu())
    assert compile_tflite(graph).ops == {"ADD": 1, "MUL": 1}
    assert_float(graph, samples((IMAGE, IMAGE)))


@pytest.mark.parametrize("op", [Add(), Mul(), Mean(), Concat()], ids=str)
def test_join_of_one_is_nothing(op: Op) -> None:
    assert compile_tflite(one_op(op, IMAGE, after=Relu6())).ops == {"RELU6": 1}


# What is multiplied into a layer.


@pytest.mark.parametrize("after", [Rescale(-0.3), Scale(0.3), HardSigmoid()], ids=str)
@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Conv2d(6, padding=(1, 1, 1, 1)), IMAGE),
        (Conv2d(16, groups=8), IMAGE),
        (Conv2d(4, groups=4), IMAGE),
        (Linear(7), SEQUENCE),
        (Linear(3, bias=False), VECTOR),
    ],
    ids=str,
)
def test_what_a_layer_takes_into_its_weights(op: Op, shape: Shape, after: Op) -> None:
    graph = one_op(op, shape, after=after)
    operators = sum(compile_tflite(graph).ops.values())
    assert operators == (2 if isinstance(after, HardSigmoid) else 1)
    assert_float(graph, samples((shape,)))
    for mode in ("int8", "int16x8"):
        assert_integers(graph, samples((shape,))[0], mode=mode)


def test_several_factors_and_a_hard_sigmoid_in_one_layer() -> None:
    builder = Builder("Chain")
    value = builder.add(Conv2d(6), builder.input(*IMAGE))
    for op in (BatchNorm(), Scale(0.3), Rescale(2.5), HardSigmoid()):
        value = builder.add(op, value)
    builder.output(value)
    graph = verify(builder.build())
    assert compile_tflite(graph).ops == {"CONV_2D": 1, "MUL": 1}
    assert_float(graph, samples((IMAGE,)))


def test_factor_behind_an_activation_stays() -> None:
    builder = Builder("Chain")
    value = builder.add(Relu(), builder.add(Conv2d(6), builder.input(*IMAGE)))
    builder.output(builder.add(HardSigmoid(), builder.add(Rescale(0.5), value)))
    graph = verify(builder.build())
    assert compile_tflite(graph).ops == {"CONV_2D": 1, "MUL": 2, "ADD": 1}
    assert_float(graph, samples((IMAGE,)))


def test_equal_ops_are_computed_once() -> None:
    builder = Builder("Equal")
    x = builder.input(*IMAGE)
    summed = builder.add(Add(), x, builder.add(Conv2d(8, (1, 1)), x))
    pools = [builder.add(AvgPool2d((3, 3), (1, 1), (1,) * 4), builder.add(Relu(), summed)) for _ in range(3)]
    builder.output(builder.add(Add(), *pools))
    builder.output(builder.add(Concat(), *(builder.add(Conv2d(2, (1, 1)), pool) for pool in pools)), "both")
    graph = verify(builder.build())
    wanted = {"CONV_2D": 4, "ADD": 3, "AVERAGE_POOL_2D": 1, "CONCATENATION": 1}
    assert compile_tflite(graph).ops == wanted
    inputs, weights = samples((IMAGE,)), weights_module.random(graph, 7)
    found = run_tflite(compile_tflite(graph, weights).data, *inputs)
    for name, values in reference.run(graph, weights, *inputs).items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * np.abs(values).max())


# Random programs: what passes, layouts and shared scales do to each other.

_STEPS: list[Op] = [
    Conv2d(6, padding=(1, 1, 1, 1)),
    Conv2d(8, (1, 1), bias=False),
    Conv2d(8, (3, 2), (2, 1), (0, 1, 1, 1)),
    *[BatchNorm(), Scale(0.5), Relu(), Relu6(), Sigmoid(), Tanh(), Swish(), HardSwish(), LeakyRelu(0.2), HardSigmoid()],
    *[MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), AvgPool2d((3, 3), (1, 1), (1, 1, 1, 1)), GlobalAvgPool(), Softmax()],
    *[AvgPool2d((2, 2), (2, 2), ceil=True), Slice(0, 3), Shuffle(2), Upsample(2), Subsample(2), Shift(1), Zero()],
    *[Flatten(), Linear(7), Linear(5, bias=False), Tokens(), Take(0), ClassToken(), PosEmbed(), Attention(1)],
    *[Rescale(0.4), RadialBasis(3), LayerNorm(), L2Norm(), Dropout(0.5), Tokens(2)],
]
_JOINS: list[Op] = [Add(), Mul(), Mean(), Concat(), Concat("tokens")]


@st.composite
def programs(draw: Callable[..., Any]) -> Graph:
    """Ops that fit, one after the other, most of them on the latest value; the last value and one other come out."""
    builder = Builder("Random")
    values = [builder.input(4, draw(st.integers(3, 8)), draw(st.integers(3, 8)))]
    for _ in range(draw(st.integers(2, 9))):
        other = draw(st.sampled_from(values))
        op = draw(st.sampled_from(_STEPS + _JOINS * 3))
        try:
            values.append(builder.add(op, *((values[-1], other) if op in _JOINS else (values[-1],))))
        except ShapeError:
            continue
    builder.output(values[-1])
    builder.output(draw(st.sampled_from(values)), "other")
    return verify(builder.build())


@given(programs())
@settings(max_examples=60, deadline=None)
def test_random_program(graph: Graph) -> None:
    inputs = samples((graph.nodes[0].type.shape,))
    weights = weights_module.random(graph, 7)
    wanted = reference.run(graph, weights, *inputs)
    assume(max(np.abs(value).max() for value in reference.trace(graph, weights, *inputs)) < 1e6)
    data = compile_tflite(graph, weights).data
    for kind in ALL_KERNELS:
        for name, found in run_tflite(data, *inputs, kernels=kind).items():
            assert found.shape == wanted[name].shape
            np.testing.assert_allclose(found, wanted[name], rtol=0, atol=2e-5 * max(1.0, np.abs(wanted[name]).max()))
    assert_integers(graph, inputs[0])
    assert_integers(graph, inputs[0], mode="int16x8")
    for calibration, kind in ((inputs[0], "xnnpack"), (None, "xnnpack"), (None, "reference")):
        results = run_tflite(compile_tflite(graph, weights, "int8", calibration).data, *inputs, kernels=kind)
        assert all(found.shape == wanted[name].shape for name, found in results.items())
