"""The loop: the same run however often it is killed, and nothing lost or done twice."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from archlang.errors import ArchError, OutsideError
from archlang.search.driver import DATABASE, Plan, Progress, run
from archlang.search.front import dominates
from archlang.search.objective import Objective
from archlang.search.quiet import only_one
from archlang.search.store import Store
from archlang.search.strategies import make
from archlang.search.trial import Status, Trial
from tests.unit.fake_evaluators import FaultyEvaluator, TracingEvaluator, plan_of
from tests.unit.fake_space import FakeSpace

ROOT = Path(__file__).parents[2]
TRIALS = 60


def rows(folder: Path) -> list[Trial]:
    """All trials, but for the time that they took."""
    with Store(folder / DATABASE) as store:
        return [replace(trial, seconds=0.0) for trial in store.trials()]


def outputs(folder: Path) -> dict[str, bytes]:
    """The front as it was written; the folder's name is part of no file's content but front.json's."""
    files = [folder / "front.csv", folder / "lineage.csv", *sorted((folder / "front").iterdir())]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    run(plan_of(folder, TRIALS))
    return folder


def start(folder: Path, *options: str, workers: int = 1, secs: float = 0.01) -> subprocess.Popen[str]:
    program = "from tests.unit.fake_evaluators import main; main()"  # what is of __main__ cannot go to every process
    command = [sys.executable, "-c", program, str(folder), str(TRIALS), str(workers), str(secs)]
    again = ["--resume"] if (folder / DATABASE).exists() else []
    return subprocess.Popen([*command, *again, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finished(folder: Path) -> int:
    """How many trials have ended, as another process sees it."""
    if not (folder / DATABASE).exists():
        return 0
    connection = sqlite3.connect(folder / DATABASE)
    try:
        count = connection.execute("select count(*) from candidates where status != 'running'").fetchone()[0]
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0
    finally:
        connection.close()
    return int(count)


def wait_for(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Until so many trials have ended."""
    while process.poll() is None and finished(folder) < count:
        time.sleep(0.001)


def killed_often(
    folder: Path, points: list[int], rng: Random, workers: int = 1, *options: str, finish: bool = True
) -> int:
    """Run the search, killing it once that many trials have ended, and a moment later; how often it was killed.
    finish: whether it runs to its end then."""
    kills = 0
    for point in points:
        process = start(folder, *options, workers=workers)
        wait_for(process, folder, point)
        time.sleep(rng.random() * 0.004)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    if finish:
        assert start(folder, *options, workers=workers).communicate()[0] == "finished\n"
    return kills


def check_equal_runs(folder: Path, whole: Path, kills: int) -> None:
    assert rows(folder) == rows(whole)
    assert outputs(folder) == outputs(whole)
    evaluated = Counter((folder / "trace").read_text().split())
    once = {str(trial.id) for trial in rows(folder) if trial.digest is not None}
    assert set(evaluated) == once
    assert evaluated.total() - len(once) <= kills  # what was running when it was killed


def test_killed_at_random_points_it_ends_as_if_it_had_not_been(tmp_path: Path, whole: Path) -> None:
    rng = Random()
    points = sorted(rng.sample(range(TRIALS), 6))
    kills = killed_often(tmp_path, points, rng)
    assert kills >= 2, points
    check_equal_runs(tmp_path, whole, kills)


def test_several_workers_make_the_same_run_however_long_each_takes(tmp_path: Path) -> None:
    plans = [replace(plan_of(tmp_path / name, 16), workers=2) for name in "ab"]
    evaluators = [TracingEvaluator(tmp_path / name / "trace", secs) for name, secs in (("a", 0.0), ("b", 0.05))]
    for plan, evaluator in zip(plans, evaluators, strict=True):
        plan.folder.mkdir()
        run(replace(plan, evaluator=evaluator))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_two_workers_killed_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    plan = replace(plan_of(tmp_path / "whole", TRIALS), workers=2)
    plan.folder.mkdir()
    run(plan)
    (tmp_path / "killed").mkdir()
    kills = killed_often(tmp_path / "killed", [10, 30], Random(), workers=2)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    evaluated = (tmp_path / "killed" / "trace").read_text().split()
    assert len(evaluated) - len(set(evaluated)) <= 2 * kills


def test_interrupted_it_stops_cleanly_and_goes_on(tmp_path: Path, whole: Path) -> None:
    process = start(tmp_path)
    wait_for(process, tmp_path, 20)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0] == "interrupted\n"
    assert (tmp_path / "front.json").exists()
    assert start(tmp_path).communicate()[0] == "finished\n"
    check_equal_runs(tmp_path, whole, 1)
    with Store(tmp_path / DATABASE) as store:
        assert [kind for kind, _ in store.events()] == ["started", "interrupted", "resumed", "finished"]


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path, whole: Path) -> None:
    run(plan_of(tmp_path, 25))
    assert len(rows(tmp_path)) == 25
    result = run(plan_of(tmp_path, TRIALS), resume=True)
    assert rows(tmp_path) == rows(whole)
    assert result.progress.finished == TRIALS
    again = run(plan_of(tmp_path, TRIALS), resume=True)
    assert again.progress.rate == 0.0
    assert again.progress.front == result.progress.front


def test_the_front_is_what_no_trial_dominates_and_the_constraints_hold(whole: Path) -> None:
    plan = plan_of(whole, TRIALS)
    done = [trial for trial in rows(whole) if trial.status is Status.DONE]
    points = {trial.id: plan.objective.point(trial.metrics) for trial in done}
    best = {id for id, point in points.items() if not any(dominates(other, point) for other in points.values())}
    written = {path.stem for path in (whole / "front").iterdir()}
    assert len({points[id] for id in best}) == len(written)
    assert written <= {f"Fake_{id:03d}" for id in best}
    assert all(trial.metrics["params"] <= 12000 for trial in done)
    for trial in done:
        assert plan.space.graph(trial.picks).digest == trial.digest


def test_a_folder_is_for_one_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 5)
    with pytest.raises(ArchError, match=r"E1207.*no search to go on with"):
        run(plan, resume=True)
    run(plan)
    with pytest.raises(ArchError, match="E1208") as caught:
        run(plan)
    assert "--resume" in caught.value.diagnostics[0].help


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"seed": 4}, "seed"),
        ({"space": FakeSpace(stages=2)}, "space"),
        ({"strategy": make("random", {})}, "strategy"),
        ({"objective": Objective(maximize=("params",))}, "objective"),
        ({"evaluator": FaultyEvaluator()}, "evaluator"),
    ],
)
def test_another_search_is_not_resumed(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    run(plan_of(tmp_path, 3))
    with pytest.raises(ArchError, match=f"E1210.*another {what}"):
        run(replace(plan_of(tmp_path, 3), **changed), resume=True)


def test_two_processes_do_not_search_in_one_folder(tmp_path: Path) -> None:
    with only_one(tmp_path / ".lock") as alone:
        assert alone
        with pytest.raises(ArchError, match="E1209"):
            run(plan_of(tmp_path, 3))
    run(plan_of(tmp_path, 3))


def test_a_small_space_ends_early(tmp_path: Path) -> None:
    result = run(replace(plan_of(tmp_path, 100), space=FakeSpace(stages=1)))
    assert result.exhausted
    assert result.progress.finished < 30
    assert result.as_json()["exhausted"]


def faulty(folder: Path, trials: int, *faults: tuple[int, str], workers: int = 2, start: str = "") -> Plan:
    return Plan(
        FakeSpace(),
        Objective(maximize=("accuracy",)),
        make("random", {}),
        FaultyEvaluator(faults, start),
        folder,
        trials,
        workers=workers,
        timeout_secs=3.0,
    )


def test_a_fault_costs_one_candidate(tmp_path: Path) -> None:
    faults = ("crash", "exit", "hang", "raise", "error", "outside", "nan", "kill")
    seen: list[Progress] = []
    result = run(faulty(tmp_path, 12, *((i + 2, fault) for i, fault in enumerate(faults))), progress=seen.append)
    trials = {trial.id: trial for trial in rows(tmp_path)}
    assert [id for id, trial in trials.items() if trial.status is Status.DONE] == [1, 10, 11, 12]
    reasons = [trials[i + 2].reason for i in range(len(faults))]
    assert reasons[0] == "the worker died (SIGSEGV)"
    assert reasons[1] == "the worker ended with exit code 5"
    assert reasons[2] == "the worker took longer than 3 s"
    assert reasons[3].startswith("RuntimeError: the disk is full (_evaluate, line ")
    assert reasons[4:7] == ["the loss is nan in epoch 1", "the device is gone", "accuracy is nan"]
    assert reasons[7] == "the worker was killed (SIGKILL): out of memory?"
    assert (result.progress.failed, result.progress.finished) == (8, 12)
    assert result.progress.best is not None
    assert result.progress.best.id == 12
    assert seen[-1].finished == 12
    with Store(tmp_path / DATABASE) as store:
        assert [kind for kind, _ in store.events()].count("worker") == 4


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        ("outside", OutsideError, "there is no such thing here"),
        ("error", ArchError, "E0901"),
        ("crash", OutsideError, "cannot start: it ended with exit code 7"),
    ],
)
def test_an_evaluator_that_cannot_start_ends_the_search(
    tmp_path: Path, start: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(faulty(tmp_path, 3, workers=1, start=start))
    assert all(trial.status is not Status.FAILED for trial in rows(tmp_path))


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    process = start(tmp_path, workers=2, secs=0.2)
    wait_for(process, tmp_path, 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list children")
    workers = [int(pid) for pid in children.read_text().split()]
    process.kill()
    process.wait()
    assert len(workers) >= 2
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(alive(pid) for pid in workers):
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which nobody has waited for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
