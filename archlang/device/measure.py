"""Latency that can be believed: the protocol of a measurement, and its statistics."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archlang.device import transport
from archlang.device.transport import Conditions, OpTime, Sampled, Settings, Transport
from archlang.errors import fail

NOISY = 0.10
"""IQR / median above which a result is called noisy."""

AGAIN = 0.25
"""IQR / median above which a model is measured again."""

ATTEMPTS = 3

_SUFFIXES = (".tflite", ".onnx")


@dataclass(frozen=True)
class Statistics:
    """Quantiles of samples, by linear interpolation between order statistics. iqr: third minus first quartile."""

    median: float
    p10: float
    p90: float
    iqr: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Statistics:
        p10, p25, median, p75, p90 = np.percentile(samples, (10, 25, 50, 75, 90)).tolist()
        return cls(median, p10, p90, p75 - p25)

    @property
    def spread(self) -> float:
        """IQR / median, the measure of noise; 0 where both are 0."""
        return self.iqr / self.median if self.median else 0.0


@dataclass(frozen=True)
class BenchResult:
    """Latency of a model for batch 1, in milliseconds.

    noisy: the IQR is more than a tenth of the median. attempts: how often it was measured; the calmest one is kept.
    samples_ms: every run, in their order; the mean or median of `averaged` runs each, where the device's tool does not
    tell single ones. ops: time per operator, where it was asked for. before, after: the state of the device around the
    runs, as far as it tells it. estimate: no device ran it, a model of one did.
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

    def as_json(self) -> dict[str, Any]:
        """The fields that `bench --json` promises, and the samples."""
        document = asdict(self)
        if self.ops is None:
            del document["ops"]
        return document

    def __str__(self) -> str:
        if self.estimate:
            return f"{self.median_ms:.3f} ms as {self.runtime} reckons, for {self.device} (an estimate)"
        noise = ", noisy" if self.noisy else ""
        return (
            f"{self.median_ms:.3f} ms (p10 {self.p10_ms:.3f}, p90 {self.p90_ms:.3f}; {self.runs} runs, "
            f"{_threads(self.threads)}, {self.runtime} on {self.device}{noise})"
        )


def bench(
    model: str | Path | bytes,
    threads: int = 1,
    device: str = "host",
    runs: int = 50,
    min_secs: float = 1.0,
    profile: bool = False,
    timeout_secs: float = 600.0,
) -> BenchResult:
    """Measure the latency of a .tflite or .onnx file, or of its content, on random inputs.

    At least `runs` runs and `min_secs` seconds after a warm-up; again where the result is too noisy, three times at
    most. profile: also the time per operator.

    Raises ArchError where the file is missing, corrupt or of another kind; OutsideError where the device or the
    runtime is missing, or hangs.
    """
    _check(threads, runs, min_secs)
    settings = Settings(
        threads=threads,
        runs=runs,
        min_secs=min_secs,
        warmup_secs=min(0.25, min_secs),
        profile=profile,
        timeout_secs=timeout_secs,
    )
    if isinstance(model, bytes):
        return _bench_content(model, device, settings)
    path = _checked(Path(model))
    with closing(transport.get(device)) as way:
        return measured(way, path, device, settings)


def measured(way: Transport, model: Path, device: str, settings: Settings) -> BenchResult:
    """Measure until the noise is bearable, `ATTEMPTS` times at most; the calmest attempt."""
    best: tuple[Statistics, Sampled] | None = None
    attempts = 0
    while attempts < ATTEMPTS and (best is None or best[0].spread > AGAIN):
        attempts += 1
        sampled = way.run(model, settings)
        statistics = Statistics.of(sampled.samples_ms)
        if best is None or statistics.spread < best[0].spread:
            best = statistics, sampled
    assert best is not None
    return _result(*best, device, settings.threads, attempts)


def _result(statistics: Statistics, sampled: Sampled, device: str, threads: int, attempts: int) -> BenchResult:
    return BenchResult(
        median_ms=statistics.median,
        p10_ms=statistics.p10,
        p90_ms=statistics.p90,
        iqr_ms=statistics.iqr,
        runs=len(sampled.samples_ms) * sampled.averaged,
        warmup_runs=sampled.warmup_runs,
        threads=threads,
        device=device,
        runtime=sampled.runtime,
        noisy=statistics.spread > NOISY,
        attempts=attempts,
        samples_ms=sampled.samples_ms,
        ops=sampled.ops,
        averaged=sampled.averaged,
        before=sampled.before,
        after=sampled.after,
        estimate=sampled.estimate,
    )


def _bench_content(content: bytes, device: str, settings: Settings) -> BenchResult:
    """A flatbuffer says `TFL3` after its first four bytes; protobuf, which ONNX is, says nothing."""
    suffix = ".tflite" if content[4:8] == b"TFL3" else ".onnx"
    with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
        path = Path(folder, f"model{suffix}")
        path.write_bytes(content)
        with closing(transport.get(device)) as way:
            return measured(way, path, device, settings)


def _check(threads: int, runs: int, min_secs: float) -> None:
    if threads < 1 or runs < 1 or not 0 <= min_secs < 3600:
        raise fail(
            "E1004",
            f"cannot measure {runs} runs over {min_secs:g} s with {_threads(threads)}",
            help="at least one run and one thread, and less than an hour",
        )


def _checked(path: Path) -> Path:
    if path.suffix not in _SUFFIXES:
        raise fail("E1003", f"{path}: only .tflite and .onnx files can be measured")
    if not path.is_file():
        raise fail("E1005", f"there is no file {path}")
    return path


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
