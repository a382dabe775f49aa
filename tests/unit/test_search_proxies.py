"""Zero-cost proxies beside closed forms on small networks, references in numpy, and their invariances."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import archlang
from archlang import weights
from archlang.data import Dataset
from archlang.ir import Graph
from archlang.search.evaluators.proxies import batches_of
from archlang.search.proxies import PROXIES, Batches, grad_norm, naswot, synflow, zico

LINEAR = "net A:\n  input 2x1x1\n  flatten -> linear(3, bias=0) -> linear(4, bias=0)\n"
RELU = "net A:\n  input 3x2x2\n  flatten -> linear(6) -> relu -> linear(4)\n"
NORMED = """
net A:
  default conv(norm=bn, act=relu)
  input 1x6x6
  conv(4, 3)
  residual:
    conv(4, 3)
  dropout(0.5)
  gap -> linear(3)
"""

Floats = NDArray[np.float64]


def graph_of(text: str) -> Graph:
    return archlang.loads(text).graph


def batches(graph: Graph, size: int = 8, seed: int = 0) -> Batches:
    return batches_of(graph, None, size, seed)


def arrays(graph: Graph, seed: int = 0) -> list[Floats]:
    return [value.astype(np.float64) for name, value in weights.initial(graph, seed).items() if "weight" in name]


def test_synflow_of_a_chain_of_linear_layers_is_its_flow_once_a_layer() -> None:
    graph = graph_of(LINEAR)
    first, second = arrays(graph)
    flow = (np.abs(second) @ np.abs(first)).sum()
    assert synflow(graph, batches(graph)) == pytest.approx(math.log(2 * flow), rel=1e-6)


def test_synflow_sees_neither_data_nor_norms() -> None:
    graph = graph_of(NORMED)
    plain = graph_of(NORMED.replace("norm=bn", "norm=none"))
    with_bias = synflow(plain, batches(plain))  # convolutions without a norm have biases, which start at 0
    assert synflow(graph, batches(graph)) == pytest.approx(with_bias)
    assert synflow(graph, replace(batches(graph), images=5 * batches(graph).images)) == synflow(graph, batches(graph))


def cross_entropy_gradients(w1: Floats, w2: Floats, x: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """By hand: of the mean cross-entropy of w2 relu(w1 x), by w1 and by w2."""
    hidden = x @ w1.T
    on = hidden > 0
    scores = (hidden * on) @ w2.T
    shares = np.exp(scores - scores.max(1, keepdims=True))
    error = shares / shares.sum(1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    return ((error @ w2) * on).T @ x, error.T @ (hidden * on)


def by_hand(graph: Graph, batch: Batches) -> list[tuple[Floats, Floats]]:
    """The gradients of every batch."""
    w1, w2 = arrays(graph)
    images = batch.images.reshape(*batch.images.shape[:2], -1).astype(np.float64)
    return [cross_entropy_gradients(w1, w2, x, y) for x, y in zip(images, batch.labels, strict=True)]


def test_grad_norm_is_the_sum_of_the_layers_norms() -> None:
    graph = graph_of(RELU)
    batch = batches(graph)
    wanted = sum(np.linalg.norm(gradient) for gradient in by_hand(graph, batch)[0])
    assert grad_norm(graph, batch) == pytest.approx(wanted, rel=1e-5)


def test_zico_is_mean_over_deviation_of_the_gradients() -> None:
    graph = graph_of(RELU)
    batch = batches(graph)
    wanted = 0.0
    for first, second in zip(*by_hand(graph, batch), strict=True):
        both = np.abs(np.stack([first, second])).astype(np.float32).astype(np.float64)
        mean, deviation = both.mean(0), np.sqrt(((both - both.mean(0)) ** 2).mean(0))
        wanted += math.log((mean[deviation > 0] / deviation[deviation > 0]).sum())
    assert zico(graph, batch) == pytest.approx(wanted, rel=1e-3)  # a ratio of small differences in float32


def test_zico_leaves_out_what_does_not_differ() -> None:
    graph = graph_of(RELU)
    batch = batches(graph)
    same = Batches(np.stack([batch.images[0]] * 2), np.stack([batch.labels[0]] * 2))
    assert zico(graph, same) == 0


def test_naswot_is_the_log_determinant_of_the_agreement() -> None:
    graph = graph_of(RELU)
    batch = batches(graph)
    on = batch.images[0].reshape(8, -1).astype(np.float64) @ arrays(graph)[0].T > 0
    kernel = np.array([[(a == b).sum() for a in on] for b in on], np.float64)
    values = np.maximum(np.linalg.eigvalsh(kernel), 1e-6)
    assert naswot(graph, batch) == pytest.approx(np.log(values).sum(), rel=1e-6)


def test_naswot_does_not_depend_on_the_order_of_the_images_nor_on_scales() -> None:
    graph = graph_of(NORMED)
    batch = batches(graph, 6)
    turned = replace(batch, images=batch.images[:, ::-1].copy())
    assert naswot(graph, turned) == pytest.approx(naswot(graph, batch), rel=1e-5)
    first = naswot(graph_of(RELU), batches(graph_of(RELU)))
    larger = replace(batches(graph_of(RELU)), images=3 * batches(graph_of(RELU)).images)
    assert naswot(graph_of(RELU), larger) == first


def test_naswot_of_a_network_without_rectifiers_is_the_least() -> None:
    graph = graph_of(LINEAR)
    assert naswot(graph, batches(graph)) == pytest.approx(8 * math.log(1e-6))


@pytest.mark.parametrize("name", PROXIES)
def test_equal_seeds_give_equal_scores_and_dropout_plays_no_part(name: str) -> None:
    graph, without = graph_of(NORMED), graph_of(NORMED.replace("  dropout(0.5)\n", ""))
    batch = batches(graph)
    score = PROXIES[name](graph, batch)
    assert math.isfinite(score)
    assert PROXIES[name](graph, batch) == score
    assert PROXIES[name](without, batch) == pytest.approx(score)
    assert PROXIES[name](graph, replace(batch, seed=1)) != score


def test_batches_are_of_the_data_where_there_are_some() -> None:
    graph = graph_of(NORMED)
    x = np.random.default_rng(0).random((40, 1, 6, 6), np.float32)
    y = np.arange(40) % 3
    found = batches_of(graph, Dataset("d", x, y, x, y, 3), 8, 0)
    assert found.images.shape == (2, 8, 1, 6, 6)
    for image, label in zip(found.images.reshape(16, 1, 6, 6), found.labels.reshape(-1), strict=True):
        place = next(i for i in range(40) if (x[i] == image).all())
        assert y[place] == label
