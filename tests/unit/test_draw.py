"""Drawings: what is in them, that it fits, that nothing from a file gets out of its quotes."""

from __future__ import annotations

import io
import json
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import archlang
from archlang.cli import main
from archlang.draw import EVERYTHING, FORMATS, boxes, draw
from archlang.draw.layout import Placed, place
from archlang.draw.model import Box
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph

SMALL = """
block twice(c, s=1):
  residual: conv(c, 3, s=s) -> conv(c, 3, act=none)
  relu

net Small(classes=10):
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3) as stem
  twice(8) * 4
  concat:
    avgpool(3)
    conv(8, 1)
  gap -> linear(classes)
"""

CELLS = """
cell mix(cur, prev; c):
  a = conv(cur, c, 1)
  b = conv(prev, c, 3)
  concat(a, b)

net Cells:
  input 3x8x8
  conv(8, 3) as stem
  prev, cur = stem, mix(stem, stem, 8)
  for i in range(3):
    prev, cur = cur, mix(cur, prev, 8)
  gap(cur)
"""

NETS = {"small": SMALL, "cells": CELLS}
ZOO = ["zoo:resnet:r50", "zoo:mobilenet_v2"]
HOSTILE = "</title></script><script>alert(1)</script>\"'&]]>\\\n#quot;`{|}\x00\x1b"


def graph_of(name: str) -> Graph:
    return (archlang.loads(NETS[name]) if name in NETS else archlang.load(name)).graph


def groups(svg: bytes) -> list[ElementTree.Element]:
    """The boxes of an SVG."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return [group for group in found if "data-path" in group.attrib]


def text_of(group: ElementTree.Element) -> str:
    """The text of a box, without what is in it."""
    return "\n".join(text.text or "" for text in group.findall("{http://www.w3.org/2000/svg}text"))


def hover_of(group: ElementTree.Element) -> str:
    return group.findtext("{http://www.w3.org/2000/svg}title") or ""


def hostile_graph() -> Graph:
    """A graph whose every name holds characters that some format takes for its own."""
    graph = graph_of("small")
    scopes = {
        path: replace(scope, source=HOSTILE, arguments=(("c", HOSTILE[:12]),)) for path, scope in graph.scopes.items()
    }
    nodes = tuple(replace(node, name=node.name + HOSTILE.replace(".", "")) for node in graph.nodes)
    outputs = tuple(replace(output, name=HOSTILE) for output in graph.outputs)
    return replace(graph, name=HOSTILE, nodes=nodes, outputs=outputs, scopes=scopes)


@pytest.mark.parametrize("name", [*NETS, *ZOO])
def test_every_node_is_in_one_box(name: str) -> None:
    graph = graph_of(name)
    leaves = [box for box in boxes(graph, fold=False).walk() if not box.children]
    assert sorted(n for box in leaves for n in box.names) == sorted(node.name for node in graph.nodes)


@pytest.mark.parametrize("name", [*NETS, *ZOO])
def test_the_folded_boxes_cost_what_the_network_costs(name: str) -> None:
    net = archlang.loads(NETS[name]) if name in NETS else archlang.load(name)
    total = net.cost().total
    for fold in (True, False):
        root = boxes(net.graph, fold=fold)
        assert root.cost == total
        assert sum(child.cost.params for child in root.children) == total.params
        assert sum(child.cost.macs for child in root.children) == total.macs


def test_expanded_every_op_is_drawn_once() -> None:
    graph = graph_of("zoo:resnet:r50")
    drawn = groups(draw(graph, "svg", expand=True))
    paths = [group.get("data-path") for group in drawn]
    assert len(paths) == len(set(paths))
    titles = [text_of(group).split(",")[0] for group in drawn]
    assert sum(title.startswith("conv ") for title in titles) == 53
    assert sum(title.startswith("add") for title in titles) == 16
    assert not any(" x " in title for title in titles)


def test_repeats_are_folded_with_their_count() -> None:
    drawn = [text_of(group) for group in groups(draw(graph_of("zoo:resnet:r50"), "svg"))]
    blocks = [text.splitlines()[0] for text in drawn if text.startswith("bottleneck")]
    counts = [" x 2", " x 3", " x 5", " x 2"]  # of 3, 4, 6, 3: the first one of each row has a projection
    assert blocks == [f"bottleneck{count}" for row in counts for count in ("", row)]


def test_a_repeat_of_equal_instances_is_one_box() -> None:
    folded = [box for box in boxes(graph_of("small")).walk() if box.count > 1]
    assert [(box.title, box.count, box.cost.params) for box in folded] == [("twice", 4, 4 * 2 * (8 * 8 * 9 + 16))]


def test_a_convolution_its_norm_and_its_activation_are_one_box() -> None:
    stem = boxes(graph_of("small")).children[1]
    assert (stem.title, stem.note, stem.shape) == ("conv 3x3, 8", "bn + relu", "8x16x16")
    assert len(stem.names) == 3


def test_hover_shows_name_shape_and_cost() -> None:
    stem = groups(draw(graph_of("small"), "svg"))[1]
    assert re.fullmatch(
        r"stem, \w+, \w+\nconv 3x3, 8 bn \+ relu\noutput 8x16x16\n232 parameters\n55,296 MACs", hover_of(stem)
    )


def test_depth_opens_blocks_but_leaves_repeats_folded() -> None:
    drawn = [text_of(group) for group in groups(draw(graph_of("small"), "svg", depth=1))]
    assert any(text.startswith("twice x 4") for text in drawn)
    assert sum(text.startswith("conv 3x3, 8") for text in drawn) == 3


def pairs(placed: Placed) -> Iterator[tuple[Placed, Placed]]:
    for i, child in enumerate(placed.children):
        yield from ((child, other) for other in placed.children[i + 1 :])
        yield from pairs(child)


@pytest.mark.parametrize("depth", [0, 1, EVERYTHING])
@pytest.mark.parametrize("name", [*NETS, *ZOO])
def test_boxes_do_not_overlap_and_hold_their_children(name: str, depth: int) -> None:
    root = place(boxes(graph_of(name)), depth)
    for a, b in pairs(root):
        beside = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a.box.path, b.box.path)
    for outer in inner_boxes(root):
        for child in outer.children:
            assert -0.1 <= child.x <= child.x + child.width <= outer.width + 0.1
            assert -0.1 <= child.y <= child.y + child.height <= outer.height + 0.1


def inner_boxes(placed: Placed) -> Iterator[Placed]:
    yield placed
    for child in placed.children:
        yield from inner_boxes(child)


@pytest.mark.parametrize("name", NETS)
def test_wires_go_down_and_end_at_their_boxes(name: str) -> None:
    for outer in inner_boxes(place(boxes(graph_of(name)), EVERYTHING)):
        tops = [(child.y, child.x, child.x + child.width) for child in outer.children]
        for route in outer.routes:
            heights = [y for _, y in route.points]
            assert heights == sorted(heights)
            x, y = route.points[-1]
            assert not route.arrow or any(abs(y - top) < 0.01 and left <= x <= right for top, left, right in tops)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_graph_gives_the_same_bytes(format: str) -> None:
    assert draw(graph_of("cells"), format, depth=1) == draw(graph_of("cells"), format, depth=1)


def test_png_has_two_pixels_for_one() -> None:
    graph = graph_of("small")
    data = draw(graph, "png")
    root = place(boxes(graph), 0)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (round(root.width * 2), round(root.height * 2))


def test_png_shows_the_colour_of_each_kind() -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(draw(graph_of("small"), "png"))).convert("RGB")
    seen = {colour for _, colour in image.getcolors(1 << 24) or []}
    assert {(0xDB, 0xE9, 0xFB), (0xFB, 0xE6, 0xD2), (0xDF, 0xF2, 0xF1)} <= seen


def test_a_png_that_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archlang.draw.png.MAX_SIDE", 100)
    with pytest.raises(ArchError, match="too large"):
        draw(graph_of("small"), "png")


class Page(HTMLParser):
    """Counts of the elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "rect", "path"):
            self.open.append(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def test_the_page_needs_nothing_else() -> None:
    text = draw(graph_of("zoo:resnet:r50"), "html").decode()
    page = Page(text)
    assert not page.open
    assert "://" not in text
    assert page.tags.count("section") == 2  # folded, and the one level of blocks open
    views = json.loads(page.scripts[0])
    assert set(views) == {f"layer{n}.{i}" for n in range(1, 5) for i in range(2)}
    assert page.tags.count("template") == len(set(views.values()))


@pytest.mark.parametrize("format", ["svg", "html", "mmd", "dot"])
@pytest.mark.parametrize("depth", [0, EVERYTHING])
def test_nothing_from_a_file_leaves_its_quotes(format: str, depth: int) -> None:
    text = draw(hostile_graph(), format, depth=depth).decode()
    assert "<script>alert" not in text
    assert "\x00" not in text
    assert "\x1b" not in text


def test_hostile_names_leave_svg_and_html_well_formed() -> None:
    graph = hostile_graph()
    ElementTree.fromstring(draw(graph, "svg", depth=EVERYTHING))
    page = Page(draw(graph, "html").decode())
    assert not page.open
    assert page.tags.count("script") == 2


def test_hostile_names_leave_dot_and_mermaid_lines_whole() -> None:
    graph = hostile_graph()
    string = r'"(?:[^"\\\n]|\\.)*"'
    for line in draw(graph, "dot", depth=EVERYTHING).decode().splitlines():
        assert not re.search(r'["\\]', re.sub(string, "", line)), line
    for line in draw(graph, "mmd", depth=EVERYTHING).decode().splitlines():
        assert re.fullmatch(
            r'flowchart TB| *(n\d+\["[^"<>`]*(<b>[^"<>`]*</b><br/>)?[^"<>`]*"\]:::\w+'
            r'|subgraph n\d+\["[^"<>`]*"\]|end|n\d+ --> n\d+|classDef [\w :,#]+)',
            line,
        ), line


MERMAID = """\
flowchart TB
  n1["<b>input</b><br/>3x16x16"]:::terminalKind
  n2["<b>conv 3x3, 8</b><br/>bn + relu · 8x16x16"]:::convKind
  n3["<b>twice x 4</b><br/>c=8, s=1 · 8x16x16"]:::blockKind
  n4["<b>avgpool 3x3</b><br/>8x16x16"]:::poolKind
  n5["<b>conv 1x1, 8</b><br/>bn + relu · 8x16x16"]:::convKind
  n6["<b>concat</b><br/>16x16x16"]:::joinKind
  n7["<b>gap</b><br/>16x1x1"]:::poolKind
  n8["<b>flatten</b><br/>16"]:::shapeKind
  n9["<b>linear 10</b><br/>10"]:::linearKind
  n10["<b>output</b><br/>10"]:::terminalKind
  n1 --> n2
  n2 --> n3
  n3 --> n4
  n3 --> n5
  n4 --> n6
  n5 --> n6
  n6 --> n7
  n7 --> n8
  n8 --> n9
  n9 --> n10
  classDef blockKind fill:#dff2f1,stroke:#3b8f8a,color:#1f2733
  classDef convKind fill:#dbe9fb,stroke:#4a7fc1,color:#1f2733
  classDef joinKind fill:#fdf3c8,stroke:#b99a1f,color:#1f2733
  classDef linearKind fill:#e5defa,stroke:#7b62c4,color:#1f2733
  classDef poolKind fill:#fbe6d2,stroke:#cf8136,color:#1f2733
  classDef shapeKind fill:#ececec,stroke:#8a8a8a,color:#1f2733
  classDef terminalKind fill:#f6f6f6,stroke:#8a8a8a,color:#1f2733
"""


def test_mermaid_text() -> None:
    assert draw(graph_of("small"), "mmd").decode() == MERMAID


DOT = """\
digraph "Cells" {
  graph [fontname="Helvetica", fontsize=12, style="rounded,filled", rankdir=TB];
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled"];
  n1 [label="input\\n3x8x8", fillcolor="#f6f6f6", color="#8a8a8a"];
  n2 [label="conv 3x3, 8\\n8x8x8", fillcolor="#dbe9fb", color="#4a7fc1"];
  n3 [label="mix\\nc=8 · 16x8x8", fillcolor="#dff2f1", color="#3b8f8a"];
  n4 [label="mix\\nc=8 · 16x8x8", fillcolor="#dff2f1", color="#3b8f8a"];
  n5 [label="mix\\nc=8 · 16x8x8", fillcolor="#dff2f1", color="#3b8f8a"];
  n6 [label="mix\\nc=8 · 16x8x8", fillcolor="#dff2f1", color="#3b8f8a"];
  n7 [label="gap\\n16x1x1", fillcolor="#fbe6d2", color="#cf8136"];
  n8 [label="output\\n16x1x1", fillcolor="#f6f6f6", color="#8a8a8a"];
  n1 -> n2;
  n2 -> n3;
  n3 -> n4;
  n2 -> n4;
  n4 -> n5;
  n3 -> n5;
  n5 -> n6;
  n4 -> n6;
  n6 -> n7;
  n7 -> n8;
}
"""


def test_dot_text() -> None:
    assert draw(graph_of("cells"), "dot").decode() == DOT


def test_dot_text_wires_into_open_blocks() -> None:
    text = draw(graph_of("cells"), "dot", depth=1).decode()
    assert text.count("subgraph cluster_") == 4
    assert text.count("{") == text.count("}")
    numbers = set(re.findall(r"^ *n(\d+) \[", text, re.M))
    arrows = re.findall(r"n(\d+) -> n(\d+);", text)
    assert {end for arrow in arrows for end in arrow} == numbers
    assert len(arrows) == len(set(arrows)) == 1 + 4 * 2 + 4 * 2 + 2  # input, into cells, in cells, gap and output


def test_an_absent_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
    with pytest.raises(OutsideError, match=r"archlang\[draw\]"):
        draw(graph_of("small"), "svg")
    assert draw(graph_of("small"), "mmd").decode() == MERMAID


def test_a_notebook_shows_the_drawing_over_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    net = archlang.loads(SMALL)
    shown = net._repr_html_()
    assert f"<td>{net.cost().total.params:,}</td>" in shown
    assert "twice x 4" in shown
    monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
    alone = net._repr_html_()
    assert "<table>" in alone
    assert "<svg" not in alone


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_command_writes_each_format(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"net.{suffix}"
    result = CliRunner().invoke(main, ["graph", "zoo:resnet:r18", "-o", str(out), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == {"net": "ResNet.r18", "output": str(out), "format": suffix, "bytes": out.stat().st_size}


def test_the_command_refuses_other_suffixes(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["graph", "zoo:resnet:r18", "-o", str(tmp_path / "net.gif")])
    assert result.exit_code == 2
    assert ".svg, .png, .html, .mmd, .dot" in result.stderr
    assert not list(tmp_path.iterdir())


def test_box_walk_gives_parents_first() -> None:
    root: Box = boxes(graph_of("small"), fold=False)
    seen: set[str] = set()
    for box in root.walk():
        assert box.path not in seen
        seen.add(box.path)
    assert len(seen) == sum(1 for _ in root.walk())
