"""What changed between two networks, on changes that are known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import archlang
from archlang.cli import main
from archlang.diff import Difference, Figure, diff

BEFORE = """
net Tiny(classes=10):
  input 3x8x8
  conv(8, 3, norm=bn, act=relu)
  conv(16, 3)
  gap -> linear(classes)
"""
WIDER = BEFORE.replace("conv(16, 3)", "conv(32, 3)")
LONGER = BEFORE.replace("  gap", "  conv(16, 1)\n  gap")


def changes(before: str, after: str) -> Difference:
    return diff(archlang.loads(before, name="a.arch"), archlang.loads(after, name="b.arch"))


def figures(found: Difference) -> dict[str, Figure]:
    return {figure.name: figure for figure in found.cost}


def test_a_network_does_not_differ_from_itself() -> None:
    found = changes(BEFORE, BEFORE)
    assert found.equal
    assert (found.source, found.layers) == ((), ())
    assert {figure.change for figure in found.cost} == {0.0}
    assert found.unchanged == len(archlang.loads(BEFORE).graph.nodes)


def test_layout_and_names_are_no_difference() -> None:
    found = changes(BEFORE, BEFORE.replace("conv(16, 3)", "conv( 16,3 ) as wide"))
    assert found.equal
    assert found.layers == ()
    assert [line for line in found.source if line[0] in "+-"][2:] == ["-  conv(16, 3)", "+  conv(16, 3) as wide"]


def test_a_wider_layer() -> None:
    found = changes(BEFORE, WIDER)
    convs = [c for c in found.layers if c.before and c.before.op.startswith("conv{")]
    assert not found.equal
    assert [c.kind for c in convs] == ["changed"]
    assert convs[0].before
    assert convs[0].after
    assert (convs[0].before.output, convs[0].after.output) == ("16x8x8", "32x8x8")
    # conv: 8 * 9 weights and a bias a channel; linear: 10 weights a channel
    extra = 16 * (8 * 9 + 1) + 16 * 10
    params = figures(found)["params"]
    assert params.after - params.before == extra
    assert params.change == pytest.approx(100 * extra / params.before)


def test_another_layer_moves_nothing_else() -> None:
    found = changes(BEFORE, LONGER)
    assert [change.kind for change in found.layers] == ["added"]
    assert found.layers[0].after is not None
    assert found.layers[0].after.op == "conv{c=16, k=(1, 1)}"
    assert figures(found)["macs"].after - figures(found)["macs"].before == 16 * 16 * 64
    back = changes(LONGER, BEFORE)
    assert [change.kind for change in back.layers] == ["removed"]
    assert back.layers[0].before == found.layers[0].after


def test_a_figure_that_was_nothing_has_no_percentage() -> None:
    assert Figure("macs", 0, 5).change is None
    assert Figure("macs", 0, 0).change == 0.0
    assert Figure("macs", 4, 3).change == -25.0


def test_wiring_alone_is_a_difference() -> None:
    text = "net W:\n  input 4x8x8\n  conv(4, 3) as a\n  conv(4, 3) as b\n  conv(4, 3) as c\n  d = c + {}\n  relu(d)\n"
    found = changes(text.format("a"), text.format("b"))
    assert found.layers == ()
    assert not found.equal


def test_blocks_that_repeat_more_often_are_added_at_the_end() -> None:
    """torchvision's resnet34 has the blocks of resnet18, and layer1.2, layer2.2, layer2.3 and so on."""
    found = diff(archlang.load("zoo:resnet:r18"), archlang.load("zoo:resnet:r34"))
    assert {change.kind for change in found.layers} == {"added"}
    added = list(dict.fromkeys(change.after.block for change in found.layers if change.after))
    assert added == [f"layer{n}.{i}" for n, count in enumerate((3, 4, 6, 3), 1) for i in range(2, count)]
    assert found.unchanged == len(archlang.load("zoo:resnet:r18").graph.nodes)


def test_a_change_within_a_block_is_one_layer() -> None:
    text = "block b(c, k):\n  conv(c, 3) -> relu -> conv(c, k)\n\nnet N:\n  input 4x8x8\n  b(4, 3)\n  b(4, {})\n"
    found = changes(text.format(3), text.format(5))
    assert [change.kind for change in found.layers] == ["changed"]
    assert found.layers[0].before is not None
    assert found.layers[0].before.block == "b2"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    a, b = tmp_path / "a.arch", tmp_path / "b.arch"
    a.write_text(BEFORE)
    b.write_text(WIDER)
    return str(a), str(b)


def test_the_document(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["diff", *files, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document) == ["before", "after", "equal", "source", "cost", "layers", "unchanged_layers"]
    assert document["cost"]["params"]["before"] == archlang.loads(BEFORE).cost().total.params
    assert {change["change"] for change in document["layers"]} == {"changed"}
    assert "+  conv(32, 3)" in document["source"]


def test_the_text(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["diff", *files])
    assert result.exit_code == 0, result.output
    assert "-  conv(16, 3)\n+  conv(32, 3)\n" in result.stdout
    assert " %\n" in result.stdout
    assert result.stdout.rstrip().endswith("unchanged")
    same = CliRunner().invoke(main, ["diff", files[0], files[0]])
    assert same.exit_code == 0
    assert "the same network" in same.stdout


def test_a_block_that_is_added_is_one_row() -> None:
    result = CliRunner().invoke(main, ["diff", "zoo:resnet:r18", "zoo:resnet:r34"])
    rows = [line for line in result.stdout.splitlines() if line.startswith("+")]
    assert len(rows) == 8  # 16 blocks less 8
    assert re.search(r"layer1\.2 +conv, bn, relu, conv, bn, add, relu : 64x56x56", rows[0])


def test_markdown_for_a_pull_request(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["diff", *files, "--md"])
    assert result.exit_code == 0, result.output
    fence, *rest = result.stdout.splitlines()
    assert fence == "```diff"
    assert "+  conv(32, 3)" in rest[: rest.index("```")]
    assert "| cost | Tiny | Tiny | change |" in rest
    tables = [line for line in rest if line.startswith("|")]
    assert all(line.count(" | ") in (3, 4) for line in tables)
    assert rest[-1].startswith("layers: ")


def test_wrong_input_ends_with_1(files: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["diff", files[0], "absent.arch"])
    assert result.exit_code == 1
    assert "E0001" in result.stderr
