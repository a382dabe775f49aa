"""Latency models: on measured latencies of NAS-Bench-201's cells, and what they say where they know too little.

tests/samples/nasbench201_latency.csv.gz: 400 of the 15,625 cells with the latencies that HayeonLee/HELP published (MIT;
arXiv:2106.08630): an Intel Xeon Gold 6226, a Samsung A50, and an RTX 2080 Ti.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy.stats import spearmanr

import archlang
from archlang.backends.tflite.rewrites import drop_zeros
from archlang.cost import cost
from archlang.device.predict import additive, features
from archlang.device.predict.blocks import blocks
from archlang.device.predict.features import Kernel, kernels
from archlang.device.predict.model import LatencyModel, Sample, fit, fit_samples
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.ir.verify import verify
from archlang.ops.activation import Relu, Relu6
from archlang.ops.norm import BatchNorm
from archlang.passes import fuse_activations, fuse_norms, inference, run
from archlang.passes.fuse import fuse
from archlang.search.space import Space
from benchmarks.predict import Cells, counts_non_negative, executed, nasbench_space, operations, predicted, read

SAMPLE = Path(__file__).parents[1] / "samples" / "nasbench201_latency.csv.gz"
WHOLE = slice(0, 250)
"""The cells without `none` come first."""


@cache
def measured_cells() -> tuple[np.ndarray, dict[str, list[Counter[Kernel]]], dict[str, np.ndarray]]:
    names, columns = read(SAMPLE)
    edges = np.array([operations(name) for name in names])
    return edges, executed(edges, ["eager"]), columns


def cells(column: str, rows: slice = slice(None)) -> Cells:
    edges, networks, columns = measured_cells()
    return Cells(edges[rows], {key: value[rows] for key, value in networks.items()}, columns[column][rows])


def errors_of(found: Cells, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(predictions, measurements, whether the interval holds) of the cells that were not trained on."""
    order = np.random.default_rng(seed).permutation(len(found.ms))
    train, rest = order[:count], order[count:]
    model = fit_samples([Sample(found.executed["eager"][i], float(found.ms[i])) for i in train], "eager")
    answers = np.array(predicted(model, found))[rest]
    truth = found.ms[rest]
    return answers[:, 0], truth, (answers[:, 1] <= truth) & (truth <= answers[:, 2])


def test_the_network_around_the_cell_is_that_of_the_benchmark() -> None:
    """The largest and the smallest network of arXiv:2001.00326: 1.53 M parameters and 220.1 M MACs, 0.073 M and 7.8."""
    space, keys = nasbench_space()
    sizes = [cost(space.graph(dict.fromkeys(keys, operation))).total for operation in (3, 1)]
    assert [(size.params, round(size.macs / 1e4)) for size in sizes] == [(1_531_546, 22012), (73_306, 778)]


@pytest.mark.parametrize(
    ("column", "rows", "error"),
    [
        ("gold_6226_ms", WHOLE, 0.027),
        ("samsung_a50_ms", WHOLE, 0.032),
        ("gpu_2080ti_b1_ms", WHOLE, 0.033),
        ("gold_6226_ms", slice(None), 0.033),
        ("samsung_a50_ms", slice(None), 0.034),
        ("gpu_2080ti_b1_ms", slice(None), 0.034),
    ],
)
def test_fifty_measured_cells_predict_the_rest(column: str, rows: slice, error: float) -> None:
    """Means over draws. The rank correlation depends on the few cells here, so it stands beside that of counting
    operators on the same ones."""
    found, ours, plain = cells(column, rows), [], []
    for seed in range(4):
        ms, truth, _ = errors_of(found, 50, seed)
        ours.append((spearmanr(ms, truth)[0], np.abs(ms / truth - 1).mean()))
        train, rest = np.split(np.random.default_rng(seed).permutation(len(found.ms)), [50])
        plain.append(spearmanr(counts_non_negative(found, train)[rest], truth)[0])
    assert np.mean([rank for rank, _ in ours]) >= np.mean(plain) - 0.001
    assert np.mean([mean for _, mean in ours]) <= error


def test_it_is_better_than_counting_operators() -> None:
    found = cells("samsung_a50_ms", WHOLE)
    for seed in range(3):
        train = np.random.default_rng(seed).permutation(len(found.ms))[:50]
        plain = counts_non_negative(found, train)
        ms, truth, _ = errors_of(found, 50, seed)
        rest = np.setdiff1d(np.arange(len(found.ms)), train)
        assert np.abs(ms / truth - 1).mean() < np.abs(plain[rest] / found.ms[rest] - 1).mean()


@pytest.mark.parametrize("column", ["gold_6226_ms", "samsung_a50_ms", "gpu_2080ti_b1_ms"])
def test_the_interval_holds_about_nine_of_ten(column: str) -> None:
    held = np.concatenate([errors_of(cells(column), 80, seed)[2] for seed in range(4)])
    assert 0.84 <= held.mean() <= 0.97


def fuse_after_norms(graph: Graph) -> Graph:
    """A norm that no convolution takes is a multiplication and a sum, whose kernel takes an activation."""
    return fuse(graph, lambda p, n: isinstance(p.op, BatchNorm) and not p.fused and isinstance(n.op, Relu | Relu6))


def space_of(name: str) -> Space:
    return Space(archlang.load(f"zoo:{name}").value)


@pytest.mark.parametrize("name", ["nasbench201", "mnas_space", "ofa_mbv3"])
def test_kernels_are_what_the_passes_leave(name: str) -> None:
    space, rng = space_of(name), Random(7)
    for _ in range(3):
        graph = space.graph(space.sample(rng))
        plain = run(graph, (inference, drop_zeros, fuse_norms, fuse_activations, fuse_after_norms))
        nodes = [node for node in plain.nodes if node.inputs]
        found = kernels(graph)
        assert found.total() == len(nodes)
        assert sum(kernel.macs * count for kernel, count in found.items()) == cost(plain).total.macs
        ops = Counter(node.type.shape for node in nodes)
        shapes: Counter[tuple[int, ...]] = Counter()
        for kernel, count in found.items():
            shapes[kernel.output] += count
        assert shapes == ops


def test_eager_runs_what_no_output_needs() -> None:
    space, keys = nasbench_space()
    dead = space.graph(dict(zip(keys, (3, 0, 0, 3, 0, 0), strict=True)))  # nothing reads the first node's 3x3
    convolutions = {
        execution: sum(n for kernel, n in kernels(dead, execution).items() if kernel.kind == "conv")
        for execution in features.EXECUTIONS
    }
    assert convolutions["eager"] - convolutions["compiled"] == 15


# a device that follows rules of its own


def roofline_ms(graph: Graph) -> float:
    """A processor made up for these tests: each kernel as slow as its arithmetic or its memory, vectors of 16 channels,
    depthwise convolutions at a fifth of the speed, an overhead for each kernel, and a small second-level cache."""
    total = 0.05
    for kernel, count in kernels(graph).items():
        padded = -(-kernel.output[0] // 16) * 16 / kernel.output[0]
        speed = {"depthwise": 4e6, "conv": 20e6}.get(kernel.kind, 16e6)
        memory = (kernel.moved / 6e6 + kernel.weights / 3e6) * (1.4 if kernel.moved > 3e5 else 1.0)
        total += count * (0.004 + max(kernel.macs * padded / speed, memory))
    return total


@cache
def mobile_networks(count: int, seed: int) -> list[Graph]:
    space, rng = space_of("mnas_space"), Random(seed)
    return [space.graph(space.sample(rng)) for _ in range(count)]


@cache
def mobile_model() -> LatencyModel:
    noise = Random(3)
    networks = mobile_networks(45, 0)
    samples = [Sample(kernels(graph), roofline_ms(graph) * noise.lognormvariate(0, 0.01)) for graph in networks]
    found = {block.graph.digest: block.graph for graph in networks[:12] for block in blocks(graph)}
    alone = [
        Sample(kernels(block), roofline_ms(block) * noise.lognormvariate(0, 0.01), True) for block in found.values()
    ]
    return fit_samples([*samples, *alone[:60]], "compiled")


def test_blocks_and_networks_together_predict_a_mobile_space() -> None:
    networks = mobile_networks(30, 99)
    answers = mobile_model().predict_all(networks)
    errors = np.array([(each.ms or 0) / roofline_ms(graph) - 1 for each, graph in zip(answers, networks, strict=True)])
    assert np.mean(np.abs(errors) <= 0.10) >= 0.9


def test_the_interval_of_few_measurements_is_as_honest() -> None:
    """A dozen networks are fitted better than others are predicted: the interval must not be taken from the fit."""
    unseen, held = mobile_networks(40, 99), []
    for seed in range(10, 14):
        noise = Random(seed)
        measured = [(graph, roofline_ms(graph) * noise.lognormvariate(0, 0.01)) for graph in mobile_networks(12, seed)]
        answers = fit(measured, "compiled").predict_all(unseen)
        held += [
            (each.low_ms or 0) <= roofline_ms(graph) <= (each.high_ms or 0)
            for each, graph in zip(answers, unseen, strict=True)
        ]
    assert 0.8 <= np.mean(held) <= 0.98


def test_a_model_in_json_predicts_the_same() -> None:
    again = LatencyModel.from_json(json.loads(json.dumps(mobile_model().as_json())))
    for graph in mobile_networks(3, 99):
        assert again.predict(graph).ms == pytest.approx(mobile_model().predict(graph).ms, rel=1e-9)


def test_an_op_that_was_never_measured_gets_no_figure() -> None:
    answer = mobile_model().predict(archlang.load("zoo:vit:ti").graph)
    assert (answer.ms, answer.low_ms, answer.high_ms) == (None, None, None)
    assert any("attention" in name for name in answer.unknown)


def test_beyond_what_was_measured_the_interval_widens() -> None:
    usual = mobile_model().predict(mobile_networks(1, 99)[0])
    wide = mobile_model().predict(archlang.loads(_LARGE).graph)
    assert None not in (usual.ms, usual.high_ms, wide.ms, wide.high_ms)
    assert not usual.outside
    assert "1024x1024" in wide.outside[0]
    assert (wide.high_ms or 0) / (wide.ms or 1) > 2 * (usual.high_ms or 0) / (usual.ms or 1) - 1


_LARGE = """
net Large:
  default conv(norm=bn, act=relu)
  input 3x1024x1024
  conv(64, 3) -> conv(64, 3)
  gap -> linear(10)
"""


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(ArchError, match=r"E1011.*too few"):
        fit([(graph, 1.0) for graph in mobile_networks(3, 0)])


def test_the_execution_is_found_in_the_measurements() -> None:
    """A runtime that runs dead ops, and one that does not, told apart by their latencies alone."""
    space, rng = nasbench_space()[0], Random(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(40)]
    for execution in features.EXECUTIONS:
        ms = [
            0.1 + sum(count * (0.01 + kernel.macs / 1e7) for kernel, count in kernels(g, execution).items())
            for g in graphs
        ]
        assert fit(list(zip(graphs, ms, strict=True))).execution == execution


def test_an_outlier_counts_little() -> None:
    networks = [kernels(graph) for graph in mobile_networks(45, 0)]
    ms = np.array([roofline_ms(graph) for graph in mobile_networks(45, 0)])
    disturbed = ms * np.where(np.arange(45) == 5, 3.0, 1.0)
    assert additive.fit(networks, disturbed)[1][5] < 0.1
    sums = [
        np.array([sum(n * model.kernel_ms(kernel) for kernel, n in each.items()) for each in networks])
        for model in (additive.fit(networks, ms)[0], additive.fit(networks, disturbed)[0])
    ]
    assert np.abs(sums[1] / sums[0] - 1).max() < 0.1


def test_blocks_are_networks_that_add_up() -> None:
    graph = mobile_networks(1, 4)[0]
    cut = list(blocks(graph))
    for block in cut:
        verify(block.graph)
    inside = sum(cost(block.graph).total.macs for block in cut)
    outside = {node.name for node in graph.nodes if not any(node.name.startswith(f"{b.path}.") for b in cut)}
    assert (
        inside + sum(layer.cost.macs for layer in cost(graph).layers if layer.name in outside) == cost(graph).total.macs
    )
    assert len({block.path for block in cut}) == len(cut) > 5
