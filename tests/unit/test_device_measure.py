"""The protocol and the statistics of a measurement."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archlang.device import runner
from archlang.device.measure import ATTEMPTS, Statistics, measured
from archlang.device.transport import Sampled, Settings
from archlang.errors import ArchError, OutsideError


@given(st.lists(st.floats(0.001, 1e4), min_size=2, max_size=60))
def test_quantiles_are_those_of_the_standard_library(samples: list[float]) -> None:
    found = Statistics.of(samples)
    deciles = statistics.quantiles(samples, n=10, method="inclusive")
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    assert found.median == pytest.approx(statistics.median(samples))
    assert (found.p10, found.p90) == pytest.approx((deciles[0], deciles[-1]))
    assert found.iqr == pytest.approx(quartiles[2] - quartiles[0], abs=1e-9)
    assert found.spread == pytest.approx((quartiles[2] - quartiles[0]) / statistics.median(samples), abs=1e-9)


class Clock:
    """A clock that stands still but for what runs take."""

    def __init__(self, milliseconds: float) -> None:
        self.now, self.step = 0, int(milliseconds * 1e6)

    def __call__(self) -> int:
        return self.now

    def run(self) -> None:
        self.now += self.step


@pytest.mark.parametrize(
    ("milliseconds", "runs", "secs", "expected"),
    [(10, 5, 0.0, 5), (10, 5, 0.2, 20), (10, 50, 0.2, 50), (300, 1, 0.5, 2)],
)
def test_runs_until_both_the_number_and_the_time_have_passed(
    milliseconds: float, runs: int, secs: float, expected: int
) -> None:
    clock = Clock(milliseconds)
    samples = runner.repeat(clock.run, runs, secs, clock)
    assert samples == [milliseconds] * expected


class Scripted:
    """A transport whose measurements are written down in advance."""

    def __init__(self, *attempts: list[float]) -> None:
        self.attempts = list(attempts)

    def run(self, model: Path, settings: Settings) -> Sampled:
        return Sampled("fake 1.0", tuple(self.attempts.pop(0)), 3)


CALM = [1.0, 1.01, 1.0, 0.99, 1.0]
NOISY = [1.0, 1.3, 1.2, 1.0, 1.05]
WILD = [1.0, 3.0, 0.5, 2.0, 4.0]
WILDER = [1.0, 9.0, 0.1, 5.0, 9.0]


def _measured(*attempts: list[float]) -> tuple[float, bool, int]:
    result = measured(Scripted(*attempts), Path("m.tflite"), "host", Settings())
    assert result.median_ms == np.median(result.samples_ms)
    assert result.runs == len(result.samples_ms)
    assert result.warmup_runs == 3
    return result.iqr_ms, result.noisy, result.attempts


def test_a_calm_measurement_is_taken_as_it_is() -> None:
    assert _measured(CALM) == (0.0, False, 1)


def test_a_noisy_one_is_called_so() -> None:
    assert _measured(NOISY)[1:] == (True, 1)
    assert _measured([1.0, 1.08, 1.05, 0.95, 1.0])[1:] == (False, 1)


def test_a_wild_one_is_measured_again() -> None:
    assert _measured(WILD, CALM)[1:] == (False, 2)


def test_with_a_limit_and_the_calmest_is_kept() -> None:
    iqr, noisy, attempts = _measured(WILDER, WILD, WILDER)
    assert (iqr, noisy, attempts) == (Statistics.of(WILD).iqr, True, ATTEMPTS)


def test_zero_is_no_division_by_zero() -> None:
    assert Statistics.of([0.0, 0.0]).spread == 0.0


def test_an_unknown_device_is_missing_not_wrong() -> None:
    import archlang

    with pytest.raises(OutsideError, match="no device `pixel6-cpu`"):
        archlang.bench(b"\x1c\0\0\0TFL3", device="pixel6-cpu")


@pytest.mark.parametrize(("threads", "runs", "secs"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -1.0), (1, 1, float("nan"))])
def test_settings_that_cannot_be(threads: int, runs: int, secs: float) -> None:
    import archlang

    with pytest.raises(ArchError, match="E1004"):
        archlang.bench("m.tflite", threads=threads, runs=runs, min_secs=secs)


def test_random_inputs_lie_in_the_range_of_their_type() -> None:
    floats = runner.random_input(np.float32, (2, 50), 0)
    assert floats.dtype == np.float32
    assert 0 <= floats.min() < 0.1
    assert 0.9 < floats.max() <= 1
    bytes_ = runner.random_input(np.int8, (50, 50), 0)
    assert (bytes_.min(), bytes_.max()) == (-128, 127)
    assert not runner.random_input(np.int64, (3,), 0).any()
    assert runner.random_input("bool", (3,), 0).dtype == bool


def test_the_profile_of_onnx_runtime_is_read_per_node() -> None:
    def event(name: str, dur: int, cat: str = "Node") -> dict[str, object]:
        return {"cat": cat, "name": name, "dur": dur, "args": {"op_name": name.split("_")[0].title()}}

    events = [event("conv_kernel_time", 9000), event("relu_kernel_time", 900)]  # the warm-up
    events += [event("conv_kernel_time", 2000), event("conv_fence_before", 1), event("relu_kernel_time", 200)]
    events += [event("conv_kernel_time", 4000), event("relu_kernel_time", 300), event("model_run", 5000, "Session")]
    assert runner.onnx_operators(events, 1) == [
        {"name": "conv", "op": "Conv", "ms": 3.0},
        {"name": "relu", "op": "Relu", "ms": 0.25},
    ]
