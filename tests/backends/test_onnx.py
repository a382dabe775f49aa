"""The ONNX files: what the checker says, what they hold, and how they are called."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.onnx import build_model, model
from archlang.errors import ArchError, OutsideError
from archlang.ir import Builder, Graph, verify
from archlang.ops.activation import Relu
from archlang.ops.attention import ClassToken
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.regularize import Dropout
from archlang.ops.shape import Flatten, Shuffle, Tokens, Zero
from tests.backends import reference


def small_network() -> Graph:
    builder = Builder("Small")
    x = builder.input(3, 8, 8, name="image")
    y = builder.add(BatchNorm(), builder.add(Conv2d(8, (3, 3), bias=False), x, name="conv1"), name="bn1")
    y = builder.add(Relu(), y)
    y = builder.add(Add(), y, builder.add(BatchNorm(), y, name="bn2"))
    flat = builder.add(Flatten(), builder.add(GlobalAvgPool(), builder.add(Dropout(0.3), y)))
    builder.output(builder.add(Linear(5), flat, name="fc"), "scores")
    return verify(builder.build())


def session(data: bytes) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_the_full_checker_and_strict_shape_inference_pass() -> None:
    data = compile_graph(small_network(), "onnx", Request()).data
    onnx.checker.check_model(data, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(data), True, True, True)
    shapes = {
        info.name: [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]
        for info in inferred.graph.value_info
    }
    assert shapes["conv1"] == ["N", 8, 6, 6]


def test_what_the_file_says_of_itself() -> None:
    graph = archlang.load("zoo:mobilenet_v2").graph
    artifact = compile_graph(graph, "onnx", Request(origin="zoo:mobilenet_v2"))
    found = onnx.load_from_string(artifact.data)
    properties = {entry.key: entry.value for entry in found.metadata_props}
    assert properties == {
        "digest": graph.digest,
        "source": "zoo:mobilenet_v2",
        "parameters": "3504872",
        "macs": "300774272",
        "archlang": archlang.__version__,
    }
    assert (found.producer_name, found.graph.name) == ("archlang", "MobileNetV2")
    assert [(opset.domain, opset.version) for opset in found.opset_import] == [("", 17)]
    assert Counter(node.op_type for node in found.graph.node) == artifact.ops


def test_batch_norm_is_folded_where_a_convolution_feeds_it_alone() -> None:
    ops = compile_graph(archlang.load("zoo:resnet:r18").graph, "onnx", Request()).ops
    assert ops == {"Conv": 20, "Relu": 17, "MaxPool": 1, "Add": 8, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert compile_graph(small_network(), "onnx", Request()).ops["BatchNormalization"] == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_batch_dimension_is_free(count: int) -> None:
    graph, x = small_network(), images(count)
    weights = weights_module.random(graph)
    (found,) = session(compile_graph(graph, "onnx", Request(weights=weights)).data).run(["scores"], {"image": x})
    np.testing.assert_allclose(found, reference.run(graph, weights, x)["scores"], atol=1e-5)


def test_ops_that_need_the_batch_size_ask_for_it() -> None:
    builder = Builder("Tokens")
    x = builder.add(Shuffle(3), builder.input(3, 8, 8, name="image"))
    y = builder.add(ClassToken(), builder.add(Tokens(), x))
    builder.output(y, "tokens")
    builder.output(builder.add(Zero(2), x), "zeros")
    graph = verify(builder.build())
    weights, x4 = weights_module.random(graph), images(4)
    tokens, zeros = session(build_model(graph, weights)[0]).run(["tokens", "zeros"], {"image": x4})
    np.testing.assert_allclose(tokens, reference.run(graph, weights, x4)["tokens"], atol=1e-6)
    assert zeros.shape == (4, 3, 4, 4)
    assert not zeros.any()


def test_the_batch_dimension_can_be_fixed() -> None:
    data, _ = build_model(small_network(), weights_module.initial(small_network()), batch=3)
    assert session(data).get_inputs()[0].shape == [3, 3, 8, 8]
    assert session(data).get_outputs()[0].shape == [3, 5]


@pytest.mark.parametrize("opset", [17, 18, 20, 21])
def test_later_opsets(opset: int) -> None:
    builder = Builder("Sequence")
    tokens = builder.add(Tokens(), builder.input(3, 8, 8, name="image"))
    builder.output(builder.add(GlobalAvgPool(), tokens), "mean")
    builder.output(builder.add(Relu(), tokens), "relu")
    graph, x = verify(builder.build()), images(2)
    data, _ = build_model(graph, {}, opset=opset)
    onnx.checker.check_model(data, full_check=True)
    (mean,) = session(data).run(["mean"], {"image": x})
    np.testing.assert_allclose(mean, reference.run(graph, {}, x)["mean"], atol=1e-6)


def test_outputs_may_share_a_value_or_be_an_input() -> None:
    builder = Builder("Outputs")
    x = builder.input(3, 8, 8, name="image")
    y = builder.add(Relu(), x, name="out")
    z = builder.add(Relu(), builder.add(Conv2d(2, (1, 1)), y, name="relu2"), name="image_copy")
    for value, name in ((y, "first"), (y, "second"), (x, "same"), (z, "out")):
        builder.output(value, name)
    graph, sample = verify(builder.build()), images(2)
    weights = weights_module.random(graph)
    data, _ = build_model(graph, weights)
    onnx.checker.check_model(data, full_check=True)
    names = [output.name for output in graph.outputs]
    found = dict(zip(names, session(data).run(names, {"image": sample}), strict=True))
    for name, wanted in reference.run(graph, weights, sample).items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)


def test_weights_are_stored_as_they_are() -> None:
    graph = small_network()
    weights = weights_module.random(graph)
    found = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in onnx.load_from_string(build_model(graph, weights)[0]).graph.initializer
    }
    np.testing.assert_array_equal(found["fc.weight"], weights["fc.weight"])
    gain = weights["bn1.weight"] / np.sqrt(weights["bn1.running_var"] + 1e-5)
    np.testing.assert_allclose(found["conv1.weight"], weights["conv1.weight"] * gain[:, None, None, None], rtol=1e-6)


def test_protobuf_reads_and_writes_the_same_model() -> None:
    """The file's bytes are put together by hand; parsed and written again they are a model with the same content."""
    data = compile_graph(archlang.load("zoo:resnet:r18").graph, "onnx", Request()).data
    parsed = onnx.load_from_string(data)
    again = onnx.load_from_string(parsed.SerializeToString())
    assert parsed == again
    assert sum(len(tensor.raw_data) for tensor in parsed.graph.initializer) > 4 * 11_000_000
    assert abs(len(parsed.SerializeToString()) - len(data)) == 0


def test_equal_input_gives_equal_bytes() -> None:
    first, second = (compile_graph(small_network(), "onnx", Request(seed=3)).data for _ in range(2))
    assert first == second
    assert first != compile_graph(small_network(), "onnx", Request(seed=4)).data


@pytest.mark.parametrize(("name", "factor"), [("bn1.running_var", -1.0), ("conv1.weight", 1e38)])
def test_weights_that_are_not_finite_when_folded_are_refused(name: str, factor: float) -> None:
    graph = small_network()
    weights = weights_module.random(graph)
    weights["bn1.weight"] += 10
    weights[name] *= np.float32(factor)
    with pytest.raises(ArchError, match="`conv1` with its BatchNorm") as caught:
        build_model(graph, weights)
    assert caught.value.diagnostics[0].code == "E0814"


def test_weights_that_no_file_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", 100)
    with pytest.raises(ArchError, match="more than an ONNX file can hold") as caught:
        compile_graph(small_network(), "onnx", Request())
    assert caught.value.diagnostics[0].code == "E0813"


def test_without_onnx_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OutsideError, match=r"archlang\[onnx\]"):
        compile_graph(small_network(), "onnx", Request())


def test_the_state_dict_of_the_generated_module_is_what_the_file_computes_with() -> None:
    """Weights travel by name: train the generated code, hand its state dict on."""
    net = archlang.loads(
        """
net Small:
  default conv(norm=bn, act=relu)
  input 3x8x8
  conv(8, 3) * 2
  gap -> linear(5)
"""
    )
    module, x = net.to_torch(), images(2)
    module.train()(torch.from_numpy(images(16)))
    data = net.compile("onnx", module.state_dict()).data
    (found,) = session(data).run(None, {session(data).get_inputs()[0].name: x})
    with torch.no_grad():
        np.testing.assert_allclose(found, module.eval()(torch.from_numpy(x)).numpy(), atol=1e-5)
