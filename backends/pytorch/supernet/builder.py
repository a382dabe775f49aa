"""One class of a supernet: what its constructor makes, and how its forward chooses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from archlang.backends.pytorch.lowering import LOWERINGS, as_module
from archlang.backends.pytorch.supernet.elastic import Parts, Rigid, parts
from archlang.backends.pytorch.supernet.flow import flow
from archlang.backends.pytorch.supernet.planned import Chain, Choosing, Planned, Test, base, input_names
from archlang.backends.pytorch.supernet.union import Column, Conflict, Rows, Source, Step, Union
from archlang.backends.source.body import INPUT, Attribute, Body, Item, Value
from archlang.backends.source.classes import plan_class
from archlang.backends.source.embedding import Embedding
from archlang.backends.source.formulas import Formula
from archlang.backends.source.layer import Argument, Layer, call_module
from archlang.backends.source.names import (
    unique,
)
from archlang.backends.source.plan import ClassPlan, Instance
from archlang.backends.source.regions import Region
from archlang.ir.graph import Graph, Node, Scope
from archlang.ir.types import TensorType
from archlang.ops.shape import Input

if TYPE_CHECKING:
    from archlang.backends.pytorch.supernet.planner import Planner


class Builder:
    def __init__(self, planner: Planner, name: str, rows: Rows, union: Union) -> None:
        self.planner, self.name, self.rows, self.union = planner, name, rows, union
        self.dynamics = base(rows)
        self.chains: dict[str, Chain] = {}
        self.told: dict[tuple[str, str], Formula] = {}
        self.forms: dict[str, Choosing] = {}

    def build(self) -> Planned:
        steps = self.union.steps
        found = {name: self._part(steps[name]) for name in reversed(list(steps))}  # the last first: see `_always`
        self.parts = {name: found[name] for name in steps}
        self.plan = self._class()
        for option in self.plan.options:
            if option.as_identity:
                self._always(self.union.steps[self.plan.body.items[option.items[0]].name])
        self.flow = flow(self.union)
        if self._as_members():
            self.plan = self._class()
        stored = {n for (s, *_), f in self.plan.formulas.items() if f and isinstance(s, int) for n in f.names}
        self.dynamics.taken |= {a.name for a in self.plan.body.attributes} | stored
        self._tell()
        for phi in self.flow.phis:
            self.forms[phi] = self._form(phi)
        asked = {form.test.text for form in self.forms.values() if form.test}
        needed = (o for o in self.plan.options if o.as_identity or o.flag_is_module or o.test in asked)
        self.plan = replace(self.plan, options=tuple(needed))
        return Planned(
            self.name, self.rows.paths, self.rows, input_names(self.rows), self.plan, self.flow, self.parts,
            self.dynamics, self.forms, self.told, self.chains,
        )  # fmt: skip

    # ---- steps ----

    def _part(self, step: Step) -> Parts:
        first = next(layer for layer in step.layers if layer)
        if first.kind.startswith("class "):
            return self._class_part(step)
        if first.kind == "chain":
            return self._chain_part(step)
        return parts(step, self.rows, {path: self._variants(step, path) for path in self.rows.paths})

    def _variants(self, step: Step, path: str) -> list[Layer]:
        """All that the step is in this instance, also in candidates that nobody has seen."""
        site = self.planner.sites.get(".".join([*filter(None, [path]), *re.findall(r"[^\[\]\"]+", step.name)]))
        there = [layer for i in self.rows.of(path) if (layer := step.layers[i])]
        if site is None or not there or not there[0].module:
            return there
        by_hand = there[0].kind.startswith("padded")
        return [LOWERINGS[site.op](variant.op, variant.inputs, by_hand) for variant in site.variants]

    def _class_part(self, step: Step) -> Parts:
        layers: dict[str, Layer] = {}
        for row, layer in zip(self.rows.rows, step.layers, strict=True):
            if layer:
                layers[row.path] = self.planner.layers[layer.module]
        if len({layer.kind for layer in layers.values()}) > 1:
            raise Conflict(f"{step.name} is not always the same")
        pairs = zip(self.rows.rows, step.layers, strict=True)
        inner = {row.path: layer.module for row, layer in pairs if layer}
        planned = self.planner.class_of[next(iter(inner.values()))]
        told: dict[str, Column] = {}
        for name in planned.arguments:
            column: list[Any] = [None] * len(self.rows.rows)
            for path, child in inner.items():
                found = self.planner.mapped(self.rows, path, child, planned, name)
                assert found is not None
                column = [a if a is not None else b for a, b in zip(column, found, strict=True)]
            told[name] = tuple(column)
        host = next(iter(layers.values()))
        calls = tuple(Argument(None, label=name) for name in told)
        return Parts(replace(host, call_arguments=calls, apply=_passing if told else call_module), layers, told)

    def _chain_part(self, step: Step) -> Parts:
        keys = {
            path: self._keys(step, path) for path in self.rows.paths if any(step.layers[i] for i in self.rows.of(path))
        }
        missing = any(layer is None for layer in step.layers) and self._always(step)
        elastic = missing or self.rows.varies([layer.keys if layer else None for layer in step.layers])
        module = "nn.Sequential"
        if elastic:
            module = self._elastic_chain(step, keys)
        layers = {path: self._sequence(step, path, names, module) for path, names in keys.items()}
        return Parts(next(iter(layers.values())), layers, {})

    def _keys(self, step: Step, path: str) -> list[str]:
        names = dict.fromkeys(key for i in self.rows.of(path) if (layer := step.layers[i]) for key in layer.keys)
        order = self.planner.order
        where = ".".join([*filter(None, [path]), *re.findall(r"[^\[\]\"]+", step.name)])
        return sorted(names, key=lambda key: (int(re.match(r"\d+", key)[0]), order[f"{where}.{key}"]))  # type: ignore[index]

    def _elastic_chain(self, step: Step, keys: Mapping[str, list[str]]) -> str:
        active = [list(layer.keys) if layer else None for layer in step.layers]
        first = all(
            names is None or names == keys[row.path][: len(names)]
            for names, row in zip(active, self.rows.rows, strict=True)
        )
        if first and all(key == str(k) for names in keys.values() for k, key in enumerate(names)):
            depth = tuple(None if names is None else len(names) for names in active)
            self.chains[step.name] = Chain("ElasticDepth", "depth", depth)
        else:
            self.chains[step.name] = Chain(
                "ElasticPath", "active", tuple(tuple(n) if n is not None else None for n in active)
            )
        return self.chains[step.name].module

    def _sequence(self, step: Step, path: str, keys: Sequence[str], module: str) -> Layer:
        members: dict[str, Layer] = {}
        for i in self.rows.of(path):
            layer = step.layers[i]
            for key, member in zip(layer.keys, layer.arguments, strict=True) if layer else ():
                assert isinstance(member, Layer)
                members[key] = self._member(member)
        named = module == "ElasticPath" or list(keys) != [str(k) for k in range(len(keys))]
        ordered = tuple(members[key] for key in keys)
        kind = "dict" if named else "chain"
        helpers = frozenset() if module == "nn.Sequential" else frozenset({module})
        return Layer(kind, module, ordered, stateful=True, keys=tuple(keys) if named else (), helpers=helpers)

    def _member(self, member: Layer) -> Layer:
        if member.kind.startswith("class "):
            return self.planner.layers[member.module]
        if member.kind == "chain":
            raise Rigid("a sequence within a sequence")
        return member

    def _always(self, step: Step) -> bool:
        """Make a step that may be missing one that hands on its input there. Whether that can be: what reads it, or in
        its place its input, must read the same there; so where several in a row may be missing, the last comes first.
        """
        readers = [column for other in self.union.steps.values() for column in other.inputs] + self.union.outputs
        slots = [column for column in readers if (step.name, 0) in column]
        later = set(list(self.union.steps)[list(self.union.steps).index(step.name) :])
        for i, layer in enumerate(step.layers):
            if layer is not None:
                continue
            values = {source for column in slots if (source := column[i]) and source[0] not in later}
            if len(values) > 1 or len(step.inputs) != 1:
                return False
            if values:
                step.inputs[0][i] = next(iter(values))
                for column in slots:
                    column[i] = (step.name, 0) if column[i] in values else column[i]
                step.layers[i] = _NOTHING
        return True

    def _as_members(self) -> bool:
        """Where one of several single calls is taken, functions become modules, so that all have names."""
        changed = False
        for phi in self.flow.phis:
            for name in self._alternatives_by_name(phi) or ():
                part = self.parts[name]
                if not part.host.module:
                    found = {path: self._module_for(name, path) for path in part.layers}
                    layers = {path: layer for path, layer in found.items() if layer}
                    self.parts[name] = Parts(next(iter(layers.values())), layers, {})
                    changed = True
        return changed

    def _alternatives_by_name(self, phi: str) -> list[str] | None:
        """The steps of which one is taken, each a single call on the same value; None where it is not so."""
        steps, plain, read = [], [], set()
        for source in self.flow.phis[phi].sources:
            inside = self.flow.inside(phi, source)
            if not inside:
                plain.append(source)
            elif len(inside) == 1 and inside[0] in self.parts and self._callable(inside[0]):
                steps.append(inside[0])
                read.add(self.flow.reads[inside[0]][0])
            else:
                return None
        return steps if len(steps) > 1 and len(read) == 1 and set(plain) <= read else None

    def _callable(self, name: str) -> bool:
        part, reads = self.parts[name], self.flow.reads[name]
        if len(reads) != 1 or part.told or "[" in name:
            return False
        if part.host.module:
            return part.host.apply is call_module and part.host.outputs == 1
        return all(self._module_for(name, path) for path in part.layers)

    def _module_for(self, name: str, path: str) -> Layer | None:
        """The function of a step as a module, None where there is none."""
        full = f"{path}.{name}" if path else name
        candidate = next(c for c in self.planner.candidates if full in c.nodes)
        node = candidate.nodes[full]
        op = candidate.graph.nodes[node].op
        if op.name == "zero":
            stride = Argument(getattr(op, "stride", 1), "stride", 1, "stride", "stride")
            return Layer("zero module", "Zero", (stride,), helpers=frozenset({"Zero"}))
        return as_module(op, candidate.layers[node])

    # ---- the constructor ----

    def _class(self) -> ClassPlan:
        names = list(self.union.steps)
        numbers = {name: k for k, name in enumerate(names)}
        items = [Item(n, self._constructed(self.parts[n].host, n), self._values(n, numbers)) for n in names]
        outputs = tuple(_value(column[self._first(column)], numbers) for column in self.union.outputs)
        attributes = _attributes([(item.name, item.layer) for item in items])
        host = Body(self.union.inputs, tuple(items), outputs, tuple(attributes), tuple(range(self.union.inputs)))
        graph, regions = self._surroundings()
        instances = [self._instance(host, path, regions[path]) for path in self.rows.paths]
        return plan_class(self.name, host, instances, graph)

    def _constructed(self, layer: Layer, name: str) -> Layer:
        """Without what only forward is told."""
        return replace(
            layer, call_arguments=tuple(a for a in layer.call_arguments if a.name not in self.parts[name].told)
        )

    def _first(self, column: Sequence[Source | None]) -> int:
        return next(i for i, source in enumerate(column) if source is not None)

    def _values(self, name: str, numbers: Mapping[str, int]) -> tuple[Value, ...]:
        return tuple(_value(column[self._first(column)], numbers) for column in self.union.steps[name].inputs)

    def _instance(self, host: Body, path: str, region: Region) -> Instance:
        there = [k for k, item in enumerate(host.items) if path in self.parts[item.name].layers]
        items = tuple(replace(host.items[k], layer=self.parts[host.items[k].name].layers[path]) for k in there)
        own = {item.name: item.layer for item in items}
        attributes = _attributes([(item.name, own.get(item.name, item.layer)) for item in host.items])
        body = Body(host.inputs, items, host.outputs, tuple(attributes), host.same)
        missing = [k for k in range(len(host.items)) if k not in there]
        return Instance(region, body, Embedding({k: n for n, k in enumerate(there)}, dict.fromkeys(missing, 0)))

    def _surroundings(self) -> tuple[Graph, dict[str, Region]]:
        """A graph of the largest types of all inputs and outputs, and a region for each instance."""
        nodes: list[Node] = []
        regions: dict[str, Region] = {}
        names = self.rows.inputs if self.union.inputs > 1 else []
        for path in self.rows.paths:
            inputs, outputs = [], []
            for k in range(self.union.inputs):
                inputs.append(len(nodes))
                nodes.append(_standing(self._largest_type(path, k, result=False)))
            for k in range(len(self.union.outputs)):
                outputs.append(len(nodes))
                nodes.append(_standing(self._largest_type(path, k, result=True)))
            regions[path] = Region(path, self._scope(path), {}, [], tuple(inputs), tuple(outputs), tuple(names))
        return Graph(self.name, tuple(nodes), ()), regions

    def _largest_type(self, path: str, k: int, result: bool) -> TensorType:
        found = [] if result else list(self._types_read(path, k))
        for candidate in self.planner.candidates:
            region = candidate.classes.get(path)
            if region:
                values = region.outputs if result else region.inputs
                found.append(candidate.graph.nodes[values[k]].type)
        return max(found, key=lambda type_: type_.channels)

    def _types_read(self, path: str, k: int) -> Iterator[TensorType]:
        """What ops read of an input, also in candidates that nobody has seen."""
        for name, step in self.union.steps.items():
            site = self.planner.sites.get(f"{path}.{name}" if path else name)
            for slot, column in enumerate(step.inputs):
                if site and {column[i] for i in self.rows.of(path)} - {None} == {("", k)}:
                    yield from (variant.inputs[slot] for variant in site.variants)

    def _scope(self, path: str) -> Scope | None:
        scopes = [row.scope for row in self.rows.rows if row.path == path and row.scope]
        if not scopes:
            return None
        arguments = _maxima([scope.arguments for scope in scopes])
        return replace(scopes[0], arguments=arguments, names=_maxima([scope.names for scope in scopes]))

    # ---- forward ----

    def _tell(self) -> None:
        for name, part in self.parts.items():
            for label, column in part.told.items():
                self.told[name, label] = self.dynamics.solve(column, self._label(name, label, column))

    def _label(self, name: str, label: str, column: Column) -> str:
        """The name that the source gives these numbers, or one made of the step's."""
        if not self.parts[name].host.kind.startswith("class ") or label in self.dynamics.local_names:
            label = f"{re.sub(r'[^0-9A-Za-z]+', '_', name).strip('_')}_{label}"
        scopes = [dict(row.scope.names) if row.scope else {} for row in self.rows.rows]
        for local in dict.fromkeys(local for scope in scopes for local in scope):
            values = [scope.get(local) for scope in scopes]
            if all(a is None or a == b for a, b in zip(column, values, strict=True)):
                return local
        return label

    def _form(self, phi: str) -> Choosing:
        sources = self.flow.phis[phi].sources
        chosen = self.flow.phis[phi].chosen
        inside = {source: self.flow.inside(phi, source) for source in sources}
        if not any(inside.values()):
            numbers = [None if source is None else sources.index(source) for source in chosen]
            label = self.planner.naming(self._by_candidate(numbers), [], "source", self.dynamics.taken)
            return Choosing("places", sources, self.dynamics.solve(numbers, label))
        members = self._alternatives_by_name(phi)
        labels = self._labels(phi, inside)
        if members:
            return Choosing("members", sources, self._by_names(chosen, labels, members), labels=labels)
        if len(sources) == 2 and not all(inside.values()):
            doing = next(source for source in sources if inside[source])
            plain = next(source for source in sources if not inside[source])
            return Choosing("test", [doing, plain], test=self._test(phi, doing, plain, inside[doing]))
        names = [name for source in sources for name in inside[source] if name in self.parts]
        return Choosing("names", sources, self._by_names(chosen, labels, names), labels=labels)

    def _labels(self, phi: str, inside: Mapping[Source, list[str]]) -> dict[Source, str]:
        """Each alternative by the first of its steps; what does nothing is `skip`."""
        labels: dict[Source, str] = {}
        for source, steps in inside.items():
            first = next((name for name in steps if name in self.parts), "skip" if not steps else "other")
            labels[source] = unique(first, labels.values())
        return labels

    def _by_names(self, chosen: Sequence[Source | None], labels: Mapping[Source, str], steps: Sequence[str]) -> Formula:
        column = [None if source is None else labels[source] for source in chosen]
        label = self.planner.naming(self._by_candidate(column), steps, "choice", self.dynamics.taken)
        return self.dynamics.solve(column, label)

    def _by_candidate(self, column: Sequence[Any]) -> dict[int, Any]:
        """Values of one instance by candidates: what the decisions say of one, they say of all."""
        path = self.rows.paths[0]
        return {n: column[row] for (where, n), row in self.rows.at.items() if where == path and column[row] is not None}

    def _test(self, phi: str, doing: Source, plain: Source, inside: Sequence[str]) -> Test:
        chosen = self.flow.phis[phi].chosen
        present = [None if source is None else source == doing for source in chosen]
        option = self._option(inside)
        if not self.rows.varies(present) and option:
            return Test(text=option)
        shapes = self._shapes(doing, present)
        if shapes:
            return Test(shapes=shapes)
        first = next((name for name in inside if name in self.parts), "steps")
        label = "with_" + re.sub(r"[^0-9A-Za-z]+", "_", first).strip("_")
        return Test(self.dynamics.test(present, label), text=option if option.endswith("is not None") else "")

    def _option(self, inside: Sequence[str]) -> str:
        """What the constructor says of a part that some instances lack."""
        for option in self.plan.options:
            if not option.as_identity and {self.plan.body.items[i].name for i in option.items} <= set(inside):
                return option.test
        return ""

    def _shapes(self, doing: Source, present: Sequence[bool | None]) -> tuple[Source, Source] | None:
        """The operands of a sum that is made exactly where their shapes are equal."""
        name = doing[0]
        if name not in self.parts or self.parts[name].host.kind != "add" or len(self.flow.reads[name]) != 2:
            return None
        a, b = self.flow.reads[name]
        for (path, number), row in self.rows.at.items():
            if present[row] is None:
                continue
            types = [self._type(path, number, row, source) for source in (a, b)]
            if None in types or (types[0] == types[1]) != present[row]:
                return None
        return a, b

    def _type(self, path: str, number: int, row: int, source: Source) -> TensorType | None:
        candidate = self.planner.candidates[number]
        while source[0] in self.flow.phis:
            following = self.flow.phis[source[0]].chosen[row]
            if following is None:
                return None
            source = following
        if not source[0]:
            region = candidate.classes[path]
            return candidate.graph.nodes[region.inputs[source[1]]].type
        return candidate.type_of(f"{path}.{source[0]}" if path else source[0], source[1])


_NOTHING = Layer("nothing")
"""Stands where a chain has no members, or an identity stands in."""


def _passing(module: str, arguments: Any, inputs: Any) -> Any:
    from archlang.backends.source.layout import Call

    return Call(module, (*inputs, *(text for text in arguments.values() if text is not None)))


def _value(source: Source | None, numbers: Mapping[str, int]) -> Value:
    assert source is not None
    return (INPUT, source[1]) if not source[0] else (numbers[source[0]], source[1])


def _standing(type_: TensorType) -> Node:
    return Node(Input(type_.shape), (), type_, "value")


def _maxima(tables: Sequence[tuple[tuple[str, Any], ...]]) -> tuple[tuple[str, Any], ...]:
    """The largest of every number; of anything else what is always the same."""
    values: dict[str, list[Any]] = {}
    for table in tables:
        for name, value in table:
            values.setdefault(name, []).append(value)
    return tuple((name, _maximum(found)) for name, found in values.items())


def _maximum(found: Sequence[Any]) -> Any:
    if all(type(value) in (int, float) for value in found):
        return max(found)
    return found[0] if len({repr(value) for value in found}) == 1 else None


def _attributes(layers: Sequence[tuple[str, Layer]]) -> list[Attribute]:
    """The submodules; what is called `a["b"]` is an entry of a dictionary."""
    found: dict[str, Layer | dict[str, Any]] = {}
    for name, layer in layers:
        if not layer.module:
            continue
        parts_ = re.findall(r"[^\[\]\"]+", name)
        into: Any = found
        for part in parts_[:-1]:
            into = into.setdefault(part, {})
        into[parts_[-1]] = layer
    return [Attribute(name, _container(layer)) for name, layer in found.items()]


def _container(layer: Any) -> Layer:
    if isinstance(layer, Layer):
        return layer
    members = tuple(_container(each) for each in layer.values())
    stateful = any(member.stateful for member in members)
    return Layer("dict", "nn.ModuleDict", members, stateful=stateful, keys=tuple(layer))
