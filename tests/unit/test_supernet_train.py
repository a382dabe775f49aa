"""Training of supernets: each method beside its formula, seeds, checkpoints, what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import archlang
from archlang.data import Dataset, load_data
from archlang.errors import ArchError
from archlang.search.space import Space
from archlang.supernet.judge import Judge, fitted, load_images, resized
from archlang.supernet.net import SuperNet, build
from archlang.supernet.train import METHODS, Processes, Progress, method, train
from archlang.supernet.train.darts import Darts
from archlang.supernet.train.enas import Enas
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run
from archlang.train import Recipe

SPACE = """
net Tiny(classes=10):
  default conv(norm=bn, act=relu)
  input 1x8x8
  conv({4, 6}, {1, 3, 5}) as stem
  table conv:
    | k | c      | n         | s |
    | 3 | {4, 8} | {1, 2, 3} | 2 |
  {skip, conv(8, 1)} as extra
  gap -> linear(classes) as classifier
"""

MIXED = """
choice EDGE(c) = {zero, skip, conv(c, 3)}
net Cell(classes=10):
  default conv(bias=0)
  input 1x8x8
  conv(4, 3, s=2) -> bn
  residual:
    EDGE(4) -> bn
  gap -> linear(classes)
"""

SMALL_OFA = """
from std.mobile import bneck

block unit(c, k, e, s=1 once):
  bneck(k, round_to(x.c * e, 8), c, s=s) as bneck

net SmallOFA(classes=10):
  default conv(norm=bn, act=hswish)
  r = {16, 24, 32}
  input (1, r, r)
  conv(8, 3, s=2) as stem
  table unit:
    | k              | e              | c | n         | s |
    | each {3, 5, 7} | each {3, 4, 6} | 8 | {2, 3, 4} | 2 |
    | each {3, 5, 7} | each {3, 4, 6} | 8 | {2, 3, 4} | 2 |
  gap -> linear(classes) as classifier
"""

RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05)


def space(text: str = SPACE) -> Space:
    return Space(archlang.loads(text).value)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Few images, so that an epoch is a few steps."""
    found = load_data("digits")
    return replace(
        found,
        x_train=found.x_train[:96],
        y_train=found.y_train[:96],
        x_test=found.x_test[:64],
        y_test=found.y_test[:64],
    )


def state(net: SuperNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def raises(code: str, message: str, run: Callable[[], object]) -> None:
    with pytest.raises(ArchError) as caught:
        run()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, message in diagnostic.message) == (code, True), diagnostic


def course_of(text: str, data: Dataset, asked: str, recipe: Recipe = RECIPE) -> tuple[SuperNet, Course]:
    """A method that is about to make its first step, in float64: differences are then due to formulas alone."""
    net = build(space(text)).double()
    images = replace(data, x_train=data.x_train.astype(np.float64), x_test=data.x_test.astype(np.float64))
    net.train()
    run = Run(net, images, images, recipe, Processes())
    run.optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=recipe.momentum)
    made = method(asked)
    course = made.course(run)
    course.stage = made.stages(net, 10)[0]
    return net, course


def first_batch(data: Dataset, seed: int = 0) -> Batch:
    x = torch.from_numpy(data.x_train[:32]).double()
    return Batch(x, torch.from_numpy(data.y_train[:32]), Random(seed))


def gradients(net: SuperNet) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in net.named_parameters()
    }


def close(a: Mapping[str, Tensor], b: Mapping[str, Tensor], tolerance: float) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=name)


# ---- methods beside their formulas -----------------------------------------------------------------------------------


def cross_entropy(scores: Tensor, y: Tensor, smoothing: float = 0.1) -> Tensor:
    """With smoothed labels, by the definition."""
    wanted = torch.full_like(scores, smoothing / scores.shape[1])
    wanted[torch.arange(len(y)), y] += 1 - smoothing
    return -(wanted * torch.log(torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True))).sum(1).mean()


def test_a_sandwich_adds_the_labels_for_the_largest_and_its_answers_for_the_others(data: Dataset) -> None:
    net, course = course_of(SPACE, data, "sandwich(sampled=2)")
    batch, rng = first_batch(data), Random(0)
    course.step(batch)
    found = gradients(net)
    net.zero_grad()
    net.select(net.largest())
    largest = net(batch.x)
    total = cross_entropy(largest, batch.y)
    teacher = torch.exp(largest.detach()) / torch.exp(largest.detach()).sum(1, keepdim=True)
    for picks in (net.space.sample(rng), net.space.sample(rng), net.smallest()):
        net.select(picks)
        scores = net(batch.x)
        total = total - (teacher * scores.log_softmax(1)).sum(1).mean()
    total.backward()  # type: ignore[no-untyped-call]
    close(found, gradients(net), 1e-6)  # the loss is taken in float32, as in mixed precision


def test_a_single_path_trains_what_is_drawn_and_nothing_else(data: Dataset) -> None:
    net, course = course_of(SPACE, data, "single")
    batch = first_batch(data)
    course.step(batch)
    found = gradients(net)
    net.zero_grad()
    picks = net.space.sample(Random(0))
    net.select(picks)
    cross_entropy(net(batch.x), batch.y).backward()  # type: ignore[no-untyped-call]
    close(found, gradients(net), 1e-6)
    taken = {node.name for node, _ in net.union.graph(picks).modules()}
    assert all(not grad.any() for name, grad in found.items() if name.rpartition(".")[0] not in taken)


def test_second_order_darts_is_the_gradient_through_a_step_of_the_weights(data: Dataset) -> None:
    net, course = course_of(MIXED, data, "darts(order=2)", replace(RECIPE, momentum=0.0, label_smoothing=0.0))
    batch, held = first_batch(data), first_batch(replace(data, x_train=data.x_test, y_train=data.y_test))
    for alpha in course.alphas.values():  # type: ignore[attr-defined]
        alpha.data = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    picks = net.space.canonical({})
    found = list(course._second(batch, (held.x, held.y), picks))  # type: ignore[attr-defined]
    weights = dict(net.named_parameters())
    alphas = [torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)]

    def loss(values: dict[str, Any], of: Batch) -> Tensor:
        net.select(picks)
        net.mixture({key: alphas[0].softmax(0) for key in net.mixable})
        scores = functional_call(net, {**values, **buffers}, (of.x,))
        return torch.nn.functional.cross_entropy(scores, of.y)

    buffers = {name: value.clone() for name, value in net.named_buffers()}
    slopes = torch.autograd.grad(loss(weights, batch), list(weights.values()), create_graph=True)
    stepped = {name: weight - 0.1 * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)}
    exact = torch.autograd.grad(loss(stepped, held), alphas)
    # The finite difference moves the weights by 0.01 in all, the release's figure.
    torch.testing.assert_close(found[0], exact[0], rtol=0.02, atol=1e-4)
    first = course._first((held.x, held.y), picks)  # type: ignore[attr-defined]
    assert (first[0] - exact[0]).abs().max() > 5 * (found[0] - exact[0]).abs().max()


def test_darts_takes_the_likeliest_alternative_that_is_not_zero(data: Dataset) -> None:
    net, course = course_of(MIXED, data, "darts")
    (key,) = net.mixable
    course.alphas[key].data = torch.tensor([3.0, 1.0, 2.0])  # type: ignore[attr-defined]
    assert course.found() == {key: 2}
    net, course = course_of(MIXED, data, "darts(zero=true)")
    course.alphas[key].data = torch.tensor([3.0, 1.0, 2.0])  # type: ignore[attr-defined]
    assert course.found() == {key: 0}


def test_a_controller_of_enas_comes_to_draw_what_is_rewarded(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    _, course = course_of(SPACE, data, "enas(updates=12, batch=6, learning_rate=0.1)")
    (key,) = (choice.key for choice in course.run.net.decisions if choice.kind == "kernel")
    monkeypatch.setattr(course, "_reward", lambda picks, rng: float(picks[key] == 1))
    course.close_epoch(Random(0))
    rng = Random(1)
    taken = np.mean([course._controller.sample(rng)[key] == 1 for _ in range(200)])  # type: ignore[attr-defined]
    # Logits within 1.1 / 2.5 make no alternative of three more than 0.547 likely; 200 draws deviate by 0.035.
    assert 0.45 < taken < 0.66


# ---- progressive shrinking -------------------------------------------------------------------------------------------


def test_shrinking_opens_once_for_alls_decisions_in_its_order() -> None:
    """Beside train_ofa_net.py of mit-han-lab/once-for-all: tasks, phases, lists, sub-networks a step."""
    net = build(space(SMALL_OFA))
    stages = method("shrinking").stages(net, 590)
    names = ["largest", "kernel", "depth 1", "depth 2", "width 1", "width 2"]
    assert [stage.name for stage in stages] == names
    assert [stage.sampled for stage in stages] == [1, 1, 2, 2, 4, 4]
    assert [stage.epochs for stage in stages] == [180, 120, 25, 120, 25, 120]
    assert [stage.distilled for stage in stages] == [False, True, True, True, True, True]
    kinds = {choice.key: choice for choice in net.decisions}

    def opened(stage: Stage, kind: str) -> set[frozenset[str]]:
        keys = [key for key in stage.open if kinds[key].kind == kind]
        return {frozenset(kinds[key].alternatives[i] for i in stage.open[key]) for key in keys}

    lists = [(opened(s, "kernel"), opened(s, "depth"), opened(s, "expansion")) for s in stages]
    k7, d4, e6 = {frozenset({"7"})}, {frozenset({"4"})}, {frozenset({"6"})}
    k357, d34, d234 = {frozenset("357")}, {frozenset("34")}, {frozenset("234")}
    e46, e346 = {frozenset("46")}, {frozenset("346")}
    assert lists == [
        (k7, d4, e6),
        (k357, d4, e6),
        (k357, d34, e6),
        (k357, d234, e6),
        (k357, d234, e46),
        (k357, d234, e346),
    ]
    assert not any(kinds[key].kind == "resolution" for stage in stages for key in stage.open)


def test_a_stage_of_shrinking_learns_from_the_labels_and_the_largest_network_as_it_was(data: Dataset) -> None:
    net, course = course_of(SPACE, data, "shrinking(teacher=0.5)")
    course.stage = Stage("kernel", 1, {}, sampled=2, distilled=True)
    course.enter()
    with torch.no_grad():
        for weight in net.parameters():  # the net has moved on since
            weight.mul_(1.1)
    batch, rng = first_batch(data), Random(0)
    course.step(batch)
    found = gradients(net)
    net.zero_grad()
    teacher = build(space())
    teacher.double().train()
    answers = teacher(batch.x).softmax(1).detach()
    for picks in (net.space.sample(rng), net.space.sample(rng)):
        net.select(picks)
        scores = net(batch.x)
        loss = cross_entropy(scores, batch.y) - 0.5 * (answers * scores.log_softmax(1)).sum(1).mean()
        (loss / 2).backward()
    close(found, gradients(net), 1e-6)


# ---- seeds, checkpoints, what is refused -----------------------------------------------------------------------------

ASKED = ("single", "sandwich", "shrinking", "enas(updates=1, batch=2)", "darts", "darts(order=2)")
EPOCHS = {"shrinking": 6}


@pytest.mark.parametrize("asked", ASKED)
def test_a_training_that_was_stopped_ends_like_one_that_was_not(asked: str, data: Dataset, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=EPOCHS.get(asked, 2), augment="affine")
    whole = build(space(), kernel_transform=asked == "shrinking")
    result = train(whole, data, recipe, method(asked))
    stopped, last = tmp_path / "t.checkpoint", recipe.epochs - 0.5

    def stop(progress: Progress) -> None:
        if progress.epoch > last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(build(space(), kernel_transform=asked == "shrinking"), data, recipe, method(asked), stop, stopped)
    again = build(space(), kernel_transform=asked == "shrinking")
    resumed = train(again, data, recipe, method(asked), checkpoint=stopped)
    assert equal(state(whole), state(again))
    assert (result.losses, result.found) == (resumed.losses, resumed.found)
    assert (resumed.found is not None) == (asked[:4] in ("enas", "dart"))


def test_seeds_give_the_same_twice_and_others_something_else(data: Dataset) -> None:
    nets = [build(space()) for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        train(net, data, replace(RECIPE, seed=seed, epochs=1))
    assert equal(state(nets[0]), state(nets[1]))
    assert not equal(state(nets[0]), state(nets[2]))


def test_a_training_learns(data: Dataset) -> None:
    """Forty digits by heart, the largest and the smallest alike."""
    few = replace(data, x_train=data.x_train[:40], y_train=data.y_train[:40])
    few = replace(few, x_test=few.x_train, y_test=few.y_train)
    net = build(space())
    found = train(net, few, Recipe(epochs=60, batch_size=20, lr=0.1, label_smoothing=0.0), method("sandwich"))
    judge = Judge(net, few)
    assert found.losses[-1] < 0.7 * found.losses[0]
    assert judge.accuracy(net.largest()) > 0.6


def test_bfloat16_is_near_float32(data: Dataset) -> None:
    losses = [
        train(build(space()), data, replace(RECIPE, epochs=1, precision=precision)).losses[0]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_a_loss_that_is_not_finite_loses_nothing(data: Dataset, tmp_path: Path) -> None:
    file, recipe = tmp_path / "t.checkpoint", replace(RECIPE, epochs=3)

    def spoil(progress: Progress) -> None:
        if progress.epoch > 1:
            with torch.no_grad():
                next(net.parameters()).fill_(float("nan"))

    net = build(space())
    raises("E1102", "in epoch 2 (single)", lambda: train(net, data, recipe, show=spoil, checkpoint=file))
    again, whole = build(space()), build(space())
    train(again, data, recipe, checkpoint=file)
    train(whole, data, recipe)
    assert equal(state(again), state(whole))


def test_a_checkpoint_of_another_training_is_refused(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "t.checkpoint"
    train(build(space()), data, replace(RECIPE, epochs=1), checkpoint=file)
    other = build(space(SPACE.replace("{4, 6}", "{4, 8}")))
    for net, recipe in ((other, RECIPE), (build(space()), replace(RECIPE, lr=0.01))):
        raises("E1104", "another training", lambda net=net, recipe=recipe: train(net, data, recipe, checkpoint=file))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ("sandwhich", "E1320", "no supernet is trained by `sandwhich`"),
        ("sandwich(randoms=3)", "E1322", "takes no `randoms`"),
        ("sandwich(sampled=0)", "E1322", "cannot be 0"),
        ("darts(zero=3)", "E1322", "zero"),
    ],
)
def test_a_method_that_cannot_be(asked: str, code: str, message: str) -> None:
    raises(code, message, lambda: method(asked))


def test_every_method_has_defaults() -> None:
    assert [type(method(name)).__name__.lower() for name in METHODS] == list(METHODS)
    assert (method("enas"), method("darts(order=2)")) == (Enas(), Darts(order=2))


def test_trainings_that_cannot_be(data: Dataset) -> None:
    net = build(space())
    raises("E1321", "5 stages", lambda: train(net, data, RECIPE, method("shrinking")))
    raises("E1322", "`order`", lambda: train(net, data, RECIPE, method("darts(order=3)")))
    raises("E1103", "ema", lambda: train(net, data, replace(RECIPE, ema=0.9)))
    raises("E1103", "too small for 20 processes", lambda: train(net, data, RECIPE, processes=Processes(0, 20)))
    plain = build(space("net A:\n  input 1x8x8\n  conv({4, 8}, 3)\n  gap -> linear(10)\n"))
    raises("E1323", "could be mixed", lambda: train(plain, data, RECIPE, method("darts")))
    raises("E1101", "10 classes", lambda: train(build(space(SPACE.replace("=10", "=9"))), data, RECIPE))


# ---- images ----------------------------------------------------------------------------------------------------------


def test_images_are_resized_as_the_data_is(data: Dataset) -> None:
    x = torch.from_numpy(data.x_train[:4])
    for size in ((12, 5), (4, 16), (8, 8)):
        expected = data.fitted((1, *size)).x_train[:4]
        np.testing.assert_allclose(resized(x, *size).numpy(), expected, atol=1e-6)


def test_a_judge_tells_what_the_cut_network_does(data: Dataset) -> None:
    """By the network by itself, with the statistics of the images in numpy's order of evaluation."""
    net = build(space())
    train(net, data, replace(RECIPE, epochs=2))
    picks = net.space.sample(Random(3))
    accuracy = Judge(net, data).accuracy(picks)
    made = net.cut(picks)
    found = archlang.loads(made.text).to_torch({name: torch.tensor(value) for name, value in made.weights.items()})
    found.eval()
    with torch.no_grad():
        scores = found(torch.from_numpy(data.x_test)).flatten(1)
    assert accuracy == pytest.approx(float((scores.argmax(1).numpy() == data.y_test).mean()))


def test_held_out_images_are_those_of_a_search() -> None:
    graph = space().graph({})
    ours, searched = load_images("digits", graph), load_data("digits").held_out()
    np.testing.assert_array_equal(ours.x_test, searched.x_test)
    np.testing.assert_array_equal(fitted(load_data("digits"), graph).y_train, load_data("digits").y_train)
