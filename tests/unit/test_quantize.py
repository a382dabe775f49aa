"""Ranges, equalisation, bias correction, sensitivity: beside numpy and PyTorch, on arrays and on small graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

import archlang
from archlang import weights as weights_module
from archlang.errors import ArchError
from archlang.ir import Graph, Node
from archlang.ops.norm import BatchNorm
from archlang.passes import fuse_activations, fuse_norms, inference, run
from archlang.quantize import bias, calibrate, observers, scale, sensitivity
from archlang.quantize.equalize import chains, equalized
from archlang.quantize.options import Budget, Samples, See, Tuning, matching
from archlang.quantize.report import Layer, Noise, Report, html, markdown
from tests.backends import reference


def seen(tuning: str, *batches: NDArray[Any]) -> tuple[float, float]:
    observer = observers.made(observers.parsed(tuning))
    for batch in batches:
        values = batch.astype(np.float32)
        observer.see(values, float(values.min()), float(values.max()))
    return observer.range()


def error_of(values: NDArray[Any], low: float, high: float) -> float:
    """The mean square of what int8 with this range does to the values, by PyTorch."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero_point = int(np.clip(round(-128 - low / step), -128, 127))
    x = torch.from_numpy(values.astype(np.float32))
    rounded = torch.fake_quantize_per_tensor_affine(x, step, zero_point, -128, 127)
    return float(((x - rounded) ** 2).mean())


def heavy(seed: int = 0, count: int = 30_000) -> NDArray[np.float32]:
    """Values of a layer: most of them small, a few far out."""
    return np.random.default_rng(seed).standard_t(3, count).astype(np.float32)


# ---- observers -------------------------------------------------------------------------------------------------------


def test_min_max_takes_all() -> None:
    assert seen("min-max", np.array([1.0, 3.0]), np.array([-2.0, 0.5])) == (-2.0, 3.0)


def test_moving_average_is_the_exponential_one() -> None:
    found = seen("moving-average=0.75", *(np.array([-x, 2 * x]) for x in (1.0, 2.0, 5.0)))
    assert found == pytest.approx((-(1 * 0.75 + 2 * 0.25) * 0.75 - 5 * 0.25, 2 * ((1 * 0.75 + 2 * 0.25) * 0.75 + 1.25)))


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
def test_percentile_is_that_of_numpy(percent: float) -> None:
    """But for the width of a bin, and for what lies between two values far out."""
    values = heavy()
    low, high = seen(f"percentile={percent}", *np.split(values, 6))
    width = 2 * float(np.abs(values).max()) / 2048
    around = np.array([-0.01, 0.01])
    for end, at in ((low, 100 - percent), (high, percent)):
        least, most = np.percentile(values, at + around)
        assert least - width <= end <= most + width


def test_mse_is_as_good_as_the_best_of_many_ranges() -> None:
    values = heavy(1)
    best = min(
        error_of(values, low, high)
        for low in np.linspace(values.min(), values.min() / 20, 40)
        for high in np.linspace(values.max(), values.max() / 20, 40)
    )
    found = error_of(values, *seen("mse", *np.split(values, 6)))
    assert found <= 1.1 * best
    assert found < error_of(values, *seen("min-max", values))


def test_mse_is_no_worse_than_pytorch_histograms() -> None:
    from torch.ao.quantization.observer import HistogramObserver

    values = heavy(2)
    theirs = HistogramObserver(dtype=torch.qint8, quant_min=-128, quant_max=127)
    for part in np.split(values, 6):
        theirs(torch.from_numpy(part))
    step, zero_point = (float(x) for x in theirs.calculate_qparams())
    low, high = (-128 - zero_point) * step, (127 - zero_point) * step
    assert error_of(values, *seen("mse", *np.split(values, 6))) <= 1.05 * error_of(values, low, high)


def test_entropy_cuts_outliers_and_keeps_what_has_none() -> None:
    values = np.random.default_rng(0).standard_normal(30_000)
    far = np.append(values, [80.0, -60.0])
    low, high = seen("entropy", far)
    assert -20 < low < -2.5
    assert 2.5 < high < 20
    low, high = seen("entropy", np.random.default_rng(0).uniform(-1, 3, 30_000))
    assert low < -0.9
    assert high > 2.7


@pytest.mark.parametrize("name", observers.OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 5.0, -2.5])
def test_constant_values_have_a_range(name: str, value: float) -> None:
    low, high = seen(name, np.full(100, value), np.full(100, value))
    assert min(low, 0) <= value * 0.9 <= max(high, 0) or value == low == high
    assert np.isfinite([low, high]).all()


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=60),
    st.sampled_from(list(observers.OBSERVERS)),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_no_range_is_wider_than_the_values(values: list[float], name: str, parts: int) -> None:
    array = np.array(values)
    low, high = seen(name, *np.array_split(array, min(parts, len(array))))
    edge = 1e-6 * float(np.abs(array).max()) + 1e-30
    assert min(array.min(), 0) - edge <= low <= high <= max(array.max(), 0) + edge


def test_histograms_lose_no_count_when_they_grow() -> None:
    histogram = observers.Histogram()
    batches = [np.random.default_rng(i).standard_normal(1000).astype(np.float32) * 4**i for i in range(6)]
    for batch in batches:
        histogram.see(batch, float(batch.min()), float(batch.max()))
    edges = (np.arange(-2048, 2049)) * histogram.width
    wanted, _ = np.histogram(np.concatenate(batches), edges)
    np.testing.assert_array_equal(histogram.counts, wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [("percentil", "did you mean `percentile`"), ("percentile=120", "from 50 to 100"), ("mse=3", "takes no parameter"),
     ("percentile=x", "no parameter of"), ("moving-average=1", "no parameter of")],
)  # fmt: skip
def test_observers_that_do_not_exist_are_refused(text: str, words: str) -> None:
    with pytest.raises(ArchError, match=words):
        observers.parsed(text)


# ---- calibration -----------------------------------------------------------------------------------------------------


class Doubling:
    """An executor that shows its input and twice that."""

    names = ("x", "twice/inner")

    def run(self, sample: Samples, see: See) -> None:
        see("x", sample["x"])
        with np.errstate(over="ignore"):
            see("twice/inner", sample["x"] * np.float32(2))


def test_ranges_are_those_of_all_samples() -> None:
    samples = {"x": np.array([[1.0, -4.0], [3.0, 2.0]], np.float32)}
    found = calibrate.observed(Doubling(), samples, Tuning(), {}, calibrate.Wanted(Doubling.names))
    assert found == calibrate.Seen({"x": (-4.0, 3.0), "twice/inner": (-8.0, 6.0)}, {})


def test_ranges_are_found_in_values_larger_than_a_block() -> None:
    x = np.random.default_rng(0).standard_normal((3, 150_001)).astype(np.float32)
    wanted = calibrate.Wanted(Doubling.names, positive=("twice/inner",))
    found = calibrate.observed(Doubling(), {"x": x}, Tuning(), {}, wanted).ranges
    assert found == {"x": (float(x.min()), float(x.max())), "twice/inner": (0.0, 2 * float(x.max()))}
    assert np.isnan(calibrate.ends(np.where(np.arange(150_001) == 70_000, np.nan, x[0]))).all()


@pytest.mark.parametrize("name", observers.OBSERVERS)
def test_the_sample_with_an_infinity_is_named(name: str) -> None:
    samples = {"x": np.array([[1.0], [2.0], [3e38], [1.0]], np.float32)}
    with pytest.raises(ArchError, match=r"`twice` makes values that are not finite of calibration input 2"):
        calibrate.observed(Doubling(), samples, Tuning(name), {}, calibrate.Wanted(Doubling.names))


def test_means_are_those_of_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    wanted = calibrate.Wanted((), means={"twice/inner": False, "x": True})
    found = calibrate.observed(Doubling(), {"x": x}, Tuning(), {}, wanted).means
    np.testing.assert_allclose(found["twice/inner"], 2 * x.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["x"], x.mean(axis=(0, 1))[None, None], rtol=1e-4, atol=1e-6)


def test_the_mean_of_a_large_map_is_taken_from_some_of_its_positions() -> None:
    """Of smooth maps, as those of images are: off by less than a twentieth of what they spread by."""
    places = np.linspace(0, np.pi, 64, dtype=np.float32)
    maps = np.sin(places)[:, None, None] * np.cos(places)[None, :, None] + np.arange(6, dtype=np.float32)
    x = np.stack([maps, 2 * maps])
    found = calibrate.observed(Doubling(), {"x": x}, Tuning(), {}, calibrate.Wanted((), means={"x": True})).means
    np.testing.assert_allclose(found["x"][0, 0], x.mean(axis=(0, 1, 2)), atol=0.05 * float(x.std(axis=(0, 1, 2)).max()))


@pytest.mark.parametrize("flat", [True, False])
def test_means_over_all_positions_are_taken_of_some_samples(flat: bool) -> None:
    """Of every fourth of 32; those element by element are taken of all, as no other positions make up for a sample."""
    x = np.random.default_rng(0).standard_normal((32, 4, 4, 3)).astype(np.float32)
    found = calibrate.observed(Doubling(), {"x": x}, Tuning(), {}, calibrate.Wanted((), means={"x": flat})).means
    wanted = x[::4].mean(axis=(0, 1, 2))[None, None] if flat else x.mean(axis=0)
    np.testing.assert_allclose(found["x"], wanted, atol=1e-6)


# ---- equalisation ----------------------------------------------------------------------------------------------------

SPREAD = """
net Spread:
  default conv(norm=bn, act={act})
  input image (3, 12, 12)
  conv(16, 3)
  dwconv(3, s=2)
  conv(24, 1, act=none)
  conv(32, 1)
  maxpool(2)
  conv(16, 3, groups=4, norm=none)
  gap -> linear(20) -> relu -> linear(5)
"""


def spread(act: str = "relu", seed: int = 0) -> tuple[Graph, dict[str, NDArray[np.float32]]]:
    """A network whose channels differ in range by a factor of thousands."""
    graph = run(archlang.loads(SPREAD.format(act=act)).graph, (inference, fuse_norms, fuse_activations))
    weights = weights_module.random(graph, seed)
    for norm in norms(graph):
        factors = 10.0 ** np.random.default_rng(seed).uniform(-1.5, 1.5, norm.type.channels)
        for local in ("weight", "bias"):
            weights[f"{norm.name}.{local}"] = (weights[f"{norm.name}.{local}"] * factors).astype(np.float32)
    return graph, weights


def norms(graph: Graph) -> list[Node]:
    return [part for node in graph.nodes for part in node.fused if isinstance(part.op, BatchNorm)]


def channel_ranges(graph: Graph, weights: Mapping[str, Any], x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    values = reference.trace(graph, weights, x)
    axes = {4: (0, 2, 3), 3: (0, 1), 2: (0,)}
    return {n.name: np.abs(y).max(axis=axes[y.ndim]) for n, y in zip(graph.nodes, values, strict=True)}


@pytest.mark.parametrize("act", ["relu", "relu6", "leaky_relu"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_equalisation_changes_no_output(act: str, calibrated: bool) -> None:
    graph, weights = spread(act)
    x = np.random.default_rng(1).standard_normal((8, 3, 12, 12)).astype(np.float32)
    result = equalized(graph, weights, channel_ranges(graph, weights, x) if calibrated else None)
    assert len(result.changed) >= (3 if calibrated or act != "relu6" else 1)
    assert set(result.weights) == set(weights)
    for name, wanted in reference.run(graph, weights, x).items():
        found = reference.run(graph, result.weights, x)[name]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


def test_equalisation_levels_the_channels() -> None:
    graph, weights = spread()
    x = np.random.default_rng(1).standard_normal((8, 3, 12, 12)).astype(np.float32)
    before = channel_ranges(graph, weights, x)
    result = equalized(graph, weights, before)
    after = channel_ranges(graph, result.weights, x)
    first = graph.nodes[1].name  # before a depthwise convolution any factor will do
    assert before[first].max() > 100 * before[first].min()
    live = after[first][before[first] > 0]
    assert live.max() <= 2.1 * live.min()


def test_channels_that_relu6_cuts_stay_as_they_are() -> None:
    graph, weights = spread("relu6")
    x = np.random.default_rng(1).standard_normal((8, 3, 12, 12)).astype(np.float32)
    before = channel_ranges(graph, weights, x)
    after = channel_ranges(graph, equalized(graph, weights, before).weights, x)
    first = graph.nodes[1].name
    cut = before[first] >= 6
    assert cut.any()
    np.testing.assert_allclose(after[first][cut], 6)
    assert (after[first][~cut] < 6).all()


def test_relu6_is_left_alone_without_inputs() -> None:
    graph, weights = spread("relu6")
    result = equalized(graph, weights)
    assert graph.nodes[1].name in result.skipped


def test_a_value_that_a_sum_reads_is_not_equalised() -> None:
    text = "net N:\n  input (3, 8, 8)\n  conv(8, 3)\n  add:\n    skip\n    conv(8, 3)\n  conv(4, 1)\n"
    graph = run(archlang.loads(text).graph, (inference, fuse_norms, fuse_activations))
    assert not chains(graph)


def test_dead_channels_keep_their_factor() -> None:
    graph, weights = spread()
    for local in ("weight", "bias"):
        weights[f"{norms(graph)[0].name}.{local}"][3] = 0
    x = np.random.default_rng(1).standard_normal((4, 3, 12, 12)).astype(np.float32)
    result = equalized(graph, weights, channel_ranges(graph, weights, x))
    assert all(np.isfinite(array).all() for array in result.weights.values())
    found, wanted = (reference.run(graph, w, x)["output"] for w in (result.weights, weights))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


# ---- bias correction -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "stride", "dilation", "pad"), [(1, 1, 1, 1), (2, 2, 1, 0), (6, 1, 2, 2), (3, 2, 2, 1)]
)
def test_the_shift_of_a_convolution_is_its_mean(groups: int, stride: int, dilation: int, pad: int) -> None:
    """PyTorch convolves all samples with the errors of the weights; the mean of that is the shift."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6, 9, 11, generator=generator, dtype=torch.float64)
    error = torch.randn(12, 6 // groups, 3, 3, generator=generator, dtype=torch.float64)
    wanted = F.conv2d(x, error, None, stride, pad, dilation, groups)
    rows, columns = (bias.Windows(x.shape[i], wanted.shape[i], stride, dilation, pad) for i in (2, 3))
    mean = x.mean(0).permute(1, 2, 0).numpy()
    found = bias.shift_of_convolution(error.permute(0, 2, 3, 1).numpy(), mean, rows, columns)
    np.testing.assert_allclose(found, wanted.mean((0, 2, 3)).numpy(), atol=1e-12)
    flat = x.mean((0, 2, 3), keepdim=True)
    wanted = F.conv2d(flat.expand(1, 6, 9, 11), error, None, stride, pad, dilation, groups)
    found = bias.shift_of_convolution(error.permute(0, 2, 3, 1).numpy(), flat.numpy().reshape(1, 1, 6), rows, columns)
    np.testing.assert_allclose(found, wanted.mean((0, 2, 3)).numpy(), atol=1e-12)


def test_the_shift_of_a_linear_layer_is_its_mean() -> None:
    x, error = np.random.default_rng(0).standard_normal((7, 4, 6)), np.random.default_rng(1).standard_normal((3, 6))
    np.testing.assert_allclose(bias.shift_of_linear(error, x.mean(0)), (x @ error.T).mean((0, 1)))


# ---- the scale of the inputs -----------------------------------------------------------------------------------------


def scaled_net(norm: str = "bn") -> tuple[Graph, dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """A network whose first BatchNorm knows inputs of mean 0 and deviation 1."""
    graph = archlang.loads(f"net N:\n  input (3, 16, 16)\n  conv(8, 3, s=2, norm={norm})\n  gap -> linear(2)\n").graph
    weights = weights_module.random(graph, 0)
    x = np.random.default_rng(0).standard_normal((64, 3, 16, 16)).astype(np.float32)
    if norm == "bn":
        name = next(name for name in weights if name.endswith("running_var")).removesuffix("running_var")
        conv = next(node.name for node in graph.nodes if node.op.name == "conv")
        y = F.conv2d(torch.from_numpy(x), torch.from_numpy(weights[f"{conv}.weight"]), None, 2, 1)
        weights[f"{name}running_var"] = y.var((0, 2, 3)).numpy()
        weights[f"{name}running_mean"] = y.mean((0, 2, 3)).numpy()
    return graph, weights, x


def test_inputs_as_in_training_are_not_suspected() -> None:
    graph, weights, x = scaled_net()
    for factor in (0.5, 1, 2):
        assert scale.suspicion(graph, weights, {graph.nodes[0].name: np.float32(factor) * x}) == []


def test_pixels_where_normalised_inputs_were_meant_are_suspected_with_both_ranges() -> None:
    graph, weights, x = scaled_net()
    pixels = np.clip(x * 58 + 120, 0, 255).astype(np.float32)
    (sentence,) = scale.suspicion(graph, weights, {graph.nodes[0].name: pixels})
    assert "from 0 to 255" in sentence
    assert "times smaller" in sentence
    assert "to 4." in sentence
    (sentence,) = scale.suspicion(graph, weights, {graph.nodes[0].name: x / np.float32(58)})
    assert "times larger" in sentence


def test_without_statistics_pixels_are_suspected_by_their_look() -> None:
    graph, weights, x = scaled_net("none")
    name = graph.nodes[0].name
    pixels = np.rint(np.clip(x * 58 + 120, 0, 255)).astype(np.float32)
    assert "whole numbers from 0 to 255" in scale.suspicion(graph, weights, {name: pixels})[0]
    assert scale.suspicion(graph, weights, {name: pixels / np.float32(255)}) == []
    assert scale.suspicion(graph, None, {name: pixels}) == []
    resized = np.float32(0.9) * pixels + np.float32(0.3)
    assert "run from 0.3 to 229.8; most networks" in scale.suspicion(graph, weights, {name: resized})[0]
    assert scale.suspicion(graph, weights, {name: resized - 1}) == []


# ---- what stays float ------------------------------------------------------------------------------------------------


def test_layers_are_found_by_their_names() -> None:
    names = ["stem", "stage1.0.conv1", "stage1.1.conv1", "stage2.0.conv1", "head"]
    assert matching(["stage1", "h*"], names) == {"stage1.0.conv1", "stage1.1.conv1", "head"}
    assert matching(["*.0.conv1"], names) == {"stage1.0.conv1", "stage2.0.conv1"}
    with pytest.raises(ArchError, match="no layer `heat` to keep"):
        matching(["heat"], names)


def test_the_layers_that_cost_the_most_are_kept() -> None:
    """Noise powers add up: the budget is met by the fewest layers."""
    noise = {"a": 1.0, "b": 40.0, "c": 2.0, "d": 10.0, "e": 0.1}

    def measure(kept: frozenset[str]) -> float:
        return float(-10 * np.log10(sum(power for name, power in noise.items() if name not in kept) + 1e-3))

    ranked = sorted(noise, key=lambda name: -noise[name])
    assert sensitivity.chosen(measure, ranked, Budget(layers=2), frozenset()) == {"b", "d"}
    assert sensitivity.chosen(measure, ranked, Budget(snr=-6), frozenset({"e"})) == {"b", "d", "e"}
    gains = sensitivity.gains(measure, ["b", "a"])
    assert gains["b"] > gains["a"] > 0


# ---- the report ------------------------------------------------------------------------------------------------------


def report() -> Report:
    first = Layer("a<b>", "conv", 20.0, 30.0, 25.0, 100, 400, (0.0, 6.0), 1.5)
    second = Layer("c|d", "add", 18.0, None, 12.0, 0, 0, None)
    third = Layer("e", "linear", float("inf"), None, None, 80, 80, None, kept=True)
    return Report("Net", "int8", "mse", 8, {"y": 17.0}, (first, second, third), ("a note",))


def test_signal_to_noise_is_that_of_the_values() -> None:
    noise, x = Noise(), np.array([3.0, -4.0], np.float32)
    noise.add(x, x + np.array([0.3, 0.4], np.float32))
    assert noise.snr == pytest.approx(20.0, abs=1e-4)
    assert Noise(1.0, 0.0).snr == np.inf
    assert Noise(0.0, 1.0).snr == -np.inf


def test_the_worst_layers_come_first_and_floats_last() -> None:
    assert [layer.name for layer in report().worst] == ["c|d", "a<b>", "e"]
    assert report().layers[0].own_snr == pytest.approx(-10 * np.log10(10**-3 + 10**-2.5))
    assert report().as_json()["worst"] == ["c|d", "a<b>", "e"]


def test_reports_are_escaped() -> None:
    page, text = html(report()), markdown(report())
    assert "a&lt;b&gt;" in page
    assert "<b>" not in page
    assert "| c\\|d |" in text
    assert "a note" in page
    assert "a note" in text
