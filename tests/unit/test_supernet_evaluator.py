"""The evaluator `supernet` of a search."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from archlang.search.evaluators import make
from archlang.search.evaluators.setting import Setting
from archlang.search.evaluators.supernet import SupernetEvaluator
from archlang.search.space import Space
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Metrics
from archlang.supernet.checkpoint import load
from archlang.supernet.judge import Judge, load_images
from archlang.supernet.net import build
from archlang.train import Recipe, train
from tests.e2e.program import archlang as run
from tests.unit.supernets import space_of
from tests.unit.test_supernet import refused

TEXT = """net Tiny(classes=10):
  default conv(norm=bn, act=relu)
  input 1x8x8
  conv({8, 12}, {3, 5}, s=2) as stem
  {skip, conv(16, 3)} as body
  gap -> linear(classes)

search tiny over Tiny:
  data "digits"
  maximize accuracy
  minimize macs
  method random
"""


@pytest.fixture
def space() -> Space:
    return space_of(TEXT)


@pytest.fixture
def file(space: Space, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    build(space).save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def candidate(space: Space, seed: int, fidelity: float = 1.0) -> Candidate:
    picks = dict(space.sample(Random(seed)))
    return Candidate(seed, space.graph(picks), space.canonical(picks).sketch.amounts, fidelity, picks=picks)


def evaluated(evaluator: SupernetEvaluator, one: Candidate) -> Metrics:
    metrics: dict[str, float] = {}
    for found in evaluator.prepare()(one):
        metrics.update(found)
    return metrics


def evaluator_of(space: Space, file: Path, *mentioned: str, options: str = "") -> SupernetEvaluator:
    setting = Setting(file.parent, data="digits", space=space, mentioned=mentioned)
    found = make(f'supernet(file="{file}"{options})', setting)
    assert isinstance(found, SupernetEvaluator)
    return found


def test_the_accuracy_is_that_of_the_cut_sub_network(space: Space, file: Path) -> None:
    evaluator, one = evaluator_of(space, file, options=", recalibration=100"), candidate(space, 3)
    found = evaluated(evaluator, one)
    assert set(found) == set(evaluator.metrics) == {"params", "macs", "flops", "peak_memory", "accuracy"}
    net = load(file, space_of(TEXT))
    data = load_images("digits", one.graph)
    drawn = np.random.default_rng(0).permutation(len(data.x_train))[:100]
    net.select(one.picks)
    net.recalibrate([torch.from_numpy(data.x_train[drawn])])
    cut = net.cut(one.picks)
    from archlang.train import evaluate as accuracy
    from archlang.train import module_of

    assert found["accuracy"] == pytest.approx(accuracy(module_of(cut.graph, cut.weights), data.x_test, data.y_test))


def test_the_metrics_of_the_int8_file(space: Space, file: Path) -> None:
    evaluator = evaluator_of(space, file, "accuracy_int8", "flash", options=", recalibration=64")
    found = evaluated(evaluator, candidate(space, 1))
    assert found["flash"] > 1000
    assert abs(found["accuracy_int8"] - found["accuracy"]) < 0.1
    assert evaluator.metrics[-2:] == ("flash", "accuracy_int8")


def test_a_sub_network_is_trained_further(space: Space, file: Path) -> None:
    """From the weights that are cut, by the search's recipe, with its own number of epochs."""
    evaluator = evaluator_of(space, file, "flash", "accuracy_int8", options=", recalibration=64, epochs=2")
    one = candidate(space, 4)
    steps = list(evaluator.prepare()(one))
    assert [name for step in steps[1:] for name in step] == ["flash", "accuracy", "accuracy_int8"]
    accuracy = steps[2]["accuracy"]
    assert accuracy > evaluated(evaluator_of(space, file, options=", recalibration=64"), one)["accuracy"] + 0.2

    net = load(file, space_of(TEXT))
    data = load_images("digits", one.graph)
    Judge(net, data, 64).select(one.picks)
    trained = train(one.graph, data, Recipe(epochs=2), net.cut(one.picks).weights)
    assert accuracy == trained.accuracy
    kept = TrainedWeights(file.parent / "weights").read(one.trial)
    assert kept is not None
    assert kept[0].digest == one.graph.digest
    assert all(np.array_equal(array, trained.weights[name]) for name, array in kept[1].items())


def test_a_lower_fidelity_trains_for_fewer_epochs(space: Space, file: Path) -> None:
    whole, half = (evaluator_of(space, file, options=f", recalibration=64, epochs={n}, keep=false") for n in (4, 2))
    assert evaluated(whole, candidate(space, 5, 0.5)) == evaluated(half, candidate(space, 5))
    assert not (file.parent / "weights").exists()
    assert whole.identity() != half.identity()
    assert (whole.isolated, evaluator_of(space, file).isolated) == (True, False)


def test_workers_get_the_evaluator_and_the_picks(space: Space, file: Path) -> None:
    evaluator, one = evaluator_of(space, file, options=", recalibration=64"), candidate(space, 2)
    sent = pickle.loads(pickle.dumps((evaluator, one.shipped())))
    assert evaluated(*sent) == evaluated(evaluator, one)


def test_what_cannot_be_evaluated(space: Space, file: Path) -> None:
    with refused("E1308", "another space"):
        evaluator_of(space_of(TEXT.replace("16", "24")), file)
    with refused("E0605", "there is no file"):
        evaluator_of(space, file.with_name("none.safetensors"))
    with refused("E1202", "at least one image"):
        evaluator_of(space, file, options=", recalibration=0")
    with refused("E1202", "-1 epochs"):
        evaluator_of(space, file, options=", epochs=-1")
    with refused("E1211", "has no data"):
        make(f'supernet(file="{file}")', Setting(file.parent, space=space))
    with refused("E1214", "one without"):
        make(f'supernet(file="{file}")', Setting(file.parent, data="digits", space=None))


def test_another_supernet_is_another_evaluation(space: Space, file: Path) -> None:
    before = evaluator_of(space, file).identity()
    build(space, seed=1).save(file)
    assert evaluator_of(space, file).identity() != before


@pytest.mark.parametrize("options", ["", ", epochs=1"])
def test_a_search(options: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.arch"
    path.write_text(TEXT)
    from archlang.search.space import load_search

    space = load_search(str(path)).space
    assert isinstance(space, Space)
    build(space).save(tmp_path / "tiny.safetensors")
    evaluator = f'supernet(file="{tmp_path / "tiny.safetensors"}", recalibration=64{options})'
    done = run("search", str(path), "--evaluator", evaluator, "--trials", "4", "--run", str(tmp_path / "run"), "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["trials"], found["failed"]) == (4, 0)
    assert 0 <= found["best"]["metrics"]["accuracy"] <= 1
