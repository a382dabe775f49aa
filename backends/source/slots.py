"""The arguments in a class's text, and an expression for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from archlang.backends.source.body import Body
from archlang.backends.source.embedding import Embedding
from archlang.backends.source.formulas import Formula
from archlang.backends.source.layer import ABSENT, Argument, Layer
from archlang.backends.source.parameters import PARAMETER_NAMES, Solver, Values
from archlang.backends.source.plan import Instance, Slot


@dataclass
class Slots:
    """All arguments in the host's text, with what each instance wants there."""

    host: Body
    instances: Sequence[Instance]
    solver: Solver
    formulas: dict[Slot, Formula | None] = field(default_factory=dict)

    def solve(self) -> dict[Slot, Formula | None]:
        """What all instances have comes first: what only some have is best said in its terms."""
        for everywhere in (True, False):
            for position, attribute in enumerate(self.host.attributes):
                layers = [self._attribute(position, instance) for instance in self.instances]
                if (None not in layers) is everywhere:
                    self._layer(attribute.layer, layers, (attribute.name,), self._parameter_prefix(attribute.name))
            for i, item in enumerate(self.host.items):
                layers = [self._item(i, instance) for instance in self.instances]
                if (None not in layers) is everywhere:
                    given = [layer.call_arguments if layer else None for layer in layers]
                    self._arguments(item.layer.call_arguments, given, (i,), label_of(item.name), by_name=True)
        return self.formulas

    def _parameter_prefix(self, name: str) -> str:
        """What parameters for the attribute begin with: `squeeze` for `squeeze1` where there is no other."""
        stem = _stem(name)
        return label_of(stem if self.stems[stem] == 1 and stem else name)

    @cached_property
    def stems(self) -> Counter[str]:
        """How many attributes share a name up to its number."""
        return Counter(_stem(attribute.name) for attribute in self.host.attributes)

    @cached_property
    def item_of(self) -> dict[str, int]:
        """The first item that calls each attribute."""
        return {item.name: i for i, item in reversed(list(enumerate(self.host.items)))}

    def _item(self, i: int, instance: Instance) -> Layer | None:
        """The instance's layer in place of host item i. What is dropped with probability 0 may be missing."""
        matched = instance.embedding.matched
        if i in matched:
            return instance.body.items[matched[i]].layer
        layer = self.host.items[i].layer
        return _harmless(layer) if is_harmless(self.host, i, instance.embedding) else None

    def _attribute(self, position: int, instance: Instance) -> Layer | None:
        """The instance's layer in place of the host's attribute. Containers stand in equal structures only."""
        i = self.item_of.get(self.host.attributes[position].name)
        if i is not None:
            return self._item(i, instance)
        return instance.body.attributes[position].layer

    def _layer(self, host: Layer, layers: Sequence[Layer | None], slot: Slot, label: str) -> None:
        plain = [argument for argument in host.arguments if isinstance(argument, Argument)]
        given = [[a for a in layer.arguments if isinstance(a, Argument)] if layer else None for layer in layers]
        self._arguments(plain, given, slot, label)
        for position, inner in enumerate(host.arguments):
            if isinstance(inner, Layer):
                within = [_inner(layer, position) for layer in layers]
                self._layer(inner, within, (*slot, position), f"{label}{position + 1}")

    def _arguments(
        self,
        host: Sequence[Argument],
        given: Sequence[Sequence[Argument] | None],
        slot: Slot,
        label: str,
        by_name: bool = False,
    ) -> None:
        siblings: dict[str, tuple[Values, Formula]] = {}
        for position, argument in enumerate(host):
            wanted = tuple(arguments[position].value if arguments else ABSENT for arguments in given)
            defaults = tuple(arguments[position].default if arguments else ABSENT for arguments in given)
            where = (*slot, argument.name if by_name else position)
            if wanted == defaults:
                self.formulas[where] = None
                continue
            named = replace(argument, label=PARAMETER_NAMES.get(argument.role, f"{label}_{argument.name}"))
            formula = self.solver.solve(wanted, named, siblings)
            siblings[argument.role] = (wanted, formula)
            self.formulas[where] = formula


def _stem(name: str) -> str:
    return name.rstrip("0123456789")


def _inner(layer: Layer | None, position: int) -> Layer | None:
    inner = layer.arguments[position] if layer else None
    assert not isinstance(inner, Argument)
    return inner


def label_of(name: str) -> str:
    """`stage["conv1"]` -> `stage_conv1`."""
    return "".join(char if char.isalnum() else "_" for char in name).replace("__", "_").strip("_")


def is_harmless(host: Body, i: int, found: Embedding) -> bool:
    """Whether a missing dropout is one that drops nothing: what reads it is there."""
    if host.items[i].layer.kind not in ("dropout", "drop_path"):
        return False
    readers = host.readers.get((i, 0), [])
    return all(reader in found.matched or reader == len(host.items) for reader in readers)


def _harmless(layer: Layer) -> Layer:
    argument = layer.arguments[0]
    assert isinstance(argument, Argument)
    return replace(layer, arguments=(replace(argument, value=0.0), *layer.arguments[1:]))
