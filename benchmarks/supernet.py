"""A supernet beside training every candidate alone: do they agree, and what does a search on either find?

    python -m benchmarks.supernet [--folder demo/supernet] [--trials 48] [--workers 1] [--quick]

Images are MNIST-5k's: 1,500 to test, a fifth of the others to choose by, the rest to train on.

1. The supernet of `benchmarks/supernet.arch` is trained once.
2. 30 random sub-networks are trained alone, from two seeds each. Kendall's tau between the supernet's accuracies, with
   recalibrated BatchNorms, and the mean of theirs, both on the test images, with a bootstrap interval, beside the tau
   of MACs and of parameters.
3. Three searches with one strategy and seed: one trains each candidate, one takes the supernet's accuracy, and one
   that after a further epoch of training alone. The members of all fronts, trained alone, are judged on the test
   images: the hypervolume over log10 of MACs.

What is finished is in the folder: the same command goes on where it was stopped, and with more trials from there.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from archlang.cost import cost
from archlang.data import Dataset, from_arrays, stratified
from archlang.files import write_whole
from archlang.ir.graph import Graph
from archlang.search.driver import DATABASE, SearchResult, run
from archlang.search.plan import Options, plan_of
from archlang.search.space import SearchSpec, Space, load_search
from archlang.search.store import Store
from archlang.search.trial import Candidate, Status, Trial, key_of
from archlang.supernet.checkpoint import load
from archlang.supernet.decisions import largest
from archlang.supernet.judge import Judge
from archlang.supernet.net import build
from archlang.supernet.train import Progress, Sandwich
from archlang.supernet.train import train as train_supernet
from archlang.train import Recipe, evaluate, module_of, train
from benchmarks import mnist
from benchmarks.experiment import parser, percent, start
from benchmarks.plot import Series, svg, terminal

Floats = NDArray[np.float64]

BOOTSTRAPS = 2000
WORST = 0.5
"""The accuracy that a hypervolume is measured from."""

TITLES = ("log10 of multiply-accumulates", "accuracy on the test images, %")

MARKS = (
    ("by training", "o", "#c0392b"),
    ("on the supernet", "*", "#1f6fb2"),
    ("on the supernet, one epoch more", "+", "#2e8b57"),
)
"""Of each search: its letter in the terminal, and its colour."""

SPACE = Path(__file__).with_suffix(".arch")
ALONE = Recipe(epochs=8, batch_size=64)


@dataclass(frozen=True)
class Effort:
    """How much is done. networks, seeds: that are trained alone. epochs: of the supernet. trials: of each search.
    workers: candidates that are trained at once."""

    networks: int = 30
    seeds: int = 2
    epochs: int = 60
    trials: int = 48
    workers: int = 1


QUICK = Effort(3, 1, 1, 3)


@cache
def data() -> Dataset:
    """For `--data benchmarks.supernet:data`: MNIST-5k with three tenths of each digit to test."""
    found = mnist.data()
    x = np.concatenate([found.x_train, found.x_test])
    y = np.concatenate([found.y_train, found.y_test])
    rest, test = stratified(y, 0.3, 0)
    return from_arrays("MNIST-5k", {"x_train": x[rest], "y_train": y[rest], "x_test": x[test], "y_test": y[test]})


def search() -> SearchSpec:
    return load_search(str(SPACE))


def space() -> Space:
    found = search().space
    assert isinstance(found, Space)
    return found


# 2. trained alone


@dataclass(frozen=True)
class Alone:
    """A network trained alone. chosen_by, test: its accuracy on the images to choose by, and on the test images.
    seconds: of CPU."""

    chosen_by: float
    test: float
    macs: int
    params: int
    seconds: float


def alone(graph: Graph, seed: int, recipe: Recipe = ALONE) -> Alone:
    begun = time.process_time()
    fitted = data().fitted(graph.nodes[graph.inputs[0]].type.shape)
    result = train(graph, fitted.held_out(), Recipe(epochs=recipe.epochs, batch_size=recipe.batch_size, seed=seed))
    seconds = time.process_time() - begun
    test = evaluate(module_of(graph, result.weights), fitted.x_test, fitted.y_test)
    total = cost(graph).total
    return Alone(result.accuracy, test, total.macs, total.params, seconds)


def sampled(count: int) -> list[dict[str, int]]:
    """So many different sub-networks, at random."""
    rng, found, made = Random(0), dict[str, dict[str, int]](), space()
    while len(found) < count:
        picks = made.sample(rng)
        found.setdefault(key_of(picks), dict(picks))
    return list(found.values())


def alone_kept(folder: Path, name: str, graph: Graph, seed: int) -> Alone:
    """From the folder, where it has been trained before."""
    file = folder / "alone" / f"{name}-{seed}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(alone(graph, seed))))
    return Alone(**json.loads(file.read_text()))


def all_alone(folder: Path, effort: Effort) -> list[list[Alone]]:
    """By network, then by seed. The first seed of all networks comes first, so that what is there can be looked at."""
    print(f"2. {effort.networks} networks are trained alone, from {effort.seeds} seeds each", flush=True)
    graphs = [space().graph(picks) for picks in sampled(effort.networks)]
    found: list[list[Alone]] = [[] for _ in graphs]
    for seed in range(effort.seeds):
        for i, graph in enumerate(graphs):
            found[i].append(alone_kept(folder, f"{i:02}", graph, seed))
            print(f"   network {i}, seed {seed}: {percent(found[i][-1].test)}", flush=True)
    return found


# 1. the supernet, and how well it agrees


def _supernet(folder: Path, effort: Effort) -> float:
    """Train the supernet, or what is left of it; seconds of CPU that it took."""
    file, seconds = folder / "supernet.safetensors", folder / "supernet.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        clock = Clock(seconds)
        net = build(space())
        recipe = Recipe(epochs=effort.epochs, batch_size=64, lr=0.02)
        print(f"1. the supernet is trained for {effort.epochs} epochs", flush=True)
        train_supernet(net, data().held_out(), recipe, Sandwich(), clock.show, folder / "supernet.checkpoint")
        net.save(file)
    spent: float = json.loads(seconds.read_text())["cpu"]
    return spent


class Clock:
    """Seconds of CPU, of all goes together, written down after every epoch."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = json.loads(file.read_text())["cpu"] if file.exists() else 0.0
        self.begun = time.process_time()

    def show(self, progress: Progress) -> None:
        if progress.epoch.is_integer():
            spent = self.before + time.process_time() - self.begun
            write_whole(self.file, json.dumps({"cpu": spent, "epochs": progress.epoch}))
            print(f"   {progress.epoch:.0f} epochs, loss {progress.loss:.3f}, {spent:.0f} s", flush=True)


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b with the accuracies of networks trained alone, and its 95 % bootstrap interval."""

    name: str
    tau: float
    low: float
    high: float


def taus(folder: Path, nets: list[list[Alone]]) -> tuple[list[Tau], list[dict[str, float]]]:
    """Of the supernet's accuracies on the test images, of MACs and of parameters; and a row for each network."""
    net = load(folder / "supernet.safetensors", space())
    judge = Judge(net, replace(data().held_out(), x_test=data().x_test, y_test=data().y_test))
    true = np.array([np.mean([each.test for each in seeds]) for seeds in nets])
    scores = {
        "supernet": np.array([judge.accuracy(picks) for picks in sampled(len(nets))]),
        "MACs": np.array([float(seeds[0].macs) for seeds in nets]),
        "parameters": np.array([float(seeds[0].params) for seeds in nets]),
    }
    if len(nets[0]) > 1:  # what one training tells of another is as much as any score can
        scores["one seed, with the other"] = np.array([seeds[0].test for seeds in nets])
    others = {"one seed, with the other": np.array([seeds[-1].test for seeds in nets])}
    rows = [
        {"alone": float(true[i]), **{name: float(score[i]) for name, score in scores.items()}} for i in range(len(nets))
    ]
    return [tau_of(name, score, others.get(name, true)) for name, score in scores.items()], rows


def tau_of(name: str, score: Floats, true: Floats) -> Tau:
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(true), (BOOTSTRAPS, len(true)))
    spread = [_kendall(score[rows], true[rows]) for rows in drawn]
    low, high = np.nanpercentile(spread, [2.5, 97.5])
    return Tau(name, _kendall(score, true), float(low), float(high))


def _kendall(a: Floats, b: Floats) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(a, b)[0])


# 3. searches


@dataclass(frozen=True)
class Member:
    """A member of a front. test: its accuracy on the test images, trained alone."""

    macs: float
    test: float


@dataclass(frozen=True)
class Found:
    """What a search found. seconds: of CPU, of its evaluations. front_seconds: that training its front alone took
    more."""

    front: list[Member]
    seconds: float
    front_seconds: float


def trained(candidate: Candidate) -> dict[str, float]:
    """The evaluator of the search by training."""
    import torch

    torch.set_num_threads(1)
    found = alone(candidate.graph, 0)
    return {"accuracy": found.chosen_by, "test": found.test, "cpu": found.seconds}


trained.metrics = ("accuracy", "test", "cpu")  # type: ignore[attr-defined]


def _by_training(folder: Path, effort: Effort) -> Found:
    result = _search(folder / "training", "benchmarks.supernet:trained", effort.trials, effort.workers)
    spent = sum(trial.metrics["cpu"] for trial in _done(folder / "training"))
    front = [Member(each.metrics["macs"], each.metrics["test"]) for each in result.progress.front]
    return Found(front, spent, 0.0)


def _on_supernet(folder: Path, effort: Effort, epochs: int = 0) -> Found:
    """epochs: that each sub-network is trained further. The seconds are those of all goes, the workers' too."""
    name = f"tuned-{epochs}" if epochs else "shared"
    file = folder / f"{name}.json"
    evaluator = f"supernet(file='{folder / 'supernet.safetensors'}', epochs={epochs}, keep=false)"
    seconds = json.loads(file.read_text()) if file.exists() else {"cpu": 0.0, "trials": 0}
    begun = _cpu()
    result = _search(folder / name, evaluator, effort.trials, effort.workers if epochs else 1)
    if seconds["trials"] != effort.trials:
        seconds = {"cpu": seconds["cpu"] + _cpu() - begun, "trials": effort.trials}
        write_whole(file, json.dumps(seconds))
    members = [
        alone_kept(folder, f"front-{trial.digest}", space().graph(trial.picks), 0) for trial in result.progress.front
    ]
    front = [Member(float(each.macs), each.test) for each in members]
    return Found(front, seconds["cpu"], sum(each.seconds for each in members))


def _cpu() -> float:
    """Seconds of this process, and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _search(folder: Path, evaluator: str, trials: int, workers: int = 1) -> SearchResult:
    """A search, or what is left of it."""
    options = Options(
        evaluator=evaluator, data="benchmarks.supernet:data", trials=trials, workers=workers, folder=folder
    )
    plan, _ = plan_of(search(), options)
    print(f"3. search with {evaluator}: {trials} candidates", flush=True)
    result = run(plan, (folder / DATABASE).exists())
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def _done(folder: Path) -> list[Trial]:
    with Store.reading(folder / DATABASE) as store:
        return [trial for trial in store.trials() if trial.status is Status.DONE]


def hypervolume(front: list[Member], most: float) -> float:
    """The area under the front: accuracy above `WORST`, over log10 of MACs below those of the largest network."""
    area, best = 0.0, WORST
    for member in sorted(front, key=lambda each: each.macs):
        if member.test > best:
            area += (member.test - best) * math.log10(most / member.macs)
            best = member.test
    return area


# what is told


def main() -> None:
    import torch

    torch.set_num_threads(1)
    wanted = parser("supernet", __doc__, "three networks")
    wanted.add_argument("--trials", type=int, metavar="N", help=f"of each search; {Effort.trials} if not given")
    wanted.add_argument("--workers", type=int, metavar="N", default=1, help="candidates that are trained at once")
    arguments = wanted.parse_args()
    effort, folder = QUICK if arguments.quick else Effort(), arguments.folder
    effort = replace(effort, trials=arguments.trials or effort.trials, workers=arguments.workers)
    training = _supernet(folder, effort)
    nets = all_alone(folder, effort)
    found, rows = taus(folder, nets)
    fronts = {
        "on the supernet": _on_supernet(folder, effort),
        "on the supernet, one epoch more": _on_supernet(folder, effort, 1),
        "by training": _by_training(folder, effort),
    }
    _report(folder, training, found, rows, fronts)


def _report(
    folder: Path, training: float, found: list[Tau], rows: list[dict[str, float]], fronts: dict[str, Found]
) -> None:
    most = space().sketch(largest(space())).amounts["macs"]
    volumes = {name: hypervolume(each.front, most) for name, each in fronts.items()}
    document = {
        "supernet_seconds": training,
        "taus": [asdict(each) for each in found],
        "networks": rows,
        "searches": {name: {**asdict(each), "hypervolume": volumes[name]} for name, each in fronts.items()},
    }
    write_whole(folder / "result.json", json.dumps(document, indent=2) + "\n")
    series = [
        Series(
            f"search {name}",
            mark,
            colour,
            tuple((math.log10(each.macs), 100 * each.test) for each in fronts[name].front),
        )
        for name, mark, colour in MARKS
    ]
    write_whole(folder / "fronts.svg", svg(series, TITLES))
    print(
        f"\nthe supernet was trained in {training:.0f} s of CPU\nKendall's tau with {len(rows)} networks trained alone:"
    )
    for each in found:
        print(f"   {each.name:26} {each.tau:5.2f}   [{each.low:.2f}, {each.high:.2f}]")
    print("\n" + terminal(series, TITLES) + "\n")
    for name, each_found in fronts.items():
        times = f"{each_found.seconds:.0f} s of CPU, and {each_found.front_seconds:.0f} s to train the front"
        if name != "by training":
            times += f" and {training:.0f} s to train the supernet"
        print(f"search {name}: hypervolume {volumes[name]:.4f} in {times}")


if __name__ == "__main__":
    start(main)
