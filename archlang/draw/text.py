"""Drawings as text for other programs: DOT (Graphviz) and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from archlang.draw.layout import label, opens, second_line
from archlang.draw.model import Box
from archlang.draw.svg import COLOURS, FRAME, OPEN_BLOCK, clean


@dataclass(frozen=True)
class Ends:
    """A wire between two boxes that are not open, by their numbers."""

    source: int
    target: int


class Outline:
    """What text formats need of a drawing: numbered boxes, and the wires between the ones that are not open."""

    def __init__(self, box: Box, depth: int) -> None:
        self.root = box
        self.depths = dict(_depths(box, depth))
        self.numbers = {path: number for number, path in enumerate(self.depths)}

    def is_open(self, box: Box) -> bool:
        return opens(box, self.depths[box.path])

    def edges(self) -> list[Ends]:
        found = (
            Ends(self.numbers[a], self.numbers[b])
            for box in self.root.walk()
            if box.path in self.depths and self.is_open(box)
            for a, b in self._edges_in(box)
        )
        return list(dict.fromkeys(found))

    def _edges_in(self, box: Box) -> Iterator[tuple[str, str]]:
        inside = {child.path: child for child in box.children}
        for wire in box.wires:
            if wire.source is not None and wire.target is not None:
                source = self._maker(inside[wire.source], wire.source_port)
                for target in self._takers(inside[wire.target], wire.target_port):
                    yield source, target

    def _maker(self, box: Box, port: int) -> str:
        """The closed box inside `box` that makes the value of an output."""
        while self.is_open(box):
            wire = next(w for w in box.wires if w.target is None and w.target_port == port)
            box, port = next(c for c in box.children if c.path == wire.source), wire.source_port
        return box.path

    def _takers(self, box: Box, port: int) -> Iterator[str]:
        """The closed boxes inside `box` that take the value of an input."""
        if not self.is_open(box):
            yield box.path
            return
        inside = {child.path: child for child in box.children}
        for wire in box.wires:
            if wire.source is None and wire.source_port == port and wire.target is not None:
                yield from self._takers(inside[wire.target], wire.target_port)


def _depths(box: Box, depth: int) -> Iterator[tuple[str, int]]:
    """Every box that is shown, and how many blocks may still open in it."""
    yield box.path, depth
    if opens(box, depth):
        for child in box.children:
            yield from _depths(child, depth - (box.kind == "block"))


def dot(box: Box, depth: int) -> str:
    """The drawing in Graphviz' language; open boxes are clusters."""
    outline = Outline(box, depth)
    lines = [
        f"digraph {_quoted(box.title)} {{",
        '  graph [fontname="Helvetica", fontsize=12, style="rounded,filled", rankdir=TB];',
        '  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled"];',
        *_dot_boxes(outline, box, "  "),
        *(f"  n{edge.source} -> n{edge.target};" for edge in outline.edges()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _dot_boxes(outline: Outline, parent: Box, indent: str) -> Iterator[str]:
    for box in parent.children:
        number = outline.numbers[box.path]
        if not outline.is_open(box):
            fill, line = COLOURS[box.kind]
            text = _quoted(f"{label(box)}\n{second_line(box)}")
            yield f'{indent}n{number} [label={text}, fillcolor="{fill}", color="{line}"];'
            continue
        fill, line = OPEN_BLOCK if box.kind == "block" else FRAME
        yield f"{indent}subgraph cluster_{number} {{"
        title = _quoted(f"{label(box)}  {second_line(box)}")
        yield f'{indent}  graph [label={title}, fillcolor="{fill}", color="{line}"];'
        yield from _dot_boxes(outline, box, indent + "  ")
        yield f"{indent}}}"


def _quoted(text: str) -> str:
    """A DOT string. Graphviz reads escapes (`\\N` is the node's name) and HTML's entities in it."""
    escaped = escape(clean(text), quote=False).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def mermaid(box: Box, depth: int) -> str:
    """The drawing as a Mermaid flowchart, which GitHub and GitLab show; open boxes are subgraphs."""
    outline = Outline(box, depth)
    kinds = sorted({child.kind for child in _shown(outline)})
    lines = [
        "flowchart TB",
        *_mermaid_boxes(outline, box, "  "),
        *(f"  n{edge.source} --> n{edge.target}" for edge in outline.edges()),
        *(f"  classDef {kind}Kind fill:{COLOURS[kind][0]},stroke:{COLOURS[kind][1]},color:#1f2733" for kind in kinds),
    ]
    return "\n".join(lines) + "\n"


def _shown(outline: Outline) -> Iterator[Box]:
    return (box for box in outline.root.walk() if box.path in outline.depths and not outline.is_open(box))


def _mermaid_boxes(outline: Outline, parent: Box, indent: str) -> Iterator[str]:
    for box in parent.children:
        number = outline.numbers[box.path]
        if not outline.is_open(box):
            text = f"<b>{_entities(label(box))}</b><br/>{_entities(second_line(box))}"
            yield f'{indent}n{number}["{text}"]:::{box.kind}Kind'
            continue
        yield f'{indent}subgraph n{number}["{_entities(label(box))}"]'
        yield from _mermaid_boxes(outline, box, indent + "  ")
        yield f"{indent}end"


_PLAIN = frozenset(" ,.=+-/()_·")


def _entities(text: str) -> str:
    """Mermaid's entity codes for every character that its grammar, Markdown or HTML could take for its own."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in clean(text))
