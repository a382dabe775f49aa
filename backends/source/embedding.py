"""Two structures of one block as one class: the smaller is the larger with some steps left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from archlang.backends.source.body import INPUT, Body, Item, Value
from archlang.backends.source.layer import call_module

MAX_TRIALS = 20_000


@dataclass(frozen=True)
class Embedding:
    """matched: host item -> guest item. bypassed: host item left out -> which of its inputs stands in its place."""

    matched: Mapping[int, int]
    bypassed: Mapping[int, int]


def identity(body: Body) -> Embedding:
    return Embedding({i: i for i in range(len(body.items))}, {})


def embed(host: Body, guest: Body) -> Embedding | None:
    """How `guest` is `host` with steps left out, None where it is not, or where that would not read well."""
    if host.inputs != guest.inputs or len(host.outputs) != len(guest.outputs):
        return None
    if any(a.layer.kind in ("list", "dict") for body in (host, guest) for a in body.attributes):
        return None
    search = _Search(host, guest)
    if not search.run(0, {(INPUT, i): (INPUT, guest.same[i]) for i in range(host.inputs)}):
        return None
    found = Embedding(dict(search.matched), dict(search.bypassed))
    return found if _reads_well(host, found) else None


@dataclass
class _Search:
    host: Body
    guest: Body
    matched: dict[int, int] = field(default_factory=dict)
    bypassed: dict[int, int] = field(default_factory=dict)
    trials: int = 0

    def run(self, k: int, values: dict[Value, Value]) -> bool:
        """Depth first over the host's items; values: host value -> the guest's value in its place."""
        self.trials += 1
        if self.trials > MAX_TRIALS:
            return False
        if k == len(self.host.items):
            outputs = tuple(values[v] for v in self.host.outputs)
            return len(self.matched) == len(self.guest.items) and outputs == self.guest.outputs
        item = self.host.items[k]
        inputs = tuple(values[v] for v in item.inputs)
        return self._match(k, item, inputs, values) or self._bypass(k, item, inputs, values)

    def _match(self, k: int, item: Item, inputs: tuple[Value, ...], values: dict[Value, Value]) -> bool:
        for g in self._candidates(item, inputs):
            results = {(k, r): (g, r) for r in range(item.layer.outputs)}
            self.matched[k] = g
            if self.run(k + 1, {**values, **results}):
                return True
            del self.matched[k]
        return False

    def _candidates(self, item: Item, inputs: tuple[Value, ...]) -> Iterator[int]:
        for g, other in enumerate(self.guest.items):
            same = other.layer.shape == item.layer.shape and other.inputs == inputs
            same_name = other.name == item.name or not item.layer.stateful
            if same and same_name and g not in self.matched.values():
                yield g

    def _bypass(self, k: int, item: Item, inputs: tuple[Value, ...], values: dict[Value, Value]) -> bool:
        if item.layer.outputs != 1:
            return False
        for number in reversed(range(len(inputs))):
            self.bypassed[k] = number
            if self.run(k + 1, {**values, (k, 0): inputs[number]}):
                return True
            del self.bypassed[k]
        return False


def _reads_well(host: Body, embedding: Embedding) -> bool:
    """Less than half is left out, and each part that is has a single result."""
    if 2 * len(embedding.bypassed) > len(host.items):
        return False
    return all(len(results(host, part)) == 1 for part in connected(host, list(embedding.bypassed)))


def connected(body: Body, items: Sequence[int]) -> list[list[int]]:
    """The items in groups of those that hand values to each other."""
    group = {i: [i] for i in items}
    for i in items:
        for maker, _ in body.items[i].inputs:
            if maker in group and group[maker] is not group[i]:
                merged = sorted(group[maker] + group[i])
                for member in merged:
                    group[member] = merged
    return [members for i, members in group.items() if members[0] == i]


def results(body: Body, items: Sequence[int]) -> list[Value]:
    """The values that the items make and something else reads."""
    return [
        value
        for value, readers in body.readers.items()
        if value[0] in items and any(reader not in items for reader in readers)
    ]


def is_plain_module(body: Body, part: Sequence[int]) -> bool:
    """Whether the part is one module with one input, so that nn.Identity can stand in its place."""
    layer = body.items[part[0]].layer
    is_module = bool(layer.module) and layer.apply is call_module
    return len(part) == 1 and is_module and len(body.items[part[0]].inputs) == 1
