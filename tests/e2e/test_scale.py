"""`archlang scale`: what it prints and writes, what bad input gets, and its page, whose commands are typed."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import archlang
from archlang.source import Source
from archlang.syntax import parse
from tests.e2e.program import archlang as run

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def document(*arguments: str | Path) -> Any:
    done = run("scale", *arguments, "--json")
    assert (done.status, done.err) == (0, ""), done.out
    return done.document


def test_scaling_in_json_and_as_a_file(folder: Path) -> None:
    found = document("tiny.arch", "--phi", "3", "--flops", "2x", "--params", "5k")
    (only,) = found["families"]
    assert (found["net"], found["by"], found["output"]) == ("Tiny", "flops", "Tiny_scaled.arch")
    assert found["parameters"] == {"depth": "depth", "width": "width", "resolution": "res"}
    assert only["coefficients"] == {"depth": 1.2, "width": 1.1, "resolution": 1.15}
    assert [member["name"] for member in only["members"]] == ["phi0", "phi1", "phi2", "phi3", "budget"]
    for member in only["members"]:
        net = archlang.load(f"Tiny_scaled.arch:{member['name']}")
        assert net.graph.digest == member["digest"]
        assert net.cost().total.flops == member["metrics"]["flops"]
    assert only["members"][0]["digest"] == archlang.load("tiny.arch").graph.digest
    budget = only["members"][-1]["metrics"]
    assert budget["flops"] <= 2 * only["members"][0]["metrics"]["flops"]
    assert budget["params"] <= 5000
    assert [each["metric"] for each in only["budgets"]] == ["flops", "params"]


def test_the_file_checks_is_formatted_and_compiles(folder: Path) -> None:
    done = run("scale", "tiny.arch", "--compare", "--phi", "2", "-o", "family.arch", "--plot", "f.svg")
    assert done.status == 0
    assert "wrote family.arch and f.svg" in done.out
    assert "`classes` stays as it is" in done.err
    assert run("fmt", "--check", "family.arch").status == 0
    checked = run("check", "family.arch", "--json").document
    assert checked["ok"]
    names = {net["name"] for net in checked["nets"]}
    assert {f"Tiny.{method}{phi}" for method in ("depth", "width", "resolution", "compound") for phi in (1, 2)} <= names
    for target in ("pytorch", "tflite"):
        assert run("compile", "family.arch:compound1", "--to", target).status == 0
    drawing = Path("f.svg").read_text()
    assert all(f">{method}<" in drawing for method in ("depth", "width", "resolution", "compound"))


def test_one_dimension_alone(folder: Path) -> None:
    for dimension in ("depth", "width", "resolution"):
        (only,) = document("tiny.arch", "--only", dimension, "--phi", "2")["families"]
        for member in only["members"]:
            others = {name: value for name, value in member["scales"].items() if name != dimension}
            assert set(others.values()) == {1.0}
        flops = [member["metrics"]["flops"] for member in only["members"]]
        assert all(a < b for a, b in pairwise(flops)), dimension


def test_the_grid_goes_on(folder: Path) -> None:
    arguments = [
        "tiny.arch",
        "--evaluator",
        "cost",
        "--maximize",
        "params",
        "--step",
        "0.2",
        "--phi",
        "1",
        "--run",
        "r",
    ]
    found = document(*arguments)
    grid = found["grid"]
    points = [(point["metrics"]["params"], point["coefficients"]) for point in grid["points"]]
    assert grid["best"] == max(points, key=lambda point: point[0])[1] == found["families"][0]["coefficients"]
    again = run("scale", *arguments)
    assert again.status == 1
    assert "E1208" in again.err
    assert document(*arguments, "--resume")["grid"] == grid


WRONG = [
    (["tiny.arch", "--only", "depth", "--width", "1.1"], 2, "--only takes neither"),
    (["tiny.arch", "--by", "latency"], 2, "--by latency needs --device"),
    (["tiny.arch", "--latency", "30ms"], 2, "--latency needs --device"),
    (["tiny.arch", "--flops", "lots"], 2, "is no limit"),
    (["tiny.arch", "--params", "0"], 2, "more than nothing"),
    (["tiny.arch", "--param", "hight=x"], 2, "DIMENSION=NAME"),
    (["tiny.arch", "--depth", "1.2", "--fix", "depth"], 2, "contradict"),
    (["tiny.arch", "--evaluator", "cost", "--depth", "1.2"], 2, "finds the coefficients"),
    (["tiny.arch", "--depth", "0.9"], 1, "E1401"),
    (["tiny.arch", "--evaluator", "cost", "--maximize", "params", "--step", "0.3", "--tolerance", "0"], 1, "E1402"),
    (["tiny.arch", "--param", "depth=clases"], 1, "E1403"),
    (["zoo:lenet"], 1, "E1404"),
    (["space.arch"], 1, "E1405"),
    (["tiny.arch", "--params", "3"], 1, "E1406"),
    (["tiny.arch", "--evaluator", "cost"], 1, "E1407"),
    (["tiny.arch", "--plot", "x.pdf"], 1, "E1014"),
    (["tiny.arch", "--evaluator", "nobody"], 1, "E1205"),
    (["none.arch"], 1, "E0001"),
]


@pytest.mark.parametrize(("arguments", "status", "said"), WRONG)
def test_bad_input(arguments: list[str], status: int, said: str, folder: Path) -> None:
    before = set(folder.iterdir())
    done = run("scale", *arguments)
    assert (done.status, said in done.err) == (status, True), done.err
    assert not [path for path in set(folder.iterdir()) - before if path.suffix == ".arch"]


def test_a_grid_in_which_nothing_works(folder: Path) -> None:
    (folder / "mine.py").write_text("def broken(candidate):\n    raise ValueError('no images')\n")
    done = run("scale", "tiny.arch", "--evaluator", "mine:broken", "--step", "0.2", "--trials", "2")
    assert done.status == 1
    assert "E1408" in done.err
    assert "no images" in done.err


# ---- the page --------------------------------------------------------------------------------------------------------

LINES = [line[4:] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
COMMANDS = [line for line in LINES if line.startswith("archlang ")]
_SLOW = ("--evaluator", "--device", "zoo:mobilenet_v1", "--depth 1.2", "--macs")
LONG = [line for line in COMMANDS if any(part in line for part in _SLOW)]


def _small() -> str:
    """The net that the page writes into small.arch."""
    first = LINES.index("net Small(classes=10):")
    end = next(i for i in range(first + 1, len(LINES)) if not LINES[i].startswith("  "))
    return "\n".join(LINES[first:end]) + "\n"


def _typed(commands: list[str]) -> None:
    Path("small.arch").write_text(_small())
    for command in commands:
        done = run(*shlex.split(command)[1:])
        assert done.status == 0, (command, done.err)


def test_the_commands_of_the_page(folder: Path) -> None:
    _typed([line for line in COMMANDS if line not in LONG])
    table = [line for line in Path("family.arch").read_text().splitlines() if line.startswith("  | phi")]
    shown = [line for line in LINES if line.startswith("  | phi")]
    assert table[: len(shown)] == shown
    assert Path("resnet50.svg").stat().st_size > 1000
    rewritten = Path("resnet50.arch").read_text()
    assert "\n".join(LINES[LINES.index("  fn reps(n) = ceil(n * depth)") :][:11]) in rewritten


@pytest.mark.slow
def test_the_long_commands_of_the_page(folder: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("ai_edge_litert")
    assert len(LONG) == 7
    _typed(LONG)


def test_the_python_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = LINES.index("import archlang")
    exec("\n".join(LINES[first : first + 6]), {})
    assert capsys.readouterr().out.startswith("phi0 {")


def test_the_figures_of_the_page() -> None:
    """Of the published networks, in billions of MACs."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| B"):
            name, _, giga = (cell.strip() for cell in line.split("|")[1:4])
            assert archlang.load(f"zoo:efficientnet:{name.lower()}").cost().total.macs / 1e9 == pytest.approx(
                float(giga), abs=0.006
            )
    assert parse(Source("small", _small())).items
