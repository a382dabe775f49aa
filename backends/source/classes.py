"""Regions of the same block share a class: which do, what its parameters are, and what each instance passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from archlang.backends.source.body import Body, Lowered, build_body
from archlang.backends.source.embedding import Embedding, connected, embed, identity, is_plain_module
from archlang.backends.source.formulas import Formula, Schedule, replaced, schedule
from archlang.backends.source.formulas import name as name_of
from archlang.backends.source.groups import class_name, groups
from archlang.backends.source.layer import ABSENT, Layer
from archlang.backends.source.names import MODULE_ATTRIBUTES, RESERVED_CLASSES, pascal_case, unique, unique_class
from archlang.backends.source.parameters import Solver, Values, Variable
from archlang.backends.source.plan import ClassPlan, Instance, Option, Slot
from archlang.backends.source.regions import Region
from archlang.backends.source.slots import Slots, is_harmless, label_of
from archlang.backends.source.variables import own_name
from archlang.ir.graph import Graph
from archlang.ops.regularize import DropPath


def plan_classes(
    root: Region,
    graph: Graph,
    layers: Mapping[int, Layer],
    members: Mapping[int, Layer | None],
    derived: frozenset[str] = frozenset(),
) -> list[ClassPlan]:
    """The classes in an order in which each stands after those it uses; the network itself is the last.

    derived: roles of parameters that no call passes, since the class finds them out itself.
    """
    planner = _Planner(graph, Lowered(graph, layers, members, {}), derived)
    for group in groups(root, graph):
        planner.plan(group)
    return [*planner.plans, planner.plan_network(root)]


class _Planner:
    def __init__(self, graph: Graph, lowered: Lowered, derived: frozenset[str]) -> None:
        self.graph, self.lowered, self.derived = graph, lowered, derived
        self.plans: list[ClassPlan] = []
        self.classes: dict[str, Layer] = {}
        self.lowered = replace(lowered, classes=self.classes)
        helpers = {helper for layer in lowered.layers.values() for helper in layer.helpers}
        self.names = {*RESERVED_CLASSES, *helpers}
        self.network = unique(pascal_case(graph.name), self.names)
        self.names.add(self.network)

    def plan(self, regions: Sequence[Region]) -> None:
        """One class for all the regions, or as few as their structures allow."""
        bodies = [(region, build_body(region, self.lowered)) for region in regions]
        while bodies:
            whole = [body for _, body in bodies if not body.repeats_inputs]
            if not whole:
                self.plan_merged([region for region, _ in bodies])
                return
            host = max(whole, key=lambda body: len(body.items))
            kept, left = _hosted(host, bodies)
            self._finish(host, kept)
            bodies = left

    def plan_merged(self, regions: Sequence[Region]) -> None:
        """Classes for regions that all take one value for several inputs: they take it once."""
        for region in regions:
            region.merge_inputs()
        self.plan(regions)

    def _finish(self, host: Body, instances: list[Instance]) -> None:
        name = class_name(instances[0].region, self.graph)
        name = unique_class(f"{name}Block" if name == self.network else name, self.names)
        self.names.add(name)
        plan = plan_class(name, host, instances, self.graph)
        self.plans.append(plan)
        stateful = any(attribute.layer.stateful for attribute in host.attributes)
        outputs, results = len(host.outputs), tuple(own_name(host, value) for value in host.outputs)
        for i, instance in enumerate(instances):
            passed = (parameter for parameter in plan.parameters if parameter.role not in self.derived)
            arguments = tuple(parameter.argument(i) for parameter in passed)
            layer = Layer(f"class {name}", name, arguments, stateful=stateful, outputs=outputs, results=results)
            self.classes[instance.region.path] = layer

    def plan_network(self, root: Region) -> ClassPlan:
        body = build_body(root, self.lowered)
        return plan_class(self.network, body, [Instance(root, body, identity(body))], self.graph)


def _hosted(host: Body, bodies: list[tuple[Region, Body]]) -> tuple[list[Instance], list[tuple[Region, Body]]]:
    """The regions whose bodies are the host's, perhaps with parts left out; and the others."""
    known: dict[Any, Embedding | None] = {host.shape: identity(host)}
    kept, left = [], []
    for region, body in bodies:
        if body.shape not in known:
            known[body.shape] = embed(host, body)
        found = known[body.shape]
        if found is None:
            left.append((region, body))
        else:
            kept.append(Instance(region, body, found))
    return kept, left


# ---- what differs ----------------------------------------------------------------------------------------------------


def plan_class(name: str, host: Body, instances: Sequence[Instance], graph: Graph) -> ClassPlan:
    """The class for instances of one host. graph: for the types of their inputs and outputs."""
    taken = (_submodules(host) if _has_stored_parameters(host, instances) else set()) | MODULE_ATTRIBUTES
    solver = Solver(_variables(instances, graph), taken, _schedule(graph))
    formulas = Slots(host, instances, solver).solve()
    options = _options(host, instances, solver, graph)
    used = solver.used()
    locals_ = {local: formula for local, formula in solver.locals.items() if local in used}
    for often, identifier in _often(formulas, instances, solver, graph):
        locals_[identifier] = often
        formulas = {slot: f and replaced(f, often, name_of(identifier)) for slot, f in formulas.items()}
        options = tuple(replace(o, condition=replaced(o.condition, often, name_of(identifier))) for o in options)
    bypassed = {i: number for instance in instances for i, number in instance.embedding.bypassed.items()}
    optional = {i for option in options for i in option.items}
    kept = {i: number for i, number in bypassed.items() if i in optional}
    parameters = tuple(solver.parameters())
    return ClassPlan(name, instances[0].region, host, parameters, locals_, formulas, options, kept)


def _submodules(host: Body) -> set[str]:
    return {attribute.name for attribute in host.attributes}


def _has_stored_parameters(host: Body, instances: Sequence[Instance]) -> bool:
    """Whether forward reads a parameter, which then is an attribute of `self` beside the submodules."""
    for i in range(len(host.items)):
        matched = [x.body.items[x.embedding.matched[i]].layer for x in instances if i in x.embedding.matched]
        if len({tuple(argument.value for argument in layer.call_arguments) for layer in matched}) > 1:
            return True
    return False


def _often(
    formulas: Mapping[Slot, Formula | None], instances: Sequence[Instance], solver: Solver, graph: Graph
) -> Iterator[tuple[Formula, str]]:
    """Numbers of channels that are computed in three places or more, each with a name for it."""
    counts = Counter(formula for formula in formulas.values() if formula and len(formula.parts) > 1)
    out = solver.known(_out_channels(instances, graph), "out")
    channels = {formula for _, formula in solver.channels}
    for formula, count in counts.items():
        if count >= 3 and formula in channels:
            half = "half_channels" if formula.text().endswith(" // 2") else "mid_channels"
            wanted = unique("out_channels" if formula == out else half, solver.taken)
            solver.taken.add(wanted)
            yield formula, wanted


def _schedule(graph: Graph) -> Schedule | None:
    return schedule(node.op.p for node in graph.nodes if isinstance(node.op, DropPath))


def _variables(instances: Sequence[Instance], graph: Graph) -> list[Variable]:
    found = list(_input_variables(instances, graph))
    scopes = [instance.region.scope for instance in instances]
    for kind, attribute in (("argument", "arguments"), ("local", "names")):
        tables = [dict(getattr(scope, attribute)) if scope else {} for scope in scopes]
        for key in dict.fromkeys(key for table in tables for key in table):
            values = tuple(_plain(table.get(key)) for table in tables)
            if ABSENT not in values:
                found.append(Variable(key, kind, values))
    return found


def _input_variables(instances: Sequence[Instance], graph: Graph) -> Iterator[Variable]:
    first = instances[0].region
    for number, value in enumerate(first.inputs):
        types = [graph.nodes[instance.region.inputs[number]].type for instance in instances]
        sizes = "channels" if graph.nodes[value].type.is_image else "features"
        several = len(first.inputs) > 1 and first.input_names
        name = f"{first.input_names[number]}_{sizes}" if several else f"in_{sizes}{number + 1 if number else ''}"
        yield Variable(name, "input", tuple(type_.channels for type_ in types))


def _plain(value: Any) -> Any:
    """Numbers and pairs of them as the layers take them; ABSENT for anything else."""
    if isinstance(value, tuple) and len(value) == 2 and all(type(v) is int for v in value):
        return value[0] if value[0] == value[1] else value
    return value if isinstance(value, bool | int | float) else ABSENT


# ---- what is left out ------------------------------------------------------------------------------------------------


def _options(host: Body, instances: Sequence[Instance], solver: Solver, graph: Graph) -> tuple[Option, ...]:
    missing: dict[tuple[bool, ...], list[int]] = {}
    for i in range(len(host.items)):
        present = tuple(i in x.embedding.matched or is_harmless(host, i, x.embedding) for x in instances)
        if not all(present):
            missing.setdefault(present, []).append(i)
    out = _out_channels(instances, graph)
    return tuple(
        _option(host, part, present, out, solver)
        for present, items in missing.items()
        for part in connected(host, items)
    )


def _option(host: Body, part: list[int], present: tuple[bool, ...], out: Values, solver: Solver) -> Option:
    first = label_of(host.items[part[0]].name)
    is_sum = any(host.items[i].layer.kind == "add" for i in part)
    condition = solver.flag(present, out, "residual" if is_sum else f"with_{first}")
    if is_plain_module(host, part):
        return Option(condition, tuple(part), first, as_identity=True)
    modules = [host.items[i].name for i in part if host.items[i].layer.stateful]
    if modules:
        return Option(condition, tuple(part), modules[0], flag_is_module=True)
    flag = unique("is_residual" if is_sum else f"has_{first}", solver.taken | _submodules(host))
    solver.taken.add(flag)
    return Option(condition, tuple(part), flag)


def _out_channels(instances: Sequence[Instance], graph: Graph) -> Values:
    return tuple(graph.nodes[instance.region.outputs[0]].type.channels for instance in instances)
