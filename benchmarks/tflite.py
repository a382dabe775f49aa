"""A .tflite file by us and by the other routes there are: how long it takes, in how much memory; how fast the file is.

Each route runs in a process of its own, in the first Python that has what it needs: this one, or one of those that
the environment variable ARCHLANG_BENCH_PEERS names. A route that none of them has is left out, and a line says so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

import archlang
from archlang import weights
from archlang.backends.keras import generate as keras_source
from archlang.backends.pytorch import generate as torch_source
from archlang.passes import inference
from benchmarks.measure import Result

NETS = ("zoo:mobilenet_v2", "zoo:efficientnet:b0", "zoo:resnet:r50")
QUICK = 2
"""Runs up to which only the first network is measured."""

SAMPLES = 32
"""Calibration inputs."""

PEER_RUNS = 2
"""Of which the faster counts; of ours the median does."""

PROCESSES = 9
"""In which the files are measured."""

LATENCY_ONLY_MS = {"zoo:mobilenet_v2": 100.0}
LATENCY_LIMIT = 1.02

PYTHONS = "ARCHLANG_BENCH_PEERS"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stage:
    """A program of `benchmarks.peers`, and the mode that it is asked for."""

    module: str
    mode: str = "none"


@dataclass(frozen=True)
class Route:
    """Stages, each from the file of the one before. factor: how many times faster than it we must be."""

    name: str
    stages: tuple[Stage, ...]
    factor: float


@dataclass(frozen=True)
class Made:
    """A file, the milliseconds that it took, and the most memory that any stage had, in MB."""

    file: Path
    ms: float
    peak_mb: float


_ONNX = (Stage("torch_onnx"), Stage("onnx_to_tf"))
_LITERT = (Stage("litert_torch_converter"),)
_QUANTIZER = (Stage("quantizer", "int8"),)

ROUTES: Mapping[str, tuple[Route, ...]] = {
    "none": (
        Route("TensorFlow's converter", (Stage("tensorflow_converter"),), 10),
        Route("litert-torch", _LITERT, 10),
        Route("torch.onnx, onnx2tf", _ONNX, 10),
    ),
    "int8": (
        Route("TensorFlow's converter", (Stage("tensorflow_converter", "int8"),), 10),
        Route("litert-torch", (Stage("litert_torch_converter", "int8"),), 3),
        Route("litert-torch, litert-quantizer", _LITERT + _QUANTIZER, 3),
        Route("torch.onnx, onnx2tf, litert-quantizer", _ONNX + _QUANTIZER, 3),
    ),
}
"""Mode -> the routes to a file of it."""

TITLES = {"none": "float32", "int8": f"int8, {SAMPLES} samples"}

NEEDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ours": ((), ""),
    "tensorflow_converter": (("tensorflow", "safetensors"), "pip install tensorflow safetensors"),
    "litert_torch_converter": (("litert_torch", "torchao", "safetensors"), "pip install litert-torch safetensors"),
    "torch_onnx": (("torch", "onnx", "safetensors"), "pip install torch onnx safetensors"),
    "onnx_to_tf": (("onnx2tf",), "pip install onnx2tf, in a Python 3.12"),
    "quantizer": (("litert_quantizer",), "pip install litert-quantizer"),
}
"""Program -> the modules that it imports, and how to have them."""


def results(runs: int) -> Iterator[Result]:
    for spec in NETS[:1] if runs <= QUICK else NETS:
        with tempfile.TemporaryDirectory(prefix="archlang-bench-") as folder:
            yield from _network(_Workshop(spec, Path(folder), runs))


def _network(workshop: _Workshop) -> Iterator[Result]:
    latency_only = workshop.made((Stage("ours", "latency"),))
    assert latency_only is not None
    spec = workshop.spec
    yield Result(f"{spec} to int8 without calibration", latency_only.ms, limit=LATENCY_ONLY_MS.get(spec))
    for mode, routes in ROUTES.items():
        ours = workshop.made((Stage("ours", mode),))
        assert ours is not None
        theirs = {route: made for route in routes if (made := workshop.made(route.stages))}
        yield from _making(f"{spec} to {TITLES[mode]}", ours, theirs, workshop.memory_limit_mb)
        yield from _running(f"{spec}, {TITLES[mode]}", ours, theirs, workshop.runs)


def _making(what: str, ours: Made, theirs: Mapping[Route, Made], memory_mb: float) -> Iterator[Result]:
    for route, made in theirs.items():
        yield Result(what, ours.ms, route.name, made.ms, made.ms / route.factor)
    yield Result(f"{what}, peak memory", ours.peak_mb, limit=memory_mb, unit="MB")
    for route, made in theirs.items():
        yield Result(f"{what}, peak memory", ours.peak_mb, route.name, made.peak_mb, memory_mb, "MB")


def _running(what: str, ours: Made, theirs: Mapping[Route, Made], runs: int) -> Iterator[Result]:
    names, files = [route.name for route in theirs], [ours.file, *(made.file for made in theirs.values())]
    our_ms, *times = latencies(files, 4 * runs)
    our_count, *counts = [_operators(file) for file in files]
    for name, ms in zip(names, times, strict=True):
        yield Result(f"{what} in LiteRT", our_ms, name, ms, LATENCY_LIMIT * ms)
    for name, count in zip(names, counts, strict=True):
        yield Result(f"{what}, operators", our_count, name, count, count, "")


def latencies(files: Sequence[Path], runs: int) -> list[float]:
    """Milliseconds of each file, from several processes: where the memory of a model comes to lie makes a difference of
    some per cent, which stays as long as the process does. In each, files are compared with their geometric mean, so
    that a slower moment of the machine is one for all of them."""
    found, means = [], []
    for turn in range(PROCESSES):
        first = turn % len(files)
        done = run([sys.executable, "-m", "benchmarks.invoke", str(runs), *map(str, (*files[first:], *files[:first]))])
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        medians: list[float] = json.loads(done.stdout.splitlines()[-1])
        means.append(statistics.geometric_mean(medians))
        shares = [ms / means[-1] for ms in medians]
        found.append([*shares[len(files) - first :], *shares[: len(files) - first]])
    return [statistics.median(means) * statistics.median(times) for times in zip(*found, strict=True)]


def _operators(file: Path) -> int:
    """How many the file holds; a runtime may fuse some of them."""
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(file.read_bytes())
    return sum(model.Subgraphs(i).OperatorsLength() for i in range(model.SubgraphsLength()))


@dataclass
class _Workshop:
    """One network in a folder, as all routes want it, and the files that they have made of it so far."""

    spec: str
    folder: Path
    runs: int
    known: dict[tuple[Stage, ...], Made | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = archlang.load(self.spec).graph
        arrays, samples = weights.random(graph), (SAMPLES, *graph.nodes[graph.inputs[0]].type.shape)
        keras, torch = keras_source(inference(graph)), torch_source(graph)
        (self.folder / "keras_net.py").write_text(keras.text)
        (self.folder / "torch_net.py").write_text(torch.text)
        weights.save(arrays, self.folder / "weights.safetensors")
        np.save(self.folder / "calibration.npy", np.random.default_rng(0).standard_normal(samples).astype(np.float32))
        facts = {"spec": self.spec, "torch": torch.class_name, "keras": keras.build}
        (self.folder / "facts.json").write_text(json.dumps(facts))

    @property
    def memory_limit_mb(self) -> float:
        """Four times the float model and 200 MB."""
        return 4 * (self.folder / "weights.safetensors").stat().st_size / 2**20 + 200

    def made(self, stages: tuple[Stage, ...]) -> Made | None:
        """The file at the end of a route, which is made once; None where a program is missing or fails."""
        if stages not in self.known:
            self.known[stages] = self.make(stages)
        return self.known[stages]

    def make(self, stages: tuple[Stage, ...]) -> Made | None:
        *before, stage = stages
        source = self.made(tuple(before)) if before else None
        if before and source is None:
            return None
        python = python_for(stage.module)
        if python is None:
            _leave_out(stage, f"run  {NEEDS[stage.module][1]}  here, or in a Python named by {PYTHONS}")
            return None
        file = self.folder / ("-".join(f"{stage.module}-{stage.mode}" for stage in stages) + ".tflite")
        answer = self.answer(python, stage, file, source)
        if answer is None:
            return None
        ms, peak_mb = (statistics.median if stage.module == "ours" else min)(answer["ms"]), answer["peak_mb"][0]
        return Made(file, ms + (source.ms if source else 0), max(peak_mb, source.peak_mb if source else 0))

    def answer(self, python: str, stage: Stage, file: Path, source: Made | None) -> dict[str, list[float]] | None:
        runs = self.runs if stage.module == "ours" else min(self.runs // QUICK, PEER_RUNS)
        job = {"folder": str(self.folder), "mode": stage.mode, "result": str(file), "runs": runs}
        job["source"] = str(source.file) if source else None
        done = run([python, "-m", f"benchmarks.peers.{stage.module}", json.dumps(job)])
        if done.returncode != 0 or not file.exists():
            _leave_out(stage, f"it fails on {self.spec}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
            return None
        answer: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
        return answer


@cache
def python_for(module: str) -> str | None:
    """The first Python that has what the program imports."""
    pythons = [sys.executable, *filter(None, os.environ.get(PYTHONS, "").split(os.pathsep))]
    check = ["-m", "benchmarks.peers.worker", *NEEDS[module][0]]
    return next((python for python in pythons if run([python, *check]).returncode == 0), None)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of `benchmarks.peers`."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def _leave_out(stage: Stage, why: str) -> None:
    """Say once that a stage has no figures."""
    print(f"left out: {stage.module} ({stage.mode}): {why}", file=sys.stderr)
