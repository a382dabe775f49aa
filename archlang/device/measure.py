"""Latency that can be believed: what `bench` takes and gives."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

from archlang.device import model_file, reference, transport
from archlang.device.attribution import attributed
from archlang.device.cache import Asked, Cache, Key
from archlang.device.estimate import Estimated
from archlang.device.protocol import ATTEMPTS, NOISY, PROCESSES, Measured, Plan, Statistics, Told, Turn, measure
from archlang.device.reference import Reference, Speeds
from archlang.device.transport import Conditions, Device, OpTime, Settings, Transport
from archlang.errors import ArchError, OutsideError, fail
from archlang.ir.graph import Graph

__all__ = ["NOISY", "BenchResult", "Statistics", "bench", "measured"]

WARMUP_RUNS, WARMUP_SECS = 3, 0.1
"""Of each process."""

PATIENCE_SECS = 60.0
"""What disturbs a machine that others share lasts for some ten seconds at a time."""

_SUFFIXES = (".tflite", ".onnx", ".py")
"""The last: a generated PyTorch module, as `torch_file` writes it."""


@dataclass(frozen=True)
class Process:
    """One process of the candidate. runs: how many of `samples_ms` are its. reference_ms: medians of the reference
    model before, between and after them. slowdown: how many times slower than usual the reference was. counts: whether
    the result is made of it, or of some turns of it."""

    attempt: int
    runs: int
    median_ms: float
    reference_ms: tuple[float, ...]
    slowdown: float
    counts: bool


@dataclass(frozen=True)
class Compared:
    """The reference model. median_ms: during this measurement. usual_ms: at the usual speed of the device, as far as it
    is known."""

    name: str
    digest: str
    median_ms: float
    usual_ms: float


@dataclass(frozen=True)
class Effort:
    """How much is done for one result; see `bench`."""

    processes: int = PROCESSES
    attempts: int = ATTEMPTS
    patience_secs: float = 0.0


@dataclass(frozen=True)
class BenchResult:
    """Latency of a model for batch 1, in milliseconds.

    median_ms, p10_ms, p90_ms, iqr_ms: over the runs of the processes that count. noisy: the IQR is more than a tenth of
    the median, or the device was disturbed all the time. attempts: how often it was measured.
    corrected: the device was slower than usual all the time; the times are divided by how much slower the reference
    was, raw_median_ms is not. ratio: to the reference, measured in turns with it.

    samples_ms: every run of every process, in their order; the mean or median of `averaged` runs each, where the
    device's tool does not tell single ones. runs: their number. ops: time per operator, where it was asked for.
    before, after: the state of the device around it all, as far as it tells it. estimate: no device ran it, a model of
    one did. cached: when it was measured (ISO 8601), where that was not now. waited_secs: for the device to be
    undisturbed.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    iqr_ms: float
    runs: int
    warmup_runs: int
    threads: int
    device: str
    runtime: str
    noisy: bool
    attempts: int
    samples_ms: tuple[float, ...]
    ops: tuple[OpTime, ...] | None = None
    averaged: int = 1
    before: Conditions | None = None
    after: Conditions | None = None
    estimate: bool = False
    delegate: str = ""
    processes: tuple[Process, ...] = ()
    reference: Compared | None = None
    ratio: float | None = None
    corrected: bool = False
    raw_median_ms: float = 0.0
    cached: str = ""
    waited_secs: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields that `bench --json` promises, and the samples."""
        document = asdict(self)
        if self.ops is None:
            del document["ops"]
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> BenchResult:
        """The inverse of `as_json`. Raises KeyError or TypeError where fields are missing or unknown."""
        given = dict(document)
        given["samples_ms"] = tuple(given["samples_ms"])
        given["processes"] = tuple(
            Process(**{**each, "reference_ms": tuple(each["reference_ms"])}) for each in given["processes"]
        )
        given["reference"] = Compared(**given["reference"]) if given["reference"] else None
        if given.get("ops") is not None:
            given["ops"] = tuple(OpTime(**op) for op in given["ops"])
        for name in ("before", "after"):
            given[name] = _conditions(given[name])
        return cls(**given)

    def __str__(self) -> str:
        if self.estimate:
            return f"{self.median_ms:.3f} ms as {self.runtime} reckons, for {self.device} (an estimate)"
        noise = ", noisy" if self.noisy else ""
        known = f"; measured {self.cached}" if self.cached else ""
        return (
            f"{self.median_ms:.3f} ms (p10 {self.p10_ms:.3f}, p90 {self.p90_ms:.3f}; {self.runs} runs, "
            f"{_threads(self.threads)}, {self.runtime} on {self.device}{noise}{known})"
        )


def _conditions(document: dict[str, Any] | None) -> Conditions | None:
    if document is None:
        return None
    return Conditions(**{**document, "frequency_mhz": tuple(document["frequency_mhz"])})


def bench(
    model: str | Path | bytes,
    threads: int = 1,
    device: str = "host",
    runs: int = 50,
    min_secs: float = 1.0,
    profile: bool = False,
    timeout_secs: float = 600.0,
    *,
    processes: int = PROCESSES,
    compare: str | Path | None = "own",
    cache: Cache | None = None,
    graph: Graph | None = None,
    told: Told = lambda done: None,
    attempts: int = ATTEMPTS,
    patience_secs: float = PATIENCE_SECS,
) -> BenchResult:
    """Measure the latency of a .tflite or .onnx file, or of its content, on random inputs; or of a PyTorch module in a
    .py file of `torch_file`.

    At least `runs` runs and `min_secs` seconds in `processes` processes together, each after a warm-up; again where the
    result is too noisy, three times at most. profile: also the time per operator. compare: the reference model that is
    measured in turns with it: archlang's own, a file, or None. cache: where results are looked up and kept. graph: what
    the model was made from, so that a profile can name lines and blocks; else a .tflite file of ours says where to
    look. timeout_secs: for each process. told: is called after each process, with how many have ended. patience_secs:
    for how long to wait in all, on this machine and by ssh, for the device to be as fast as the reference knows it.

    Raises ArchError where the file is missing, corrupt or of another kind; OutsideError where the device or the
    runtime is missing, or hangs.
    """
    _check(threads, runs, min_secs, processes)
    settings = Settings(
        threads=threads,
        runs=runs,
        min_secs=min_secs,
        warmup_runs=WARMUP_RUNS,
        warmup_secs=min(WARMUP_SECS, min_secs),
        profile=profile,
        timeout_secs=timeout_secs,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archlang-")))
        path = _in_file(model, folder) if isinstance(model, bytes) else _checked(Path(model))
        way = stack.enter_context(closing(transport.get(device)))
        if isinstance(way, Estimated):
            result = measured(way, path, device, settings, Effort(processes=1))
        else:
            other = _compared(compare, path.suffix)
            effort = Effort(processes, attempts, min(patience_secs, timeout_secs / 2))
            result = _looked_up(way, path, device, settings, effort, other, folder, cache, told)
    if result.ops is None:
        return result
    content = model if isinstance(model, bytes) else path.read_bytes()
    return replace(result, ops=attributed(result.ops, content, graph or origin(content)))


def _looked_up(
    way: Device,
    path: Path,
    device: str,
    settings: Settings,
    effort: Effort,
    other: Reference | None,
    folder: Path,
    cache: Cache | None,
    told: Told,
) -> BenchResult:
    """From the cache where it is there, else measured, and put there where it is calm."""
    key = _key(way, path, settings) if cache is not None else None
    asked = Asked(settings.runs, settings.min_secs, effort.processes, settings.profile, other.digest if other else "")
    if cache is not None and key is not None:
        known = _known(cache.find(key, asked), device)
        if known is not None:
            return known if settings.profile else replace(known, ops=None)
    fingerprint = key.device if key is not None else way.describe().fingerprint if other is not None else ""
    result = measured(way, path, device, settings, effort, other, fingerprint, folder, told)
    if cache is not None and key is not None and not result.noisy:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        cache.put(key, asked, replace(result, cached=now).as_json())
    return result


def _known(document: dict[str, Any] | None, device: str) -> BenchResult | None:
    """A result of the cache; None where a release with other fields put it there. The device may have another name."""
    try:
        return replace(BenchResult.from_json(document), device=device) if document is not None else None
    except (KeyError, TypeError):
        return None


def _key(way: Device, path: Path, settings: Settings) -> Key:
    """One run tells which runtime and delegate there are."""
    told = way.run(path, replace(settings, runs=1, min_secs=0.0, warmup_runs=0, warmup_secs=0.0, profile=False))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Key(digest, way.describe().fingerprint, told.runtime, told.delegate, settings.threads)


def measured(
    way: Transport,
    model: Path,
    device: str,
    settings: Settings,
    effort: Effort = Effort(),
    other: Reference | None = None,
    fingerprint: str = "",
    folder: Path | None = None,
    told: Told = lambda done: None,
) -> BenchResult:
    """Measure by the protocol. other: the reference model, which is written to the folder."""
    if other is None or folder is None:
        plan = Plan(model, settings, effort.processes, told=told, attempts=effort.attempts)
        return _result(measure(way, plan), None, device, settings.threads)
    speeds = Speeds.of(fingerprint, other.digest, settings.threads)
    file = other.write(folder)
    plan = Plan(model, settings, effort.processes, file, speeds, told, effort.attempts, effort.patience_secs)
    return _result(measure(way, plan), other, device, settings.threads)


def _result(found: Measured, other: Reference | None, device: str, threads: int) -> BenchResult:
    reading, first, last = found.reading, found.turns[0].sampled, found.turns[-1].sampled
    statistics = reading.statistics
    samples = _samples(found.turns)
    return BenchResult(
        median_ms=statistics.median,
        p10_ms=statistics.p10,
        p90_ms=statistics.p90,
        iqr_ms=statistics.iqr,
        runs=sum(len(turn.sampled.samples_ms) * turn.sampled.averaged for turn in found.turns),
        warmup_runs=sum(turn.sampled.warmup_runs for turn in found.turns),
        threads=threads,
        device=device,
        runtime=first.runtime,
        noisy=reading.noisy,
        attempts=found.attempts,
        samples_ms=samples,
        ops=first.ops,
        averaged=first.averaged,
        before=first.before,
        after=last.after,
        estimate=first.estimate,
        delegate=first.delegate,
        processes=tuple(_processes(found)),
        reference=_comparison(found, other),
        ratio=reading.ratio,
        corrected=reading.corrected,
        raw_median_ms=median(_samples(reading.turns)),
        waited_secs=found.waited_secs,
    )


def _samples(turns: Sequence[Turn]) -> tuple[float, ...]:
    return tuple(ms for turn in turns for ms in turn.sampled.samples_ms)


def _processes(found: Measured) -> Iterator[Process]:
    for _, group in groupby(found.turns, lambda turn: turn.process):
        turns = list(group)
        samples = _samples(turns)
        references = (*turns[0].around_ms[:1], *(ms for turn in turns for ms in turn.around_ms[1:]))
        slowdown = fmean(turn.slowdown(found.reading.usual_ms) for turn in turns)
        counts = any(turn in found.reading.turns for turn in turns)
        yield Process(turns[0].attempt, len(samples), median(samples), references, slowdown, counts)


def _comparison(found: Measured, other: Reference | None) -> Compared | None:
    if other is None:
        return None
    return Compared(other.name, other.digest, median(found.references_ms), found.reading.usual_ms)


def _compared(compare: str | Path | None, suffix: str) -> Reference | None:
    if compare is None:
        return None
    return reference.own(_REFERENCES.get(suffix, suffix)) if compare == "own" else reference.named(Path(compare))


_REFERENCES = {".py": ".tflite"}
"""Whose reference tells how fast the device is, where there is none of the kind: PyTorch takes long to start."""


def origin(content: bytes) -> Graph | None:
    """The network that a .tflite file of ours was made from, where it is still to be found and still the same."""
    import archlang

    try:
        facts = json.loads(model_file.metadata(content, "archlang") or b"{}")
        spec, digest = str(facts["origin"]), facts["digest"]
        file, _, _ = spec.partition(".arch:")
        if not spec.startswith("zoo:") and not Path(file.removesuffix(".arch") + ".arch").is_file():
            return None
        graph = archlang.load(spec).graph
    except (ArchError, OutsideError, ValueError, KeyError, TypeError):
        return None
    return graph if graph.digest == digest else None


def _in_file(content: bytes, folder: Path) -> Path:
    """A flatbuffer says `TFL3` after its first four bytes; protobuf, which ONNX is, says nothing."""
    path = folder / ("model.tflite" if content[4:8] == b"TFL3" else "model.onnx")
    path.write_bytes(content)
    return path


def _check(threads: int, runs: int, min_secs: float, processes: int) -> None:
    if threads < 1 or runs < 1 or not 0 <= min_secs < 3600 or processes < 1:
        raise fail(
            "E1004",
            f"cannot measure {runs} runs over {min_secs:g} s with {_threads(threads)} in {processes} processes",
            help="at least one run, one thread and one process, and less than an hour",
        )


def _checked(path: Path) -> Path:
    if path.suffix not in _SUFFIXES:
        help = "of an .arch file, `archlang bench SPEC --runtime` compiles what a runtime needs"
        raise fail("E1003", f"{path}: only .tflite and .onnx files can be measured", help=help)
    if not path.is_file():
        raise fail("E1005", f"there is no file {path}")
    return path


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
