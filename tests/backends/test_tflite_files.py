"""The file format against LiteRT's own description of it; what is refused; networks that are hard to quantize."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from numpy.typing import NDArray

from archlang import backend
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.tflite import schema
from archlang.backends.tflite.flatbuffer import Flatbuffer
from archlang.backends.tflite.model import Model, Operator, Tensor
from archlang.backends.tflite.site import Growing
from archlang.backends.tflite.versions import version
from archlang.backends.tflite.writer import write
from archlang.errors import ArchError, OutsideError
from archlang.ir import Builder, Graph, verify
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Sigmoid,
    Softmax,
    Tanh,
)
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Concat, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LocalResponseNorm
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.shape import Flatten, Subsample, Zero
from archlang.source import Source, Span
from tests.backends import reference
from tests.backends.tflite_dump import parse
from tests.backends.tflite_run import Kernels, compile_tflite, interpreter, run_tflite

ALL_KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
HERE = Span(Source("net.arch", "conv(3)"), 0, 7)

# The schema.

_UNIONS = {value: name for name, value in vars(generated.BuiltinOptions).items() if isinstance(value, int)}
_SPELLING = {"activation": "FusedActivationFunction", "dilation_w": "DilationWFactor", "dilation_h": "DilationHFactor"}


@pytest.mark.parametrize("builtin", schema.BUILTINS.values(), ids=lambda builtin: builtin.name)
def test_operator_has_the_numbers_of_the_schema(builtin: schema.Builtin) -> None:
    assert getattr(generated.BuiltinOperator, builtin.name) == builtin.code
    for name, slot in builtin.options.items():
        camel = _SPELLING.get(name, "".join(part.capitalize() for part in name.split("_")))
        table = getattr(generated, _UNIONS[builtin.union])
        reader = getattr(table, camel, None)
        assert reader is not None, f"{_UNIONS[builtin.union]} has no field {camel}"
        assert _reads(reader, slot)


def _reads(reader: Callable[..., Any], slot: schema.Slot) -> bool:
    """Whether the generated reader of a field looks where we write it: after 4 bytes, and 2 for each field before."""
    return 4 + 2 * slot.number in reader.__code__.co_consts


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (schema.TENSOR, "Tensor"),
        (schema.QUANTIZATION, "QuantizationParameters"),
        (schema.OPERATOR_CODE, "OperatorCode"),
        (schema.OPERATOR, "Operator"),
        (schema.SUBGRAPH, "SubGraph"),
        (schema.SIGNATURE, "SignatureDef"),
        (schema.TENSOR_MAP, "TensorMap"),
        (schema.METADATA, "Metadata"),
        (schema.BUFFER, "Buffer"),
        (schema.MODEL, "Model"),
    ],
)
def test_table_has_the_numbers_of_the_schema(table: schema.Table, name: str) -> None:
    for field, slot in table.items():
        camel = "".join(part.capitalize() for part in field.split("_"))
        assert _reads(getattr(getattr(generated, name), camel), slot), f"{name}.{camel}"


def test_flatbuffer_shares_equal_pieces_and_aligns_them() -> None:
    file = Flatbuffer()
    assert file.string("same") == file.string("same")
    assert file.vector(np.arange(3, dtype=np.int64)) == file.vector(np.arange(3, dtype=np.int64))
    assert file.vector(np.zeros(4, np.int32)) != file.vector(np.zeros(2, np.int64))
    content = np.arange(5, dtype=np.uint8)
    data = file.finish(file.table(schema.BUFFER, data=file.blob(content, 16)), b"TFL3")
    assert generated.Model.ModelBufferHasIdentifier(data, 0)
    assert data.find(content.tobytes()) % 16 == 0
    assert len(data) % 16 == 0


def test_model_beyond_two_gigabytes_is_refused() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (600_000_000,), (0,))
    node = _net().nodes[0]
    tensors = (Tensor("x", (1,)), Tensor("w", huge.shape, data=huge), Tensor("y", (1,)))
    model = Model("Huge", tensors, (Operator(schema.ADD, (0, 1), 2, {}, node),), (("x", 0),), (("y", 2),))
    with pytest.raises(ArchError, match=r"2\.2 GiB of constants"):
        write(model)


@pytest.mark.parametrize("mode", backend.QUANTIZE_MODES)
def test_constants_lie_inside_the_flatbuffer(mode: str) -> None:
    """Not behind it, where tflite-micro does not look and computes with zeros."""
    data = compile_tflite(_net(), None, mode).data
    model = generated.Model.GetRootAs(data)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    assert not any(buffer.Offset() or buffer.Size() for buffer in buffers)
    used = {model.Subgraphs(0).Tensors(i).Buffer() for i in range(model.Subgraphs(0).TensorsLength())}
    assert all(buffers[i].DataLength() for i in used - {0})


# What goes in and out.


@pytest.mark.parametrize(("mode", "stored"), [("int8", np.int8), ("int16x8", np.int16)])
def test_ends_of_a_quantized_network(mode: str, stored: type) -> None:
    graph = _net()
    weights = weights_module.random(graph, 3)
    whole, floats = (compile_tflite(graph, weights, mode, INPUTS, io) for io in (None, "float"))
    assert _end_types(whole.data) == {stored}
    assert _end_types(floats.data) == {np.float32}
    assert floats.ops == Counter(whole.ops) + Counter(["QUANTIZE", "DEQUANTIZE"])
    for kind in ALL_KERNELS:
        found = run_tflite(floats.data, INPUTS, kernels=kind)["y"]
        np.testing.assert_allclose(found, run_tflite(whole.data, INPUTS, kernels=kind)["y"], rtol=1e-6)
    assert compile_tflite(graph, weights, mode, INPUTS, np.dtype(stored).name).data == whole.data


def _end_types(data: bytes) -> set[Any]:
    made = interpreter(data)
    return {detail["dtype"] for detail in (*made.get_input_details(), *made.get_output_details())}


def test_float_ends_of_values_that_are_floats_are_no_detour() -> None:
    """A result that keeps floats is neither quantized nor turned back, and an input that only such ops read neither."""
    builder = Builder("Floats")
    builder.output(builder.add(LocalResponseNorm(3), builder.input(3, 8, 8)))
    assert compile_tflite(builder.build(), None, "int8", INPUTS, "float").ops == {"LOCAL_RESPONSE_NORMALIZATION": 1}


@pytest.mark.parametrize(
    ("mode", "io"), [("none", "int8"), ("dynamic", "int8"), ("int8", "int16"), ("int16x8", "int8")]
)
def test_ends_that_a_mode_has_not_are_refused(mode: str, io: str) -> None:
    message = _refused(_net(), quantize=mode, io=io)
    assert "E0804" in message
    assert f"`{mode}` has no {io} inputs and outputs" in message


@pytest.mark.parametrize(("ratio", "wanted"), [(0.5, 2), (2.0, 3)])
def test_product_with_a_large_scale_asks_for_a_newer_version(ratio: float, wanted: int) -> None:
    from archlang.backends.tflite.model import INT8, Quantization

    def tensor(scale: float) -> Tensor:
        return Tensor("t", (1,), INT8, quantization=Quantization(np.array([scale], np.float32)))

    operator = Operator(schema.MUL, (0, 1), 2, {}, _net().nodes[0])
    model = Model("M", (tensor(ratio), tensor(1.0), tensor(1.0)), (operator,), (), ())
    assert version(model, operator) == wanted


def test_index_constants_are_shared() -> None:
    growing = Growing()
    assert growing.index_constant([1, 2]) == growing.index_constant((1, 2))
    assert growing.index_constant([1, 2]) != growing.index_constant([[1], [2]])


# What is refused.


def _net(*, height: int = 8) -> Graph:
    builder = Builder("Net")
    x = builder.add(Relu(), builder.add(Conv2d(8, padding=(1, 1, 1, 1)), builder.input(3, height, 8), name="first"))
    y = builder.add(Conv2d(8, padding=(1, 1, 1, 1), groups=8), x, name="depthwise")
    z = builder.add(Conv2d(6, (1, 1), bias=False), builder.add(Add(), x, y), name="point", span=HERE)
    z = builder.add(BatchNorm(), z, name="norm")
    z = builder.add(Mul(), z, builder.add(Sigmoid(), z))
    z = builder.add(Flatten(), builder.add(GlobalAvgPool(), z))
    builder.output(builder.add(Linear(5), z, name="last"))
    return verify(builder.build())


INPUTS = np.random.default_rng(5).standard_normal((6, 3, 8, 8)).astype(np.float32)


def _refused(graph: Graph, **request: Any) -> str:
    with pytest.raises(ArchError) as caught:
        compile_graph(graph, "tflite", Request(**request))
    return str(caught.value)


@pytest.mark.parametrize(
    ("op", "reason"), [(LocalResponseNorm(4), "must be odd"), (L2Norm(1e-3), "must not be larger")], ids=str
)
def test_op_that_tflite_lacks_is_refused_where_it_stands(op: Op, reason: str) -> None:
    builder = Builder("Refused")
    builder.output(builder.add(op, builder.input(8, 4, 4), span=HERE))
    message = _refused(builder.build())
    assert "E0803" in message
    assert reason in message
    assert "net.arch:1:1" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [("point.weight", np.nan), ("norm.running_var", -1.0), ("norm.weight", np.inf), ("last.bias", 1e39)],
)
def test_weights_that_are_not_finite_are_refused_where_they_belong(name: str, value: float) -> None:
    weights = {key: array.astype(np.float64) for key, array in weights_module.random(_net(), 0).items()}
    weights[name][0] = value
    message = _refused(_net(), weights=weights)
    assert "E0814" in message
    assert ("net.arch:1:1" in message) == (not name.startswith("last"))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (INPUTS * np.nan, "not finite"),
        (INPUTS.transpose(0, 2, 3, 1), "transpose(0, 3, 1, 2)"),
        (INPUTS[0], "batch"),
        (INPUTS[:0], "at least one sample"),
        (INPUTS * 0 + 2, "all 2"),
    ],
)
def test_calibration_inputs_that_do_not_fit_are_refused(inputs: NDArray[Any], words: str) -> None:
    assert words in _refused(_net(), quantize="int8", calibration=inputs)


def test_calibration_of_one_of_several_inputs_is_refused() -> None:
    builder = Builder("Two")
    builder.output(builder.add(Add(), builder.input(3, 8, 8, name="a"), builder.input(3, 8, 8, name="b")))
    assert "holds nothing for `b`" in _refused(builder.build(), quantize="int8", calibration=INPUTS)


def test_values_beyond_float32_are_refused_where_they_arise() -> None:
    weights = weights_module.random(_net(), 0)
    large = {name: array * 1e13 if name.endswith("weight") else array for name, array in weights.items()}
    message = _refused(_net(), weights=large, quantize="int8", calibration=INPUTS)
    assert "E0812" in message
    assert "not finite" in message


def test_a_network_too_large_to_be_run_is_not_calibrated_but_written(monkeypatch: pytest.MonkeyPatch) -> None:
    net = _net()
    floats = sum(array.nbytes for array in weights_module.random(net).values())
    monkeypatch.setattr("archlang.backends.tflite.writer._LIMIT", floats // 2)
    assert "calibration runs Net" in _refused(net, quantize="int8", calibration=INPUTS)
    assert compile_tflite(net, weights_module.random(net), "int8").ops["CONV_2D"] == 2


def test_calibration_without_a_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
        for module in [m for m in sys.modules if m.split(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OutsideError, match=r"archlang\[tflite\]"):
        compile_tflite(_net(), None, "int8", INPUTS)


# What is hard to quantize, and must come out right. Weights by name; each is changed by a function.

Change = Mapping[str, Callable[[NDArray[np.float32]], NDArray[Any]]]


def _zero(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array * 0


def _channel(index: int, value: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def change(array: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = array.copy()
        changed[index] = value
        return changed

    return change


HARD: dict[str, Change] = {
    "nothing": {},
    "dead channels": {"first.weight": _channel(2, 0), "depthwise.weight": _channel(3, 0)},
    "dead channels without bias": {
        "first.weight": _channel(2, 0),
        "first.bias": _channel(2, 0),
        "depthwise.weight": _channel(3, 0),
        "depthwise.bias": _channel(3, 0),
    },
    "a dead layer": {"depthwise.weight": _zero, "depthwise.bias": _zero},
    "a layer that is its bias": {"depthwise.weight": _zero},
    "a relu that never fires": {"first.bias": lambda a: a - 100},
    "a constant network": {"last.weight": _zero, "last.bias": lambda a: a * 0 + 3},
    "a network of zeros": {"last.weight": _zero, "last.bias": _zero},
    "a bias beside which weights vanish": {"first.weight": lambda a: a * 1e-6, "first.bias": lambda a: a * 0 + 1000},
    "one such channel": {"first.weight": _channel(2, 1e-7), "first.bias": _channel(2, 1e4)},
    "tiny weights": {"first.weight": lambda a: a * 1e-8, "first.bias": _zero, "depthwise.bias": _zero},
    "channels of very different size": {
        "depthwise.weight": lambda a: a * np.logspace(-6, 3, 8)[:, None, None, None].astype(np.float32)
    },
}


@pytest.mark.parametrize("what", HARD)
@pytest.mark.parametrize("calibrated", [True, False])
def test_hard_network_comes_out_right(what: str, calibrated: bool) -> None:
    graph = _net()
    weights = weights_module.random(graph, 3)
    weights |= {name: change(weights[name]).astype(np.float32) for name, change in HARD[what].items()}
    wanted = reference.run(graph, weights, INPUTS)["y"]
    data = compile_tflite(graph, weights, "int8", INPUTS if calibrated else None).data
    step = parse(data).find("last").parameters[0]
    # Estimated ranges may cut off what grows beyond eight deviations: over 20 seeds, 22 steps at the most.
    # Calibrated, over 8 seeds of every case: 6 at the most with corrected biases, 9 without.
    bound = 6 if calibrated else 32
    for kind in ALL_KERNELS:
        found = run_tflite(data, INPUTS, kernels=kind)["y"]
        assert np.abs(found - wanted).max() <= bound * step


@pytest.mark.parametrize("factor", [1e-10, 1.0, 80.0, 1e10])
def test_inputs_of_any_scale(factor: float) -> None:
    found, wanted, step = _scaled(factor, "int8")
    assert np.abs(found - wanted).max() <= 4 * step


@pytest.mark.parametrize("factor", [1e-10, 1.0, 80.0, 1e4])
def test_inputs_of_any_scale_in_sixteen_bits(factor: float) -> None:
    """What is left is the rounding of weights to eight bits: a hundredth of the largest value."""
    found, wanted, _ = _scaled(factor, "int16x8")
    assert np.abs(found - wanted).max() <= 0.01 * np.abs(wanted).max()


def _scaled(factor: float, mode: str) -> tuple[NDArray[Any], NDArray[Any], float]:
    """What comes out of all kernels for inputs times the factor, what should, and the step of it."""
    graph, inputs = _net(), (INPUTS * factor).astype(np.float32)
    weights = weights_module.random(graph, 3)
    data = compile_tflite(graph, weights, mode, inputs).data
    found = np.stack([run_tflite(data, inputs, kernels=kind)["y"] for kind in ALL_KERNELS])
    return found, reference.run(graph, weights, inputs)["y"], parse(data).find("last").parameters[0]


def test_sigmoid_of_more_than_sixteen_bits_can_scale_is_refused() -> None:
    """Its kernel would keep 3 * 4096 * scale in an int16 number, and wrap around."""
    message = _refused(_net(), weights=weights_module.random(_net(), 3), quantize="int16x8", calibration=INPUTS * 1e10)
    assert "E0812" in message
    assert "too large to quantize" in message


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_half_precision_keeps_what_does_not_fit_it(size: float) -> None:
    graph = _net()
    weights = weights_module.random(graph, 3)
    weights["first.weight"] = weights["first.weight"] * np.float32(size)
    artifact = compile_tflite(graph, weights, "fp16")
    assert artifact.ops["DEQUANTIZE"] == 3
    wanted = reference.run(graph, weights, INPUTS)["y"]
    found = run_tflite(artifact.data, INPUTS)["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 * float(np.abs(wanted).max()))


# Shapes of networks.


@pytest.mark.parametrize("mode", ["none", "int8"])
def test_outputs_that_are_inputs_or_equal(mode: str) -> None:
    builder = Builder("Outputs")
    x = builder.input(3, 8, 8)
    y = builder.add(Conv2d(4), x)
    for place, name in ((x, "same"), (y, "once"), (y, "twice"), (builder.add(Flatten(), y), "flat")):
        builder.output(place, name)
    graph = verify(builder.build())
    weights = weights_module.random(graph, 0)
    wanted = reference.run(graph, weights, INPUTS)
    data = compile_tflite(graph, weights, mode, INPUTS).data
    step = 0.0 if mode == "none" else max(parse(data).tensors[i].parameters[0] for i in parse(data).outputs)
    for kind in ALL_KERNELS:
        results = run_tflite(data, INPUTS, kernels=kind)
        assert results.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(results[name], value, rtol=0, atol=2 * step + 1e-5)


def test_zeros_leave_sums() -> None:
    builder = Builder("Cell")
    x = builder.input(3, 8, 8)
    half = builder.add(Subsample(2), builder.add(Conv2d(3, (1, 1)), x))
    kept = builder.add(Add(), builder.add(Zero(2), x), half, builder.add(Zero(2), x))
    none = builder.add(Add(), builder.add(Zero(2), x), builder.add(Zero(2), x))
    shaping = builder.add(Add(), builder.add(Zero(2), x), builder.add(GlobalAvgPool(), x))
    builder.output(builder.add(Concat(), kept, none, shaping))
    graph = verify(builder.build())
    weights = weights_module.random(graph, 0)
    artifact = compile_tflite(graph, weights)
    assert artifact.ops == {"CONV_2D": 1, "STRIDED_SLICE": 2, "MUL": 1, "MEAN": 1, "ADD": 1, "CONCATENATION": 1}
    np.testing.assert_allclose(
        run_tflite(artifact.data, INPUTS)["y"], reference.run(graph, weights, INPUTS)["y"], rtol=0, atol=1e-5
    )


def test_linear_layers_read_a_flattened_image_as_it_lies() -> None:
    builder = Builder("Flat")
    flat = builder.add(Flatten(), builder.add(Conv2d(4), builder.input(3, 8, 8)))
    builder.output(builder.add(Linear(5), builder.add(Relu(), flat)), "a")
    builder.output(builder.add(Linear(2), flat), "b")
    graph = verify(builder.build())
    weights = weights_module.random(graph, 0)
    artifact = compile_tflite(graph, weights)
    assert not {"TRANSPOSE", "RESHAPE"} & artifact.ops.keys()
    wanted = reference.run(graph, weights, INPUTS)
    for name, found in run_tflite(artifact.data, INPUTS).items():
        np.testing.assert_allclose(found, wanted[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "op", [Relu(), Relu6(), LeakyRelu(0.1), Sigmoid(), Tanh(), HardSwish(), Gelu(), Softmax(), HardSigmoid()], ids=str
)
@pytest.mark.parametrize("calibrated", [True, False])
def test_op_on_nothing_but_zeros(op: Op, calibrated: bool) -> None:
    """Scales so fine that kernels would abort or shift by a negative number are never written."""
    builder = Builder("Zeros")
    zeros = builder.add(Conv2d(4, (1, 1), bias=False), builder.add(Zero(), builder.input(3, 8, 8)))
    builder.output(builder.add(Add(), builder.add(op, zeros), builder.add(Relu6(), zeros)))
    graph = verify(builder.build())
    weights = weights_module.random(graph, 0)
    wanted = reference.run(graph, weights, INPUTS)["y"]
    data = compile_tflite(graph, weights, "int8", INPUTS if calibrated else None).data
    for kind in ALL_KERNELS:
        np.testing.assert_allclose(run_tflite(data, INPUTS, kernels=kind)["y"], wanted, rtol=0, atol=0.01)
