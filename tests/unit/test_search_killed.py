"""A search that is killed at twenty random points ends as one that was not; what the disk does to it is told."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from archlang.errors import ArchError, OutsideError
from archlang.report import read
from archlang.search.driver import DATABASE, run
from archlang.search.store import Store
from archlang.search.trial import Trial
from tests.e2e.program import Done, archlang
from tests.unit.fake_evaluators import plan_of
from tests.unit.test_search_driver import TRIALS, check_equal_runs, killed_often, rows
from tests.unit.test_search_plan import TEXT

POINTS = 20


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twenty_points(tmp_path: Path, workers: int) -> None:
    rng = Random()
    plan = plan_of(tmp_path / "whole", TRIALS, workers)
    plan.folder.mkdir()
    run(plan)
    (tmp_path / "killed").mkdir()
    points = sorted(rng.sample(range(TRIALS), POINTS))
    kills = killed_often(tmp_path / "killed", points, rng, workers)
    assert kills >= POINTS // 2, points
    check_equal_runs(tmp_path / "killed", plan.folder, kills * workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twenty_points_where_candidates_have_their_own_processes(tmp_path: Path, workers: int) -> None:
    """Then each candidate is on disk before the next piece starts: none that was finished is evaluated again."""
    rng = Random()
    plan = plan_of(tmp_path / "whole", TRIALS, workers, isolated=True)
    plan.folder.mkdir()
    run(plan)
    (tmp_path / "killed").mkdir()
    points = sorted(rng.sample(range(TRIALS), POINTS))
    kills = killed_often(tmp_path / "killed", points, rng, workers, "--isolated")
    assert kills >= POINTS // 2, points
    check_equal_runs(tmp_path / "killed", plan.folder, kills * workers)


def test_a_killed_run_has_a_report(tmp_path: Path) -> None:
    killed_often(tmp_path, [10], Random(1), finish=False)
    before = rows(tmp_path)
    assert len(read(tmp_path).trials) == len(before) >= 10
    assert archlang("report", tmp_path).status == 0
    assert rows(tmp_path) == before


# Disks and databases.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(TEXT)
    return tmp_path


SEARCH = ("search", "tiny.arch", "--evaluator", "cost", "--trials", "12", "--run", "out")


def limited(*arguments: str, size: int) -> Done:
    """The command in a process that may write files of `size` bytes only: what SQLite sees of a full disk."""
    done = subprocess.run(
        [sys.executable, "-m", "archlang", *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("size", [20_000, 44_000])
def test_a_full_disk_ends_the_search_and_it_goes_on_where_there_is_room(folder: Path, size: int) -> None:
    done = limited(*SEARCH, size=size)
    assert (done.status, done.out) == (3, "")
    assert "error: cannot write out/search.db: " in done.err
    assert "--resume" in done.err
    assert "Traceback" not in done.err
    again = archlang(*SEARCH, "--resume", "--json")
    if again.status:  # there was not even room for the tables
        shutil.rmtree("out")
        again = archlang(*SEARCH, "--json")
    whole = archlang(*SEARCH[:-1], "whole", "--json")
    assert again.document["trials"] == 12
    assert [each["picks"] for each in again.document["front"]] == [each["picks"] for each in whole.document["front"]]


@pytest.mark.parametrize(
    ("out", "status", "words"),
    [("tiny.arch", 1, "E1207"), ("tiny.arch/x", 3, "tiny.arch"), ("/proc/none", 3, "/proc/none")],
)
def test_a_folder_that_cannot_be_made(folder: Path, out: str, status: int, words: str) -> None:
    done = archlang(*SEARCH[:-1], out)
    assert (done.status, done.out) == (status, "")
    assert words in done.err
    assert "bug" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    (folder / "out").mkdir(mode=0o555)
    assert archlang(*SEARCH).status == 3


def _write_where_nothing_may_be_written(path: Path) -> None:
    with Store(path) as store:
        store._connection.execute("pragma query_only = on")
        store.add(Trial(1, {"k": 1}, "a", None, "sampled"))


def test_a_database_that_may_not_be_written(folder: Path) -> None:
    with pytest.raises(OutsideError, match=r"cannot write search\.db: attempt to write a readonly database"):
        _write_where_nothing_may_be_written(Path("search.db"))


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\x55" * (len(data) - 4096))


def _no_json(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("update candidates set picks = '{x' where id = 3")
    connection.commit()
    connection.close()


def _another_program(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("create table notes (text)")
    connection.close()


@pytest.mark.parametrize("damage", [_cut, _no_json, _another_program])
def test_a_damaged_database(folder: Path, damage: object) -> None:
    assert archlang(*SEARCH).status == 0
    assert callable(damage)
    damage(folder / "out" / DATABASE)
    for arguments in ((*SEARCH, "--resume"), ("report", "out")):
        done = archlang(*arguments)
        assert (done.status, done.out) == (1, "")
        assert "error[E1206]: out/search.db is " in done.err
    with pytest.raises(ArchError, match="E1206"):
        read(folder / "out")
