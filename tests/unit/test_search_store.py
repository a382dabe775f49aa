"""The database: what it refuses, and that it gives back what was put in."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from archlang.errors import ArchError
from archlang.search.store import Store
from archlang.search.trial import Outcome, Status, Trial

TRIAL = Trial(1, {"k0": 2, "c0": 1}, "abc", None, "sampled", passed_over={"known": 3, "params <= 10": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


def test_what_is_begun_and_finished_comes_back(path: Path) -> None:
    child = Trial(2, {"k0": 1}, "def", 1, "k: 5 -> 3 (row 2)")
    with Store(path) as store:
        store.add(TRIAL)
        store.add(child)
        store.finish(1, Outcome(Status.DONE, {"accuracy": 0.5, "params": 100}), 1.5)
        store.finish(2, Outcome(Status.FAILED, {}, "the loss is nan"), 0.5)
    with Store(path) as store:
        first, second = store.trials()
    assert first == replace(TRIAL, status=Status.DONE, metrics={"accuracy": 0.5, "params": 100}, seconds=1.5)
    assert second == replace(child, status=Status.FAILED, reason="the loss is nan", seconds=0.5)
    assert first.key == '{"c0":1,"k0":2}'


@pytest.mark.parametrize(
    "other",
    [
        replace(TRIAL, picks={"k0": 0}, digest="other"),
        replace(TRIAL, id=2, picks={"k0": 0}),
    ],
)
def test_no_number_or_network_twice(path: Path, other: Trial) -> None:
    with Store(path) as store:
        store.add(TRIAL)
        with pytest.raises(sqlite3.IntegrityError):
            store.add(other)
        assert len(store.trials()) == 1


def test_trials_written_together_are_there_after_the_next_one_on_its_own(path: Path) -> None:
    others = [replace(TRIAL, id=id, digest=str(id)) for id in (2, 3, 4)]
    with Store(path) as store, sqlite3.connect(path) as reader:
        store.add(TRIAL, together=True)
        store.add(others[0], together=True)
        assert len(store.trials()) == 2, "the run itself sees them"
        store.add(others[1])
        assert reader.execute("select count(*) from candidates").fetchone() == (3,)
        store.add(others[2], together=True)
    assert reader.execute("select count(*) from candidates").fetchone() == (4,), "closing commits"


def test_a_network_comes_again_at_another_fidelity(path: Path) -> None:
    with Store(path) as store:
        store.add(TRIAL)
        store.add(replace(TRIAL, id=2, fidelity=0.5))
        assert [trial.fidelity for trial in store.trials()] == [1, 0.5]


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("create table things (name text)")
    before = path.read_bytes()
    with pytest.raises(ArchError, match="another version"):
        Store(path)
    assert path.read_bytes() == before


def test_several_may_have_no_network(path: Path) -> None:
    with Store(path) as store:
        store.add(replace(TRIAL, digest=None, status=Status.FAILED))
        store.add(replace(TRIAL, id=2, picks={"k0": 0}, digest=None, status=Status.FAILED))
        assert [trial.digest for trial in store.trials()] == [None, None]


def test_only_what_is_running_can_be_finished(path: Path) -> None:
    with Store(path) as store:
        store.add(TRIAL)
        store.finish(1, Outcome(Status.DONE, {"params": 1}), 0)
        for id in (1, 2):
            with pytest.raises(AssertionError, match="not running"):
                store.finish(id, Outcome(Status.DONE, {"params": 2}), 0)
        assert store.trials()[0].metrics == {"params": 1}


def test_it_is_a_wal_and_can_be_read_while_it_is_written(path: Path) -> None:
    with Store(path) as store:
        store.add(TRIAL)
        reader = sqlite3.connect(path)
        assert reader.execute("pragma journal_mode").fetchone() == ("wal",)
        assert reader.execute("select count(*) from candidates").fetchone() == (1,)
        store.add(replace(TRIAL, id=2, picks={}, digest="x"))
        assert reader.execute("select count(*) from candidates").fetchone() == (2,)
        reader.close()


def test_facts_and_events(path: Path) -> None:
    with Store(path) as store:
        store.describe({"seed": 0, "space": "abc"})
        store.describe({"seed": 1})
        store.log("started", "archlang search")
        store.log("interrupted", "")
        assert store.facts() == {"seed": 1, "space": "abc"}
        assert [kind for kind, _ in store.events()] == ["started", "interrupted"]


def test_something_else_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database, but a text that is long enough to be looked at" * 40)
    with pytest.raises(ArchError, match="E1206"):
        Store(path)
