"""The ONNX files: what the checker says, what they hold, and how they are called."""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import archlang
from archlang import archives, catalogue
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.onnx import lowering, model
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
from archlang.passes import inference
from archlang.weights import Weights
from tests.backends import reference
from tests.backends.drawing import ONE_OP, OneOp, block_networks, fits, networks
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY


def small_network() -> Graph:
    builder = Builder("Small")
    x = builder.input(3, 8, 8, name="image")
    y = builder.add(BatchNorm(), builder.add(Conv2d(8, (3, 3), bias=False), x, name="conv1"), name="bn1")
    y = builder.add(Relu(), y)
    y = builder.add(Add(), y, builder.add(BatchNorm(), y, name="bn2"))
    flat = builder.add(Flatten(), builder.add(GlobalAvgPool(), builder.add(Dropout(0.3), y)))
    builder.output(builder.add(Linear(5), flat, name="fc"), "scores")
    return verify(builder.build())


def made(graph: Graph, weights: Weights | None = None, **options: Any) -> bytes:
    return compile_graph(graph, "onnx", Request(weights=weights, **options)).data


def session(data: bytes | str) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 3, 8, 8)).astype(np.float32)


def assert_valid(data: bytes) -> onnx.ModelProto:
    """The full checker and strict shape inference with data propagation pass, and leave nothing but the batch open."""
    onnx.checker.check_model(data, full_check=True)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data), True, True, True)
    shapes = shapes_of(model)
    assert set(shapes) >= {name for node in model.graph.node for name in node.output}
    assert {dim for shape in shapes.values() for dim in shape if not isinstance(dim, int)} <= {"N"}
    return model


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """Every value's shape; a free dimension by its name."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def test_the_full_checker_and_strict_shape_inference_pass() -> None:
    assert shapes_of(assert_valid(made(small_network())))["conv1"] == ["N", 8, 6, 6]


def families() -> list[archlang.Net]:
    """The variant with the fewest parameters of each family that ships."""
    smallest: dict[str, archlang.Net] = {}
    for entry in catalogue.nets():
        other = smallest.get(entry.family)
        if other is None or entry.net.cost().total.params < other.cost().total.params:
            smallest[entry.family] = entry.net
    return list(smallest.values())


@pytest.mark.slow
@pytest.mark.parametrize("keep_bn", [False, True], ids=["folded", "kept"])
def test_every_family_that_ships_passes_the_checker(keep_bn: bool) -> None:
    for net in families():
        assert_valid(made(net.graph, keep_bn=keep_bn))


SMALL = ("zoo:lenet:LeNet5", "zoo:shufflenet_v2:x0_5", "zoo:mobilenet_v3:small_reduced", "zoo:darts:v1_cifar")


@pytest.mark.parametrize("spec", SMALL)
def test_nets_that_ship_pass_the_checker(spec: str) -> None:
    assert_valid(made(archlang.load(spec).graph))


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
    tokens, zeros = session(made(graph, weights)).run(["tokens", "zeros"], {"image": x4})
    np.testing.assert_allclose(tokens, reference.run(graph, weights, x4)["tokens"], atol=1e-6)
    assert zeros.shape == (4, 3, 4, 4)
    assert not zeros.any()


def test_the_batch_dimension_can_be_fixed() -> None:
    data = made(small_network(), batch=3)
    assert session(data).get_inputs()[0].shape == [3, 3, 8, 8]
    assert session(data).get_outputs()[0].shape == [3, 5]


LATEST = onnx.defs.onnx_opset_version()
"""The newest opset that the installed onnx can check."""


def runs(opset: int) -> bool:
    """Whether the installed ONNX Runtime knows the opset. A model that fails for another reason counts as known."""
    try:
        session(made(small_network(), opset=opset))
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        return not re.search("opset|IR version", str(error), re.IGNORECASE)
    return True


@cache
def newest_that_runs() -> int:
    return max(opset for opset in range(17, LATEST + 1) if runs(opset))


def test_the_runtime_takes_most_opsets() -> None:
    assert newest_that_runs() >= 23
    assert all(runs(opset) for opset in range(17, newest_that_runs() + 1))


def agrees(graph: Graph, weights: Weights, data: bytes, count: int = 2) -> None:
    """The full checker passes; ONNX Runtime gives what the reference does."""
    assert_valid(data)
    if onnx.load_from_string(data).opset_import[0].version > newest_that_runs():
        return
    generator = np.random.default_rng(7)
    inputs = [generator.normal(size=(count, *graph.nodes[i].type.shape)).astype(np.float32) for i in graph.inputs]
    named = {entry.name: x for entry, x in zip(session(data).get_inputs(), inputs, strict=True)}
    names = [output.name for output in graph.outputs]
    found = dict(zip(names, session(data).run(names, named), strict=True))
    for name, wanted in reference.run(inference(graph), weights, *inputs).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("opset", range(17, LATEST + 1))
def test_every_op_in_every_opset(opset: int) -> None:
    """Two drawn examples of each op pass the checker under each opset; ONNX Runtime computes them as the reference."""

    @settings(max_examples=2, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def all_are_valid(data: st.DataObject) -> None:
        for strategy in ONE_OP.values():
            drawn: OneOp = data.draw(strategy.filter(fits))
            graph = drawn.graph()
            weights = weights_module.random(graph)
            agrees(graph, weights, made(graph, weights, opset=opset))

    all_are_valid()


@given(
    graph=st.one_of(networks(), block_networks()),
    opset=st.integers(17, LATEST),
    batch=st.sampled_from([None, 1, 3]),
    keep_bn=st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_in_any_opset(graph: Graph, opset: int, batch: int | None, keep_bn: bool) -> None:
    weights = weights_module.random(graph)
    agrees(graph, weights, made(graph, weights, opset=opset, batch=batch, keep_bn=keep_bn), batch or 2)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [LATEST, 18])
def test_every_family_that_ships_runs_in_new_opsets(opset: int) -> None:
    for net in families():
        data = made(net.graph, opset=opset, batch=1)
        assert_valid(data)
        if opset <= newest_that_runs():
            session(data)


@pytest.mark.parametrize("opset", [-1, 16, LATEST + 1, 10**9])
def test_an_opset_that_cannot_be_checked_is_refused(opset: int) -> None:
    with pytest.raises(ArchError, match=f"opset {opset}") as caught:
        made(small_network(), opset=opset)
    assert caught.value.diagnostics[0].code == "E0805"
    assert f"17 to {LATEST}" in str(caught.value.diagnostics[0].help)


def test_outputs_may_share_a_value_or_be_an_input() -> None:
    builder = Builder("Outputs")
    x = builder.input(3, 8, 8, name="image")
    y = builder.add(Relu(), x, name="out")
    z = builder.add(Relu(), builder.add(Conv2d(2, (1, 1)), y, name="relu2"), name="image_copy")
    for value, name in ((y, "first"), (y, "second"), (x, "same"), (z, "out")):
        builder.output(value, name)
    graph, sample = verify(builder.build()), images(2)
    weights = weights_module.random(graph)
    data = made(graph, weights)
    onnx.checker.check_model(data, full_check=True)
    names = [output.name for output in graph.outputs]
    found = dict(zip(names, session(data).run(names, {"image": sample}), strict=True))
    for name, wanted in reference.run(graph, weights, sample).items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)


def test_weights_are_stored_as_they_are() -> None:
    graph = small_network()
    weights = weights_module.random(graph)
    found = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(made(graph, weights)).graph.initializer
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
        made(graph, weights)
    assert caught.value.diagnostics[0].code == "E0814"


def test_more_weights_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "limit", lambda: 100)
    with pytest.raises(ArchError, match="there is room for 100") as caught:
        compile_graph(small_network(), "onnx", Request())
    assert caught.value.diagnostics[0].code == "E0813"


# ---- weights in a second file ----------------------------------------------------------------------------------------


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> archlang.Net:
    """A net whose weights are more than one file may hold: 1 kB."""
    monkeypatch.setattr(model, "MAX_BYTES", 1000)
    return archlang.loads("""
net Large:
  default conv(norm=bn, act=relu)
  input image 3x8x8
  conv(40, 3) * 2
  gap -> linear(5)
  output _ as y
""")


def test_weights_of_more_than_2_gb_stand_beside_the_model(large: archlang.Net, tmp_path: Path) -> None:
    weights, x = weights_module.random(large.graph), images(3)
    large.to_onnx(tmp_path / "m.onnx", weights)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.onnx.data"}
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    outside = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert set(outside) == {"conv1.weight", "conv2.weight"}
    assert all(facts["location"] == "m.onnx.data" for facts in outside.values())
    assert all(int(facts["offset"]) % 4096 == 0 for facts in outside.values())
    assert int(outside["conv2.weight"]["length"]) == 4 * 40 * 40 * 9
    (found,) = session(str(tmp_path / "m.onnx")).run(None, {"image": x})
    np.testing.assert_allclose(found, reference.run(large.graph, weights, x)["y"], atol=1e-5)


def test_the_second_file_holds_what_one_file_would(large: archlang.Net, tmp_path: Path) -> None:
    weights = weights_module.random(large.graph)
    large.to_onnx(tmp_path / "m.onnx", weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "MAX_BYTES", 10**9)
        large.to_onnx(tmp_path / "one.onnx", weights)
    assert not (tmp_path / "one.onnx.data").exists()
    two, one = (
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / name).graph.initializer}
        for name in ("m.onnx", "one.onnx")
    )
    assert two.keys() == one.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array)


@pytest.mark.slow
def test_more_than_2_gb_for_real(tmp_path: Path) -> None:
    """2.3 GB in one array; the file beside it passes the checker and runs. One number a row is not 0."""
    size, rows = 24_000, np.arange(24_000)
    net = archlang.loads(
        f"net Huge:\n  input x {size}x1x1\n  flatten -> linear({size}, bias=false) as fc\n  output _ as y\n"
    )
    columns, factors = rows * 7919 % size, (rows % 13 - 6).astype(np.float32)
    weight = np.zeros((size, size), np.float32)
    weight[rows, columns] = factors
    net.to_onnx(tmp_path / "m.onnx", {"fc.weight": weight})
    del weight
    assert (tmp_path / "m.onnx").stat().st_size < 10_000
    assert (tmp_path / "m.onnx.data").stat().st_size >= 4 * size * size > 2**31
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    x = np.random.default_rng(0).normal(size=(1, size, 1, 1)).astype(np.float32)
    (found,) = session(str(tmp_path / "m.onnx")).run(["y"], {"x": x})
    np.testing.assert_allclose(found, factors * x[:, columns, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("broken", ["conv1", "conv2"])
def test_two_files_are_written_whole_or_not_at_all(large: archlang.Net, tmp_path: Path, broken: str) -> None:
    weights = weights_module.random(large.graph)
    weights[f"{broken}.weight"] = weights[f"{broken}.weight"] * np.float32(1e38)
    weights[f"bn{broken[-1]}.weight"] = weights[f"bn{broken[-1]}.weight"] + 100
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ArchError, match="not finite"):
        large.to_onnx(tmp_path / "m.onnx", weights)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.onnx": b"old"}


def test_a_model_that_cannot_be_placed_leaves_no_weights_behind(large: archlang.Net, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(ArchError, match="cannot write"):
        large.to_onnx(tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


# ---- BatchNorm kept --------------------------------------------------------------------------------------------------


def test_batch_norm_is_kept_on_demand() -> None:
    """All arrays are there as they are, under the names of the state dict."""
    graph, x = archlang.load("zoo:resnet_cifar:r20").graph, np.ones((2, 3, 32, 32), np.float32)
    weights = weights_module.random(graph)
    data = made(graph, weights, keep_bn=True)
    found = onnx.load_from_string(data)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    assert Counter(node.op_type for node in found.graph.node)["BatchNormalization"] == 19
    for name, array in weights.items():
        np.testing.assert_array_equal(arrays[name], array)
    name = session(data).get_inputs()[0].name
    kept, folded = (session(d).run(None, {name: x})[0] for d in (data, made(graph, weights)))
    np.testing.assert_allclose(kept, folded, rtol=1e-4, atol=1e-4 * np.abs(folded).max())


def test_an_array_is_not_copied_on_its_way_into_the_file() -> None:
    graph = small_network()
    weights = weights_module.random(graph)
    built = model.build_model(graph, weights, keep_bn=True)
    for name in ("conv1.weight", "fc.weight", "bn1.running_mean"):
        (buffer,) = built.initializers[name].buffers()
        assert np.shares_memory(np.frombuffer(buffer, np.float32), weights[name])


def test_a_large_product_is_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts together are what the whole is."""
    graph = small_network()
    weights = weights_module.random(graph)
    whole = made(graph, weights)
    monkeypatch.setattr(lowering, "_PART", 60)
    parts = list(model.build_model(graph, weights).initializers["conv1.weight"].buffers())
    assert len(parts) == 4
    assert made(graph, weights) == whole


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


# ---- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a small program in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(TINY)
    return tmp_path


def test_the_options_of_the_command(folder: Path) -> None:
    options = ("--opset", "18", "--batch", "4", "--keep-bn")
    done = run("compile", "tiny.arch", "--to", "onnx", *options, "-o", "m.onnx", "--json")
    assert (done.status, done.err) == (0, "")
    found = onnx.load(folder / "m.onnx")
    assert found.opset_import[0].version == 18
    assert shapes_of(found)[found.graph.input[0].name] == [4, 3, 8, 8]
    assert done.document["ops"]["BatchNormalization"] == 3
    assert done.document["bytes"] == (folder / "m.onnx").stat().st_size


def test_the_size_of_both_files_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", 1000)
    told = run("compile", "tiny.arch", "--to", "onnx", "-o", "m.onnx", "--json").document["bytes"]
    assert told == sum((folder / name).stat().st_size for name in ("m.onnx", "m.onnx.data"))


@pytest.mark.parametrize(
    ("target", "options", "status", "said"),
    [
        ("onnx", ["--opset", "16"], 1, "E0805"),
        ("onnx", ["--batch", "0"], 2, "dynamic"),
        ("onnx", ["--batch", "many"], 2, "dynamic"),
        ("onnx", ["--init", "he"], 1, "E0804"),
        ("tflite", ["--opset", "17"], 1, "E0804"),
        ("pytorch", ["--keep-bn"], 1, "E0804"),
        ("pytorch", ["--init", "best"], 2, "truncated-normal"),
    ],
)
def test_options_that_cannot_be(folder: Path, target: str, options: list[str], status: int, said: str) -> None:
    done = run("compile", "tiny.arch", "--to", target, *options)
    assert done.status == status
    assert said in done.err
    assert [path.name for path in folder.iterdir()] == ["tiny.arch"]
