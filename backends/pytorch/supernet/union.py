"""All instances of a block, in all candidates, as one body: what is there when, and what reads what."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from archlang.backends.pytorch.supernet.candidates import Candidate
from archlang.backends.source.body import INPUT, Body, Item
from archlang.backends.source.layer import Argument, Layer
from archlang.ir.graph import Scope

Source = tuple[str, int]
"""(name of the step, which of its results); the body's inputs under an empty name."""

Column = tuple[Any, ...]
"""One value for each row; ABSENT or None where the row has none."""


class Conflict(Exception):
    """The rows are no single body."""


@dataclass(frozen=True)
class Row:
    """What one instance is in some candidates: they are alike in all that its class could be told.

    channels: of its inputs. items: name -> layer and what it reads.
    """

    path: str
    scope: Scope | None
    channels: tuple[int, ...]
    items: Mapping[str, tuple[Layer, tuple[Source, ...]]]
    outputs: tuple[Source, ...]


@dataclass
class Rows:
    """at: (path, number of the candidate) -> row. inputs: how the class calls its inputs."""

    rows: list[Row] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    at: dict[tuple[str, int], int] = field(default_factory=dict)
    _known: dict[Any, int] = field(default_factory=dict)
    _of: dict[str, list[int]] = field(default_factory=dict)
    _signatures: dict[int, tuple[Layer, Any]] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return list(self._of)

    def add(self, path: str, number: int, candidate: Candidate, others: Sequence[Row] = ()) -> Row:
        """others: what instances of the same class are in the candidate."""
        row = _told_apart(_row(path, candidate), candidate.classes[path].inputs, others)
        self.inputs = self.inputs or _input_names(path, candidate)
        items = tuple(
            (name, _signature(layer, self._signatures), inputs) for name, (layer, inputs) in row.items.items()
        )
        numbers = (row.scope.arguments, row.scope.names) if row.scope else ()
        key = (path, row.channels, repr(numbers), items, row.outputs)
        if key not in self._known:
            self._known[key] = len(self.rows)
            self._of.setdefault(path, []).append(len(self.rows))
            self.rows.append(row)
        self.at[path, number] = self._known[key]
        return row

    def sort(self, paths: Sequence[str]) -> None:
        """Put the instances into the order of `paths`."""
        self._of = {path: self._of[path] for path in paths if path in self._of}

    def of(self, path: str) -> list[int]:
        return self._of[path]

    def varies(self, column: Sequence[Any], absent: Any = None) -> bool:
        """Whether the values differ between the rows of one instance."""
        return any(len({repr(column[i]) for i in self._of[p] if column[i] is not absent}) > 1 for p in self._of)


def collected(paths: Sequence[str], candidates: Sequence[Candidate]) -> Rows:
    rows = Rows()
    for number, candidate in enumerate(candidates):
        there = [path for path in paths if path in candidate.classes]
        ambiguous = [path for path in there if _is_ambiguous(candidate.classes[path].inputs)]
        plain = [rows.add(path, number, candidate) for path in there if path not in ambiguous]
        for path in ambiguous:
            rows.add(path, number, candidate, plain)
    rows.sort(paths)
    return rows


def _is_ambiguous(inputs: Sequence[int]) -> bool:
    """Whether one value is given for two inputs, so that nobody knows which of them is read."""
    return len(set(inputs)) < len(inputs)


def _told_apart(row: Row, inputs: Sequence[int], others: Sequence[Row]) -> Row:
    """The row, reading of equal inputs those that another instance reads in the same candidate."""
    first = {k: inputs.index(value) for k, value in enumerate(inputs)}
    for other in others:
        same = {name: tuple(map(partial(_first, first), reads)) for name, (_, reads) in other.items.items()}
        own = {name: tuple(map(partial(_first, first), reads)) for name, (_, reads) in row.items.items()}
        if same == own:
            items = {name: (layer, other.items[name][1]) for name, (layer, _) in row.items.items()}
            return replace(row, items=items, outputs=other.outputs)
    return row


def _first(first: Mapping[int, int], source: Source) -> Source:
    return source if source[0] else ("", first[source[1]])


def _row(path: str, candidate: Candidate) -> Row:
    region, body = candidate.classes[path], candidate.bodies[path]
    channels = tuple(candidate.graph.nodes[value].type.channels for value in region.inputs)
    items = {item.name: (_with_keys(path, item, candidate), tuple(_sources(body, item.inputs))) for item in body.items}
    if len(items) < len(body.items):
        raise Conflict(f"{path} calls one module twice")
    return Row(path, region.scope, channels, items, tuple(_sources(body, body.outputs)))


def _input_names(path: str, candidate: Candidate) -> list[str]:
    region = candidate.classes[path]
    if not path:
        return [candidate.graph.nodes[value].name for value in candidate.graph.inputs]
    count = len(region.inputs)
    return list(region.input_names or ([f"x{k + 1}" for k in range(count)] if count > 1 else ["x"]))


def _with_keys(path: str, item: Item, candidate: Candidate) -> Layer:
    """The layer; a chain with the names of its members."""
    if item.layer.kind != "chain":
        return item.layer
    parts = re.findall(r"[^\[\]\"]+", item.name)
    return replace(item.layer, keys=candidate.chains[".".join([*filter(None, [path]), *parts])])


def _sources(body: Body, values: Sequence[tuple[int, int]]) -> Iterator[Source]:
    for maker, result in values:
        yield ("", result) if maker == INPUT else (body.items[maker].name, result)


def _signature(layer: Layer, known: dict[int, tuple[Layer, Any]]) -> Any:
    """What layers must share to be alike. known: by the identity of layers, which candidates share."""
    if id(layer) not in known:
        known[id(layer)] = (layer, _told(layer))
    return known[id(layer)][1]


def _told(layer: Layer) -> tuple[Any, ...]:
    inner = tuple(_told(a) if isinstance(a, Layer) else repr(a.value) for a in layer.arguments)
    return (layer.shape, layer.keys, inner, tuple(repr(a.value) for a in layer.call_arguments))


# ---- the union -------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """An item of some rows. layers: None where it is not there; inputs: of each slot the source in every row."""

    name: str
    layers: list[Layer | None]
    inputs: list[list[Source | None]]

    @property
    def present(self) -> tuple[bool, ...]:
        return tuple(layer is not None for layer in self.layers)

    def constructor(self, position: int) -> list[Any]:
        """The values of an argument of the constructor, None where the step is not there."""
        return [_value(layer.arguments[position]) if layer else None for layer in self.layers]

    def called(self, position: int) -> list[Any]:
        return [layer.call_arguments[position].value if layer else None for layer in self.layers]


def _value(argument: Argument | Layer) -> Any:
    return argument.value if isinstance(argument, Argument) else argument


@dataclass
class Union:
    """steps: in an order that is right for all rows. outputs: of each the source in every row."""

    rows: Rows
    inputs: int
    steps: dict[str, Step]
    outputs: list[list[Source | None]]


def united(rows: Rows, order: Mapping[str, int]) -> Union:
    """order: path -> its place in the program. Raises Conflict where the rows have no order in common, or one name for
    different things."""
    first = rows.rows[0]
    if any(len(row.channels) != len(first.channels) for row in rows.rows):
        raise Conflict("different numbers of inputs")
    if any(len(row.outputs) != len(first.outputs) for row in rows.rows):
        raise Conflict("different numbers of outputs")
    steps = {name: _step(name, rows) for name in _ordered(rows, order)}
    outputs: list[list[Source | None]] = [[row.outputs[k] for row in rows.rows] for k in range(len(first.outputs))]
    return Union(rows, len(first.channels), steps, outputs)


def _step(name: str, rows: Rows) -> Step:
    found = [row.items.get(name) for row in rows.rows]
    layers = [each[0] if each else None for each in found]
    there = [layer for layer in layers if layer]
    kinds = {layer.kind if layer.kind in ("chain", "dict", "list") else _plain_shape(layer) for layer in there}
    slots = {len(each[1]) for each in found if each}
    if len(kinds) > 1 or len(slots) > 1:
        raise Conflict(f"{name} is not always the same")
    columns = range(slots.pop())
    inputs: list[list[Source | None]] = [[each[1][k] if each else None for each in found] for k in columns]
    return Step(name, layers, inputs)


def _plain_shape(layer: Layer) -> Any:
    """Instances of classes are told apart by their paths until the classes are known."""
    return layer.shape if not layer.kind.startswith("class ") else "class"


def _ordered(rows: Rows, order: Mapping[str, int]) -> list[str]:
    """The names of all steps, each after what it reads in any row, else as near as may be to the program's order."""
    reads: dict[str, set[str]] = {}
    for row in sorted(rows.rows, key=lambda row: -len(row.items)):
        for name, (_, inputs) in row.items.items():
            reads.setdefault(name, set()).update(source for source, _ in inputs if source)
    places = _places(rows, order)
    waits = {name: set(makers) for name, makers in reads.items()}
    ready = [(places[name], name) for name, makers in waits.items() if not makers]
    heapq.heapify(ready)
    done: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        done.append(name)
        for other, makers in waits.items():
            if name in makers:
                makers.discard(name)
                if not makers:
                    heapq.heappush(ready, (places[other], other))
    if len(done) < len(reads):
        raise Conflict("steps that read from each other in a circle")
    return done


def _places(rows: Rows, order: Mapping[str, int]) -> dict[str, int]:
    """Where each step stands in the program. What has no place of its own comes with the first that has its name."""
    places: dict[str, int] = {}
    for row in rows.rows:
        for name in row.items:
            path = ".".join([*filter(None, [row.path]), *re.findall(r"[^\[\]\"]+", name)])
            places.setdefault(name, order.get(path, len(order)))
    return places
