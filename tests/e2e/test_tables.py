"""Tables on a terminal: `cost` at every width, and what the pieces do."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from archlang.breakdown import LINES
from archlang.cli.table import SHORTEST, Table, bar, middle, plain, short
from archlang.cost import cost
from archlang.ir import Builder
from archlang.ir.graph import Scope
from archlang.ops.conv import Conv2d
from archlang.ops.join import Add
from tests.e2e.program import archlang as run

VIEWS = [
    *(
        (spec, width, "layer")
        for spec in ("zoo:mobilenet_v2", "zoo:resnet:r50", "zoo:digits")
        for width in (60, 80, 120)
    ),
    *(("zoo:mobilenet_v2", width, by) for by in ("block", "stage", "op") for width in (60, 100)),
]


@pytest.mark.parametrize(("spec", "width", "by"), VIEWS)
def test_no_line_is_wider_than_the_terminal(
    spec: str, width: int, by: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = run("cost", spec, "--by", by)
    assert done.status == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= width
    head = lines[0].split()
    assert head[0] == by
    assert {"n", "params", "MACs"} <= set(head)
    assert sum(line.startswith("total ") for line in lines) == 1


def test_a_wide_terminal_shows_bare_numbers_and_shares(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (line,) = [line for line in run("cost", "zoo:resnet:r50").out.splitlines() if line.startswith("layer3.1-5.conv2")]
    params, macs = 5 * (9 * 256 * 256 + 2 * 256), 5 * 9 * 256 * 256 * 14 * 14
    share = f"{100 * macs / 4_089_184_256:.1f}%"
    assert f" 5  {params:>10,} " in line
    assert f"{macs:,}  {share} ██████████" in line


def test_a_narrow_terminal_shortens_numbers_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("cost", "zoo:resnet:r50").out
    (line,) = [line for line in text.splitlines() if line.startswith("layer3.1-5.conv2")]
    assert line.split() == [
        "layer3.1-5.conv2",
        *["conv", "+", "bn", "+", "relu"],
        "256x14x14",
        "5",
        "2.95M",
        "██▌",
        "578M",
        "████",
    ]
    assert "activation bytes" not in text
    assert "25,557,032 parameters" in text


def test_repeats_unfold(folder: Path) -> None:
    folded, every = run("cost", "zoo:resnet:r50", "--csv").out, run("cost", "zoo:resnet:r50", "--csv", "--expand").out
    rows = list(csv.DictReader(io.StringIO(every)))
    assert [row["n"] for row in rows] == ["1"] * len(rows)
    for column in ("n", "params", "MACs", "activation bytes"):
        assert _sum(folded, column) == _sum(every, column)
    assert len(folded.splitlines()) < len(rows)
    assert "layer3.4.conv2" in {row["layer"] for row in rows}


def _sum(text: str, column: str) -> int:
    return sum(int(row[column]) for row in csv.DictReader(io.StringIO(text)))


def test_blocks_are_one_line_each(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("cost", "zoo:mobilenet_v2", "--by", "block", "--csv").out)))
    by_name = {row["block"]: row for row in rows}
    assert by_name["layer4.1-3"]["params"] == str(3 * (64 * 384 * 2 + 384 * 9 + 2 * (384 + 384 + 64)))
    assert sum(int(row["params"]) for row in rows) == 3_504_872


def test_what_differs_in_kernel_or_wiring_is_not_folded() -> None:
    """All instances cost the same. 0 and 1 are equal, 2 has the other kernel, 3 and 4 add their first convolution."""
    builder = Builder("Alike")
    x = builder.input(8, 16, 16, name="x")
    for i, (kernel, taps) in enumerate((((1, 3), 0), ((1, 3), 0), ((3, 1), 0), ((3, 1), 1), ((3, 1), 1))):
        padding = (kernel[0] // 2, kernel[1] // 2) * 2
        first = builder.add(Conv2d(8, kernel, padding=padding), x, name=f"row.{i}.first")
        second = builder.add(Conv2d(8, kernel, padding=padding), first, name=f"row.{i}.second")
        x = builder.add(Add(), second, first if taps else x, name=f"row.{i}.sum")
    builder.output(x)
    graph = replace(builder.build(), scopes={"row": Scope("repeat")})
    names = [line.name for line in LINES["layer"](graph, cost(graph)) if line.name.endswith("sum")]
    assert names == ["row.0-1.sum", "row.2.sum", "row.3-4.sum"]


def test_a_space_says_whose_figures_these_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("cost", "space.arch")
    assert done.out.splitlines()[-1].startswith("Space is a space: this is the network of the first alternatives of 3")
    assert run("cost", "space.arch", "--json").document["open_decisions"] == 3
    assert run("cost", "tiny.arch", "--json").document["open_decisions"] == 0
    table = run("cost", "space.arch", "--csv")
    assert "is a space" in table.err
    assert "is a space" not in table.out


def test_both_peaks_are_shown(folder: Path) -> None:
    found = run("cost", "tiny.arch", "--json").document
    assert found["peak_memory_bytes"] == 4 * found["peak_memory_int8_bytes"]
    assert run("cost", "tiny.arch").out.splitlines()[-1].endswith("in float32, 435 B in int8")


# ---- pieces ----------------------------------------------------------------------------------------------------------

NAMES = Table(("name", "macs"), [("a" * 30, 12_345_678), ("b" * 10, 400)], ("total", 12_346_078), shares=("macs",))


def test_texts_lose_their_middle() -> None:
    assert middle("layer3.1-5.depthwise", 13) == "layer3…thwise"
    assert middle("short", 13) == "short"
    assert plain(NAMES, 24).splitlines()[2].split()[0] == "a" * 8 + "…" + "a" * 8
    assert max(len(line.split()[0]) for line in plain(NAMES, 1).splitlines()[2:4]) == SHORTEST


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (99_949, "99.9k"), (999_499, "999k"), (999_950, "1.00M")),
        *((3_504_872, "3.50M"), (4_089_184_256, "4.09G"), (12 * 10**12, "12.0T"), (0.5, "0.5"), ("x", "x")),
    ],
)
def test_short_numbers_have_three_digits(value: object, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.0, ""), (1.0, "████"), (0.5, "██"), (1 / 32, "▏"), (0.28, "█▏")])
def test_bars_are_drawn_in_eighths(share: float, text: str) -> None:
    assert bar(share, 4) == text


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    text = plain(NAMES, 44)
    assert text.isascii()
    assert "####" in text
