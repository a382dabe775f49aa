"""A search on a Ray cluster ends as one on this machine, whatever becomes of workers and machines.

Clusters are real: two nodes of Ray on this machine.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from archlang.errors import OutsideError
from archlang.search import cluster, pool
from archlang.search.cluster import Setup, Work
from archlang.search.driver import DATABASE, Plan, run
from archlang.search.evaluators import CostEvaluator, TrainEvaluator
from archlang.search.evaluators.protocol import Stage, stages_of
from archlang.search.objective import Constraint, Objective
from archlang.search.pool import Finished, Inline
from archlang.search.store import Store
from archlang.search.strategies import make
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Status
from archlang.train import Recipe
from tests.e2e.program import archlang
from tests.unit.fake_evaluators import FaultyEvaluator, LocatedEvaluator, plan_of
from tests.unit.fake_space import FakeSpace
from tests.unit.test_search_driver import TRIALS, check_equal_runs, faulty, killed_often, outputs, rows
from tests.unit.test_search_plan import TEXT

# Without Ray.


def candidate(trial: int, parent: int | None = None) -> Candidate:
    space = FakeSpace()
    return Candidate(trial, space.graph(space.sample(Random(trial))), {}, parent=parent)


def setup(evaluator: Any, require: tuple[Constraint, ...] = ()) -> Setup:
    return Setup(os.urandom(8).hex(), 0, Stage(evaluator), Objective(require), 60.0, Path.cwd())


@pytest.fixture
def trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, Any]]:
    """Of this process, in the place of one of Ray's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield cluster._trainers
    for trainer in cluster._trainers.values():
        trainer.close()
    cluster._trainers.clear()


def test_a_task_evaluates_in_a_process_of_its_own(trainers: dict[int, Any]) -> None:
    work = setup(FaultyEvaluator(((2, "exit"),)), (Constraint("params", "<=", 10**6),))
    ends = [cluster._task(work, Work(candidate(trial))).end for trial in (1, 2, 3)]
    assert [end.outcome.status for end in ends if isinstance(end, Finished)] == ["done", "failed", "done"]
    assert isinstance(ends[0], Finished)
    assert ends[0].outcome.metrics == {**candidate(1).static, "accuracy": 0.51}
    assert isinstance(ends[1], Finished)
    assert (ends[1].outcome.reason, ends[1].died) == ("the worker ended with exit code 5", "ended with exit code 5")
    assert set(trainers) == {0}


def test_a_machine_where_nothing_can_be_evaluated_says_so(trainers: dict[int, Any]) -> None:
    answer = cluster._task(setup(FaultyEvaluator(broken_start="outside")), Work(candidate(1)))
    assert isinstance(answer.end, OutsideError)
    assert "there is no such thing here" in str(answer.end)
    assert not trainers
    other = cluster._task(replace(setup(FaultyEvaluator()), version="0.0.0"), Work(candidate(1)))
    assert isinstance(other.end, OutsideError)
    assert "0.0.0 here" in str(other.end)


def trainer_of(device: str, **options: Any) -> TrainEvaluator:
    return TrainEvaluator("digits", Path("run"), Recipe(epochs=1), device, train_threads=2, **options)


def test_training_does_not_take_the_device_that_measures() -> None:
    measuring, training = stages_of(trainer_of("pixel8", inherit=True))
    assert (measuring.device, measuring.cpus, measuring.inherits) == ("pixel8", 1, False)
    assert (training.device, training.cpus, training.inherits, training.gpus) == ("", 2, True, 0)
    identity = trainer_of("pixel8", inherit=True).identity()
    assert measuring.evaluator.identity() == training.evaluator.identity() == identity
    (whole,) = stages_of(trainer_of("host"))
    assert (whole.device, whole.evaluator) == ("", trainer_of("host"))
    assert [stage.device for stage in stages_of(trainer_of("pixel8", table="t"))] == [""]
    placed = measuring.placed(Path("a"), Path("b"))
    assert isinstance(placed, TrainEvaluator)
    assert (placed.folder, placed.shared, placed.identity()) == (Path("a"), Path("b"), measuring.evaluator.identity())
    assert cluster._room({"CPU": 9.0}, training) == 4
    assert cluster._room({}, training) == 1
    assert cluster._room({"CPU": 9.0, "GPU": 2.0}, replace(training, gpus=1)) == 2


class Twice(Inline):
    """Each result comes, and comes again with the next one."""

    before: list[Finished]

    def wait(self) -> list[Finished]:
        now = super().wait()
        again, self.before = getattr(self, "before", []), now
        return [*again, *now, *now]


def test_a_result_that_comes_again_is_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        plan = plan_of(tmp_path / name, 20)
        plan.folder.mkdir()
        if name == "b":
            monkeypatch.setattr(pool, "make", lambda evaluator, objective, *_: Twice(evaluator, objective))
        assert run(plan).progress.finished == 20
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_what_takes_less_time_than_the_way_stays_here(tmp_path: Path) -> None:
    """A table's evaluator knows its space, which cannot be sent."""
    made = pool.make(CostEvaluator(), Objective(), 4, 60.0, tmp_path, "auto")
    assert isinstance(made, Inline)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(TEXT)
    return tmp_path


SEARCH = ("search", "tiny.arch", "--evaluator", "cost", "--trials", "12", "--run")


@pytest.mark.parametrize("address", ["", "somewhere", "ray://", "head:", "http://head:1", "a b:1"])
def test_an_address_that_is_none(tiny: Path, address: str) -> None:
    done = archlang(*SEARCH, "out", "--cluster", address)
    assert done.status == 2
    assert "auto, local, HOST:PORT" in done.err


def test_without_ray_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    done = archlang(*SEARCH, "out", "--cluster", "auto")
    assert (done.status, done.out) == (3, "")
    assert done.err.splitlines()[-1] == (
        "error: a search on a cluster needs the extra `ray`: run  pip install 'archlang[ray]'"
    )
    assert not Path("out").exists()
    assert archlang(*SEARCH, "out", "--cluster", "auto", "--dry-run").status == 0


# With Ray.


def add_node(made: Any, **settings: Any) -> Any:
    """A node with a processor. Ray gives it half a minute to start, which a busy machine may exceed."""
    for _ in range(3):
        with suppress(Exception):
            return made.add_node(num_cpus=1, **settings)
    return made.add_node(num_cpus=1, **settings)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two nodes with a processor each; a device is attached to the second, one that is reckoned."""
    utils = pytest.importorskip("ray.cluster_utils")
    devices = tmp_path_factory.mktemp("devices") / "devices.toml"
    devices.write_text('[pixel8]\nkind = "ethos-u"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("ARCHLANG_DEVICES", str(devices))
        made = utils.Cluster()
        add_node(made, include_dashboard=False)
        add_node(made, resources={"pixel8": 1})
        yield made
        made.shutdown()


def located(folder: Path, address: str | None = None, trials: int = 8, secs: float = 0.4, device: str = "") -> Plan:
    folder.mkdir()
    objective = Objective((Constraint("params", "<=", 12000),), ("accuracy",), ("latency",))
    evaluator = LocatedEvaluator(folder / "trace", secs, device)
    strategy = make("evolution", {"population": 12, "sample": 4})
    return Plan(FakeSpace(bad=12), objective, strategy, evaluator, folder, trials, 3, workers=2, cluster=address)


def traced(folder: Path) -> list[list[str]]:
    """What the evaluator has written: trial, process, machine, part."""
    path = folder / "trace"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def events(folder: Path) -> list[str]:
    with Store(folder / DATABASE) as store:
        return [text for kind, text in store.events() if kind == "worker"]


class Meanwhile(threading.Thread):
    """Does something once what was traced makes it wish to, over and over until `often` times."""

    def __init__(self, folder: Path, act: Callable[[list[list[str]]], bool], often: int = 1) -> None:
        super().__init__(daemon=True)
        self.folder, self.act, self.left = folder, act, often

    def run(self) -> None:
        deadline = time.monotonic() + 120
        while self.left and time.monotonic() < deadline:
            self.left -= self.act(traced(self.folder))
            time.sleep(0.02)

    def __enter__(self) -> Meanwhile:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.left = 0
        self.join()


class Killer:
    """Kills Ray's process that evaluates the trial, once in each that there is."""

    def __init__(self, trial: int) -> None:
        self.trial, self.killed = trial, set[str]()

    def __call__(self, lines: list[list[str]]) -> bool:
        for trial, process, *_ in lines:
            if int(trial) == self.trial and process not in self.killed:
                self.killed.add(process)
                os.kill(int(process), signal.SIGKILL)
                return True
        return False


@pytest.mark.slow
def test_a_cluster_ends_a_search_as_this_machine_does(tmp_path: Path, machines: Any) -> None:
    run(located(tmp_path / "here", secs=0.0))
    result = run(located(tmp_path / "there", machines.address))
    assert result.progress.finished == 8
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
    lines = traced(tmp_path / "there")
    assert Counter(line[0] for line in lines) == Counter(line[0] for line in traced(tmp_path / "here"))
    assert len({line[2] for line in lines}) == 2  # machines


@pytest.mark.slow
def test_what_measures_runs_where_the_device_is(tmp_path: Path, machines: Any) -> None:
    run(located(tmp_path / "here", secs=0.0))
    run(located(tmp_path / "there", machines.address, secs=0.2, device="pixel8"))
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    lines = traced(tmp_path / "there")
    places = {part: {line[2] for line in lines if line[3] == part} for part in ("measure", "train")}
    assert (len(places["measure"]), len(places["train"])) == (1, 2)
    with pytest.raises(OutsideError, match=r"no machine of the cluster has the device `iphone`: start Ray where"):
        run(located(tmp_path / "none", machines.address, device="iphone"))


@pytest.mark.slow
def test_a_killed_worker_costs_a_retry_or_one_candidate(tmp_path: Path, machines: Any) -> None:
    run(located(tmp_path / "here", secs=0.0))
    whole = rows(tmp_path / "here")
    trial = next(trial.id for trial in whole if trial.status is Status.DONE and trial.id > 2)
    with Meanwhile(tmp_path / "once", Killer(trial)):
        run(located(tmp_path / "once", machines.address))
    assert rows(tmp_path / "once") == whole
    again = f"trial {trial}: the worker died with its process of Ray's, and it was evaluated again"
    assert events(tmp_path / "once") == [again]
    with Meanwhile(tmp_path / "twice", Killer(trial), often=2):
        run(located(tmp_path / "twice", machines.address))
    (failed,) = [each for each in rows(tmp_path / "twice") if each.status is Status.FAILED and each.digest]
    assert (failed.id, failed.reason) == (trial, "the worker died with its process of Ray's, 2 times")


@pytest.mark.slow
def test_a_lost_machine_is_survived(tmp_path: Path, machines: Any) -> None:
    run(replace(located(tmp_path / "here", secs=0.0), workers=3))
    lost = add_node(machines)
    raylet = str(lost.all_processes["raylet"][0].process.pid)

    def lose(lines: list[list[str]]) -> bool:
        if not any(line[2] == raylet for line in lines):
            return False
        machines.remove_node(lost, allow_graceful=False)
        return True

    with Meanwhile(tmp_path / "there", lose) as meanwhile:
        run(replace(located(tmp_path / "there", machines.address, secs=1.0), workers=3))
        assert not meanwhile.left
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    (event,) = events(tmp_path / "there")
    assert event.endswith("the worker was lost with its machine, and it was evaluated again")


@pytest.mark.slow
def test_a_lost_device_ends_the_search_and_it_goes_on_with_another(
    tmp_path: Path, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "GRACE_SECS", 1.0)
    monkeypatch.setattr(cluster, "CHECK_SECS", 1.0)
    run(located(tmp_path / "here", secs=0.0))
    lost = add_node(machines, resources={"watch": 1})

    def lose(lines: list[list[str]]) -> bool:
        if len(lines) < 3:
            return False
        machines.remove_node(lost, allow_graceful=False)
        return True

    plan = located(tmp_path / "there", machines.address, secs=1.0, device="watch")
    with (
        Meanwhile(tmp_path / "there", lose),
        pytest.raises(OutsideError, match="the machine with the device `watch` is lost: start Ray where"),
    ):
        run(plan)
    another = replace(plan, evaluator=LocatedEvaluator(tmp_path / "there" / "trace", 0.0, "pixel8"))
    assert run(another, resume=True).progress.finished == 8
    assert rows(tmp_path / "there") == rows(tmp_path / "here")


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path, machines: Any) -> None:
    plan = plan_of(tmp_path / "whole", TRIALS, 2, isolated=True)
    plan.folder.mkdir()
    run(plan)
    (tmp_path / "killed").mkdir()
    options = ("--isolated", "--cluster", machines.address)
    kills = killed_often(tmp_path / "killed", [5, 30], Random(1), 2, *options)
    assert kills == 2
    check_equal_runs(tmp_path / "killed", plan.folder, 2 * kills)


@pytest.mark.slow
def test_a_fault_costs_the_same_candidate_on_a_cluster(tmp_path: Path, machines: Any) -> None:
    faults = [(i + 2, fault) for i, fault in enumerate(("crash", "exit", "hang", "raise", "error", "nan", "kill"))]
    for name, address in (("here", None), ("there", machines.address)):
        run(replace(faulty(tmp_path / name, 10, *faults), cluster=address))
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert sum(trial.status is Status.FAILED for trial in rows(tmp_path / "there")) == len(faults)
    with pytest.raises(OutsideError, match=r"cannot start: it ended with exit code 7 \(on the machine "):
        run(replace(faulty(tmp_path / "none", 3, start="crash"), cluster=machines.address))


@pytest.mark.slow
def test_weights_travel_to_children_and_back(tmp_path: Path, machines: Any) -> None:
    """Latency is reckoned, so that it is the same everywhere; the same weights come of the same start."""
    pytest.importorskip("ethosu.vela")
    for name, address in (("here", None), ("there", machines.address)):
        folder = tmp_path / name
        evaluator = TrainEvaluator("digits", folder, Recipe(epochs=1), "pixel8", int8=False, inherit=True)
        objective = Objective(maximize=("accuracy",), minimize=("latency",))
        strategy = make("evolution", {"population": 2, "sample": 2})
        run(Plan(FakeSpace(), objective, strategy, evaluator, folder, 6, 1, workers=2, cluster=address))
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert any(trial.parent for trial in rows(tmp_path / "there"))
    for trial in range(1, 7):
        kept = [TrainedWeights(tmp_path / name / "weights").read(trial) for name in ("here", "there")]
        assert kept[0] is not None
        assert kept[1] is not None
        assert kept[1][0].digest == kept[0][0].digest
        assert {name: values.tobytes() for name, values in kept[1][1].items()} == {
            name: values.tobytes() for name, values in kept[0][1].items()
        }


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    plan = replace(plan_of(tmp_path / "run", 3), cluster="127.0.0.1:9")
    with pytest.raises(OutsideError, match=r"cannot join the Ray cluster `127\.0\.0\.1:9`: "):
        run(plan)
    assert not plan.folder.exists()


@pytest.mark.parametrize("told", ["file", "path", "word", "", "no"])
def test_ray_shows_the_token_that_there_is(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own default is to show none, and a cluster that `ray start` began may ask for one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever becomes of it
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / (".ray/auth_token" if told == "file" else "token")
    token.parent.mkdir(exist_ok=True)
    if told:
        token.write_text("secret")
    if told == "path":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    if told == "word":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    if told == "no":  # somebody wants it so
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster._show_token()
    assert os.environ.get("RAY_AUTH_MODE") == {"no": "disabled", "": None}.get(told, "token")
