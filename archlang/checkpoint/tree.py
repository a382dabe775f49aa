"""The modules of a foreign state dict as a tree, read from the dots in its names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from archlang.checkpoint.layers import Layer

_NUMBERED = re.compile(r"(.*?)(\d+)")
_LETTERED = re.compile(r"(.*\d)([a-z])")


@dataclass(frozen=True, eq=False)
class Part:
    """A module with all that is below it; a layer where `layer` is given.

    order: its place in the file. fixed: whether its parts run in the order of `children`.
    """

    segment: str
    path: str
    order: int
    children: tuple[Part, ...] = ()
    layer: Layer | None = None
    fixed: bool = False

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        if self.layer is not None:
            return (self.layer,)
        return tuple(layer for child in self.children for layer in child.layers)

    @cached_property
    def size(self) -> int:
        return len(self.layers)

    @property
    def number(self) -> tuple[str, int] | None:
        """`conv2` as (conv, 2), `2` as ("", 2), `mixed_6b` as (mixed_6, 98); None where nothing is counted."""
        if match := _NUMBERED.fullmatch(self.segment):
            return match[1], int(match[2])
        match = _LETTERED.fullmatch(self.segment)
        return (match[1], ord(match[2])) if match else None


def grown(layers: Sequence[Layer]) -> Part:
    """The tree of the layers, modules with one part only left out."""
    return _grown("", "", list(enumerate(layers)), 0)


def _grown(segment: str, path: str, layers: Sequence[tuple[int, Layer]], depth: int) -> Part:
    """depth: how many segments of the names the path has."""
    order = layers[0][0]
    if len(layers) == 1:
        return Part(segment, layers[0][1].name, order, layer=layers[0][1])
    groups: dict[str, list[tuple[int, Layer]]] = {}
    for item in layers:
        parts = item[1].name.split(".")
        groups.setdefault(parts[depth] if depth < len(parts) else "", []).append(item)
    if len(groups) == 1:
        ((below, items),) = groups.items()
        return _grown(segment or below, f"{path}.{below}".lstrip("."), items, depth + 1)
    children = (_grown(name, f"{path}.{name}".lstrip("."), items, depth + 1) for name, items in groups.items())
    return Part(segment, path, order, tuple(children))


def paired(part: Part) -> Part:
    """Each convolution with the BatchNorm that was registered behind it in the same module, as one part."""
    if part.layer is not None:
        return part
    children = [paired(child) for child in part.children]
    return Part(part.segment, part.path, part.order, tuple(_pairs(children)))


def _pairs(children: Sequence[Part]) -> Iterator[Part]:
    i = 0
    while i < len(children):
        first, second = children[i], children[i + 1] if i + 1 < len(children) else None
        if second is not None and _convolution_and_norm(first, second):
            yield Part(first.segment, first.path, first.order, (first, second), fixed=True)
            i += 2
        else:
            yield first
            i += 1


def _convolution_and_norm(first: Part, second: Part) -> bool:
    if first.layer is None or second.layer is None:
        return False
    weight, norm = max((shape for _, shape in first.layer.kind), key=len), dict(second.layer.kind)
    return len(weight) == 4 and norm.get("running_mean") == weight[:1]


def opened(part: Part) -> Part:
    """Lists of modules taken apart, so that the items of two lists may be used in turn."""
    children: list[Part] = []
    for child in map(opened, part.children):
        listed = child.children and all(below.segment.isdigit() for below in child.children)
        children += map(partial(_below, child), child.children) if listed else [child]
    return replace(part, children=tuple(children))


def _below(parent: Part, child: Part) -> Part:
    """The item of a list, called by both names."""
    return replace(child, segment=f"{parent.segment}.{child.segment}")
