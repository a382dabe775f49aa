"""`archlang report`, and its page in a browser: what is there after clicks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from archlang.report import Run, page, read
from tests.e2e.browser import asked, needs_chromium
from tests.e2e.program import archlang
from tests.unit.test_report import hostile, searched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = searched(tmp_path_factory.mktemp("page"))
    (folder / "report.html").write_text(page(read(folder)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Run:
    return read(folder)


def test_the_command_says_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.html"
    document = archlang("report", folder, "-o", out, "--json").document
    assert document == {
        "output": str(out),
        "bytes": out.stat().st_size,
        "trials": 30,
        "front": len(json.loads((folder / "front.json").read_text())),
    }
    done = archlang("report", tmp_path)
    assert (done.status, done.out) == (1, "")
    assert "E1207" in done.err
    assert archlang("report").status == 2


CLICKS = """
const first = $$("#front-chart .point"), all = () => $("#detail").textContent;
asked.points = first.map(point => Number(point.dataset.trial));
asked.opened = $("#detail h3").textContent;
asked.panel = $("#panel").dataset.tab;
asked.lines = [$$("#panel .add").length, $$("#panel .cut").length];
const point = first.find(each => Number(each.dataset.trial) !== 12), box = point.getBoundingClientRect();
point.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: box.x + 5, clientY: box.y + 5 }));
asked.tip = $("#tip").hidden ? "" : $("#tip").textContent;
point.dispatchEvent(new MouseEvent("click", { bubbles: true }));
asked.clicked = [Number(point.dataset.trial), $("#detail h3").textContent, location.hash];
asked.tabs = $$("[role=tab]").map(tab => tab.dataset.tab);
asked.shown = {};
for (const tab of asked.tabs) { $(`[role=tab][data-tab=${tab}]`).click(); asked.shown[tab] = $("#panel").textContent; }
$("[role=tab][data-tab=source]").click();
asked.colours = $$("#panel .keyword").map(each => each.textContent);
$("[role=tab][data-tab=drawing]").click();
asked.boxes = $$("#panel svg g.box").length;
$("[data-sort=params]").click();
asked.sorted = $$("#trials tbody tr").map(row => Number(row.dataset.trial));
$("#filter").value = "params > 3000 choice";
$("#filter").dispatchEvent(new Event("input"));
asked.filtered = $$("#trials tbody tr").map(row => Number(row.dataset.trial));
asked.count = $("#shown").textContent;
let text = "";
window.Blob = class { constructor(parts) { text = parts.join(""); } };
URL.createObjectURL = () => "#";
$("#csv").click();
asked.csv = text;
$("#filter").value = "";
$("#filter").dispatchEvent(new Event("input"));
$("#status").value = "front";
$("#status").dispatchEvent(new Event("change"));
asked.front = $$("#trials tbody tr").map(row => Number(row.dataset.trial));
$("#status").value = "";
$("#status").dispatchEvent(new Event("change"));
const handle = $("#parallel-chart [data-key=macs] .handle"), rail = handle.getBoundingClientRect();
const at = y => ({ bubbles: true, clientX: rail.x + 5, clientY: y });
handle.dispatchEvent(new PointerEvent("pointerdown", at(rail.bottom)));
handle.dispatchEvent(new PointerEvent("pointermove", at(rail.bottom - rail.height / 2)));
handle.dispatchEvent(new PointerEvent("pointerup", at(rail.bottom - rail.height / 2)));
asked.brushed = $$("#trials tbody tr").map(row => Number(row.dataset.trial));
$("#unbrush").click();
asked.unbrushed = $$("#trials tbody tr").length;
asked.best = Number($("#convergence-chart .step").dataset.best);
asked.links = $$("#lineage-chart .link").map(each => Number(each.dataset.to));
asked.theme = [document.documentElement.dataset.theme];
$("#theme").click();
asked.theme.push(document.documentElement.dataset.theme);
asked.command = $("#command").textContent;
"""


@needs_chromium
def test_the_page_in_a_browser(folder: Path, found: Run) -> None:
    told = asked(folder / "report.html", CLICKS, "#trial=12&tab=diff")
    front = {trial.id for trial in found.front}
    assert told["wrong"] == []
    assert set(told["points"]) == front
    _check_details(told, found)
    by_params = sorted(found.trials, key=lambda trial: (-trial.metrics["params"], trial.id))
    assert told["sorted"] == [trial.id for trial in by_params]
    wanted = [trial for trial in by_params if trial.metrics["params"] > 3000 and "choice" in trial.origin]
    assert told["filtered"] == [trial.id for trial in wanted]
    assert told["count"] == f"{len(wanted)} of 30"
    rows = list(csv.DictReader(io.StringIO(told["csv"])))
    assert [int(row["trial"]) for row in rows] == told["filtered"]
    assert [float(row["macs"]) for row in rows] == [trial.metrics["macs"] for trial in wanted]
    assert set(told["front"]) == front
    macs = [trial.metrics["macs"] for trial in found.trials]
    middle = (min(macs) + max(macs)) / 2
    few = {trial.id for trial in found.trials if trial.metrics["macs"] < middle}
    near = {trial.id for trial in found.trials if abs(trial.metrics["macs"] - middle) < 0.1 * (max(macs) - min(macs))}
    assert set(told["brushed"]) - near == few - near
    assert told["unbrushed"] == 30
    assert told["best"] == max(trial.metrics["params"] for trial in found.trials)
    assert set(told["links"]) <= {trial.id for trial in found.trials if trial.parent is not None}
    assert told["theme"] == ["light", "dark"]
    assert told["command"] == "archlang search tiny.arch"


def _check_details(told: Any, found: Run) -> None:
    """The candidate that the address opened, and the one that was clicked."""
    assert told["opened"].startswith("trial 12")
    assert told["panel"] == "diff"
    assert min(told["lines"]) >= 1
    id, heading, address = told["clicked"]
    trial = found.by_id[id]
    assert heading == f"trial {id}, on the front"
    assert address.startswith(f"#trial={id}&")
    assert told["tip"].startswith(f"trial {id}, on the front\n")
    assert told["tabs"] == ["source", *(["diff"] if trial.parent else []), "layers", "drawing", "decisions", "lineage"]
    assert f"net Tiny_{id:03d}(classes=4):" in told["shown"]["source"]
    assert "linear1" in told["shown"]["layers"]
    assert f"trial {id}: {trial.origin.replace('`', '')}" in told["shown"]["lineage"]
    assert {"from", "import", "net", "input"} <= set(told["colours"])
    assert told["boxes"] > 5


PWNED = """
asked.before = String(window.pwned);
for (const tab of $$("[role=tab]").map(each => each.dataset.tab)) $(`[role=tab][data-tab=${tab}]`).click();
for (const id of [1, 2, 3]) $(`#trials tr[data-trial="${id}"]`).click();
$$("#trials th button").forEach((each, k) => $$("#trials th button")[k].click());
$$("#front-chart .point").forEach(each => each.dispatchEvent(new PointerEvent("pointermove", { bubbles: true })));
asked.after = String(window.pwned);
asked.elements = ["img", "script"].map(name => $$(name).length);
const link = document.createElement("img");
link.setAttribute("onerror", "window.pwned = 2");
document.body.append(link);
link.dispatchEvent(new Event("error"));
asked.policy = String(window.pwned);
"""


@needs_chromium
def test_hostile_texts_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(read(hostile(tmp_path))), encoding="utf-8")
    told = asked(path, PWNED, dark=True)
    assert told["wrong"] == []
    assert (told["before"], told["after"]) == ("undefined", "undefined")
    assert told["elements"] == [0, 4]  # the page's two scripts, the data among them, and the test's two
    assert told["policy"] == "undefined"  # and what got through all the same would not run
