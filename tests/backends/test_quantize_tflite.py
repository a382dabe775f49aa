"""The quantize pass on its way to a .tflite file: what its options gain on trained networks, what its report says, and
what it does with inputs and weights that are wrong."""

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
from archlang.backends.tflite import PIPELINE, bias
from archlang.backends.tflite.calibrate import observed
from archlang.backends.tflite.hybrid import hybrid
from archlang.backends.tflite.lowering import lower
from archlang.errors import ArchError
from archlang.ir import Graph
from archlang.passes import run
from archlang.quantize import observers, qat
from archlang.quantize.options import Budget, Options, Tuning
from tests.backends import reference
from tests.backends.digits import MOBILE, SWISH, Trained, accuracy, trained
from tests.backends.tflite_run import channels_first, interpreter, real, run_tflite, stored
from tests.e2e import program

RELU = MOBILE.replace("Mobile:", "Plain:").replace("relu6", "relu")


def int8(net: Trained, weights: Any = None, mode: str = "int8", **options: Any) -> Artifact:
    request = Request(weights or net.weights_only, mode, net.seen, quantization=Options(**options))
    return compile_graph(net.graph, "tflite", request)


def snr(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """In decibels."""
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


def output_snr(net: Trained, artifact: Artifact) -> float:
    wanted = reference.run(net.graph, net.weights_only, net.x)["output"]
    return snr(wanted, run_tflite(artifact.data, net.x)["output"])


# ---- what options gain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observer", observers.OBSERVERS)
def test_every_observer_keeps_the_accuracy(observer: str) -> None:
    """0.5 points of 397 images are two."""
    net = trained(SWISH)
    wanted = accuracy(reference.run(net.graph, net.weights_only, net.x)["output"], net.labels)
    found = run_tflite(int8(net, tuning=Tuning(observer)).data, net.x)["output"]
    assert wanted > 0.9
    assert accuracy(found, net.labels) >= wanted - 0.0051


@pytest.mark.parametrize(
    "options",
    [{}, {"equalize": True}, {"bias_correction": True}, {"equalize": True, "bias_correction": True},
     {"tuning": Tuning("mse")}, {"budget": Budget(layers=2)}],
)  # fmt: skip
def test_swish_and_squeeze_and_excitation_survive(options: dict[str, Any]) -> None:
    net = trained(SWISH)
    wanted = reference.run(net.graph, net.weights_only, net.x)["output"]
    found = run_tflite(int8(net, **options).data, net.x)["output"]
    assert (wanted * found).sum() / np.sqrt((wanted**2).sum() * (found**2).sum()) > 0.99


def spread(net: Trained) -> dict[str, NDArray[np.float32]]:
    """Other weights of the same function, which have channels of very different ranges between the expansions and the
    depthwise convolutions: what a BatchNorm divides a channel by, the depthwise kernel multiplies it with."""
    weights = dict(net.weights_only)
    for name in [name for name in weights if name.endswith("expand_bn.weight")]:
        factors = (2.0 ** np.random.default_rng(0).uniform(-4, 4, len(weights[name]))).astype(np.float32)
        above = name.removesuffix("expand_bn.weight")
        for local in ("weight", "bias"):
            weights[f"{above}expand_bn.{local}"] = weights[f"{above}expand_bn.{local}"] / factors
        weights[f"{above}depthwise.weight"] = weights[f"{above}depthwise.weight"] * factors[:, None, None, None]
    return weights


def test_equalisation_brings_back_what_spread_channels_lose() -> None:
    net = trained(RELU)
    weights = spread(net)
    plain = output_snr(net, int8(net))
    lost = output_snr(net, int8(net, weights))
    found = output_snr(net, int8(net, weights, equalize=True))
    assert lost < plain - 5
    assert found > plain - 1


def test_equalisation_changes_no_float_output() -> None:
    """The claim's weights are the equalised ones: PyTorch computes the same with them."""
    net = trained(RELU)
    artifact = int8(net, spread(net), equalize=True)
    assert artifact.claim is not None
    assert artifact.claim.weights is not None
    wanted = reference.run(net.graph, net.weights_only, net.x)["output"]
    found = reference.run(net.graph, artifact.claim.weights, net.x)["output"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


def test_bias_correction_takes_the_shift_of_the_mean_away() -> None:
    """Over the calibration inputs, the quantized layers' means come nearer to those of the float network."""
    net = trained(MOBILE)
    wanted = reference.trace(net.graph, net.weights_only, net.seen)

    def shifts(artifact: Artifact) -> float:
        made = interpreter(artifact.data, "reference", keep=True)
        values = tensors(made, net.seen)
        means = {node.name: y.mean(0) for node, y in zip(net.graph.nodes, wanted, strict=True)}
        heads = [node for node in net.graph.nodes if node.name.endswith("project")]
        found = []
        for node in heads:
            right = means[f"{node.name}_bn"].mean((1, 2))
            found.append(np.abs(values[node.name].mean((0, 2, 3)) - right).mean() / np.abs(right).mean())
        return float(np.mean(found))

    assert shifts(int8(net)) < 0.7 * shifts(int8(net, bias_correction=False))


def test_biases_learnt_with_roundings_stay_as_they_are() -> None:
    net = trained(MOBILE)
    ranges = {qat.range_name("image"): (-1.0, 1.0)}
    assert int8(net, ranges=ranges).data == int8(net, ranges=ranges, bias_correction=False).data
    assert int8(net, ranges=ranges).data != int8(net, ranges=ranges, bias_correction=True).data


@pytest.mark.parametrize("positions", [(32, 32), (1, 1)])
def test_the_mean_of_a_padded_input_is_seen_before_the_padding(positions: tuple[int, int]) -> None:
    """XNNPACK pads inside of a convolution, but not where calibration looks at what it pads."""
    graph = archlang.loads("net N:\n  input (3, 32, 32)\n  conv(8, 3, s=2, act=relu)\n").graph
    model = lower(run(graph, PIPELINE), weights_module.random(graph, 0))
    assert [op.kind.name for op in model.operators] == ["PAD", "CONV_2D"]
    (image,) = (x for _, x in model.inputs)
    assert bias.inputs(model) == {image: True}
    mean = np.random.default_rng(0).standard_normal((*positions, 3))
    (found,) = bias.means(model, {image: mean}).values()
    whole = np.pad(np.broadcast_to(mean, (32, 32, 3)), ((1, 0), (1, 0), (0, 0)))  # as far as kernels reach
    np.testing.assert_allclose(found.mean((0, 1)), whole.mean((0, 1)), rtol=1e-12)
    assert found.shape == (whole.shape if positions != (1, 1) else mean.shape)


def test_biases_behind_a_flattened_map_are_corrected_element_by_element() -> None:
    """The layer reads a map that was never flattened: the shift of its mean is that of float64 in numpy."""
    graph = archlang.loads("net N:\n  input (3, 8, 8)\n  conv(8, 3, act=relu)\n  flatten -> linear(6)\n").graph
    weights, noise = weights_module.random(graph, 0), np.random.default_rng(0).standard_normal((16, 3, 8, 8))
    x: NDArray[np.float32] = (noise + np.linspace(0, 2, 8)).astype(np.float32)
    wanted = reference.run(graph, weights, x)["output"]
    errors = []
    for corrected in (True, False):
        options = Options(bias_correction=corrected)
        data = compile_graph(graph, "tflite", Request(weights, "int8", x, quantization=options, io="float")).data
        errors.append(np.abs((run_tflite(data, x)["output"] - wanted).mean(0)).mean())
    assert errors[0] < 0.5 * errors[1]


# ---- calibration in eight bits ---------------------------------------------------------------------------------------

DENSE = "net Dense:\n  input (3, 112, 112)\n  conv(32, 3, norm=bn, act=relu) * 3\n  gap -> linear(10)\n"


def test_large_convolutions_show_the_ranges_of_the_float_network() -> None:
    """Calibration multiplies in eight bits there, and the ranges are PyTorch's to a fiftieth."""
    graph = archlang.loads(DENSE).graph
    weights, noise = weights_module.random(graph, 0), np.random.default_rng(0).standard_normal((4, 3, 112, 112))
    x: NDArray[np.float32] = noise.astype(np.float32)
    model = lower(run(graph, PIPELINE), weights)
    quick = hybrid(model, len(x))
    assert quick is not None
    assert sum(t.dtype == np.int8 for t in quick.tensors) == 2  # the first layer keeps floats
    assert hybrid(model, 2) is None
    found = observed(model, {graph.nodes[graph.inputs[0]].name: x}, Tuning()).ranges
    values = reference.trace(graph, weights, x)
    highs = [float(y.max()) for node, y in zip(graph.nodes, values, strict=True) if node.op.name == "relu"]
    made = [found[op.output][1] for op in model.operators if op.kind.name == "CONV_2D"]
    np.testing.assert_allclose(made, highs, rtol=0.02)
    assert made[1:] != pytest.approx(highs[1:], rel=1e-6)  # else nothing was rounded


def test_where_eight_bits_change_the_ranges_floats_calibrate() -> None:
    """One channel of the input is a thousand times the others, whose steps it swallows; the weights undo it."""
    graph = archlang.loads(DENSE).graph
    weights, noise = weights_module.random(graph, 0), np.random.default_rng(0).standard_normal((4, 3, 112, 112))
    x: NDArray[np.float32] = noise.astype(np.float32)
    convs, norms = ([n.name for n in graph.nodes if n.op.name == kind] for kind in ("conv", "bn"))
    for local in ("weight", "bias"):
        weights[f"{norms[0]}.{local}"][0] *= 2000
    weights[f"{convs[1]}.weight"][:, 0] /= 2000
    model = lower(run(graph, PIPELINE), weights)
    found = observed(model, {graph.nodes[graph.inputs[0]].name: x}, Tuning()).ranges
    values = reference.trace(graph, weights, x)
    highs = [float(y.max()) for node, y in zip(graph.nodes, values, strict=True) if node.op.name == "relu"]
    made = [found[op.output][1] for op in model.operators if op.kind.name == "CONV_2D"]
    np.testing.assert_allclose(made, highs, rtol=1e-4)


def tensors(made: Any, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Every activation by its name, as floats, channels first."""
    details = {d["name"]: d for d in made.get_tensor_details()}
    into = made.get_input_details()[0]
    found: dict[str, list[NDArray[Any]]] = {}
    for sample in x:
        made.set_tensor(into["index"], stored(sample[None].transpose(0, 2, 3, 1), into))
        made.invoke()
        for name, detail in details.items():
            if len(detail["shape"]) == 4 and len(detail["quantization_parameters"]["scales"]) == 1:
                found.setdefault(name, []).append(channels_first(real(made.get_tensor(detail["index"]), detail)))
    return {name: np.concatenate(values) for name, values in found.items()}


# ---- layers in floats ------------------------------------------------------------------------------------------------


def test_named_layers_keep_floats() -> None:
    net = trained(MOBILE)
    artifact = int8(net, keep_float=("*.depthwise", "classifier"))
    kinds = {d["name"]: d["dtype"] for d in interpreter(artifact.data, "reference").get_tensor_details()}
    assert {kind for name, kind in kinds.items() if name.endswith(".depthwise")} == {np.float32}
    assert kinds["classifier"] == np.float32
    assert kinds["stem"] == np.int8
    assert artifact.ops["DEQUANTIZE"] >= 3
    assert output_snr(net, artifact) > output_snr(net, int8(net))


def test_layers_are_found_until_the_outputs_are_as_good_as_asked() -> None:
    net = trained(MOBILE)
    before = int8(net, report=True)
    assert before.report is not None
    wanted = before.report.outputs["output"] + 0.5  # inputs and outputs of eight bits leave room for 0.9
    artifact = int8(net, budget=Budget(snr=wanted), report=True)
    assert artifact.report is not None
    assert artifact.report.outputs["output"] >= wanted
    kept = [layer.name for layer in artifact.report.layers if layer.kept]
    assert 0 < len(kept) < 12
    assert all(name in artifact.warnings[0] for name in kept)
    fixed = int8(net, budget=Budget(layers=2))
    assert len(fixed.warnings[0].split(",")) == 2


def test_a_mode_of_sixteen_bits_knows_the_options_too() -> None:
    net = trained(SWISH)
    artifact = int8(net, mode="int16x8", bias_correction=True, equalize=True, report=True)
    assert artifact.report is not None
    assert artifact.report.outputs["output"] > 30
    assert output_snr(net, artifact) > output_snr(net, int8(net))


# ---- the report ------------------------------------------------------------------------------------------------------


def test_the_report_measures_what_the_layers_lose() -> None:
    """The noise so far, from tensors of the file, beside the network in PyTorch; what the weights alone add, beside
    the layer in PyTorch with rounded weights; what the rounding of values adds, beside PyTorch's. Biases are left
    alone, since PyTorch's layer knows of no correction."""
    net = trained(MOBILE)
    artifact = int8(net, report=True, bias_correction=False)
    assert artifact.report is not None
    rows = {layer.name: layer for layer in artifact.report.layers}
    x = net.seen[: artifact.report.samples]
    wanted = dict(zip((n.name for n in net.graph.nodes), reference.trace(net.graph, net.weights_only, x), strict=True))
    found = tensors(interpreter(artifact.data, "reference", keep=True), x)
    for name, tail in (("stem", "stem_act"), ("head", "head_act")):
        assert rows[name].snr == pytest.approx(snr(wanted[tail], found[name]), abs=0.5)  # XNNPACK and its reference
        low, high = (min(float(wanted[tail].min()), 0), float(wanted[tail].max()))
        step = (rows[name].range[1] - min(rows[name].range[0], 0)) / 255  # type: ignore[index]
        rounded = torch.fake_quantize_per_tensor_affine(torch.from_numpy(wanted[tail]), step, -128, -128, 127).numpy()
        assert low == 0 < high
        assert rows[name].activation_snr == pytest.approx(snr(wanted[tail], rounded), abs=0.1)
    rounded_weights = {**net.weights_only, "stem.weight": per_channel(net.weights_only["stem.weight"])}
    values = reference.trace(net.graph, rounded_weights, x)
    index = next(i for i, node in enumerate(net.graph.nodes) if node.name == "stem_act")
    assert rows["stem"].weight_snr == pytest.approx(snr(wanted["stem_act"], values[index]), abs=0.1)
    assert artifact.report.worst[0].own_snr == min(layer.own_snr for layer in rows.values())
    assert rows["stem"].bytes == 12 * 9 + 12 * 4
    assert rows["stem"].float_bytes == 4 * (12 * 9 + 12)


def per_channel(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    w = torch.from_numpy(weight)
    scales, zeros = w.abs().amax((1, 2, 3)) / 127, torch.zeros(len(w), dtype=torch.int32)
    found: NDArray[np.float32] = torch.fake_quantize_per_channel_affine(w, scales, zeros, 0, -127, 127).numpy()
    return found


def test_the_gain_of_floats_is_what_it_says() -> None:
    net = trained(MOBILE)
    report = int8(net, report=True).report
    assert report is not None
    layer = next(layer for layer in report.worst if layer.gain is not None)
    kept = int8(net, keep_float=(layer.name,), report=True).report
    assert kept is not None
    assert kept.outputs["output"] - report.outputs["output"] == pytest.approx(layer.gain, abs=1e-3)


def test_the_command_prints_and_writes_the_report(tmp_path: Path) -> None:
    net = trained(MOBILE)
    (tmp_path / "net.arch").write_text(MOBILE)
    weights_module.save(net.weights_only, tmp_path / "w.safetensors")
    np.savez(tmp_path / "x.npz", image=net.seen)
    common = (
        "compile",
        tmp_path / "net.arch",
        "--to",
        "tflite",
        "--weights",
        tmp_path / "w.safetensors",
        "--quantize",
        "int8",
    )
    inputs = ("--calibration", tmp_path / "x.npz", "-o", tmp_path / "m.tflite", "--observer", "mse")
    done = program.archlang(*common, *inputs, "--equalize", "--bias-correction", "--float", "stem,auto=1", "--report")
    assert done.status == 0, done.err
    assert "signal to noise of int8" in done.out
    assert "conv (float)" in done.out
    assert "kept in floats" in done.err
    document = program.archlang(*common, *inputs, "--json", "--report", tmp_path / "r.html").document
    assert document["report"]["worst"][0] in (tmp_path / "r.html").read_text()
    assert {layer["name"] for layer in document["report"]["layers"]} >= {"stem", "head", "classifier"}
    assert program.archlang(*common, *inputs, "--report", tmp_path / "r.md").status == 0
    assert "| layer | op |" in (tmp_path / "r.md").read_text()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--report",), 1, "E0822"),
        (("--bias-correction",), 1, "E0822"),
        (("--float", "auto=2"), 1, "E0822"),
        (("--float", "nothing"), 1, "E0821"),
        (("--float", "auto=some"), 2, "neither a number"),
        (("--float", "auto=1,auto=2"), 2, "one `auto=`"),
        (("--observer", "best"), 1, "E0820"),
        (("--report", "r.pdf"), 1, "E0825"),
    ],
)
def test_options_that_cannot_be_are_refused(options: tuple[str, ...], status: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "net.arch").write_text(MOBILE)
    common = ("compile", tmp_path / "net.arch", "--to", "tflite", "--quantize", "int8", "-o", tmp_path / "m.tflite")
    done = program.archlang(*common, *options)
    assert done.status == status
    assert words in done.err
    assert not (tmp_path / "m.tflite").exists()


def test_options_of_integers_are_refused_elsewhere() -> None:
    net = trained(MOBILE)
    for target, mode in (("tflite", "none"), ("onnx", "none")):
        with pytest.raises(ArchError, match="E0804"):
            compile_graph(net.graph, target, Request(net.weights_only, mode, quantization=Options(equalize=True)))


# ---- wrong inputs, strange weights -----------------------------------------------------------------------------------


def two_inputs() -> tuple[Graph, dict[str, NDArray[np.float32]]]:
    from archlang.ir import Builder, verify
    from archlang.ops.conv import Conv2d
    from archlang.ops.join import Add

    builder = Builder("Two")
    left, right = builder.input(3, 8, 8, name="left"), builder.input(2, 8, 8, name="right")
    a = builder.add(Conv2d(4, (3, 3), padding=(1, 1, 1, 1)), left)
    b = builder.add(Conv2d(4, (1, 1)), right)
    builder.output(builder.add(Add(), a, b), "y")
    generator = np.random.default_rng(0)
    arrays = {"left": generator.standard_normal((6, 3, 8, 8)), "right": 5 * generator.standard_normal((6, 2, 8, 8))}
    return verify(builder.build()), {name: array.astype(np.float32) for name, array in arrays.items()}


def test_networks_of_several_inputs_are_calibrated_by_name(tmp_path: Path) -> None:
    graph, samples = two_inputs()
    weights = weights_module.random(graph, 0)
    artifact = compile_graph(graph, "tflite", Request(weights, "int8", samples))
    scales = {d["name"]: d["quantization"][0] for d in interpreter(artifact.data).get_input_details()}
    assert len(scales) == 2
    for name, scale in scales.items():
        array = samples["left" if "left" in name else "right"]
        assert scale == pytest.approx((float(array.max()) - float(array.min())) / 255, rel=1e-5)
    found = run_tflite(artifact.data, samples["left"], samples["right"])["y"]
    assert snr(reference.run(graph, weights, samples["left"], samples["right"])["y"], found) > 30
    with pytest.raises(ArchError, match="holds nothing for `right`"):
        compile_graph(graph, "tflite", Request(weights, "int8", samples["left"]))
    with pytest.raises(ArchError, match="different numbers of samples"):
        compile_graph(graph, "tflite", Request(weights, "int8", {**samples, "right": samples["right"][:3]}))


def test_the_sample_that_is_not_finite_is_named() -> None:
    net = trained(RELU)
    x = net.seen.copy()
    x[5, 0, 2, 3] = np.nan
    with pytest.raises(ArchError, match="in sample 5"):
        compile_graph(net.graph, "tflite", Request(net.weights_only, "int8", x))
    x[5] = np.where(np.indices((8, 8)).sum(0) % 2, 3e38, -3e38)
    with pytest.raises(ArchError, match="not finite of calibration input 5"):
        compile_graph(net.graph, "tflite", Request(net.weights_only, "int8", x))


def test_inputs_of_another_scale_are_a_warning_with_both_ranges() -> None:
    net = trained(MOBILE)
    assert compile_graph(net.graph, "tflite", Request(net.weights_only, "int8", net.seen)).warnings == ()
    (warning,) = compile_graph(net.graph, "tflite", Request(net.weights_only, "int8", 255 * (net.seen + 1))).warnings
    assert "run from 0 to 510" in warning
    assert "times smaller" in warning


@pytest.mark.parametrize("observer", observers.OBSERVERS)
@pytest.mark.parametrize("options", [{}, {"equalize": True, "bias_correction": True, "report": True}])
def test_dead_channels_and_constant_values(observer: str, options: dict[str, Any]) -> None:
    """All-zero weights in some channels, in a whole layer, and a layer whose value never changes."""
    net = trained(MOBILE)
    weights = {name: array.copy() for name, array in net.weights_only.items()}
    weights["stem.weight"][:5] = 0
    weights["stem_bn.bias"][:5] = 0
    weights["stem_bn.running_mean"][:5] = 0
    head = "head.weight"
    weights[head][:] = 0
    artifact = int8(net, weights, tuning=Tuning(observer), **options)
    found = run_tflite(artifact.data, net.x[:16])["output"]
    wanted = reference.run(net.graph, weights, net.x[:16])["output"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05 * float(np.abs(wanted).max()))


def test_fixed_scales_stay_under_all_options() -> None:
    text = "net N:\n  input (3, 8, 8)\n  conv(8, 3)\n  sigmoid\n  conv(8, 3)\n  tanh\n  gap -> linear(4) -> softmax\n"
    graph = archlang.loads(text).graph
    x = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    options = Options(Tuning("percentile", 90), equalize=True, bias_correction=True, report=True)
    request = Request(weights_module.random(graph, 0), "int8", x, quantization=options)
    details = interpreter(compile_graph(graph, "tflite", request).data, "reference").get_tensor_details()
    found = {d["name"]: d["quantization"] for d in details}
    for op, wanted in (("sigmoid", (1 / 256, -128)), ("tanh", (1 / 128, 0)), ("softmax", (1 / 256, -128))):
        name = next(node.name for node in graph.nodes if node.op.name == op)
        assert found[name] == wanted
