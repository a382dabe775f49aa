"""A search that anyone can repeat: MobileNetV2 on MNIST-5k, scaled in width, beside what a search finds around it.

    python -m benchmarks.search_demo [--folder demo/search-demo] [--quick]

1. The search: candidates of `specs/spaces/mobilenet_small.arch` are trained briefly and measured as int8 TFLite.
2. Its front and the width-scaled MobileNetV2s are trained alike, for longer, on all training images; their accuracy in
   int8 is that on the test images, which nothing has seen before.
3. All are measured once more, in turns. The speed-up is how much faster the fastest found network is that is at least
   as accurate as the best MobileNetV2.

What is finished is in the folder: the same command goes on where it was stopped. Half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import archlang
from archlang.data import Dataset
from archlang.device.measure import bench
from archlang.files import write_whole
from archlang.search.driver import DATABASE, Progress, run
from archlang.search.evaluators.train import accuracy_of, calibration_images, int8_model
from archlang.search.plan import Options, plan_of
from archlang.search.space import load_search
from archlang.train import Recipe, train
from benchmarks import mnist
from benchmarks.experiment import parser, percent, start
from benchmarks.plot import Series, svg, terminal

SPACE = Path(__file__).parents[1] / "specs/spaces/mobilenet_small.arch"
TARGET = 1.5
TITLES = ("latency of the int8 model, ms", "accuracy of the int8 model on the test images, %")


@dataclass(frozen=True)
class Effort:
    """How much is done. trials, epochs: of the search. front: the most found networks that are trained again, for
    `final_epochs`. widths: of MobileNetV2. rounds: in which all are measured."""

    trials: int = 48
    epochs: int = 3
    front: int = 7
    final_epochs: int = 6
    widths: tuple[str, ...] = ("w025", "w035", "w050", "w075", "w100")
    rounds: int = 7


QUICK = Effort(4, 1, 2, 1, ("w025", "w035"), 2)


@dataclass(frozen=True)
class Job:
    """A network to be trained and judged. folder: where its results go, under its name."""

    name: str
    spec: str
    found: bool
    epochs: int
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def model(self) -> Path:
        return self.folder / f"{self.name}.tflite"


@dataclass(frozen=True)
class Judged:
    """accuracy: of the int8 model, 0..1. latency: milliseconds."""

    name: str
    found: bool
    accuracy: float
    latency: float
    macs: int


def main() -> None:
    arguments = _arguments()
    effort, folder = QUICK if arguments.quick else Effort(), arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    winners = _search(folder / "search", effort, arguments.workers)
    jobs = [*_baselines(folder / "nets", effort), *_found(folder / "nets", winners, effort)]
    _train(jobs, arguments.workers)
    judged = _measured(jobs, effort.rounds)
    _report(folder, judged, time.monotonic() - begun)


# 1. the search


def _search(folder: Path, effort: Effort, workers: int) -> list[Path]:
    """The winners' files, best accuracy first."""
    spec = load_search(str(SPACE))
    options = Options(
        evaluator="train(inherit=true)",
        data="benchmarks.mnist:data",
        trials=effort.trials,
        workers=workers,
        folder=folder,
        recipe=Recipe(epochs=effort.epochs),
    )
    plan, _ = plan_of(spec, options)
    print(f"1. search: {effort.trials} candidates, {effort.epochs} epochs each", flush=True)
    result = run(plan, (folder / DATABASE).exists(), _Lines())
    if result.interrupted:
        raise KeyboardInterrupt
    return [Path(entry["arch"]) for entry in result.as_json()["front"]]


class _Lines:
    """A line for every candidate that is finished."""

    def __init__(self) -> None:
        self.finished = -1

    def __call__(self, progress: Progress) -> None:
        if progress.finished == self.finished:
            return
        self.finished = progress.finished
        best = "" if progress.best is None else f", best {percent(progress.best.metrics['accuracy_int8'])}"
        print(f"   {progress.finished} of {progress.trials}{best}, front of {len(progress.front)}", flush=True)


# 2. training


def _baselines(folder: Path, effort: Effort) -> list[Job]:
    net = f"{SPACE}:MobileNetV2Small"
    return [
        Job(f"mobilenet_v2_{width}", f"{net}.{width}", False, effort.final_epochs, folder) for width in effort.widths
    ]


def _found(folder: Path, winners: list[Path], effort: Effort) -> list[Job]:
    """The winners, evenly spread over the front where there are too many."""
    count = min(len(winners), effort.front)
    chosen = [winners[i * (len(winners) - 1) // max(1, count - 1)] for i in range(count)]
    return [Job(path.stem, str(path), True, effort.final_epochs, folder) for path in chosen]


def _train(jobs: list[Job], workers: int) -> None:
    """Train and judge what has not been yet, the largest first, in processes of their own."""
    waiting = [job for job in jobs if not job.results.exists()]
    print(f"2. training of {len(jobs)} networks, {len(jobs) - len(waiting)} of them done", flush=True)
    waiting.sort(key=lambda job: archlang.load(job.spec).cost().total.macs, reverse=True)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for line in pool.imap_unordered(_trained, waiting):
            print(f"   {line}", flush=True)


def _trained(job: Job) -> str:
    """Train one network, write its int8 model and its results; a line about it."""
    import torch

    torch.set_num_threads(1)
    job.folder.mkdir(parents=True, exist_ok=True)
    net = archlang.load(job.spec)
    data: Dataset = mnist.data().fitted(net.graph.nodes[net.graph.inputs[0]].type.shape)
    checkpoint = job.folder / f"{job.name}.checkpoint"
    result = train(net.graph, data, Recipe(epochs=job.epochs), checkpoint=checkpoint)
    model = int8_model(net.graph, result.weights, calibration_images(data))
    accuracy = accuracy_of(model, data)
    write_whole(job.model, model)
    write_whole(job.results, json.dumps({"accuracy": accuracy, "macs": net.cost().total.macs}))
    checkpoint.unlink(missing_ok=True)
    return f"{job.name}: {percent(accuracy)} in int8, {percent(result.accuracy)} in float32"


# 3. measuring


def _measured(jobs: list[Job], rounds: int) -> list[Judged]:
    """All networks with the median of their latencies; they take turns, so that a slow moment hits all of them."""
    print(f"3. latency: {rounds} rounds", flush=True)
    times: dict[str, list[float]] = {job.name: [] for job in jobs}
    for _ in range(rounds):
        for job in jobs:
            times[job.name].append(bench(job.model, threads=1, runs=30, min_secs=0.2, patience_secs=1).median_ms)
    return [_judged(job, statistics.median(times[job.name])) for job in jobs]


def _judged(job: Job, latency: float) -> Judged:
    found = json.loads(job.results.read_text())
    return Judged(job.name, job.found, found["accuracy"], latency, found["macs"])


def speed_up(judged: list[Judged]) -> tuple[Judged, Judged | None]:
    """The best MobileNetV2, and the fastest found network that is at least as accurate; None where none is. Of equally
    accurate MobileNetV2s the fastest is the best."""
    best = min((each for each in judged if not each.found), key=lambda each: (-each.accuracy, each.latency))
    equals = [each for each in judged if each.found and each.accuracy >= best.accuracy]
    return best, min(equals, key=lambda each: each.latency, default=None)


def _report(folder: Path, judged: list[Judged], seconds: float) -> None:
    series = [
        Series("MobileNetV2, scaled in width", "o", "#c0392b", tuple(_points(judged, found=False))),
        Series("found by the search", "*", "#1f6fb2", tuple(_points(judged, found=True))),
    ]
    write_whole(folder / "fronts.svg", svg(series, TITLES))
    best, fastest = speed_up(judged)
    ratio = best.latency / fastest.latency if fastest is not None else None
    document = {"nets": [asdict(each) for each in judged], "best_baseline": best.name, "speed_up": ratio}
    write_whole(folder / "result.json", json.dumps(document, indent=2) + "\n")
    print("\n" + _table(judged) + "\n\n" + terminal(series, TITLES) + "\n")
    print(_verdict(best, fastest))
    print(f"{seconds / 60:.1f} minutes in this go; the plot is {folder / 'fronts.svg'}")


def _points(judged: list[Judged], found: bool) -> Iterator[tuple[float, float]]:
    return ((each.latency, 100 * each.accuracy) for each in judged if each.found is found)


def _table(judged: list[Judged]) -> str:
    rows = [f"{'network':28} {'accuracy':>9} {'latency ms':>11} {'MACs':>9}"]
    for each in sorted(judged, key=lambda each: each.latency):
        rows.append(f"{each.name:28} {percent(each.accuracy):>9} {each.latency:>11.3f} {each.macs / 1e6:>8.2f}M")
    return "\n".join(rows)


def _verdict(best: Judged, fastest: Judged | None) -> str:
    said = f"the best MobileNetV2 is {best.name}: {percent(best.accuracy)} in {best.latency:.3f} ms"
    if fastest is None:
        return f"{said}; no found network is as accurate"
    ratio = best.latency / fastest.latency
    goal = "reached" if ratio >= TARGET else "missed"
    found = f"{fastest.name} has {percent(fastest.accuracy)} in {fastest.latency:.3f} ms"
    return f"{said}; {found}: {ratio:.2f} times faster ({TARGET} is {goal})"


def _arguments() -> argparse.Namespace:
    made = parser("search_demo", __doc__, "four candidates")
    made.add_argument("--workers", type=int, default=2, help="candidates at once, a core each")
    return made.parse_args()


if __name__ == "__main__":
    start(main)
