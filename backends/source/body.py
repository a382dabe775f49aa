"""A region as the body of a class: what its constructor makes, and what its forward does with it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archlang.backends.source.layer import IDENTITY, Layer
from archlang.backends.source.regions import Form, Region
from archlang.ir.graph import Graph

INPUT = -1
"""Stands for an item in a Value: the body's own inputs."""

Value = tuple[int, int]
"""(item, which of its results)."""


@dataclass(frozen=True)
class Item:
    """One call in forward. name: the module's place below `self`, or how the function's node is called."""

    name: str
    layer: Layer
    inputs: tuple[Value, ...]


@dataclass(frozen=True)
class Attribute:
    """A submodule that the constructor makes."""

    name: str
    layer: Layer


@dataclass(frozen=True)
class Body:
    """same: of each input, the one that is read in its place where both are one value."""

    inputs: int
    items: tuple[Item, ...]
    outputs: tuple[Value, ...]
    attributes: tuple[Attribute, ...]
    same: tuple[int, ...]

    @property
    def repeats_inputs(self) -> bool:
        return len(set(self.same)) < self.inputs

    @cached_property
    def shape(self) -> tuple[Any, ...]:
        """Equal for two instances that the same class can stand for."""
        items = tuple((_name_that_matters(item), item.layer.shape, item.inputs) for item in self.items)
        attributes = tuple((a.name if a.layer.stateful else "", a.layer.shape) for a in self.attributes)
        return (self.same, items, self.outputs, attributes)

    @cached_property
    def readers(self) -> dict[Value, list[int]]:
        """The items that read each value; the number of items stands for the outputs."""
        found: dict[Value, list[int]] = {}
        for i, item in enumerate(self.items):
            for value in item.inputs:
                found.setdefault(value, []).append(i)
        for value in self.outputs:
            found.setdefault(value, []).append(len(self.items))
        return found


def _name_that_matters(item: Item) -> str:
    """The state dict knows the names of modules with parameters; other names are free."""
    return item.name if item.layer.stateful else ""


@dataclass(frozen=True)
class Lowered:
    """The Graph with what each node and each class region became.

    layers: of each node; members: the same as a member of nn.Sequential; classes: path of a region -> its class.
    """

    graph: Graph
    layers: Mapping[int, Layer]
    members: Mapping[int, Layer | None]
    classes: Mapping[str, Layer]


@dataclass(frozen=True)
class _Unit:
    """What forward calls in one go: a node, a class, a chain."""

    name: str
    layer: Layer
    first: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def build_body(region: Region, lowered: Lowered) -> Body:
    attributes, units = _collect(region, lowered, "")
    units, same = _without_identities(units)
    units, means = _with_means(units, region.outputs, same)
    same |= means
    ordered = in_order([(unit.inputs, unit.outputs, unit.first) for unit in units])
    assert ordered is not None, f"{region.path} cannot be put in an order"
    values: dict[int, Value] = {value: (INPUT, i) for i, value in enumerate(region.inputs)}
    items = []
    for i in ordered:
        unit = units[i]
        items.append(Item(unit.name, unit.layer, tuple(values[v] for v in unit.inputs)))
        values.update({v: (len(items) - 1, result) for result, v in enumerate(unit.outputs)})
    outputs = tuple(values[_resolved(v, same)] for v in region.outputs)
    read = tuple(values[value][1] for value in region.inputs)
    return Body(len(region.inputs), tuple(items), outputs, tuple(attributes), read)


def in_order(units: Sequence[tuple[tuple[int, ...], tuple[int, ...], int]]) -> list[int] | None:
    """Units (inputs, outputs, first node) sorted so that each follows those it reads from, as near as may be to the
    Graph's order; None where they read from each other in a circle."""
    maker = {value: i for i, (_, outputs, _) in enumerate(units) for value in outputs}
    waits = [{maker[v] for v in inputs if v in maker} for inputs, _, _ in units]
    readers: list[list[int]] = [[] for _ in units]
    for i, wait in enumerate(waits):
        for j in wait:
            readers[j].append(i)
    ready = [(units[i][2], i) for i, wait in enumerate(waits) if not wait]
    heapq.heapify(ready)
    done: list[int] = []
    while ready:
        _, i = heapq.heappop(ready)
        done.append(i)
        for j in readers[i]:
            waits[j].discard(i)
            if not waits[j]:
                heapq.heappush(ready, (units[j][2], j))
    return done if len(done) == len(units) else None


def _collect(region: Region, lowered: Lowered, access: str) -> tuple[list[Attribute], list[_Unit]]:
    """The submodules of the region, and the calls to them; `access` leads from `self` to the region."""
    attributes: list[Attribute] = []
    units: list[_Unit] = []
    indexed = access and _is_list(region, lowered)
    for local, child in region.children.items():
        name = (f"{access}[{local}]" if indexed else f'{access}["{local}"]') if access else local
        if isinstance(child, Region) and child.form is Form.OPEN:
            inner, calls = _collect(child, lowered, name)
            units += calls
            if inner:
                attributes.append(Attribute(local, _container(child, inner, lowered)))
            continue
        unit = _unit(child, name, lowered)
        units.append(unit)
        if unit.layer.module:
            attributes.append(Attribute(local, unit.layer))
    return attributes, units


def _unit(child: Region | int, name: str, lowered: Lowered) -> _Unit:
    if isinstance(child, Region):
        return _Unit(name, region_layer(child, lowered), child.nodes[0], child.inputs, child.outputs)
    return _Unit(name, lowered.layers[child], child, lowered.graph.nodes[child].inputs, (child,))


def region_layer(region: Region, lowered: Lowered) -> Layer:
    """The class of a region, or the nn.Sequential that it is."""
    if region.form is Form.CLASS:
        return lowered.classes[region.path]
    members = tuple(_member(child, lowered) for child in region.children.values())
    return Layer("chain", "nn.Sequential", members, stateful=any(member.stateful for member in members))


def _member(child: Region | int, lowered: Lowered) -> Layer:
    if isinstance(child, Region):
        return region_layer(child, lowered)
    member = lowered.members[child]
    assert member is not None
    return member


def _is_list(region: Region, lowered: Lowered) -> bool:
    """Whether the modules of an open region are called 0, 1, 2, ..., as those of nn.ModuleList."""
    modules = [name for name, child in region.children.items() if _has_module(child, lowered)]
    return modules == [str(n) for n in range(len(modules))]


def _has_module(child: Region | int, lowered: Lowered) -> bool:
    if not isinstance(child, Region):
        return bool(lowered.layers[child].module)
    return child.form is not Form.OPEN or any(_has_module(inner, lowered) for inner in child.children.values())


def _container(region: Region, members: list[Attribute], lowered: Lowered) -> Layer:
    stateful = any(member.layer.stateful for member in members)
    layers = tuple(member.layer for member in members)
    if _is_list(region, lowered):
        return Layer("list", "nn.ModuleList", layers, stateful=stateful)
    return Layer("dict", "nn.ModuleDict", layers, stateful=stateful, keys=tuple(member.name for member in members))


def _resolved(value: int, same: Mapping[int, int]) -> int:
    while value in same:
        value = same[value]
    return value


def _without_identities(units: list[_Unit]) -> tuple[list[_Unit], dict[int, int]]:
    """Without calls that change nothing; and which value stands for each of theirs."""
    same = {unit.outputs[0]: unit.inputs[0] for unit in units if unit.layer is IDENTITY}
    return _rewired([unit for unit in units if unit.layer is not IDENTITY], same), same


def _rewired(units: list[_Unit], same: Mapping[int, int]) -> list[_Unit]:
    return [replace(unit, inputs=tuple(_resolved(v, same) for v in unit.inputs)) for unit in units]


def _with_means(
    units: list[_Unit], outputs: Sequence[int], same: Mapping[int, int]
) -> tuple[list[_Unit], dict[int, int]]:
    """Global average pooling that is flattened afterwards, a dropout perhaps between them, is one call.

    The second result says which value each flattened one has become.
    """
    makers = {value: unit for unit in units for value in unit.outputs}
    read = [value for unit in units for value in unit.inputs] + [_resolved(value, same) for value in outputs]
    means: dict[int, _Unit] = {}
    gone: dict[int, int] = {}
    for unit in units:
        pool = _pool_before(unit, makers, read) if unit.layer.kind == "flatten" else None
        if pool and pool.layer.flattened:
            means[pool.first] = replace(pool, layer=pool.layer.flattened)
            gone[unit.outputs[0]] = unit.inputs[0]
    kept = [means.get(unit.first, unit) for unit in units if unit.outputs[0] not in gone]
    return _rewired(kept, gone), gone


def _pool_before(flatten: _Unit, makers: Mapping[int, _Unit], read: list[int]) -> _Unit | None:
    """The global pooling that feeds the flattening and nothing else."""
    unit: _Unit | None = flatten
    while unit:
        value = unit.inputs[0]
        unit = makers.get(value) if read.count(value) == 1 else None
        if unit and unit.layer.kind == "gap":
            return unit
        if unit and unit.layer.kind != "dropout":
            return None
    return None


def direct_units(region: Region, graph: Graph) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """What forward of the region would call: (inputs, outputs, first node) of each node, class and chain."""
    for child in region.children.values():
        if not isinstance(child, Region):
            yield graph.nodes[child].inputs, (child,), child
        elif child.form is Form.OPEN:
            yield from direct_units(child, graph)
        else:
            yield child.inputs, child.outputs, child.nodes[0]


def open_circles(root: Region, graph: Graph) -> None:
    """Open the regions that read from each other in a circle, so that their members can be called one by one."""
    for region in (*root.below(), root):
        while region.form is not Form.OPEN and in_order(list(direct_units(region, graph))) is None:
            for unit in list(_unit_regions(region)):
                unit.form = Form.OPEN


def _unit_regions(region: Region) -> Iterator[Region]:
    """The classes and chains that forward of the region would call."""
    for child in region.children.values():
        if isinstance(child, Region):
            yield from _unit_regions(child) if child.form is Form.OPEN else (child,)
