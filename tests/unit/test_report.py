"""The report: that it tells what the database holds, and that nothing in a database is more than text."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest

import archlang
from archlang.errors import ArchError
from archlang.report import Run, page, read, write_report
from archlang.report.columns import columns, decisions, ended_early, passed_over
from archlang.report.detail import details
from archlang.search import store as stores
from archlang.search.driver import DATABASE, run
from archlang.search.plan import Options, plan_of
from archlang.search.space import Space, load_search
from archlang.search.store import Store
from archlang.search.trial import Outcome, Status, Trial
from tests.unit.fake_evaluators import plan_of as fake_plan

BLOCKS = """
block twice(c, k):
  conv(c, k) -> conv(c, k, s=2)
"""

SEARCH = """
from "blocks.arch" import twice
choice K = {3, 5}

net Tiny(classes=10):
  default conv(norm=bn, act=relu)
  input 1x8x8
  conv({8, 12, 16}, K)
  twice({8, 24}, K)
  {skip, conv(24, 1)}
  gap -> linear(classes)

search digits over Tiny:
  require params <= 9k
  maximize params
  minimize macs
  method evolution(population=6, sample=3, trials=30, seed=2)
"""


def searched(folder: Path) -> Path:
    """A run, whose files have gone since."""
    files = folder / "source"
    files.mkdir(parents=True)
    (files / "blocks.arch").write_text(BLOCKS)
    (files / "tiny.arch").write_text(SEARCH)
    spec = load_search(str(files / "tiny.arch"), {"classes": "4"})
    plan, _ = plan_of(spec, Options(evaluator="cost", folder=folder / "run", command="archlang search tiny.arch"))
    run(plan)
    shutil.rmtree(files)
    return folder / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Run:
    return read(folder)


@pytest.fixture(scope="module")
def known(found: Run) -> dict[str, Any]:
    return details(found)


@pytest.fixture(scope="module")
def html(found: Run) -> str:
    return page(found)


def data_of(html: str) -> Any:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def test_it_tells_what_the_database_holds(folder: Path, html: str) -> None:
    data = data_of(html)
    rows = sqlite3.connect(folder / DATABASE).execute("select id, parent, origin, metrics from candidates order by id")
    told = data["trials"]
    for i, (id, parent, origin, metrics) in enumerate(rows):
        assert (told["id"][i], told["parent"][i], told["texts"][told["origin"][i]]) == (id, parent, origin)
        for name, value in json.loads(metrics).items():
            assert told["metrics"][name][i] == pytest.approx(value, rel=1e-5)
    assert len(told["id"]) == 30
    assert data["front"] == [entry["trial"] for entry in json.loads((folder / "front.json").read_text())]
    assert data["best"] == data["front"][0]
    assert (data["maximize"], data["minimize"], data["require"]) == (["params"], ["macs"], [["params", "<=", 9000]])


def test_sources_are_there_though_the_files_are_gone(folder: Path, found: Run, known: dict[str, Any]) -> None:
    assert {str(trial.id) for trial in found.front} <= set(known)
    for trial in found.front:
        detail = known[str(trial.id)]
        (folder / "blocks.arch").write_text(BLOCKS)
        (folder / "candidate.arch").write_text(detail["source"])
        net = archlang.load(str(folder / "candidate.arch"))
        assert found.space is not None
        assert net.graph.digest == found.space.graph(trial.picks).digest
        assert sum(line[4] for line in detail["layers"]) == trial.metrics["params"]
        assert sum(line[5] for line in detail["layers"]) == trial.metrics["macs"]
        assert detail["drawing"].startswith("<svg ")


def test_a_diff_is_that_of_the_two_sources_under_one_name(found: Run, known: dict[str, Any]) -> None:
    space = found.space
    assert space is not None
    children = [trial for trial in found.trials if trial.parent is not None and str(trial.id) in known]
    assert len(children) > 5
    for trial in children:
        parent = found.by_id[trial.parent or 0]
        before, after = (Counter(space.source(each.picks, "Tiny", []).splitlines()) for each in (parent, trial))
        lines = known[str(trial.id)]["diff"][2:]
        assert Counter(line[1:] for line in lines if line[0] == "-") == before - after
        assert Counter(line[1:] for line in lines if line[0] == "+") == after - before


def test_decisions_have_names_and_alternatives(found: Run) -> None:
    assert isinstance(found.space, Space)
    told = decisions(found)
    lines = [8, 8, 9, 9, 10]
    places = [*(f" ({each['key']})" for each in told[:4]), ""]  # where two have the same name
    labels = [f"the choice at line {line}{place}" for line, place in zip(lines, places, strict=True)]
    assert [each["label"] for each in told] == labels
    for i, trial in enumerate(found.trials):
        taken = [each["values"][each["picks"][i]] for each in told if each["picks"][i] is not None]
        described = [line.rpartition(": ")[2] for line in found.space.describe(trial.picks)]
        assert taken == described


def test_a_run_that_goes_on_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    run(fake_plan(tmp_path, 10))
    with Store(tmp_path / DATABASE) as store:
        store.add(Trial(11, {"n0": 1}, "x", None, "sampled"))
        found = read(tmp_path)
        assert [trial.status for trial in found.trials].count(Status.RUNNING) == 1
        assert "1 running when this was written" in page(found)
        assert {trial.id for trial in found.front} == {
            entry["trial"] for entry in json.loads((tmp_path / "front.json").read_text())
        }


def test_a_space_that_nobody_can_read_again_leaves_its_files(tmp_path: Path) -> None:
    run(fake_plan(tmp_path, 10))
    found = read(tmp_path)
    assert found.space is None
    for trial in found.front:
        assert details(found)[str(trial.id)]["source"] == (tmp_path / "front" / f"Fake_{trial.id:03d}.arch").read_text()
    assert {each["key"] for each in decisions(found)} == {key for trial in found.trials for key in trial.picks}
    assert "</html>" in page(found)


def test_an_empty_run(tmp_path: Path) -> None:
    with Store(tmp_path / DATABASE) as store:
        store.log("started", "")
    found = read(tmp_path)
    assert (found.front, found.best) == ((), None)
    assert data_of(page(found))["trials"]["id"] == []


def test_what_did_not_come_through_is_counted_by_its_reason() -> None:
    trials = [
        Trial(1, {}, "a", None, "", Status.REJECTED, reason="latency is 9, not latency <= 5", passed_over={"known": 2}),
        Trial(2, {}, "b", None, "", Status.REJECTED, reason="latency is 8, not latency <= 5", passed_over={"known": 1}),
        Trial(3, {}, "c", None, "", Status.FAILED, reason="the loss is nan", passed_over={"params <= 9": 5}),
    ]
    assert ended_early(trials, Status.REJECTED) == [("latency <= 5", [1, 2])]
    assert ended_early(trials, Status.FAILED) == [("the loss is nan", [3])]
    assert passed_over(trials) == [("params <= 9", 5), ("known", 3)]


@pytest.mark.slow
def test_a_run_of_five_thousand_stays_small(tmp_path: Path) -> None:
    """Thirty decisions, three metrics, and a front of a hundred networks of ImageNet's size."""
    rng, spec = Random(0), load_search("zoo:mnas_space")
    assert spec.bundle is not None
    with Store(tmp_path / DATABASE) as store:
        goals = {"maximize": ["accuracy"], "minimize": ["latency"]}
        store.describe({"goals": goals, "bundle": spec.bundle.as_json(), "name": spec.space.name})
        for id in range(1, 5001):
            latency = 20 + 60 * rng.random()
            accuracy = 0.75 - 1 / latency - (0.02 * rng.random() if id > 100 else 0)
            metrics = {"accuracy": accuracy, "latency": latency, "params": float(rng.randrange(10**7))}
            parent = rng.randrange(1, id) if id > 50 else None
            origin = f"`k` in row {id % 6}: 3 -> {id}"
            trial = Trial(id, dict(spec.space.sample(rng)), str(id), parent, origin, Status.DONE, metrics, seconds=1.0)
            store.add(trial, together=True)
    found = read(tmp_path)
    assert len(found.front) >= 100
    html = page(found)
    assert len(html) < 5_000_000
    assert len(data_of(html)["details"]) >= 100


def test_only_whole_evaluations_stand_on_the_front(tmp_path: Path) -> None:
    with Store(tmp_path / DATABASE) as store:
        store.describe({"goals": {"maximize": ["accuracy"]}})
        for id, (accuracy, fidelity) in enumerate([(0.9, 0.25), (0.5, 1.0), (0.6, 1.0)], 1):
            store.add(Trial(id, {"k": id}, str(id), None, "sampled", fidelity=fidelity))
            store.finish(id, Outcome(Status.DONE, {"accuracy": accuracy}), 1.0)
    assert [trial.id for trial in read(tmp_path).front] == [3]


def test_no_run_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ArchError, match="E1207"):
        read(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"SQLite format 3\0" + bytes(3000))
    with pytest.raises(ArchError, match="E1206"):
        read(tmp_path)


def test_where_sqlite_may_write_nothing_a_copy_is_read(
    folder: Path, found: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = stores._backup

    def refused(path: Path, target: sqlite3.Connection) -> None:
        if path.parent == folder:
            raise sqlite3.OperationalError("unable to open database file")
        backup(path, target)

    monkeypatch.setattr(stores, "_backup", refused)
    assert read(folder).trials == found.trials


EVIL = "</script></pre><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\"'`${pwned = 1}"


def hostile(folder: Path) -> Path:
    """A run in which every text is hostile."""
    folder.mkdir(exist_ok=True)
    text = f"# {EVIL}\nnet N:\n  input 1x8x8\n  conv({{4, 8}}, 3)  # {EVIL}\n\nsearch s over N:\n  maximize params\n"
    bundle = {"files": {"n.arch": text}, "main": "n.arch", "search": "s", "overrides": {}}
    goals = {"maximize": ["params"], "minimize": [EVIL], "require": [["params", EVIL, 1]]}
    with Store(folder / DATABASE) as store:
        store.describe({"name": EVIL, "command": EVIL, "device": EVIL, "bundle": bundle, "goals": goals, "seed": EVIL})
        store.describe({"strategy": EVIL, "evaluator": {"name": EVIL, EVIL: EVIL}, "trials": 3})
        store.log(EVIL, EVIL)
        for id, picks in enumerate(({"4:8": 0}, {"4:8": 1}, {EVIL: 0}), 1):
            store.add(Trial(id, picks, f"{EVIL}{id}", id - 1 or None, EVIL, passed_over={EVIL: 1}))
            done = Outcome(Status.DONE, {"params": float(id), EVIL: 1.0})
            store.finish(id, done if id < 3 else Outcome(Status.FAILED, {}, EVIL), 1.0)
    return folder


class _Elements(HTMLParser):
    """Counts elements; collects the names of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    html = page(read(hostile(tmp_path)))
    elements = _Elements()
    elements.feed(html)
    assert (elements.tags["script"], elements.tags["img"]) == (2, 0)
    assert not {name for name in elements.attributes if name.startswith("on")}
    data = data_of(html)
    assert data["name"] == EVIL
    assert EVIL in data["trials"]["texts"]
    assert EVIL in data["details"]["1"]["source"]


@pytest.mark.parametrize("name", ["../x.arch", "/tmp/x.arch", "a/../../x.arch", "C:\\x.arch"])
def test_files_of_a_database_stay_where_they_are_put(tmp_path: Path, name: str) -> None:
    bundle = {"files": {"n.arch": "net N:\n  input 1x8x8\n", name: "x"}, "main": "n.arch", "search": "s"}
    with Store(tmp_path / "search.db") as store:
        store.describe({"bundle": bundle})
    assert read(tmp_path).space is None
    assert not list(tmp_path.parent.glob("x.arch"))


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    run(fake_plan(tmp_path, 3))
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("""update candidates set metrics = '{"params": NaN, "macs": "many"}' where id = 2""")
    connection.commit()
    told = columns(read(tmp_path))["metrics"]
    assert (told["params"][1], told["macs"][1]) == (None, None)


def test_the_page_is_written_whole_where_it_is_asked_for(tmp_path: Path) -> None:
    run(fake_plan(tmp_path, 3))
    found = read(tmp_path)
    assert write_report(found) == tmp_path / "report.html"
    assert write_report(found, tmp_path / "x.html").read_text() == (tmp_path / "report.html").read_text()
    with pytest.raises(ArchError, match="E0608"):
        write_report(found, tmp_path / "none" / "x.html")
