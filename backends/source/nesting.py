"""Which calls of a forward are written inside others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from archlang.backends.source.body import INPUT, Body, Item, Value
from archlang.backends.source.plan import ClassPlan, Option


@dataclass(frozen=True)
class Results:
    """What forward returns. names: of the auxiliary ones, for their variables; training: values made in training only,
    returned after the others."""

    always: tuple[Value, ...]
    training: tuple[Value, ...] = ()
    names: Mapping[Value, str] = field(default_factory=dict)

    @property
    def annotation(self) -> str:
        """The type: each number of results by itself, so that torch.jit.script can take it."""
        counts = (len(self.always), len(self.always) + len(self.training))
        return " | ".join(dict.fromkeys(map(_tensors, counts)))


def _tensors(count: int) -> str:
    if count == 1:
        return "Tensor"
    return f"tuple[{', '.join(['Tensor'] * count)}]" if count <= 4 else "tuple[Tensor, ...]"


class Nesting:
    """Which items are written inside the expression of their only reader.

    A line of code is one thought: at most one convolution, pool or block, with the norm and activation after it. The
    operands of a sum or product are nested while they are short.
    """

    def __init__(self, plan: ClassPlan, results: Results, apart: set[int]) -> None:
        self.body = plan.body
        self.part = {i: option for option in plan.options if not option.as_identity for i in option.items}
        self.training = _training_only(plan.body, results)
        self.uses = _uses(plan, results)
        self.depth: dict[int, int] = {}
        self.heads: dict[int, int] = {}
        self.nested: set[int] = set()
        for i, item in enumerate(plan.body.items):
            inner = self._inner(i, item, apart)
            self.nested |= set(inner)
            own = 0 if item.layer.weight == "light" else 1
            self.depth[i] = own + max((self.depth[j] for j in inner), default=0)
            self.heads[i] = (item.layer.weight in ("head", "join")) + sum(self.heads[j] for j in inner)

    def _inner(self, i: int, item: Item, apart: set[int]) -> list[int]:
        makers = [j for j, _ in item.inputs if j != INPUT and self._may_nest(j, i) and j not in apart]
        weight = item.layer.weight
        if weight == "tail":
            return [j for j in makers if self.depth[j] < 3]
        if weight == "join":
            return self._operands(item, makers)
        return [j for j in makers if self.heads[j] == 0 and self.depth[j] <= 2]

    def _may_nest(self, j: int, i: int) -> bool:
        alone = self.uses.get((j, 0), 0) == 1 and self.body.items[j].layer.outputs == 1
        return alone and self.part.get(j) is self.part.get(i) and (j in self.training) == (i in self.training)

    def _operands(self, item: Item, makers: list[int]) -> list[int]:
        if item.layer.kind.startswith("concat"):
            return [j for j in makers if self.depth[j] == 0]
        short = sorted((j for j in makers if self.body.items[j].layer.weight != "join"), key=lambda j: self.depth[j])
        short = [j for j in short if not self._holds_join(j)]
        while sum(self.depth[j] for j in short) > 2:
            short.pop()
        return short

    def _holds_join(self, j: int) -> bool:
        """Whether a sum or product is somewhere inside the expression of item j."""
        items = self.body.items
        inner = [k for k, _ in items[j].inputs if k in self.nested]
        return items[j].layer.weight == "join" or any(self._holds_join(k) for k in inner)


def _training_only(body: Body, results: Results) -> set[int]:
    """The items that only auxiliary results need."""
    if not results.training:
        return set()
    live = {item for item, _ in results.always}
    for i in range(len(body.items) - 1, -1, -1):
        if i in live:
            live.update(j for j, _ in body.items[i].inputs)
    return {i for i in range(len(body.items)) if i not in live}


def _uses(plan: ClassPlan, results: Results) -> dict[Value, int]:
    """How often each value is mentioned, standing in for a part that is left out among them."""
    counts: dict[Value, int] = {}
    mentions = [value for item in plan.body.items for value in item.inputs]
    mentions += [*results.always, *results.always, *results.training] if results.training else results.always
    mentions += [bypass(plan, option) for option in plan.options if not option.as_identity]
    for value in mentions:
        counts[value] = counts.get(value, 0) + 1
    return counts


def bypass(plan: ClassPlan, option: Option) -> Value:
    """The value that stands in the place of an optional part's result."""
    value: Value = (option.items[-1], 0)
    while value[0] in option.items:
        value = plan.body.items[value[0]].inputs[plan.bypassed[value[0]]]
    return value
