"""Drawings as text for other programs: DOT (Graphviz) and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from archlang.draw.layout import label, opens, second_line
from archlang.draw.model import Box, Wire
from archlang.draw.svg import COLOURS, clean, colours


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
        self.boxes = {inner.path: inner for inner in box.walk() if inner.path in self.depths}
        self.parents = {child.path: inner for inner in self.boxes.values() for child in inner.children}
        self.wires = {inner.path: _by_source(inner) for inner in self.boxes.values()}

    def is_open(self, box: Box) -> bool:
        return opens(box, self.depths[box.path])

    def edges(self) -> list[Ends]:
        found = (
            Ends(self.numbers[child.path], self.numbers[target])
            for scope in self.root.walk()
            if scope.path in self.depths and self.is_open(scope)
            for child in scope.children
            if not self.is_open(child)
            for port in range(len(child.outputs))
            for target in self._takers(scope, child.path, port)
        )
        return list(dict.fromkeys(found))

    def _takers(self, scope: Box, source: str | None, port: int) -> Iterator[str]:
        """The closed boxes that take a value of `scope`, inside it, inside its open boxes, and outside."""
        for wire in self.wires[scope.path].get((source, port), ()):
            if wire.target is None:
                if scope.path in self.parents:
                    yield from self._takers(self.parents[scope.path], scope.path, wire.target_port)
            elif self.is_open(self.boxes[wire.target]):
                yield from self._takers(self.boxes[wire.target], None, wire.target_port)
            else:
                yield wire.target


def _by_source(box: Box) -> dict[tuple[str | None, int], list[Wire]]:
    found: dict[tuple[str | None, int], list[Wire]] = {}
    for wire in box.wires:
        found.setdefault((wire.source, wire.source_port), []).append(wire)
    return found


def _depths(box: Box, depth: int) -> Iterator[tuple[str, int]]:
    """Every box that is shown, and how many blocks may still open in it."""
    yield box.path, depth
    if opens(box, depth):
        for child in box.children:
            yield from _depths(child, depth - (box.kind == "block"))


def dot(box: Box, depth: int, right: bool = False) -> str:
    """The drawing in Graphviz' language; open boxes are clusters."""
    outline = Outline(box, depth)
    lines = [
        f"digraph {_quoted(box.title)} {{",
        f'  graph [fontname="Helvetica", fontsize=12, style="rounded,filled", rankdir={"LR" if right else "TB"}];',
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
            text = _quoted("\n".join(_lines(box)))
            dashed = ', style="rounded,filled,dashed"' if box.training else ""
            yield f'{indent}n{number} [label={text}, fillcolor="{fill}", color="{line}"{dashed}];'
            continue
        fill, line = colours(box, is_open=True)
        yield f"{indent}subgraph cluster_{number} {{"
        title = _quoted(f"{label(box)}  {second_line(box)}")
        yield f'{indent}  graph [label={title}, fillcolor="{fill}", color="{line}"];'
        yield from _dot_boxes(outline, box, indent + "  ")
        yield f"{indent}}}"


def _lines(box: Box) -> list[str]:
    return [label(box), *(line for line in (second_line(box), box.carry) if line)]


def _quoted(text: str) -> str:
    """A DOT string. Graphviz reads escapes (`\\N` is the node's name) and HTML's entities in it."""
    escaped = escape(clean(text), quote=False).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def mermaid(box: Box, depth: int, right: bool = False) -> str:
    """The drawing as a Mermaid flowchart, which GitHub and GitLab show; open boxes are subgraphs."""
    outline = Outline(box, depth)
    kinds = sorted({child.kind for child in _shown(outline)})
    lines = [
        f"flowchart {'LR' if right else 'TB'}",
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
            first, *rest = map(_entities, _lines(box))
            text = "<br/>".join([f"<b>{first}</b>", *rest])
            yield f'{indent}n{number}["{text}"]:::{box.kind}Kind'
            continue
        yield f'{indent}subgraph n{number}["{_entities(label(box))}"]'
        yield from _mermaid_boxes(outline, box, indent + "  ")
        yield f"{indent}end"


_PLAIN = frozenset(" ,.=+-/()_·")


def _entities(text: str) -> str:
    """Mermaid's entity codes for every character that its grammar, Markdown or HTML could take for its own."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in clean(text))
