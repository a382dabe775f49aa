"""Training of generated modules: it learns, it repeats itself, it refuses what cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.data import Dataset, load_data
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph
from archlang.train import Epoch, Recipe, accelerator, evaluate, module_of, train
from archlang.train.augment import CHANGES, augmented
from archlang.train.loop import batches, optimizer_of
from archlang.train.schedule import factor

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

    sizes = [len(batch) for batch in batches(torch.arange(129), 64)]
    assert sizes == [64, 64]
    assert [len(batch) for batch in batches(torch.arange(130), 64)] == [64, 64, 2]


def test_norms_and_biases_do_not_decay_and_the_rate_is_a_warm_up_and_a_cosine(graph: Graph) -> None:
    import torch

    module = module_of(graph, weights.initial(graph))
    optimizer, schedule = optimizer_of(torch, module, Recipe(epochs=10, lr=0.5, warmup=0.1), 10)
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


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(data: Dataset, graph: Graph, tmp_path: Path) -> None:
    part, file = few(data, 160), tmp_path / "c.pt"
    recipe = Recipe(epochs=3, augment="crop", ema=0.9, patience=3, optimizer="adamw", lr=0.01)
    whole = train(graph, part, recipe)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(graph, part, recipe, progress=stop, checkpoint=file)
    seen: list[int] = []
    resumed = train(graph, part, recipe, progress=lambda epoch: seen.append(epoch.number), checkpoint=file)
    assert seen == [3]
    assert resumed.loss == whole.loss
    assert (resumed.epoch, resumed.accuracy) == (whole.epoch, whole.accuracy)
    assert all((resumed.weights[name] == whole.weights[name]).all() for name in whole.weights)
    for other in (replace(recipe, lr=0.02), replace(recipe, epochs=4)):
        with pytest.raises(ArchError, match=r"E1104.*another training"):
            train(graph, part, other, checkpoint=file)
    file.write_bytes(b"junk")
    with pytest.raises(ArchError, match=r"E1104.*is not the checkpoint"):
        train(graph, part, recipe, checkpoint=file)


def test_patience_ends_it_and_gives_the_best_epochs_weights(data: Dataset, graph: Graph) -> None:
    part = few(data, 200)
    seen: list[Epoch] = []
    recipe = Recipe(epochs=12, lr=2.0, schedule="constant", momentum=0.0, patience=2, label_smoothing=0.0)
    result = train(graph, part, recipe, progress=seen.append)
    losses = [epoch.validation for epoch in seen]
    assert None not in losses
    best = min(range(len(losses)), key=lambda i: losses[i] or 0.0)
    assert result.epoch == best + 1
    assert len(losses) == min(12, best + 3)
    held = part.held_out(0.1, 0)
    module = module_of(graph, result.weights).eval()
    import torch

    with torch.no_grad():
        scores = module(torch.from_numpy(held.x_test))
        wanted = torch.nn.functional.cross_entropy(scores, torch.from_numpy(held.y_test))
    assert losses[best] == pytest.approx(float(wanted), rel=1e-4)


def test_narrow_numbers_still_learn(data: Dataset, graph: Graph) -> None:
    part = few(data, 160)
    plain, narrow = (train(graph, part, Recipe(epochs=1, precision=p)) for p in ("float32", "bfloat16"))
    assert plain.loss != narrow.loss
    assert narrow.loss == pytest.approx(plain.loss, rel=0.03)
    assert all(value.dtype == np.float32 for value in narrow.weights.values())


def test_gradients_are_clipped(data: Dataset, graph: Graph) -> None:
    part, before = few(data, 32), weights.initial(graph, 0)
    recipe = Recipe(epochs=1, lr=1.0, momentum=0.0, weight_decay=0.0, clip=1e-3, warmup=0.0)
    after = train(graph, part, recipe).weights
    trainable = [name for name in before if "running" not in name]
    moved = np.sqrt(sum(float(((after[name] - before[name]) ** 2).sum()) for name in trainable))
    assert moved == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize(
    ("schedule", "at", "wanted"),
    [
        ("cosine", [10, 55, 100], [1.0, 0.5, 0.0]),
        ("linear", [10, 55, 100], [1.0, 0.5, 0.0]),
        ("step", [10, 54, 55, 77, 78, 99], [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]),
        ("constant", [10, 55, 99], [1.0, 1.0, 1.0]),
    ],
)
def test_schedules_after_a_tenth_of_warm_up(schedule: str, at: list[int], wanted: list[float]) -> None:
    rate = factor(schedule, 100, 0.1)
    np.testing.assert_allclose([rate(step) for step in range(10)], np.arange(1, 11) / 10)
    np.testing.assert_allclose([rate(step) for step in at], wanted, atol=1e-12)
    assert factor(schedule, 100, 0.0)(0) == 1.0


def test_augmentations_move_what_is_there() -> None:
    import torch

    images = torch.zeros(64, 2, 16, 16)
    images[:, :, 6:9, 4:8] = torch.rand(64, 2, 3, 4) + 0.5
    flipped, cropped, cut, turned = (augmented(images, (name,), torch.Generator().manual_seed(1)) for name in CHANGES)
    assert {bool((a == b).all()) for a, b in zip(flipped, images, strict=True)} == {True, False}
    for new, old in zip(flipped, images, strict=True):
        assert torch.equal(new, old) or torch.equal(new, old.flip(2))
    for new, old in zip(cropped, images, strict=True):
        moves = [torch.roll(old, (i, j), (1, 2)) for i in range(-2, 3) for j in range(-2, 3)]
        assert sum(torch.equal(new, move) for move in moves) == 1
    blank = (cut == 0) & (images != 0)
    assert torch.equal(torch.where(blank, images, cut), images)
    assert 0 < int(blank.flatten(1).any(1).sum()) < 64
    ones = augmented(torch.ones(200, 1, 16, 16), ("cutout",), torch.Generator().manual_seed(2))
    assert int((ones == 0).flatten(1).sum(1).max()) == 8 * 8
    assert turned.shape == images.shape
    assert not torch.equal(turned, images)
    assert float(turned.sum() / images.sum()) == pytest.approx(1.0, abs=0.05)


def test_affine_is_a_resampling_about_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside scipy's affine_transform, which maps rows and columns of the output to those of the input."""
    import torch
    from scipy.ndimage import affine_transform

    images = torch.rand(1, 1, 17, 17, generator=torch.Generator().manual_seed(0))
    drawn = torch.tensor([[0.7], [0.5], [0.4], [-0.8]])  # of -1..1: turn, scale, right, down
    monkeypatch.setattr(torch, "rand", lambda *size, generator: (drawn + 1) / 2)
    ours = augmented(images, ("affine",), torch.Generator())[0, 0]
    cos, sin = math.cos(math.radians(7)) / 1.05, math.sin(math.radians(7)) / 1.05
    matrix, middle = np.array([[cos, sin], [-sin, cos]]), np.array([8.0, 8.0])
    offset = middle - matrix @ middle + np.array([-0.8, 0.4]) * 17 / 16
    theirs = affine_transform(images[0, 0].numpy(), matrix, offset, order=1, mode="grid-constant")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_recipe_as_text() -> None:
    recipe = Recipe(epochs=4).with_text("schedule=step, augment=crop+flip, precision=bfloat16, patience=3, lr=1")
    assert recipe == Recipe(epochs=4, schedule="step", augment="crop+flip", precision="bfloat16", patience=3, lr=1.0)
    assert Recipe().with_text("") == Recipe()
    for text, help in (("shedule=step", "schedule"), ("schedule=stp", "step")):
        with pytest.raises(ArchError, match="E1103") as caught:
            Recipe().with_text(text)
        assert caught.value.diagnostics[0].help == f"did you mean `{help}`?"


@pytest.mark.parametrize(
    "changed",
    [{"augment": "crp"}, {"ema": 1.0}, {"warmup": -0.1}, {"schedule": "x"}, {"patience": -1}, {"precision": "float16"}],
)
def test_settings_that_cannot_be(data: Dataset, graph: Graph, changed: dict[str, Any]) -> None:
    with pytest.raises(ArchError, match="E1103"):
        train(graph, data, replace(RECIPE, **changed))


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    found = {True: "cuda", False: "cpu"}
    for there, name in found.items():
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert accelerator("auto") == name


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
