"""`archlang ir`: the graph before and after each pass, and what each pass changes."""

from __future__ import annotations

from pathlib import Path

import archlang as library
from archlang.ir import parse_graph
from archlang.passes import PASSES
from archlang.source import Source
from tests.e2e.program import archlang as run

HEADS = """\
net Heads:
  default conv(norm=bn, act=relu)
  input 3x8x8
  conv(8, 3)
  residual: conv(8, 3) -> dropout(0.2)
  aux head: gap -> linear(3)
  gap -> linear(4)
"""


def test_each_pass_prints_a_graph_that_reads_back(folder: Path) -> None:
    (folder / "heads.arch").write_text(HEADS)
    parts = run("ir", "heads.arch", "--each").out.split("# ")[1:]
    assert [part.splitlines()[0] for part in parts] == [
        "before all passes: 15 nodes",
        "dead-code: changes nothing",
        "after inference: 15 nodes -> 11",
        "merge-equal: changes nothing",
        "after fuse-norms: 11 nodes -> 9",
        "after fuse-activations: 9 nodes -> 7",
    ]
    graph = library.loads(HEADS).graph
    for part, step in zip(parts, (lambda g: g, *PASSES.values()), strict=True):
        graph = step(graph)
        assert parse_graph(Source("ir", part.partition("\n")[2])).digest == graph.digest


def test_a_diff_shows_what_a_pass_changes_and_nothing_else(folder: Path) -> None:
    (folder / "heads.arch").write_text(HEADS)
    assert run("ir", "heads.arch", "--passes", "inference", "--diff").out.splitlines() == [
        "# after inference: 15 nodes -> 11",
        "--- before inference",
        "+++ after inference",
        "@@ -7,7 +7,3 @@",
        " relu2 = relu(bn2) : 8x8x8",
        "-dropout1 = dropout{p=0.2}(relu2) : 8x8x8",
        "-add1 = add(dropout1, relu1) : 8x8x8",
        "-head.gap1 = gap(add1) : 8x1x1",
        "-head.flatten1 = flatten(head.gap1) : 8",
        "-head.linear1 = linear{features=3}(head.flatten1) : 3",
        "+add1 = add(relu2, relu1) : 8x8x8",
        " gap1 = gap(add1) : 8x1x1",
        "@@ -16,2 +12 @@",
        " return output=linear1",
        "-return aux head=head.linear1",
    ]


def test_json_has_every_pass(folder: Path) -> None:
    (folder / "heads.arch").write_text(HEADS)
    found = run("ir", "heads.arch", "--passes", "all", "--json").document
    assert found["passes"] == list(PASSES) == [step["pass"] for step in found["steps"]]
    assert [step["nodes"] for step in found["steps"]] == [15, 11, 11, 9, 7]
    assert found["steps"][-1]["digest"] == found["digest"]
    assert found["steps"][0]["diff"] == ""
    assert "conv1 = conv{c=8" in found["steps"][3]["diff"]


def test_without_passes_the_graph_is_as_it_is(folder: Path) -> None:
    plain, none = run("ir", "tiny.arch"), run("ir", "tiny.arch", "--json").document
    assert plain.out == none["text"]
    assert none["steps"] == []
    assert run("ir", "tiny.arch", "--passes", "fuse").status == 2
