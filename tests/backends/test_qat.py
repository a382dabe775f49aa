"""Quantization-aware training: the generated source trains, and the int8 file computes what it computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backend import Artifact, Request, compile_graph
from archlang.backends.pytorch import build_module, generate
from archlang.errors import ArchError
from archlang.ir import Graph, verify
from archlang.quantize import qat
from archlang.quantize.options import Options
from tests.backends.digits import MOBILE, SWISH, Trained, accuracy, fine_tuned
from tests.backends.tflite_run import interpreter, run_tflite
from tests.e2e import program


def compiled(net: Trained, calibration: NDArray[np.float32] | None = None) -> Artifact:
    options = Options(ranges=qat.learnt(net.weights))
    weights = weights_module.checked(net.graph, net.weights)
    return compile_graph(net.graph, "tflite", Request(weights, "int8", calibration, quantization=options))


def module_output(net: Trained) -> NDArray[np.float32]:
    with torch.no_grad():
        found: NDArray[np.float32] = net.module.eval()(torch.from_numpy(net.x)).numpy()
    return found


@pytest.mark.parametrize(
    ("text", "ranges", "most"), [(MOBILE, "moving-average", 2), (SWISH, "moving-average", 4), (MOBILE, "learned", 2)]
)
def test_the_file_computes_what_the_module_computed(text: str, ranges: str, most: float) -> None:
    """Both round at the same places by the same scales. What is left are ties, sums in another order and, in the file,
    products that round once more: four gates in steps of 1 / 256 in the net with swish and squeeze-and-excitation."""
    net = fine_tuned(text, ranges)
    artifact = compiled(net)
    wanted, found = module_output(net), run_tflite(artifact.data, net.x, kernels="reference")["output"]
    scale = interpreter(artifact.data).get_output_details()[0]["quantization"][0]
    steps = np.abs(wanted - found) / scale
    assert steps.mean() < 1
    assert np.quantile(steps, 0.99) < most + 0.1
    assert accuracy(wanted, net.labels) > 0.9
    assert accuracy(found, net.labels) > accuracy(wanted, net.labels) - 0.015  # 5 of 397 images


def test_the_scales_of_the_file_are_those_of_the_training() -> None:
    net = fine_tuned(MOBILE, "moving-average")
    details = {detail["name"]: detail for detail in interpreter(compiled(net).data, keep=True).get_tensor_details()}
    names = {
        "image": "image_range",
        "stem": "stem_act_range",
        "head": "head_act_range",
        "classifier": "classifier_range",
    }
    for tensor, called in names.items():
        low, high = (float(net.weights[f"{called}.{end}"]) for end in ("low", "high"))
        scale, zero_point = details[tensor]["quantization"]
        assert scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-6)
        assert zero_point == pytest.approx(-128 - min(low, 0) / scale, abs=0.51)


def test_ranges_travel_in_the_weights_file(tmp_path: Path) -> None:
    net = fine_tuned(MOBILE, "moving-average")
    (tmp_path / "net.arch").write_text(MOBILE)
    weights_module.save({k: v for k, v in net.weights.items() if v.dtype == np.float32}, tmp_path / "qat.safetensors")
    done = program.archlang(
        *("compile", tmp_path / "net.arch", "--to", "tflite", "--quantize", "int8"),
        *("--weights", tmp_path / "qat.safetensors", "-o", tmp_path / "m.tflite", "--json"),
    )
    assert done.status == 0, done.err
    found = run_tflite((tmp_path / "m.tflite").read_bytes(), net.x[:8])["output"]
    np.testing.assert_array_equal(found, run_tflite(compiled(net).data, net.x[:8])["output"])


def test_the_same_weights_make_a_float_file() -> None:
    net = fine_tuned(MOBILE, "moving-average")
    weights = weights_module.checked(net.graph, net.weights)
    found = run_tflite(compile_graph(net.graph, "tflite", Request(weights)).data, net.x)["output"]
    assert accuracy(found, net.labels) > 0.9


# ---- the parts of the generated source, beside PyTorch's own roundings -----------------------------------------------


def parts(qat_ranges: str = "moving-average") -> Any:
    """The module of a net with a convolution, a transposed one and a linear layer."""
    text = (
        "net N:\n  input (3, 8, 8)\n  conv(4, 3, norm=bn, act=relu)\n  conv_transpose(5, 3, s=2)\n  gap -> linear(6)\n"
    )
    source = generate(archlang.loads(text).graph, qat=qat_ranges)
    return build_module(source.text, source.class_name)


def test_values_are_rounded_as_by_pytorch() -> None:
    module = parts().train()
    x = torch.randn(4, 3, 8, 8) * 3
    layer = _ranges(module)[0]
    y = layer(x)
    low, high = float(x.min()), float(x.max())
    assert (float(layer.low), float(layer.high)) == (low, high)
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale)
    wanted = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-5)
    layer.eval()
    beyond = layer(torch.tensor([10 * high, 10 * low]))
    torch.testing.assert_close(beyond, torch.tensor([127.0 - zero_point, -128.0 - zero_point]) * scale)


def test_the_range_follows_the_batches() -> None:
    layer = _ranges(parts())[0].train()
    layer(torch.tensor([-1.0, 2.0]))
    layer(torch.tensor([-3.0, 4.0]))
    assert (float(layer.low), float(layer.high)) == pytest.approx((-1.2, 2.2))
    layer.eval()(torch.tensor([-9.0, 9.0]))
    assert float(layer.high) == pytest.approx(2.2)


def test_weights_are_rounded_as_by_pytorch() -> None:
    module = parts()
    conv, linear = (
        next(m for m in module.modules() if type(m).__name__ == name) for name in ("QuantConv2d", "QuantLinear")
    )
    scales = conv.weight.detach().abs().amax((1, 2, 3)) / 127
    wanted = torch.fake_quantize_per_channel_affine(
        conv.weight, scales, torch.zeros(4, dtype=torch.int32), 0, -127, 127
    )
    x = torch.randn(2, 3, 8, 8)
    expected = torch.nn.functional.conv2d(x, wanted, conv.bias, conv.stride, conv.padding)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-5)
    scale = float(linear.weight.detach().abs().max() / 127)
    wanted = torch.fake_quantize_per_tensor_affine(linear.weight, scale, 0, -127, 127)
    x = torch.randn(2, linear.in_features)
    torch.testing.assert_close(linear(x), x @ wanted.T + linear.bias, rtol=0, atol=1e-5)


def test_rounding_before_a_norm_is_rounding_after_it() -> None:
    """Why BatchNorm needs no care: the scale of a channel's weights grows with the norm's factor."""
    weight, gain = torch.randn(6, 3, 3, 3), torch.tensor([1.7, -0.3, 2e-3, 40.0, -5.0, 1.0])

    def rounded(w: torch.Tensor) -> torch.Tensor:
        scales = w.abs().amax((1, 2, 3)) / 127
        return torch.fake_quantize_per_channel_affine(w, scales, torch.zeros(6, dtype=torch.int32), 0, -127, 127)

    factors = gain[:, None, None, None]
    torch.testing.assert_close(rounded(weight) * factors, rounded(weight * factors))


@pytest.mark.parametrize("ranges", qat.RANGES)
def test_gradients_pass_inside_the_range_alone(ranges: str) -> None:
    layer = _ranges(parts(ranges))[0].train()
    layer(torch.tensor([-1.0, 1.0]))
    layer.momentum = 0
    x = torch.tensor([-3.0, -0.5, 0.2, 3.0], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 1.0, 1.0, 0.0]))


def test_learned_ranges_have_gradients() -> None:
    """What lies beyond an end moves it; the other end moves the steps alone."""
    layer = _ranges(parts("learned"))[0].train()
    layer(torch.tensor([-1.0, 1.0]))
    layer(torch.full((8,), 5.0)).sum().backward()
    assert layer.high.grad > 0
    assert abs(layer.low.grad) < 0.1 * layer.high.grad


def _ranges(module: torch.nn.Module) -> list[Any]:
    return [part for part in module.modules() if type(part).__name__ == "FakeQuantize"]


# ---- where values are rounded ----------------------------------------------------------------------------------------


def rounded_in(text: str) -> list[str]:
    graph = verify(qat.prepared(archlang.loads(text).graph))
    return [node.name for node in graph.nodes if isinstance(node.op, qat.FakeQuantize)]


def test_values_are_rounded_where_a_file_holds_them() -> None:
    text = """
net N:
  input image (3, 8, 8)
  conv(4, 3, norm=bn, act=relu) as a
  add:
    skip
    conv(4, 3, norm=bn, act=none) as b
  relu as last
  maxpool(2)
  concat:
    conv(4, 1, norm=none, act=none) as c
    conv(4, 1, norm=none, act=none) as d
  sigmoid as gate
"""
    names = rounded_in(text)
    assert names[0] == "image_range"
    assert [name for name in names if name.startswith(("c", "d"))] == ["concat1_range"]
    assert "last_range" in names
    assert "gate_range" in names
    assert not any("maxpool" in name for name in names)


PROJECTED = """
net N:
  input (3, 8, 8)
  residual(project=avgpool(2, s=2) -> conv(8, 1)) -> relu:
    conv(8, 3, s=2)
  residual(project=conv(4, 3, s=2, norm=bn, act=relu) -> conv(16, 1)) -> relu:
    conv(16, 3, s=2)
  gap -> linear(3)
"""


def test_ranges_stand_beside_what_is_called_by_numbers() -> None:
    """A projection is an nn.Sequential: all of the plain module's arrays keep their names."""
    net = archlang.loads(PROJECTED)
    plain, module = net.to_torch().eval(), net.to_torch(qat="moving-average")
    left = module.load_state_dict(plain.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(name.endswith(("_range.low", "_range.high")) for name in left.missing_keys)
    found = sorted(name.removesuffix(".low") for name in left.missing_keys if name.endswith(".low") and "down" in name)
    assert found == ["downsample1_op2_range", "downsample1_op3_range", "downsample_op1_range"]
    module.train()(torch.randn(8, 3, 8, 8))
    arrays = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    options = Options(ranges=qat.learnt(arrays))
    x = torch.randn(4, 3, 8, 8)
    file = compile_graph(
        net.graph, "tflite", Request(weights_module.checked(net.graph, arrays), "int8", quantization=options)
    )
    wanted = module.eval()(x).detach().numpy()
    np.testing.assert_allclose(run_tflite(file.data, x.numpy())["output"], wanted, atol=0.05 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("op", "called"),
    [
        ("conv1", "conv1_range"),
        ("layer1.0.conv1", "layer1.0.conv1_range"),
        ("layer1.0.downsample.1", "layer1.0.downsample_op1_range"),
        ("features.3.1", "features_op3_1_range"),
        ("3", "op3_range"),
    ],
)
def test_what_a_range_is_called(op: str, called: str) -> None:
    assert qat.range_name(op) == called


def test_ranges_that_no_batch_has_set_are_refused() -> None:
    module = parts()
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    with pytest.raises(ArchError, match="never seen in training"):
        qat.learnt(arrays)
    name = next(name for name in arrays if name.endswith("_range.low"))
    with pytest.raises(ArchError, match="one end only"):
        qat.learnt({name: np.float32(0)})
    with pytest.raises(ArchError, match="which is none"):
        qat.learnt({name: np.float32(2), name.replace("low", "high"): np.float32(1)})


def test_ranges_inside_layers_need_calibration() -> None:
    """Of attention, training knows what comes out and not what is inside."""
    graph = archlang.loads("net N:\n  input (6, 4)\n  attention(heads=2)\n").graph
    source = generate(graph, qat="moving-average")
    module = build_module(source.text, source.class_name).train()
    x = torch.randn(8, 6, 4)
    module(x)
    arrays = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    request = Request(weights_module.checked(graph, arrays), "int8", quantization=Options(ranges=qat.learnt(arrays)))
    with pytest.raises(ArchError, match="none for `attention"):
        compile_graph(graph, "tflite", request)


NETS = [
    "mobilenet_v2",
    "mobilenet_v3:small",
    "efficientnet:b0",
    "resnet:r18",
    "densenet:d121",
    "shufflenet_v2:x0_5",
    "googlenet",
]


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_zoo_nets_train_and_their_ranges_reach_the_file(net: str) -> None:
    """Ranges of every value in the file come from one batch in training: no calibration is asked for."""
    graph: Graph = archlang.load(f"zoo:{net}").graph
    source = generate(graph, qat="moving-average")
    module = build_module(source.text, source.class_name).train()
    shape = graph.nodes[graph.inputs[0]].type.shape
    result = module(torch.randn(2, *shape))
    (result[0] if isinstance(result, tuple) else result).sum().backward()
    arrays = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    options = Options(ranges=qat.learnt(arrays))
    request = Request(weights_module.checked(graph, arrays), "int8", quantization=options)
    assert len(options.ranges) > 20
    y = run_tflite(
        compile_graph(graph, "tflite", request).data, np.random.default_rng(0).random((1, *shape), np.float32)
    )
    assert np.isfinite(next(iter(y.values()))).all()
