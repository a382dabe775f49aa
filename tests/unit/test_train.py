"""Training of generated modules: it learns, it repeats itself, it refuses what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.data import Dataset, load_data
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph
from archlang.train import Epoch, Recipe, _batches, _optimizer, evaluate, module_of, train

TEXT = """
net Small(classes=10):
  default conv(norm=bn, act=relu)
  input 1x8x8
  conv(16, 3)
  conv(24, 3, s=2)
  gap -> linear(classes)
"""

RECIPE = Recipe(epochs=4, batch_size=32, lr=0.3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow where tests share the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_data("digits")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return archlang.loads(TEXT).graph


def few(data: Dataset, count: int) -> Dataset:
    return replace(data, x_train=data.x_train[:count], y_train=data.y_train[:count])


def test_it_learns_and_the_weights_are_the_networks(data: Dataset, graph: Graph) -> None:
    seen: list[Epoch] = []
    result = train(graph, data, RECIPE, progress=seen.append)
    assert result.accuracy > 0.9
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4]
    assert [epoch.loss for epoch in seen] == list(result.loss)
    assert result.loss[-1] < result.loss[0] / 2
    assert set(result.weights) == set(weights.specs(graph))
    found = weights.checked(graph, result.weights)
    assert evaluate(module_of(graph, found), data.x_test, data.y_test) == result.accuracy
    assert (found[next(name for name in found if name.endswith("running_var"))] != 1).all()


def test_equal_seeds_give_equal_weights(data: Dataset, graph: Graph) -> None:
    import torch

    part = few(data, 200)
    recipe = replace(RECIPE, epochs=2)
    state = torch.random.get_rng_state()
    first, second = train(graph, part, recipe), train(graph, part, recipe)
    assert all((first.weights[name] == second.weights[name]).all() for name in first.weights)
    assert (torch.random.get_rng_state() == state).all()
    other = train(graph, part, replace(recipe, seed=1))
    assert any((first.weights[name] != other.weights[name]).any() for name in first.weights)


def test_training_goes_on_from_given_weights(data: Dataset, graph: Graph) -> None:
    start = weights.random(graph, 5)
    result = train(graph, few(data, 64), Recipe(epochs=1, lr=1e-12), start=start)
    trainable = [name for name in start if "running" not in name]
    assert all(np.allclose(result.weights[name], start[name], atol=1e-9) for name in trainable)


def test_an_average_of_the_weights_takes_their_place(data: Dataset, graph: Graph) -> None:
    part = few(data, 320)
    recipe = Recipe(epochs=2, batch_size=32)
    plain, averaged = train(graph, part, recipe), train(graph, part, replace(recipe, ema=0.5))
    assert plain.loss == averaged.loss
    assert set(plain.weights) == set(averaged.weights)
    assert any((plain.weights[name] != averaged.weights[name]).any() for name in plain.weights)


def test_auxiliary_heads_train_too(data: Dataset) -> None:
    text = TEXT.replace(
        "  gap -> linear(classes)", "  aux side:\n    gap -> linear(classes)\n  conv(24, 3)\n  gap -> linear(classes)"
    )
    graph = archlang.loads(text).graph
    assert sum(output.aux for output in graph.outputs) == 1
    before = weights.initial(graph, 0)
    result = train(graph, few(data, 128), Recipe(epochs=1))
    side = [name for name in before if name.startswith("side") and name.endswith("weight")]
    assert side
    assert all((result.weights[name] != before[name]).any() for name in side)


def test_a_loss_that_is_not_finite_ends_it(data: Dataset, graph: Graph) -> None:
    with pytest.raises(ArchError, match=r"E1102.*(nan|inf)"):
        train(graph, few(data, 256), Recipe(epochs=2, lr=1e25))


def test_no_batch_of_one_image() -> None:
    import torch

    sizes = [len(batch) for batch in _batches(torch.arange(129), 64)]
    assert sizes == [64, 64]
    assert [len(batch) for batch in _batches(torch.arange(130), 64)] == [64, 64, 2]


def test_norms_and_biases_do_not_decay_and_the_rate_is_a_warm_up_and_a_cosine(graph: Graph) -> None:
    import torch

    module = module_of(graph, weights.initial(graph))
    optimizer, schedule = _optimizer(torch, module, Recipe(epochs=10, lr=0.5, warmup=0.1), 10)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (5e-4, 0.0)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    rates = []
    for _ in range(100):
        rates.append(decayed["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates[:10], np.linspace(0.05, 0.5, 10))
    np.testing.assert_allclose(rates[10:], 0.25 * (1 + np.cos(np.pi * np.arange(90) / 90)), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace("1x8x8", "3x8x8"), "takes 3x8x8, but digits holds 1x8x8"),
        (TEXT.replace("classes=10", "classes=4"), "ends in 4, but digits has 10 classes"),
        (TEXT.replace("gap -> linear(classes)", "conv(10, 3)"), "ends in 10x4x4"),
    ],
)
def test_a_network_that_does_not_fit_the_data(data: Dataset, text: str, words: str) -> None:
    with pytest.raises(ArchError) as caught:
        train(archlang.loads(text).graph, data, RECIPE)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == "E1101"
    assert words in diagnostic.message


def test_the_error_points_into_the_file(data: Dataset) -> None:
    with pytest.raises(ArchError) as caught:
        train(archlang.loads(TEXT, classes=4).graph, data, RECIPE)
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert span.text == "linear(classes)"


@pytest.mark.parametrize(
    "changed", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": float("nan")}, {"device": "tpu"}]
)
def test_a_recipe_that_cannot_be(data: Dataset, graph: Graph, changed: dict[str, float]) -> None:
    with pytest.raises(ArchError, match="E1103"):
        train(graph, data, replace(RECIPE, **changed))  # type: ignore[arg-type]


def test_a_missing_gpu_is_outside(data: Dataset, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OutsideError, match="no CUDA device"):
        train(graph, data, replace(RECIPE, device="cuda"))
