"""Building a latency table: chosen, resumed, kept apart from others; and what the commands make of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

import archlang
from archlang.cli import main, predict
from archlang.device.predict import plot, table, validate
from archlang.device.predict.campaign import REFERENCE_EVERY, Campaign, Reading, build
from archlang.device.predict.choose import Option, order
from archlang.device.predict.features import kernels
from archlang.device.predict.model import Prediction
from archlang.device.predict.table import Identity
from archlang.errors import ArchError, OutsideError
from archlang.ir.graph import Graph
from archlang.search.evaluators import CostEvaluator
from archlang.search.space import Space
from archlang.search.trial import Candidate
from benchmarks.predict import judged
from tests.unit.test_predict import mobile_networks, roofline_ms

IDENTITY = Identity("bench", "f00", "", 1, "int8", "Digits", "d1")


class Device:
    """Measures by the made-up processor, a second each; fails where it is told to."""

    def __init__(
        self, fails_at: int = 10**9, error: Callable[[], Exception] = lambda: OutsideError("unplugged")
    ) -> None:
        self.now, self.measured = 0.0, 0
        self.fails_at, self.error = fails_at, error

    def __call__(self, graph: Graph) -> Reading:
        if self.measured == self.fails_at:
            raise self.error()
        self.measured += 1
        self.now += 1.0
        return Reading(roofline_ms(graph), 0.01, "runtime 1")

    def clock(self) -> float:
        return self.now


SPACE = Space(archlang.load("zoo:digits").value)


def campaign(device: Device, path: Path, seconds: float = 30, identity: Identity = IDENTITY) -> Campaign:
    def draw(rng: Random) -> Graph:
        return SPACE.graph(SPACE.sample(rng))

    return Campaign(identity, draw, device, path, seconds, clock=device.clock)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"NETWORKS": 30, "BLOCKS": 30, "TARGETS": 10}.items():
        monkeypatch.setattr(f"archlang.device.predict.campaign.{name}", count)


def test_a_table_keeps_to_its_budget_and_is_read_back(tmp_path: Path) -> None:
    device = Device()
    made = build(campaign(device, tmp_path / "t.json"))
    assert device.now == 30
    assert len(made.measured) == 30 - 4  # the reference network every eighth time
    again = table.read(tmp_path / "t.json")
    assert again == made
    assert again.identity.runtime == "runtime 1"
    assert list(tmp_path.iterdir()) == [tmp_path / "t.json"]


def test_a_broken_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    whole = build(campaign(Device(), tmp_path / "whole.json"))
    first = Device(fails_at=13)
    with pytest.raises(OutsideError):
        build(campaign(first, path))
    assert not path.exists()
    second = Device()
    made = build(campaign(second, path))
    assert first.measured + second.measured == 30
    assert [row.digest for row in made.measured] == [row.digest for row in whole.measured]


def test_a_half_written_line_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with pytest.raises(OutsideError):
        build(campaign(Device(fails_at=13), path))
    log = tmp_path / "t.json.part"
    log.write_text(log.read_text()[:-20])
    assert len(build(campaign(Device(), path)).measured) >= 25


def test_more_budget_extends_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    before = build(campaign(Device(), path))
    device = Device()
    after = build(campaign(device, path, seconds=40))
    assert after.measured[: len(before.measured)] == before.measured
    assert len(after.measured) > len(before.measured)
    assert device.now <= 40 - before.seconds


@pytest.mark.parametrize("change", [{"device": "phone"}, {"threads": 4}, {"digest": "d2"}, {"runtime": "runtime 2"}])
def test_measurements_of_something_else_do_not_mix(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "t.json"
    build(campaign(Device(), path))
    with pytest.raises(ArchError, match=f"E1013.*{next(iter(change))}"):
        build(campaign(Device(), path, seconds=60, identity=replace(IDENTITY, **change)))  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_passed_over(tmp_path: Path) -> None:
    class Picky(Device):
        def __call__(self, graph: Graph) -> Reading:
            if len(graph.nodes) % 5 == 0:
                raise archlang.errors.fail("E1001", "no such kernel")
            return super().__call__(graph)

    made = build(campaign(Picky(), tmp_path / "t.json"))
    assert len(made.measured) >= 8


def test_drift_of_the_machine_is_taken_out(tmp_path: Path) -> None:
    """The machine becomes twice as slow in the middle; the reference network tells."""

    class Slowing(Device):
        def __call__(self, graph: Graph) -> Reading:
            reading = super().__call__(graph)
            return replace(reading, ms=reading.ms * (2 if self.measured > 2 * (REFERENCE_EVERY + 1) else 1))

    made = build(campaign(Slowing(), tmp_path / "t.json", seconds=45))
    samples = made.model.samples
    steady = build(campaign(Device(), tmp_path / "steady.json", seconds=45)).model.samples
    ratios = [a.ms / b.ms for a, b in zip(samples, steady, strict=True)]
    assert max(ratios) == pytest.approx(min(ratios))


def test_the_first_choices_cover_what_the_networks_hold() -> None:
    """Six choices out of forty tell of more kinds of work than the first six would."""
    networks = [kernels(graph) for graph in mobile_networks(45, 0)]
    chosen = order([Option(each, False) for each in networks], networks, 6)
    assert len(set(chosen)) == 6

    def kinds(indices: list[int]) -> int:
        return len({(k.kind, k.window, k.stride) for i in indices for k in networks[i]})

    assert kinds(chosen) >= kinds(list(range(6)))


# reports


def report() -> validate.Report:
    answers = [(10.0, 10.5), (20.0, 19.0), (30.0, 36.0), (40.0, 41.0)]
    pairs = [validate.Pair(str(a), a, Prediction(b, b * 0.9, b * 1.1)) for a, b in answers]
    pairs.append(validate.Pair("new", 5.0, Prediction(None, None, None, ("attention of 4x4 to 4x4",))))
    return validate.report(pairs, 10.0, 0.002)


def test_a_report_has_the_figures() -> None:
    found = report()
    assert (found.networks, found.unknown, found.spearman, found.kendall) == (5, 1, 1.0, 1.0)
    assert found.mape == pytest.approx((0.05 + 0.05 + 0.2 + 0.025) / 4)
    assert (found.within_10, found.covered, found.times_faster) == (0.75, 0.75, 5000)
    assert "no figure" in str(found)


def test_the_plot_is_written_in_each_format(tmp_path: Path) -> None:
    for suffix in (".svg", ".html", ".png"):
        plot.write(report(), "a & b", tmp_path / f"p{suffix}")
    root = ElementTree.fromstring((tmp_path / "p.svg").read_text())
    assert len(root.findall("{*}circle")) == 4
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "p.html").read_text()
    with pytest.raises(ArchError, match=r"E1014.*pdf"):
        plot.write(report(), "x", tmp_path / "p.pdf")


# commands


@pytest.fixture
def made(tmp_path: Path) -> Path:
    build(campaign(Device(), tmp_path / "t.json", seconds=50))
    return tmp_path / "t.json"


def test_cost_tells_the_latency(made: Path) -> None:
    done = CliRunner().invoke(main, ["cost", "zoo:digits", "--device", str(made), "--json"])
    latency = json.loads(done.stdout)["latency"]
    assert latency["low_ms"] < latency["ms"] < latency["high_ms"]
    assert latency["ms"] == pytest.approx(roofline_ms(archlang.load("zoo:digits").graph), rel=0.3)
    shown = CliRunner().invoke(main, ["cost", "zoo:digits", "--device", str(made)])
    assert f"{latency['ms']:.3f} ms" in " ".join(shown.stdout.replace("\N{NO-BREAK SPACE}", " ").split())


def test_cost_with_a_device_that_has_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["cost", "zoo:digits", "--device", "phone"])
    assert done.exit_code == 1
    assert "--build-table --device phone" in done.stderr


def test_bench_builds_and_validates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The commands, with the made-up processor in the place of the runtime."""

    def measure(meter: predict.Meter, graph: Graph) -> Reading:
        return Reading(roofline_ms(graph), 0.0, "runtime 1")

    monkeypatch.setattr(predict.Meter, "__call__", measure)
    ticks = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    path = tmp_path / "t.json"
    asked = ["bench", "--space", "zoo:digits", "--quantize", "int8", "--json"]
    built = CliRunner().invoke(main, [*asked, "--build-table", "-o", str(path), "--budget", "1m"])
    assert built.exit_code == 0, built.output
    found = json.loads(built.stdout)
    assert found["networks"] + found["blocks"] >= 20
    checked = CliRunner().invoke(main, [*asked, "--validate", str(path), "-n", "10"])
    assert checked.exit_code == 0, checked.output
    document = json.loads(checked.stdout)
    assert (document["networks"], Path(document["plot"])) == (10, path.with_suffix(".svg"))
    known = {row.digest for row in table.read(path).measured}
    assert not known & {pair["digest"] for pair in document["pairs"]}


def test_a_table_of_a_part_of_a_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of what is picked only such networks are drawn, and the table does not mix with that of the whole space."""
    drawn: list[Graph] = []

    def measure(meter: predict.Meter, graph: Graph) -> Reading:
        drawn.append(graph)
        return Reading(roofline_ms(graph), 0.0, "runtime 1")

    monkeypatch.setattr(predict.Meter, "__call__", measure)
    ticks = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    path = tmp_path / "t.json"
    asked = ["bench", "--space", "zoo:mnas_space", "--build-table", "-o", str(path), "--budget", "60s"]
    built = CliRunner().invoke(main, [*asked, "--pick", "r=224", "--pick", "k in row 2=5", "--json"])
    assert built.exit_code == 0, built.output
    whole = [graph for graph in drawn if len(graph.outputs) == 1 and graph.nodes[0].type.shape == (3, 224, 224)]
    assert len(whole) >= 5
    assert not any(graph.nodes[0].type.shape == (3, 192, 192) for graph in drawn)
    assert table.read(path).identity.space == "MnasSpace with r=224, k in row 2=5"
    mixed = CliRunner().invoke(main, asked)
    assert mixed.exit_code == 1
    assert "E1013" in mixed.output


def test_a_single_slow_reference_changes_nothing(tmp_path: Path) -> None:
    class Hiccup(Device):
        def __call__(self, graph: Graph) -> Reading:
            reading = super().__call__(graph)
            slow = self.measured == 2 * (REFERENCE_EVERY + 1) + 1  # the third measurement of the reference
            return replace(reading, ms=reading.ms * (3 if slow else 1))

    def times(device: Device, path: Path) -> list[float]:
        return [sample.ms for sample in build(campaign(device, path, seconds=45)).model.samples]

    assert times(Hiccup(), tmp_path / "a.json") == times(Device(), tmp_path / "b.json")


@pytest.mark.parametrize(
    ("pick", "said"), [("x=1", "no decision"), ("r=223", "192, 224"), ("r", "no decision"), ("k in row 9=3", "row 2")]
)
def test_a_pick_that_is_not_there(pick: str, said: str) -> None:
    asked = ["bench", "--space", "zoo:mnas_space", "--build-table", "--pick", pick]
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 2
    assert said in refused.output


def test_the_benchmark_gives_macs_the_line_that_fits_best() -> None:
    pairs = [{"measured_ms": 1.0 + macs / 10, "macs": macs} for macs in (10, 20, 40, 80)]
    scores = {"within_10": 0.75, "mape": 0.06, "spearman": 0.8, "covered": 0.9, "level": 0.9, "times_faster": 2000.0}
    found = {result.name: result for result in judged({**scores, "pairs": pairs})}
    within = found["predict: networks within 10 %"]
    assert (within.ours, within.theirs) == (75.0, 100.0)
    assert found["predict: Spearman"].theirs == pytest.approx(1.0)
    assert found["predict: mean relative error"].theirs == pytest.approx(0.0, abs=1e-9)
    assert found["predict: for each second of measuring"].ours == 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--build-table"],
        ["zoo:digits", "--build-table", "--space", "zoo:digits"],
        ["--build-table", "--space", "zoo:digits", "--budget", "soon"],
    ],
)
def test_bench_says_what_is_missing(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["bench", *arguments]).exit_code == 2


def test_something_else_is_no_table(tmp_path: Path) -> None:
    for text in ("", "{}", '{"format": "other"}', "[1]"):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(ArchError, match="E1012"):
            table.read(tmp_path / "t.json")


def test_a_candidate_with_an_op_that_was_never_measured(made: Path) -> None:
    evaluate = CostEvaluator(str(made)).prepare()
    with pytest.raises(ArchError, match=r"E1015.*never measured"):
        list(evaluate(Candidate(1, archlang.load("zoo:vit:ti").graph, {})))


def test_a_search_takes_predicted_latency(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [
        "search",
        "zoo:digits",
        "--evaluator",
        "cost",
        "--device",
        str(made),
        "--trials",
        "12",
        "--run",
        str(run),
    ]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    metrics = [entry["metrics"] for entry in json.loads(done.stdout)["front"]]
    assert all(0 < each["latency"] < 1000 for each in metrics)
