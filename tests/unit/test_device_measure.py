"""The protocol and the statistics of a measurement."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archlang.device import reference, runner
from archlang.device.measure import BenchResult, Effort, measured
from archlang.device.protocol import ATTEMPTS, NOISY, WELL_KNOWN, Measured, Plan, Statistics, measure
from archlang.device.reference import Reference, Speeds
from archlang.device.transport import Conditions, OpTime, Sampled, Settings
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


@given(
    st.lists(st.floats(9.9, 10.1), min_size=21, max_size=60),
    st.lists(st.floats(11.0, 1000.0), max_size=9),
    st.randoms(use_true_random=False),
)
def test_a_few_disturbed_runs_do_not_move_the_median(calm: list[float], disturbed: list[float], random: object) -> None:
    """What it is for: the mean of the same samples may be tenfold."""
    assert 9.9 <= Statistics.of([*calm, *disturbed]).median <= 10.1


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


# A single process an attempt, without a reference.


class Scripted:
    """A transport whose measurements are written down in advance."""

    def __init__(self, *attempts: list[float]) -> None:
        self.attempts = list(attempts)

    def run(self, model: Path, settings: Settings) -> Sampled:
        return Sampled("fake 1.0", tuple(self.attempts.pop(0)), 3)


CALM_RUNS = [1.0, 1.01, 1.0, 0.99, 1.0]
NOISY_RUNS = [1.0, 1.3, 1.2, 1.0, 1.05]
WILD_RUNS = [1.0, 3.0, 0.5, 2.0, 4.0]
WILDER_RUNS = [1.0, 9.0, 0.1, 5.0, 9.0]


def _measured(*attempts: list[float], processes: int = 1) -> BenchResult:
    result = measured(Scripted(*attempts), Path("m.tflite"), "host", Settings(), Effort(processes))
    assert result.runs == len(result.samples_ms) == sum(process.runs for process in result.processes)
    assert result.warmup_runs == 3 * len(result.processes)
    assert (result.ratio, result.reference, result.corrected) == (None, None, False)
    return result


def test_a_calm_measurement_is_taken_as_it_is() -> None:
    found = _measured(CALM_RUNS)
    assert (found.median_ms, found.iqr_ms, found.noisy, found.attempts) == (1.0, 0.0, False, 1)
    assert found.samples_ms == tuple(CALM_RUNS)


def test_a_noisy_one_is_called_so() -> None:
    assert _measured(NOISY_RUNS).noisy
    assert _measured(NOISY_RUNS).attempts == 1
    assert not _measured([1.0, 1.08, 1.05, 0.95, 1.0]).noisy


def test_a_wild_one_is_measured_again() -> None:
    found = _measured(WILD_RUNS, CALM_RUNS)
    assert (found.median_ms, found.noisy, found.attempts) == (1.0, False, 2)
    assert found.samples_ms == (*WILD_RUNS, *CALM_RUNS)
    assert [process.counts for process in found.processes] == [False, True]


def test_with_a_limit_after_which_everything_counts() -> None:
    found = _measured(WILDER_RUNS, WILD_RUNS, WILDER_RUNS)
    together = Statistics.of([*WILDER_RUNS, *WILD_RUNS, *WILDER_RUNS])
    assert (found.median_ms, found.iqr_ms) == (together.median, together.iqr)
    assert (found.noisy, found.attempts) == (True, ATTEMPTS)
    assert all(process.counts for process in found.processes)


def test_the_median_is_over_the_processes() -> None:
    found = _measured([1.0] * 5, [1.04] * 5, [1.02] * 5, processes=3)
    assert (found.median_ms, found.attempts) == (1.02, 1)
    assert [process.median_ms for process in found.processes] == [1.0, 1.04, 1.02]


def test_zero_is_no_division_by_zero() -> None:
    assert Statistics.of([0.0, 0.0]).spread == 0.0


# In turns with a reference, on a device whose speed changes.

MODEL, REFERENCE = Path("m.tflite"), Path("reference.tflite")
TRUE_MS = {MODEL: 8.0, REFERENCE: 0.5}


class Drifting:
    """A device that needs `factor(now)` times as long as it should, now being the seconds since it was switched on. A
    run takes its time; a process 100 ms more."""

    def __init__(self, factor: Callable[[float], float], seed: int = 0) -> None:
        self.factor, self.now = factor, 0.0
        self.noise = np.random.default_rng(seed)
        self.models: list[Path] = []
        self.asked: list[Settings] = []

    def run(self, model: Path, settings: Settings) -> Sampled:
        self.models.append(model)
        self.asked.append(settings)
        self.now += 0.1
        samples: list[float] = []
        end = self.now + settings.min_secs
        while len(samples) < settings.runs or self.now < end:
            samples.append(TRUE_MS[model] * self.factor(self.now) * self.noise.normal(1, 0.005))
            self.now += samples[-1] / 1000
        return Sampled("fake 1.0", tuple(samples), 3, before=Conditions(self.now), after=Conditions(self.now))


def _in_turns(factor: Callable[[float], float], seed: int = 0, speeds: Speeds | None = None) -> Measured:
    plan = Plan(MODEL, Settings(runs=30, min_secs=0.6), 3, REFERENCE, speeds)
    return measure(Drifting(factor, seed), plan)


def test_reference_and_candidate_take_turns() -> None:
    device = Drifting(lambda now: 1.0)
    found = measure(device, Plan(MODEL, Settings(runs=30, min_secs=0.6, profile=True), 3, REFERENCE))
    assert device.models == [REFERENCE, MODEL, REFERENCE, MODEL, REFERENCE, MODEL, REFERENCE]
    assert [settings.profile for settings in device.asked] == [False, True, False, False, False, False, False]
    assert {settings.runs for settings in device.asked} == {10}
    assert found.attempts == 1
    assert not found.reading.corrected
    assert found.reading.ratio == pytest.approx(16, rel=0.01)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)
    assert found.turns[0].sampled.before is not None


@settings(deadline=None, max_examples=25)
@given(st.floats(0.05, 1.0), st.integers(0, 1000))
def test_drift_is_cancelled_by_the_reference(per_second: float, seed: int) -> None:
    """A device that gets hot: it becomes 5 to 100 percentage points slower each second, and is measured for up to four.
    The ratio stays, and so does the time that is made of it, as of the moment when the device was fastest."""
    found = _in_turns(lambda now: 1 + per_second * now, seed)
    assert found.reading.ratio == pytest.approx(16, rel=0.02)
    undrifted = 16 * found.reading.usual_ms
    assert found.reading.statistics.median == pytest.approx(
        undrifted, rel=0.02 if found.reading.corrected else runner.CALM - 1
    )
    if per_second > 0.3:
        assert found.turns[-1].median_ms > 1.15 * undrifted


def test_processes_that_met_a_slow_moment_do_not_count() -> None:
    """As on a machine where the neighbouring core makes everything 1.75 times slower for a second."""
    found = _in_turns(lambda now: 1.75 if now < 0.4 else 1.0)
    assert found.attempts == 1
    assert [turn in found.reading.turns for turn in found.turns] == [False, True, True]
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)
    assert not found.reading.noisy


def test_a_slow_moment_that_the_reference_did_not_meet_moves_no_median() -> None:
    found = _in_turns(lambda now: 1.75 if 0.3 < now < 0.5 else 1.0)
    assert found.turns[0].median_ms == pytest.approx(14, rel=0.01)
    assert found.turns[0] not in found.reading.turns
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)


def test_what_was_slow_at_first_is_measured_again() -> None:
    found = _in_turns(lambda now: 1.75 if now < 0.9 else 1.0)
    assert found.attempts == 2
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)
    assert all(turn.median_ms < 8.5 for turn in found.reading.turns)
    assert len(found.reading.turns) < len(found.turns)


def test_a_device_that_stays_slow_is_known_from_earlier_and_said_to_be(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "speeds.json")
    _in_turns(lambda now: 1.0, speeds=speeds)
    found = _in_turns(lambda now: 1.75, speeds=speeds)
    assert found.attempts == ATTEMPTS
    assert found.reading.corrected
    assert found.reading.noisy
    assert found.reading.statistics.median == pytest.approx(8, rel=0.02)
    assert found.turns[0].median_ms == pytest.approx(14, rel=0.02)


def test_a_device_that_is_not_known_yet_is_looked_at_for_longer(tmp_path: Path) -> None:
    """It is slow when the measurement begins, and for a moment it is not."""
    speeds = Speeds(tmp_path / "speeds.json")
    found = _in_turns(lambda now: 1.0 if 0.5 < now < 0.9 else 1.75, speeds=speeds)
    assert found.reading.corrected
    assert found.reading.statistics.median == pytest.approx(8, rel=0.02)
    assert len(speeds.known()) == len(found.references_ms) == WELL_KNOWN + len(found.turns)


def test_without_a_record_of_earlier_times_it_is_taken_for_its_speed() -> None:
    found = _in_turns(lambda now: 1.75)
    assert not found.reading.corrected
    assert found.reading.statistics.median == pytest.approx(14, rel=0.01)


# Candidate and reference in turns of milliseconds, within one process.


class Turning(Drifting):
    """A device that runs both models in one process: by the runner itself, on a clock of its own."""

    interleaves = True

    def run(self, model: Path, settings: Settings) -> Sampled:
        assert settings.reference is not None
        self.models.append(model)
        self.asked.append(settings)
        self.now += 0.1
        told = runner.in_turns(
            lambda: self._run(model),
            lambda: self._run(REFERENCE),
            vars(settings),
            lambda: round(self.now * 1e9),
            self._sleep,
        )
        return Sampled(
            "fake 1.0",
            tuple(told["samples_ms"]),
            told["warmup_runs"],
            stretches=tuple(told["stretches"]),
            references_ms=tuple(told["references_ms"]),
            waited_secs=told["waited_secs"],
        )

    def _sleep(self, secs: float) -> None:
        self.now += secs

    def _run(self, model: Path) -> None:
        self.now += TRUE_MS[model] * self.factor(self.now) * self.noise.normal(1, 0.005) / 1000


SHORT = Settings(runs=30, min_secs=0.6, warmup_secs=0.05)


def _turning(factor: Callable[[float], float], seed: int = 0, speeds: Speeds | None = None) -> Measured:
    return measure(Turning(factor, seed), Plan(MODEL, SHORT, 3, REFERENCE, speeds))


def test_one_process_holds_both() -> None:
    device = Turning(lambda now: 1.0)
    found = measure(device, Plan(MODEL, replace(SHORT, profile=True), 3, REFERENCE))
    assert device.models == [MODEL] * 3
    assert [settings.profile for settings in device.asked] == [True, False, False]
    assert {turn.process for turn in found.turns} == {0, 1, 2}
    assert len(found.references_ms) == len(found.turns) + 3
    assert all(len(turn.around_ms) == 2 for turn in found.turns)
    assert found.attempts == 1
    assert found.reading.ratio == pytest.approx(16, rel=0.01)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)
    assert sum(len(turn.sampled.samples_ms) for turn in found.turns) >= 30


@settings(deadline=None, max_examples=8)
@given(st.floats(0.05, 1.0), st.integers(0, 1000))
def test_drift_is_cancelled_within_milliseconds(per_second: float, seed: int) -> None:
    found = _turning(lambda now: 1 + per_second * now, seed)
    assert found.reading.ratio == pytest.approx(16, rel=0.01)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), st.floats(0.2, 0.6))
def test_moments_between_disturbances_are_enough(seed: int, busy: float) -> None:
    """A neighbour that works for a tenth of a second now and then. Medians of whole processes are off by a fifth."""
    times = np.random.default_rng(seed).random(400) < busy
    found = _turning(lambda now: 1.75 if times[int(now / 0.1) % 400] else 1.0, seed)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.02)
    assert found.reading.usual_ms == pytest.approx(0.5, rel=0.02)
    assert not found.reading.corrected


def test_a_device_that_is_disturbed_all_the_time_is_said_to_be(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "speeds.json")
    _turning(lambda now: 1.0, speeds=speeds)
    assert [ms for _, ms in speeds.known()] == pytest.approx([0.5] * 3, rel=0.02)
    found = _turning(lambda now: 1.75, speeds=speeds)
    assert found.attempts == ATTEMPTS
    assert found.reading.corrected
    assert found.reading.noisy
    assert found.reading.statistics.median == pytest.approx(8, rel=0.02)


def _patient(factor: Callable[[float], float], patience_secs: float, tmp_path: Path) -> Measured:
    """On a device whose usual speed is known."""
    speeds = Speeds(tmp_path / "speeds.json")
    speeds.add([0.5] * 20)
    return measure(Turning(factor), Plan(MODEL, SHORT, 3, REFERENCE, speeds, patience_secs=patience_secs))


def test_patience_outlasts_what_disturbs_a_device(tmp_path: Path) -> None:
    found = _patient(lambda now: 1.0 if now > 20 else 1.75, 60, tmp_path)
    assert (found.attempts, found.reading.corrected, found.reading.noisy) == (1, False, False)
    assert found.waited_secs == pytest.approx(20, abs=1)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)
    assert all(turn.sampled.samples_ms for turn in found.turns)


def test_patience_pauses_within_a_process_and_goes_on(tmp_path: Path) -> None:
    found = _patient(lambda now: 1.75 if 0.4 < now < 5 or 6 < now < 9 else 1.0, 60, tmp_path)
    assert found.waited_secs == pytest.approx(7.6, abs=1)
    assert (found.attempts, found.reading.corrected) == (1, False)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.01)


def test_patience_ends(tmp_path: Path) -> None:
    """All processes together wait for no longer; then it is measured as it is, and said."""
    found = _patient(lambda now: 1.75, 5, tmp_path)
    assert found.waited_secs == pytest.approx(5, abs=0.5)
    assert (found.attempts, found.reading.corrected) == (ATTEMPTS, True)
    assert found.reading.statistics.median == pytest.approx(8, rel=0.02)


def test_who_does_not_know_the_usual_speed_does_not_wait() -> None:
    found = measure(Turning(lambda now: 1.75), Plan(MODEL, SHORT, 1, REFERENCE, attempts=1, patience_secs=60))
    assert found.waited_secs == 0


def test_attempts_can_be_fewer(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "speeds.json")
    speeds.add([0.5] * 20)
    found = measure(Turning(lambda now: 1.75), Plan(MODEL, SHORT, 1, REFERENCE, speeds, attempts=1))
    assert (found.attempts, found.reading.corrected) == (1, True)


def test_a_turn_leaves_out_the_run_that_finds_its_caches_taken() -> None:
    clock = Clock(10)
    assert runner.stretch(clock.run, 0.035, clock) == [10.0] * 3
    assert runner.stretch(clock.run, 0.005, clock) == [10.0]


def test_the_processes_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    other = Reference("ours", ".tflite", b"content")
    result = measured(Turning(lambda now: 1.0), MODEL, "board", SHORT, Effort(), other, "board", tmp_path)
    assert len(result.processes) == 3
    assert sum(process.runs for process in result.processes) == len(result.samples_ms) == result.runs
    assert all(len(process.reference_ms) > 2 and process.counts for process in result.processes)
    assert result.median_ms == pytest.approx(8, rel=0.01)
    assert BenchResult.from_json(result.as_json()) == result


def test_the_result_tells_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    other = Reference("ours", ".tflite", b"content")
    Speeds.of("board", other.digest, 1).add([0.5] * 20)
    monkeypatch.setitem(TRUE_MS, tmp_path / f"reference-{other.digest[:16]}.tflite", 0.5)
    result = measured(
        Drifting(lambda now: 2.0), MODEL, "board", Settings(runs=9, min_secs=0.1), Effort(), other, "board", tmp_path
    )
    assert (result.corrected, result.noisy, result.attempts) == (True, True, ATTEMPTS)
    assert (result.median_ms, result.raw_median_ms) == pytest.approx((8, 16), rel=0.02)
    assert result.ratio == pytest.approx(16, rel=0.02)
    assert result.reference is not None
    assert (result.reference.median_ms, result.reference.usual_ms) == pytest.approx((1.0, 0.5), rel=0.02)
    assert all(process.slowdown == pytest.approx(2, rel=0.02) for process in result.processes)
    assert BenchResult.from_json(result.as_json()) == result


def test_a_record_of_speeds_is_short_and_survives_damage(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "below" / "speeds.json")
    assert speeds.known() == []
    for number in range(30):
        speeds.add([float(number + 1)] * 5)
    assert len(speeds.known()) == reference.KEPT
    assert speeds.known()[-1][1] == 30.0
    speeds.path.write_text("[[1, ")
    assert speeds.known() == []
    speeds.path.write_text('{"not": "rows"}')
    assert speeds.known() == []
    speeds.add([2.0])
    assert [ms for _, ms in speeds.known()] == [2.0]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    speeds = Speeds(tmp_path / "file" / "speeds.json")
    speeds.add([1.0])
    assert speeds.known() == []


def test_the_reference_is_the_same_each_time() -> None:
    made = reference.own(".tflite")
    assert made is not None
    reference._made.cache_clear()
    again = reference.own(".tflite")
    assert again is not None
    assert again.digest == made.digest
    assert 50_000 < len(made.content) < 500_000


def test_a_reference_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    path.write_bytes(b"model")
    assert reference.named(path).content == b"model"
    for wrong, code in ((tmp_path / "no.tflite", "E1005"), (tmp_path / "mine.h5", "E1003")):
        with pytest.raises(ArchError, match=code):
            reference.named(wrong)


# What bench refuses.


def test_an_unknown_device_is_missing_not_wrong() -> None:
    import archlang

    with pytest.raises(OutsideError, match="no device `pixel6-cpu`"):
        archlang.bench(b"\x1c\0\0\0TFL3", device="pixel6-cpu")


@pytest.mark.parametrize(("threads", "runs", "secs"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -1.0), (1, 1, float("nan"))])
def test_settings_that_cannot_be(threads: int, runs: int, secs: float) -> None:
    import archlang

    with pytest.raises(ArchError, match="E1004"):
        archlang.bench("m.tflite", threads=threads, runs=runs, min_secs=secs)


def test_no_processes_cannot_be() -> None:
    import archlang

    with pytest.raises(ArchError, match="E1004"):
        archlang.bench("m.tflite", processes=0)


def test_a_result_survives_json_with_all_that_it_tells() -> None:
    ops = (OpTime("stem", "CONV_2D", 0.5, 1.0, 27, "stem", "net.arch", 3, "stem"),)
    result = replace(_measured(CALM_RUNS), ops=ops, before=Conditions(51.0, (1800.0, 2400.0), "performance"))
    assert BenchResult.from_json(result.as_json()) == result
    assert NOISY == 0.10


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
