"""Drawings: what is in them, that it fits, that nothing from a file gets out of its quotes."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

import archlang
from archlang.catalogue import ZooEntry, nets
from archlang.cli import main
from archlang.draw import EVERYTHING, FORMATS, boxes, draw
from archlang.draw.layout import LINE, NOTE_LINE, Placed, label, place, second_line, text_width
from archlang.draw.model import Box
from archlang.draw.page import drawing
from archlang.draw.sheet import sheet
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph
from archlang.ir.graph import op_text
from archlang.lower import LIBRARY

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

HEADS = """
block predict(c):
  dwconv(3) -> conv(c, 1, norm=none, act=none)

net Heads(classes=4):
  default conv(norm=bn, act=relu)
  input image 3x32x32
  input depth 1x32x32
  concat(image, depth) -> conv(8, 3, s=2) as a
  conv(16, 3, s=2) as b
  aux early: gap -> linear(classes)
  conv(16, 3, s=2) as c
  feats = [a, b, c]
  output [predict(f, classes) for f in feats] as scores
  output [predict(f, 4) for f in feats] as boxes
"""

NETS = {"small": SMALL, "cells": CELLS, "heads": HEADS}
ZOO = ["zoo:resnet:r50", "zoo:mobilenet_v2"]
SPECS = [*ZOO, "zoo:densenet:d121", "zoo:googlenet", "zoo:unet", "zoo:vgg:v16", "zoo:vit:ti", "zoo:efficientnet:b0"]
FAMILIES = sorted(file.stem for file in LIBRARY.glob("*.arch"))
HOSTILE = "</title></script><script>alert(1)</script>\"'&]]>\\\n#quot;`{|}\x00\x1b"


def graph_of(name: str) -> Graph:
    return (archlang.loads(NETS[name]) if name in NETS else archlang.load(name)).graph


def shipped(family: str) -> list[Graph]:
    """All networks of a family of the zoo."""
    return [entry.net.graph for entry in catalogue() if entry.family == family]


@cache
def catalogue() -> list[ZooEntry]:
    return nets()


def groups(svg: bytes) -> list[ElementTree.Element]:
    """The boxes of an SVG."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return [group for group in found if "data-path" in group.attrib]


def text_of(group: ElementTree.Element) -> str:
    """The text of a box, without what is in it."""
    return "\n".join("".join(text.itertext()) for text in group.findall("{http://www.w3.org/2000/svg}text"))


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
        assert sum(child.cost.macs for child in root.children if not child.training) == total.macs


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
    assert blocks[:2] == ["bottleneck", "bottleneck x 2"]
    counts = [" x 2", " x 3", " x 5", " x 2"]  # of 3, 4, 6, 3: the first one of each row has a projection
    assert blocks == [f"bottleneck{count}" for row in counts for count in ("", row)]


def test_several_inputs_and_outputs_have_their_names() -> None:
    ends = [box for box in boxes(graph_of("heads")).children if box.kind == "terminal"]
    names = ["image", "depth", "early", *(f"{name}_{i}" for name in ("scores", "boxes") for i in range(3))]
    assert sorted(box.title for box in ends) == sorted(names)
    assert [box.title for box in ends if box.training] == ["early"]


def test_a_repeat_of_equal_instances_is_one_box() -> None:
    folded = [box for box in boxes(graph_of("small")).walk() if box.count > 1]
    assert [(box.title, box.count, box.cost.params) for box in folded] == [("twice", 4, 4 * 2 * (8 * 8 * 9 + 16))]


def folded(body: str) -> list[tuple[str, int]]:
    """The boxes of a network of these lines, input and output aside, with their counts."""
    text = "net N:\n  input 8x32x32\n" + "".join(f"  {line}\n" for line in body.splitlines())
    found = boxes(archlang.loads(text).graph).children
    return [(box.title, box.count) for box in found if box.kind != "terminal"]


def test_repeats_without_a_scope_are_folded() -> None:
    assert folded("conv(8, 3) * 5") == [("conv 3x3, 8", 5)]
    assert folded("conv(8, 3)\nconv(8, 3)\nconv(8, 3)") == [("conv 3x3, 8", 3)]
    assert folded("for i in range(4):\n  conv(8, 3)") == [("conv 3x3, 8", 4)]
    assert folded("(conv(8, 3) -> avgpool(3)) * 3") == [("", 3)]
    assert folded("for c in [4, 4, 4, 6]:\n  conv(c, 1)") == [("conv 1x1, 4", 3), ("conv 1x1, 6", 1)]


def test_what_only_looks_alike_is_not_folded() -> None:
    assert folded("conv(8, 3)\nconv(8, 3, s=2)") == [("conv 3x3, 8", 1), ("conv 3x3, 8, /2", 1)]
    assert folded("conv(8, 3, pad=0)\nconv(8, 3)") == [("conv 3x3, 8", 1)] * 2  # other padding
    assert folded("concat:\n  conv(8, 3)\n  conv(8, 3)")[:2] == [("conv 3x3, 8", 1)] * 2  # side by side


LENGTHS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(rows=LENGTHS, project=st.booleans())
@example(rows=[(3, 1), (2, 1)], project=False)
@example(rows=[(2, 1), (1, 2), (2, 1), (1, 2)], project=True)
def test_repeats_of_different_lengths_stay_apart(rows: list[tuple[int, int]], project: bool) -> None:
    """Every convolution is counted once: in its box, times the repeats around it."""
    first = "    conv(8, 1)\n" if project else ""
    text = f"block unit(n):\n  residual:\n{first}    conv(8, 3) * n\n\nnet N:\n  input 8x32x32\n"
    text += "".join(f"  unit({n}) * {times}\n" for n, times in rows)

    def convolutions(box: Box) -> int:
        inside = sum(map(convolutions, box.children)) if box.children else box.title.startswith("conv")
        return box.count * inside

    assert convolutions(boxes(archlang.loads(text).graph)) == sum((n + project) * times for n, times in rows)


def test_a_result_that_is_read_later_ends_a_repeat() -> None:
    skip = "conv(8, 3)\nconv(8, 3) as a\nconv(8, 3)\nconv(8, 3)\nrelu(_) + a"
    assert folded(skip)[:3] == [("conv 3x3, 8", 2), ("conv 3x3, 8", 1), ("conv 3x3, 8", 1)]  # the last has a relu


def test_a_repeat_of_several_steps_is_a_frame_and_starts_where_its_loop_does() -> None:
    text = "net N:\n  input 3x32x32\n  maxpool(2, s=2)\n  for c in [8, 8]:\n    conv(c, 3) * 2 -> maxpool(2, s=2)\n"
    frame = boxes(archlang.loads(text).graph).children[2]
    assert (frame.kind, frame.count) == ("repeat", 2)
    assert [(box.title, box.count) for box in frame.children] == [("conv 3x3, 8", 2), ("maxpool 2x2, /2", 1)]


def test_cells_with_two_states_fold_and_say_what_is_carried() -> None:
    first, rest = (box for box in boxes(graph_of("cells")).children if box.title == "mix")
    assert (first.count, rest.count) == (1, 3)
    assert rest.carry == "next: cur = result, prev = cur"
    more = archlang.loads(CELLS.replace("  gap(cur)", "  mix(cur, prev, 4)")).graph
    both = next(box for box in boxes(more).children if box.count == 3)
    assert (len(both.outputs), both.earlier) == (2, 1)
    assert any(route.earlier for route in place(boxes(more), 0).routes)


def test_growing_shapes_are_one_repeat_of_which_the_last_is_shown() -> None:
    root = boxes(graph_of("zoo:densenet:d121"))
    found = [(box.count, box.shape) for box in root.children if box.title == "dense"]
    assert found == [(6, "256x56x56"), (12, "512x28x28"), (24, "1024x14x14"), (16, "1024x7x7")]  # table 1


def instances(graph: Graph) -> Iterator[list[tuple[str, ...]]]:
    """For each repeat in the source, the nodes of each instance."""
    for path, scope in graph.scopes.items():
        if scope.kind == "repeat":
            numbers = sorted({int(n.name[len(path) + 1 :].split(".")[0]) for n in graph.nodes if inside(n.name, path)})
            yield [tuple(n.name for n in graph.nodes if inside(n.name, f"{path}.{i}")) for i in numbers]


def inside(name: str, path: str) -> bool:
    return name.startswith(f"{path}.") or name == path


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_the_repeats_of_the_source(family: str) -> None:
    """Neighbouring instances with the same ops are in one box, whose count is their number."""
    check_counts(shipped(family)[0])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_the_repeats_of_the_source_in_all_variants(family: str) -> None:
    for graph in shipped(family):
        check_counts(graph)


def check_counts(graph: Graph) -> None:
    ops = {node.name: node.op.name if node.op.training_only else op_text(node.op) for node in graph.nodes}
    merged = {frozenset(box.names): box.count for box in boxes(graph).walk() if box.count > 1}
    for found in instances(graph):
        for _, group in groupby(found, lambda names: [ops[name] for name in names]):
            run = list(group)
            names = frozenset(name for one in run for name in one)
            assert len(run) == 1 or merged.get(names) == len(run), names


def test_a_convolution_its_norm_and_its_activation_are_one_box() -> None:
    stem = boxes(graph_of("small")).children[1]
    assert (stem.title, stem.note, stem.shape) == ("conv 3x3, 8", "bn + relu", "8x16x16")
    assert len(stem.names) == 3


def test_hover_shows_all_there_is_to_know() -> None:
    stem = groups(draw(graph_of("small"), "svg"))[1]
    names, ops, shapes, arrays, cost, source = hover_of(stem).splitlines()
    assert names == "stem, stem_bn, stem_act"
    assert re.fullmatch(r"conv\{c=8.*\} \+ bn \+ relu", ops)
    assert shapes == "3x16x16 -> 8x16x16"
    assert arrays.startswith("weight 8x3x3x3, bn.weight 8, bn.bias 8")
    assert cost == "232 parameters, 55,296 MACs"
    assert source.endswith(": conv(8, 3) as stem")


def test_depth_opens_blocks_but_leaves_repeats_folded() -> None:
    drawn = [text_of(group) for group in groups(draw(graph_of("small"), "svg", depth=1))]
    assert any(text.startswith("twice x 4") for text in drawn)
    assert sum(text.startswith("conv 3x3, 8") for text in drawn) == 3


def pairs(placed: Placed) -> Iterator[tuple[Placed, Placed]]:
    for i, child in enumerate(placed.children):
        yield from ((child, other) for other in placed.children[i + 1 :])
        yield from pairs(child)


def check_geometry(root: Placed) -> None:
    """No box over another, every child inside its box, text inside the closed ones, no wire through a box."""
    for a, b in pairs(root):
        beside = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a.box.path, b.box.path)
    for outer in inner_boxes(root):
        for child in outer.children:
            assert -0.1 <= child.x <= child.x + child.width <= outer.width + 0.1, child.box.path
            assert -0.1 <= child.y <= child.y + child.height <= outer.height + 0.1, child.box.path
        for route in outer.routes:
            for child in outer.children:
                assert not any(runs_through(a, b, child) for a, b in pairwise(route.points)), child.box.path
        if not outer.is_open:
            assert text_width(label(outer.box), LINE, bold=True) <= outer.width
            assert text_width(second_line(outer.box), NOTE_LINE) <= outer.width


def runs_through(a: tuple[float, float], b: tuple[float, float], box: Placed) -> bool:
    """Whether the piece of a wire from a to b comes into a box; pieces stay within the rectangle of their ends."""
    inside = 0.5  # px: a wire may touch the border where it begins or ends
    across = max(a[0], b[0]) > box.x + inside and min(a[0], b[0]) < box.x + box.width - inside
    return across and max(a[1], b[1]) > box.y + inside and min(a[1], b[1]) < box.y + box.height - inside


@pytest.mark.parametrize("right", [False, True], ids=["down", "right"])
@pytest.mark.parametrize("depth", [0, 1, EVERYTHING])
@pytest.mark.parametrize("name", [*NETS, *SPECS])
def test_nothing_overlaps(name: str, depth: int, right: bool) -> None:
    check_geometry(place(boxes(graph_of(name)), depth, right))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_overlaps_in_any_network_that_ships(family: str) -> None:
    graph = shipped(family)[0]
    for fold in (True, False):
        check_geometry(place(boxes(graph, fold=fold), EVERYTHING))


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
    root = sheet(place(boxes(graph), 0))
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
        if tag not in ("meta", "input"):
            self.open.append(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


BOX = {
    **dict.fromkeys(("path", "kind", "title", "note", "shape", "carry", "place", "line"), str),
    **dict.fromkeys(("count", "earlier", "params", "macs", "inputs", "outputs"), int),
    **dict.fromkeys(("names", "ops", "takes", "arrays", "size", "kids"), list),
    "training": bool,
}
"""What the page knows about a box, and of which type."""


def embedded(html: str) -> dict[str, Any]:
    page = Page(html)
    assert not page.open
    return json.loads(page.scripts[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [*NETS, *SPECS])
def test_the_page_holds_the_whole_drawing_and_needs_nothing_else(name: str) -> None:
    graph = graph_of(name)
    html = draw(graph, "html").decode()
    assert "://" not in html
    found = embedded(html)
    for box in found["boxes"]:
        assert {key for key, kind in BOX.items() if not isinstance(box[key], kind)} == set()
        assert all(0 < kid < len(found["boxes"]) for kid in [*box["kids"], *([box["each"]] if box["each"] else [])])
        if box["kids"]:
            plan = found["plans"][box["plan"]]
            assert sorted(item for layer in plan["layers"] for item in layer) == list(range(len(plan["above"])))
            assert len(plan["wires"]) == len(box["wires"])
    assert drawn_out(found["boxes"], 0) == sorted(node.name for node in graph.nodes)


def drawn_out(all_boxes: list[dict[str, Any]], number: int) -> list[str]:
    """The nodes in a box when all repeats are drawn out and all boxes open."""
    box = all_boxes[number]
    if box["each"] is not None:
        return drawn_out(all_boxes, box["each"])
    inside = [name for kid in box["kids"] for name in drawn_out(all_boxes, kid)]
    return sorted([*inside, *box["names"]])


RUN = """
const data = JSON.parse(require("fs").readFileSync(0, "utf8")), frames = ["repeat", "sequence", "stage", "net"];
const state = {}, found = [];
(function open(id, left) {
  const box = data.boxes[id];
  state[id] = box.kids.length && (frames.includes(box.kind) || left > 0) ? 1 : 0;
  for (const kid of box.kids) open(kid, left - (box.kind === "block" ? 1 : 0));
})(0, data.depth);
(function list(placed) {
  for (const route of placed.routes) found.push([route.arrow, route.faint, route.earlier, ...route.points.flat()]);
  for (const kid of placed.kids) { found.push([kid.x, kid.y, kid.width, kid.height]); list(kid); }
})(layoutOf(data, data.constants)(0, id => state[id], data.right));
console.log(JSON.stringify(found));
"""


def listed(placed: Placed) -> Iterator[list[float]]:
    for route in placed.routes:
        yield [route.arrow, route.faint, route.earlier, *(x for point in route.points for x in point)]
    for child in placed.children:
        yield [child.x, child.y, child.width, child.height]
        yield from listed(child)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("right", [False, True], ids=["down", "right"])
@pytest.mark.parametrize("name", ["cells", "heads", "zoo:resnet:r50", "zoo:unet", "zoo:googlenet"])
def test_the_script_of_the_page_places_boxes_as_python_does(name: str, right: bool) -> None:
    box = boxes(graph_of(name))
    script = files("archlang.draw").joinpath("layout.js").read_text("utf-8") + RUN
    data = json.dumps(drawing(box, 1, right))
    done = subprocess.run(["node", "-e", script], input=data, capture_output=True, text=True, check=True)
    theirs, ours = json.loads(done.stdout), list(listed(place(box, 1, right)))
    assert len(theirs) == len(ours)
    for got, wanted in zip(theirs, ours, strict=True):
        assert got == pytest.approx(wanted, abs=0.01)


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
            r'flowchart TB| *(n\d+\["<b>[^"<>`]*</b>(<br/>[^"<>`]*)*"\]:::\w+'
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
  graph [fontname="Helvetica", fontsize=12, style="rounded,filled", rankdir=LR];
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled"];
  n1 [label="input\\n3x8x8", fillcolor="#f6f6f6", color="#8a8a8a"];
  n2 [label="conv 3x3, 8\\n8x8x8", fillcolor="#dbe9fb", color="#4a7fc1"];
  n3 [label="mix\\nc=8 · 16x8x8", fillcolor="#dff2f1", color="#3b8f8a"];
  n4 [label="mix x 3\\nc=8 · 16x8x8\\nnext: cur = result, prev = cur", fillcolor="#dff2f1", color="#3b8f8a"];
  n5 [label="gap\\n16x1x1", fillcolor="#fbe6d2", color="#cf8136"];
  n6 [label="output\\n16x1x1", fillcolor="#f6f6f6", color="#8a8a8a"];
  n1 -> n2;
  n2 -> n3;
  n2 -> n4;
  n3 -> n4;
  n4 -> n5;
  n5 -> n6;
}
"""


def test_dot_text() -> None:
    assert draw(graph_of("cells"), "dot", direction="right").decode() == DOT


def test_dot_text_wires_into_open_blocks() -> None:
    text = draw(graph_of("cells"), "dot", expand=True).decode()
    assert text.count("subgraph cluster_") == 4
    assert text.count("{") == text.count("}")
    numbers = set(re.findall(r"^ *n(\d+) \[", text, re.M))
    arrows = re.findall(r"n(\d+) -> n(\d+);", text)
    assert {end for arrow in arrows for end in arrow} == numbers
    assert len(arrows) == len(set(arrows)) == 1 + 4 * 2 + 4 * 2 + 2  # input, into cells, in cells, gap and output


def test_text_wires_run_straight_through_an_open_repeat() -> None:
    """The second cell of the pair is fed by both the last result of the repeat and the one before it."""
    graph = archlang.loads(CELLS.replace("  gap(cur)", "  mix(cur, prev, 4)")).graph
    text = draw(graph, "dot", depth=1).decode()
    numbers = {title: number for number, title in re.findall(r'n(\d+) \[label="([^"\\]*)', text)}
    joins = re.findall(r'n(\d+) \[label="concat', text)
    ends = [(a, b) for a, b in re.findall(r"n(\d+) -> n(\d+);", text)]
    last = [b for a, b in ends if a == joins[1]]
    assert len(joins) == 3
    assert len(last) == 1  # the result; what was carried comes from the cell before the repeat
    assert numbers["conv 1x1, 4"] in last
    assert (joins[0], numbers["conv 3x3, 4"]) in ends


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("depth", [0, EVERYTHING])
def test_graphviz_reads_the_text(depth: int) -> None:
    for graph in (hostile_graph(), graph_of("zoo:googlenet")):
        data = draw(graph, "dot", depth=depth)
        done = subprocess.run(["dot", "-Tplain"], input=data, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        nodes = [line for line in done.stdout.splitlines() if line.startswith(b"node ")]
        assert len(nodes) == len(re.findall(rb"^ *n\d+ \[", data, re.M))


def test_an_absent_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
    with pytest.raises(OutsideError, match=r"archlang\[draw\]"):
        draw(graph_of("small"), "svg")
    assert draw(graph_of("small"), "mmd").decode() == MERMAID


def test_a_notebook_shows_the_drawing_over_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    net = archlang.loads(SMALL)
    shown = net._repr_html_()
    assert f"{net.cost().total.params:,}<" in shown
    assert re.search(r">twice<tspan[^>]*> x 4</tspan>", shown)
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


def test_the_commands_of_the_gallery_run_and_its_picture_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "drawing.md").read_text()
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    archlang (graph .*)$", text, re.M)
    assert len(commands) > 8
    for command in commands:
        if not command.endswith(".png") and ".png " not in command:  # they take long; the same layout
            result = CliRunner().invoke(main, command.split())
            assert result.exit_code == 0, result.output
    assert f"```mermaid\n{draw(graph_of('zoo:resnet:r18'), 'mmd', title='ResNet.r18').decode()}```" in text
