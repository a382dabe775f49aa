"""Evaluators by name: their arguments, functions of the user's, entry points; and what is evaluated before what."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.data import from_arrays
from archlang.errors import ArchError
from archlang.ir import Graph
from archlang.search import evaluators
from archlang.search.evaluate import evaluated
from archlang.search.evaluators import CostEvaluator, FunctionEvaluator, ProxyEvaluator, Setting, TrainEvaluator
from archlang.search.evaluators import train as training
from archlang.search.objective import Constraint, Objective
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Status
from archlang.train import Recipe, train
from tests.unit.fake_evaluators import TracingEvaluator

TEXT = "net A(c=8):\n  default conv(norm=bn, act=relu)\n  input 1x8x8\n  conv(c, 3)\n  gap -> linear(10)\n"


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path, data="digits", recipe=Recipe(epochs=1, batch_size=64), mentioned=("accuracy", "params"))


@pytest.fixture
def graph() -> Graph:
    return archlang.loads(TEXT).graph


def candidate(graph: Graph, trial: int = 1, fidelity: float = 1.0, parent: int | None = None) -> Candidate:
    return Candidate(trial, graph, {"params": 1.0, "macs": 1.0, "flops": 1.0}, fidelity, parent)


def test_names_and_arguments(setting: Setting) -> None:
    made = evaluators.make("train(reduce=channels, inherit=true, runs=50, min_secs=1)", setting)
    assert isinstance(made, TrainEvaluator)
    assert (made.reduce, made.inherit, made.runs, made.min_secs) == ("channels", True, 50, 1.0)
    assert made.recipe is setting.recipe
    proxy = evaluators.make("proxy(only=naswot+synflow, batch=16)", setting)
    assert isinstance(proxy, ProxyEvaluator)
    assert proxy.metrics[-2:] == ("naswot", "synflow")
    assert isinstance(evaluators.make("cost", setting), CostEvaluator)
    assert {"train", "cost", "proxy"} <= set(evaluators.names())


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("trian", "E1205", "there is no evaluator `trian`"),
        ("train(epochs=3)", "E1202", "takes no `epochs`"),
        ("train(reduce=layers)", "E1202", "`reduce` of the evaluator `train` cannot be `layers`"),
        ("train(runs=many)", "E1202", "`runs` of the evaluator `train` cannot be `many`"),
        ("train(inherit=true, keep=false)", "E1202", "cannot inherit"),
        ("proxy(only=synflw)", "E1202", "there is no proxy `synflw`"),
        ("proxy(batch=1)", "E1202", "cannot take a batch of 1"),
        ("no_such_module:score", "E1205", "no_such_module"),
        ("math:no_such_function", "E1205", "no_such_function"),
        ("math:pi", "E1205", "`math:pi` is no function"),
        ("math:sqrt(x=1)", "E1202", "takes no arguments"),
    ],
)
def test_what_is_no_evaluator(setting: Setting, text: str, code: str, words: str) -> None:
    with pytest.raises(ArchError, match=code) as caught:
        evaluators.make(text, setting)
    assert words in caught.value.diagnostics[0].message


def test_an_entry_point_adds_one(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("traced", f"{__name__}:traced", evaluators.GROUP)
    monkeypatch.setattr(evaluators, "entry_points", lambda group: [entry])
    made = evaluators.make("traced(secs=0.5)", setting)
    assert made == TracingEvaluator(setting.folder / "trace", 0.5)
    with pytest.raises(ArchError, match=r"E1202.*needs `secs`"):
        evaluators.make("traced", setting)


def traced(setting: Setting, *, secs: float) -> TracingEvaluator:
    return TracingEvaluator(setting.folder / "trace", secs)


# functions of the user's


def score(candidate: Candidate) -> dict[str, float]:
    return {"accuracy": candidate.graph.nodes[1].type.channels / 100, "novelty": 2}


def nothing(candidate: Candidate) -> dict[str, float]:
    return {}


def told(candidate: Candidate) -> float:
    return 1.0


score.metrics = ("accuracy", "novelty")  # type: ignore[attr-defined]


def test_a_function_is_an_evaluator(setting: Setting, graph: Graph) -> None:
    made = evaluators.make(f"{__name__}:score", setting)
    assert isinstance(made, FunctionEvaluator)
    assert made.isolated
    assert made.metrics[-2:] == ("accuracy", "novelty")
    outcome = evaluated(made.prepare(), Objective(maximize=("accuracy",)), candidate(graph))
    assert outcome.status is Status.DONE
    assert (outcome.metrics["accuracy"], outcome.metrics["novelty"]) == (0.08, 2.0)


@pytest.mark.parametrize(("name", "words"), [("nothing", "returned no `accuracy`"), ("told", "returned a float")])
def test_a_function_that_gives_no_metrics(setting: Setting, graph: Graph, name: str, words: str) -> None:
    made = evaluators.make(f"{__name__}:{name}", setting)
    assert made.metrics[-1:] == ("accuracy",)  # what the search mentions, without what the graph tells
    with pytest.raises(ArchError, match=f"E1212.*{words}"):
        list(made.prepare()(candidate(graph)))
    outcome = evaluated(made.prepare(), Objective(maximize=("accuracy",)), candidate(graph))
    assert outcome.status is Status.FAILED
    assert words in outcome.reason


# the stages of `train`


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order: compilations, measurements, trainings."""
    done: list[str] = []

    def watched(name: str, does: Any) -> None:
        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return does(*args, **kwargs)

        monkeypatch.setattr(training, name, noted)

    watched("int8_model", training.int8_model)
    watched("_measured", lambda *_: 1.0)
    watched("train", train)
    return done


@pytest.mark.parametrize(
    ("constraint", "before"),
    [
        (Constraint("params", "<=", 0), []),
        (Constraint("peak_memory", "<=", 0), []),
        (Constraint("flash", "<=", 0), ["int8_model"]),
        (Constraint("latency", "<=", 0), ["int8_model", "_measured"]),
        (Constraint("accuracy", ">", 1), ["int8_model", "_measured", "train"]),
    ],
)
def test_the_cheapest_constraint_ends_it(
    setting: Setting, graph: Graph, stages: list[str], constraint: Constraint, before: list[str]
) -> None:
    evaluate = evaluators.make("train(runs=2, min_secs=0)", setting).prepare()
    outcome = evaluated(evaluate, Objective(require=(constraint,)), candidate(graph))
    assert outcome.status is Status.REJECTED, outcome.reason
    assert stages == before


def test_a_lower_fidelity_trains_a_smaller_network_and_measures_the_whole_one(
    setting: Setting, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Graph] = []

    def measure(settings: object, quiet: object, graph: Graph, model: bytes) -> float:
        measured.append(graph)
        return 1.0

    monkeypatch.setattr(training, "_measured", measure)
    evaluate = evaluators.make("train(reduce=channels, int8=false)", setting).prepare()
    metrics = list(evaluate(candidate(graph, fidelity=0.5)))
    assert [set(update) for update in metrics[1:]] == [{"flash"}, {"latency"}, {"accuracy"}]
    assert measured == [graph]
    kept = TrainedWeights(setting.folder / "weights").read(1)
    assert kept is not None
    assert kept[0].nodes[1].type.channels == 4
    assert set(kept[1]) == set(weights.specs(kept[0]))


def test_a_child_starts_from_its_parents_weights(
    setting: Setting, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def watched(graph: Graph, data: object, recipe: Recipe, start: weights.Weights | None, **rest: object) -> object:
        starts.append(start)
        return train(graph, data, recipe, start, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "train", watched)
    monkeypatch.setattr(training, "_measured", lambda *_: 1.0)
    evaluate = evaluators.make("train(inherit=true, int8=false)", setting).prepare()
    for each in (candidate(graph, 1), candidate(graph, 2, parent=1), candidate(graph, 3, parent=9)):
        list(evaluate(each))
    kept = TrainedWeights(setting.folder / "weights").read(1)
    assert starts[0] is None
    assert starts[2] is None  # trial 9 has left nothing
    assert kept is not None
    assert starts[1] is not None
    assert all(np.array_equal(starts[1][name], value) for name, value in kept[1].items())


def test_latency_is_predicted_by_a_table(
    setting: Setting, graph: Graph, monkeypatch: pytest.MonkeyPatch, stages: list[str]
) -> None:
    monkeypatch.setattr(training, "predictor", lambda name: lambda graph: float(len(name)))
    evaluate = evaluators.make("train", replace(setting, latency_table="my-phone")).prepare()
    limit = Objective(require=(Constraint("latency", "<", 8),))
    outcome = evaluated(evaluate, limit, candidate(graph))
    assert (outcome.status, outcome.metrics["latency"]) == (Status.REJECTED, 8.0)
    assert stages == ["int8_model"]


def test_calibration_images_are_of_all_classes() -> None:
    """Data are often sorted by class."""
    y = np.repeat(np.arange(10), 50)
    x = np.broadcast_to(y[:, None, None, None], (500, 1, 4, 4)).astype(np.float32)
    data = from_arrays("sorted", {"x_train": x, "y_train": y, "x_test": x, "y_test": y})
    found = training.calibration_images(data)
    assert len(found) == training.CALIBRATION_IMAGES
    assert len(np.unique(found)) == 10
    assert len(training.calibration_images(replace(data, x_train=data.x_train[:7]))) == 7
