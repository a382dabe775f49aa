"""Around a search: the preview, the view, what lies in its folder, and its study."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import archlang as library
from archlang.cli.search_view import live, scatter
from archlang.errors import ArchError, OutsideError
from archlang.report import read
from archlang.report.detail import details
from archlang.search.driver import Plan, Progress, run
from archlang.search.objective import Objective
from archlang.search.plan import Options, plan_of
from archlang.search.preview import DRAWN, preview
from archlang.search.space import load_search
from archlang.search.trial import Status, Trial
from archlang.search.winners import Winners, ancestry
from tests.e2e.program import archlang
from tests.unit.fake_evaluators import FaultyEvaluator
from tests.unit.fake_evaluators import plan_of as fake_plan
from tests.unit.fake_space import FakeSpace
from tests.unit.test_report import BLOCKS, SEARCH


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Of a space that imports a file beside it, and one from another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHLANG_IMPORT_PATH", str(tmp_path / "shared"))
    for folder in ("space", "shared"):
        (tmp_path / folder).mkdir()
    (tmp_path / "space" / "blocks.arch").write_text('from "../shared/more.arch" import once\n' + BLOCKS)
    (tmp_path / "shared" / "more.arch").write_text("block once(c, k):\n  conv(c, k)\n")
    head = 'from "../shared/more.arch" import once\n'
    (tmp_path / "space" / "tiny.arch").write_text(head + SEARCH.replace("{skip, conv(24, 1)}", "once({8, 16}, 1)"))
    options = Options(evaluator="cost", folder=tmp_path / "run", command="archlang search\n space/tiny.arch")
    return plan_of(load_search("space/tiny.arch", {"classes": "4"}), options)[0]


def test_winners_are_files_that_need_nothing_else(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front = run(plan).progress.front
    shutil.rmtree(tmp_path / "space")
    shutil.rmtree(tmp_path / "shared")
    monkeypatch.delenv("ARCHLANG_IMPORT_PATH")
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert len(front) > 3
    for trial in front:
        path = moved / "front" / f"Tiny_{trial.id:03d}.arch"
        assert library.load(str(path)).graph.digest == plan.space.graph(trial.picks).digest
        assert archlang("check", path).status == 0


def test_a_winner_tells_how_it_came_about(plan: Plan) -> None:
    result = run(plan)
    trials = {trial.id: trial for trial in read(plan.folder).trials}
    told = 0
    for winner in result.progress.front:
        lines = (plan.folder / "front" / f"Tiny_{winner.id:03d}.arch").read_text().splitlines()
        assert lines[0].startswith("# found by: archlang search space/tiny.arch   (trial ")
        steps = [line.removeprefix("#   trial ") for line in lines if line.startswith("#   trial ")]
        if winner.parent is None:
            assert steps == []
            continue
        chain = [winner]
        while (parent := chain[-1].parent) is not None:
            chain.append(trials[parent])
        wanted = [f"{trial.id}: {trial.origin}   (" for trial in reversed(chain)]
        assert [step[: len(start)] for step, start in zip(steps, wanted, strict=True)] == wanted
        assert steps[0].startswith(f"{chain[-1].id}: sampled")
        told += 1
    assert told


def test_a_long_way_is_told_by_its_ends_and_a_circle_ends() -> None:
    trials = {id: Trial(id, {"k": id}, str(id), id - 1 or None, f"step\n{id}", Status.DONE) for id in range(1, 101)}
    lines = Winners("archlang search", 100, 0, trials=trials).header(trials[100])
    assert lines[2:6] == ["how it came about:", "  trial 1: step 1", "  ... 80 steps ...", "  trial 82: step 82"]
    assert lines[-1] == "  trial 100: step 100"
    assert all("\n" not in line for line in lines)
    circle = {1: Trial(1, {}, "a", 2, ""), 2: Trial(2, {}, "b", 1, "")}
    assert [trial.id for trial in ancestry(circle, circle[1])] == [1, 2]


def test_the_lineage_holds_the_front_and_all_that_it_came_from(plan: Plan) -> None:
    front = {trial.id for trial in run(plan).progress.front}
    steps = json.loads((plan.folder / "lineage.json").read_text())
    numbers = {step["trial"] for step in steps}
    assert {step["trial"] for step in steps if step["front"]} == front
    assert all(step["parent"] is None or step["parent"] in numbers for step in steps)
    parents = {step["parent"] for step in steps}
    assert all(step["front"] or step["trial"] in parents for step in steps)
    with open(plan.folder / "lineage.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [step["trial"] for step in steps] == sorted(numbers)
    assert [float(row["macs"]) for row in rows] == [step["metrics"]["macs"] for step in steps]
    assert {int(row["trial"]) for row in rows if row["front"] == "yes"} == front


def test_a_program_that_was_drawn_tells_the_mutations_that_made_it(tmp_path: Path) -> None:
    text = "net Plain(classes=4):\n  input 3x8x8\n  conv(8, 3) -> relu\n  conv(8, 3)\n  gap -> linear(classes)\n"
    (tmp_path / "p.arch").write_text(f"{text}\nsearch s over Plain:\n  mutations [kernel, width]\n  maximize macs\n")
    spec = load_search(str(tmp_path / "p.arch"), {})
    plan, _ = plan_of(spec, Options(evaluator="cost", strategy="random", folder=tmp_path / "run", trials=8))
    run(plan)
    found = read(plan.folder)
    shown = details(found)
    for trial in found.trials:
        first, *stories = trial.origin.split("; ")
        assert first == "sampled"
        assert stories
        assert all(story.split(": ")[1].split()[0] in ("kernel", "width") for story in stories), stories
        diff = shown[str(trial.id)]["diff"]
        assert diff[0].startswith("--- as it was written")
        assert {line[1:] for line in diff[3:] if line[0] == "-"} <= set(text.splitlines())
    (winner,) = found.front
    header = (plan.folder / "front" / f"Plain_{winner.id:03d}.arch").read_text()
    assert f"#   trial {winner.id}: {winner.origin}   (" in header


# Before.


def test_a_preview_counts_and_tries(plan: Plan) -> None:
    found = preview(plan)
    assert (found.decisions, found.log10_size) == (plan.space.decisions, plan.space.log10_size)  # type: ignore[attr-defined]
    kept = sum(trial.metrics["params"] <= 9000 for trial in _all(plan))
    share = kept / len(_all(plan))
    assert abs(found.fitting / DRAWN - share) < 4 * (share * (1 - share) / DRAWN) ** 0.5
    assert found.seconds_each is not None
    assert found.seconds(plan) == pytest.approx(30 * found.seconds_each)
    assert not plan.folder.exists()


def _all(plan: Plan) -> list[Trial]:
    """Every candidate of the space, sampled until each of them is there."""
    from random import Random

    from archlang.cost import cost
    from archlang.search.trial import amounts, key_of

    rng = Random(1)
    found: dict[str, Trial] = {}
    for _ in range(1000):
        picks = plan.space.sample(rng)
        found.setdefault(
            key_of(picks), Trial(0, picks, "", None, "", Status.DONE, amounts(cost(plan.space.graph(picks))))
        )
    return list(found.values())


def test_a_preview_of_what_runs_apart_does_not_run_it(tmp_path: Path) -> None:
    evaluator = FaultyEvaluator(broken_start="crash")
    plan = Plan(FakeSpace(), Objective(maximize=("accuracy",)), fake_plan(tmp_path, 1).strategy, evaluator, tmp_path)
    found = preview(plan)
    assert (found.seconds_each, found.seconds(plan), found.decisions) == (None, None, None)


def test_dry_run_begins_nothing(plan: Plan) -> None:
    arguments = ("search", "space/tiny.arch", "--evaluator", "cost", "--run", "dry", "--dry-run")
    done = archlang(*arguments)
    assert done.status == 0, done.err
    assert "Tiny: 5 decisions, about 10^" in done.out
    assert "params <= 9000" in done.out
    document = archlang(*arguments, "--json").document
    assert (document["decisions"], document["trials"], document["seed"], document["run"]) == (5, 30, 2, "dry")
    assert not Path("dry").exists()


# While it runs.


def test_progress_is_silent_unless_asked_for(plan: Plan) -> None:
    arguments = ("search", "space/tiny.arch", "--evaluator", "cost", "--run")
    assert archlang(*arguments, "a").err == ""
    lines = archlang(*arguments, "b", "--progress", "lines").err.splitlines()
    assert lines[-1].startswith("search in b: 30 of 30 candidates")
    documents = [json.loads(line) for line in archlang(*arguments, "c", "--progress", "json").err.splitlines()]
    assert documents[-1]["finished"] == documents[-1]["trials"] == 30
    best = [document["best"]["metrics"]["params"] for document in documents if document["best"]]
    assert best == sorted(best)


def test_lines_come_for_what_is_new(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    run(plan, progress=seen.append)
    begun = Progress(0, 30, 0, 0, 1, 0.0, 0.0, (), None)
    with live(plan, "lines") as tell:
        for progress in (begun, begun, seen[-1], seen[-1]):
            tell(progress)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].split(" candidates")[0] for line in lines] == ["0 of 30", "30 of 30", "30 of 30"]


def test_the_scatter_has_a_mark_for_every_point(plan: Plan) -> None:
    trials = [
        Trial(i, {}, str(i), None, "", Status.DONE, {"params": params, "macs": macs})
        for i, (params, macs) in enumerate([(9000, 90_000), (5000, 50_000), (1000, 10_000)])
    ]
    lines = scatter(plan, trials, 30)
    assert lines[0] == "params 1k to 9k"
    assert lines[-1] == "macs 10k to 90k"
    marks = [(row, line.index("●")) for row, line in enumerate(lines) if "●" in line]
    assert marks[0] == (1, 28)
    assert marks[-1] == (8, 1)
    assert len(marks) == 3
    assert scatter(plan, trials[:2], 30) == scatter(plan, [trials[0]] * 3, 30) == []


# The study.

optuna: Any = pytest.importorskip("optuna")


def test_a_run_is_an_optuna_study(plan: Plan, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    arguments = ("search", "space/tiny.arch", "--evaluator", "cost", "--run", "run", "--optuna", storage)
    assert archlang(*arguments, "--trials", "20").status == 0
    assert archlang(*arguments, "--trials", "30", "--resume").status == 0
    study = optuna.load_study(study_name="run", storage=storage)
    trials = read(Path("run")).trials
    assert [trial.user_attrs["trial"] for trial in study.trials] == [trial.id for trial in trials]
    assert study.metric_names == ["params", "macs"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for theirs, ours in zip(study.trials, trials, strict=True):
        assert theirs.state.name == "COMPLETE"
        assert theirs.values == [ours.metrics["params"], ours.metrics["macs"]]
        assert theirs.user_attrs.get("parent") == ours.parent
        assert len(theirs.params) == len(ours.picks)
    wanted = {entry["trial"] for entry in json.loads(Path("run/front.json").read_text())}
    assert {trial.user_attrs["trial"] for trial in study.best_trials} == wanted


def test_what_failed_is_no_value_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archlang.report.study import Mirror
    from archlang.search.driver import DATABASE
    from archlang.search.store import Store
    from archlang.search.trial import Outcome

    monkeypatch.chdir(tmp_path)
    ends = [Status.DONE, Status.FAILED, Status.REJECTED, Status.DONE, Status.RUNNING]
    with Store(tmp_path / DATABASE) as store:
        store.describe({"goals": {"maximize": ["accuracy"]}, "seed": 1})
        for id, (end, fidelity) in enumerate(zip(ends, (1, 1, 1, 0.5, 1), strict=True), 1):
            store.add(Trial(id, {"k": id % 2}, str(id), None, "sampled", fidelity=fidelity))
            if end is not Status.RUNNING:
                store.finish(id, Outcome(end, {"accuracy": 0.5}, "why" if id > 1 else ""), 1.0)
    storage = "sqlite:///study.db"
    Mirror(storage, tmp_path).update()
    (study,) = optuna.get_all_study_summaries(storage)
    found = optuna.load_study(study_name=study.study_name, storage=storage).trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "PRUNED", "PRUNED"]
    assert [trial.values for trial in found] == [[0.5], None, None, None]
    with Store(tmp_path / DATABASE) as store:
        store.describe({"seed": 2})
    with pytest.raises(ArchError, match="E1241"):
        Mirror(storage, tmp_path).update()
    with pytest.raises(ArchError, match="E1240"):
        Mirror("nothing://at/all", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(OutsideError, match="optuna"):
        Mirror(storage, tmp_path)
