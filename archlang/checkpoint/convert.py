"""From a foreign state dict to the weights of a graph, with a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from archlang import weights
from archlang.checkpoint import mapping
from archlang.checkpoint.align import Alignment, Ambiguity, Evidence, Misfit, Pair, align
from archlang.checkpoint.layers import Kind, Layer, Ours, of_arrays, of_graph, shapes_of
from archlang.checkpoint.mapping import below
from archlang.checkpoint.report import Decision, Report, assumptions, listed
from archlang.checkpoint.tree import Part, grown, opened, paired
from archlang.errors import fail, nearest
from archlang.ir.graph import Graph
from archlang.weights import Array


@dataclass(frozen=True)
class Options:
    """map: module of ours -> module of theirs. ignore: patterns (`aux*`) of their layers that are left out. fresh: of
    our layers that get fresh weights. trust_order: whether the order of the file counts for parallel branches too.
    seed: of fresh weights."""

    map: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    trust_order: bool = False
    seed: int = 0


@dataclass(frozen=True)
class _Work:
    """What is still to be decided, and what is: layers of both sides in their order."""

    ours: Ours
    theirs: tuple[Layer, ...]
    decided: tuple[tuple[Layer, Layer, Decision], ...] = ()
    fresh: tuple[Decision, ...] = ()


def convert(graph: Graph, arrays: Mapping[str, Any], options: Options | None = None) -> tuple[dict[str, Array], Report]:
    """The weights of `graph` out of a foreign state dict, in the layouts of PyTorch on both sides.

    Where the report has a problem there are none. Raises ArchError where a pattern or a map names nothing, and where a
    value is not finite.
    """
    options = options or Options()
    work = _prepared(graph, arrays, options)
    for step in (_by_name, _by_structure):
        report, done = step(graph, work, _evidence(arrays, options))
        if done is not None:
            return _weights(graph, arrays, done, options), report
        if report.problem:
            return {}, report
    raise AssertionError("the last step decides")


def _evidence(arrays: Mapping[str, Any], options: Options) -> Evidence:
    """A file that is sorted by name does not keep the order of registration: PyTorch puts `weight` before `bias`."""
    names = list(arrays)
    return Evidence(file_order=names != sorted(names), trusted=options.trust_order)


def _prepared(graph: Graph, arrays: Mapping[str, Any], options: Options) -> _Work:
    """What the options leave to be decided."""
    theirs = of_arrays(shapes_of(arrays))
    ignored = _matching(theirs, options.ignore, "the file")
    work = _Work(of_graph(graph), tuple(layer for layer in theirs if layer not in ignored))
    work = _freshened(work, _matching(work.ours.layers, options.fresh, graph.name), "asked for")
    for mine, other in options.map.items():
        work = _mapped(work, mine, other)
    return work


def _matching(layers: Iterable[Layer], patterns: Iterable[str], where: str) -> list[Layer]:
    """The layers whose names, or those of a module around them, match a pattern."""
    known, found = list(layers), list[Layer]()
    for pattern in patterns:
        hits = [layer for layer in known if any(fnmatchcase(name, pattern) for name in _around(layer.name))]
        if not hits:
            raise fail("E0612", f"no layer of {where} is called `{pattern}`", help=_like(pattern, known))
        found += hits
    return found


def _around(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _like(name: str, layers: Sequence[Layer]) -> str:
    return nearest(name, {path for layer in layers for path in _around(layer.name)})


def _freshened(work: _Work, layers: Iterable[Layer], why: str) -> _Work:
    gone = list(layers)
    fresh = tuple(Decision(layer.name, "", "fresh", why) for layer in gone)
    return replace(work, ours=work.ours.without(layer.name for layer in gone), fresh=work.fresh + fresh)


def _mapped(work: _Work, mine: str, other: str) -> _Work:
    """The layers of two modules that a map puts together: by the rest of their names, or one with one."""
    ours = [layer for layer in work.ours.layers if below(layer.name, mine)]
    theirs = {layer.name.removeprefix(other): layer for layer in work.theirs if below(layer.name, other)}
    if not ours or not theirs:
        name, known = (other, work.theirs) if ours else (mine, work.ours.layers)
        raise fail("E0612", f"the map names `{name}`, which is not there", help=_like(name, known))
    single = next(iter(theirs.values())) if len(ours) == len(theirs) == 1 else None
    pairs = [(layer, single or theirs.get(layer.name.removeprefix(mine))) for layer in ours]
    wrong = next((layer for layer, found in pairs if found is None or found.squeezed != layer.squeezed), None)
    if wrong is not None or len(ours) != len(theirs):
        shown = wrong.name if wrong else other
        message = f"the map puts `{mine}` and `{other}` together, but `{shown}` does not fit"
        raise fail("E0612", message, help="map the layers below them one by one")
    made = tuple((a, b, _decision(a, b, "map", "the map says so")) for a, b in pairs if b is not None)
    used = {b.name for _, b, _ in made}
    left = tuple(layer for layer in work.theirs if layer.name not in used)
    ours_left = work.ours.without(layer.name for layer in ours)
    return replace(work, ours=ours_left, theirs=left, decided=work.decided + made)


def _decision(ours: Layer, theirs: Layer, how: str, why: str) -> Decision:
    return Decision(ours.name, theirs.name, how, why, reshaped=ours.kind != theirs.kind)


_Step = tuple[Report, _Work | None]


def _by_name(graph: Graph, work: _Work, evidence: Evidence) -> _Step:
    """All layers have the same names, but for a prefix that all of theirs share."""
    prefix = _shared_prefix(work.theirs)
    for cut in ("", prefix):
        named = {layer.name.removeprefix(cut): layer for layer in work.theirs}
        wanted = [layer for layer in work.ours.layers if not _may_miss(work, layer, named)]
        if all(layer.name in named for layer in wanted):
            return _named(graph, work, named, wanted)
    return Report(graph.name), None


def _shared_prefix(layers: Sequence[Layer]) -> str:
    """`module.model.` where all names begin so."""
    paths = [layer.name.split(".")[:-1] for layer in layers]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _may_miss(work: _Work, layer: Layer, named: Mapping[str, Layer]) -> bool:
    return layer.name in work.ours.training and layer.name not in named


def _named(graph: Graph, work: _Work, named: Mapping[str, Layer], wanted: Sequence[Layer]) -> _Step:
    wrong = [layer for layer in wanted if named[layer.name].squeezed != layer.squeezed]
    if wrong:
        found, shown = [named[layer.name] for layer in wrong], listed(wrong)
        problem = f"all names agree, but the file holds {listed(found)} where {graph.name} has {shown}"
        help_ = "are these the weights of another variant? a head for other classes can start anew: --fresh"
        return Report(graph.name, problem=problem, help=help_, missing=tuple(layer.name for layer in wrong)), None
    pairs = [(layer, named[layer.name], "all names agree") for layer in wanted]
    done = _with(work, [(a, b, _decision(a, b, "name", why)) for a, b, why in pairs])
    return _finished(graph, done)


def _with(work: _Work, made: Sequence[tuple[Layer, Layer, Decision]]) -> _Work:
    """The work with decisions made; layers that exist in training only and are not in the file start fresh."""
    ours = work.ours.without(a.name for a, _, _ in made)
    used = {b.name for _, b, _ in made}
    left = tuple(layer for layer in work.theirs if layer.name not in used)
    rest = replace(work, ours=ours, theirs=left, decided=work.decided + tuple(made))
    training = [layer for layer in ours.layers if layer.name in ours.training]
    return _freshened(rest, training, "it exists in training only, and the file has it not")


def _finished(graph: Graph, work: _Work) -> _Step:
    """Nothing may be left over on either side."""
    unused, missing = work.theirs, work.ours.layers
    report = _report(graph, work)
    if not unused and not missing:
        return report, work
    problem = f"nothing of {graph.name} takes {listed(unused)}" if unused else f"the file has no {listed(missing)}"
    help_ = "leave layers of the file out with --ignore PATTERN, if the network is the same without them"
    return replace(report, problem=problem, help=help_), None


def _report(graph: Graph, work: _Work) -> Report:
    order = {layer.name: i for i, layer in enumerate(of_graph(graph).layers)}
    decisions = sorted([*(d for _, _, d in work.decided), *work.fresh], key=lambda d: order[d.ours])
    unused, missing = (tuple(layer.name for layer in layers) for layers in (work.theirs, work.ours.layers))
    return Report(graph.name, tuple(decisions), unused, missing, assumed=assumptions(graph))


def _by_structure(graph: Graph, work: _Work, evidence: Evidence) -> _Step:
    squeezed = _collection(work.ours.layers, False) != _collection(work.theirs, False)
    counted = _countable(work, squeezed)
    if counted is None:
        return _of_another(graph, work), None
    if not counted.ours.layers:
        return _finished(graph, counted)
    try:
        found = _aligned(counted, evidence, squeezed)
    except Misfit as misfit:
        return _misfit(graph, counted, misfit), None
    made = [(p.ours, p.theirs, _decision(p.ours, p.theirs, _HOW.get(p.how, p.how), p.why)) for p in found.pairs]
    done = _with(counted, made)
    if found.ambiguities:
        return _ambiguous(graph, done, found.ambiguities), None
    return _finished(graph, done)


_HOW = {"name": "called"}


def _collection(layers: Iterable[Layer], squeezed: bool) -> Counter[Kind]:
    return Counter(layer.squeezed if squeezed else layer.kind for layer in layers)


def _countable(work: _Work, squeezed: bool) -> _Work | None:
    """The work where both sides have the same layers, perhaps without those of training; None where they have not."""
    for some in (work, _freshened(work, _training(work), "it exists in training only, and the file has it not")):
        if _collection(some.ours.layers, squeezed) == _collection(some.theirs, squeezed):
            return some
    return None


def _training(work: _Work) -> list[Layer]:
    return [layer for layer in work.ours.layers if layer.name in work.ours.training]


def _aligned(work: _Work, evidence: Evidence, squeezed: bool) -> Alignment:
    """The first of three readings of the file's tree that fits."""
    tree = grown(work.theirs)
    readings: list[Part] = [paired(tree), tree] if evidence.file_order else [tree]
    readings += [opened(tree)]
    failed: list[Misfit] = []
    for reading in readings:
        try:
            return align(reading, work.ours, evidence, squeezed)
        except Misfit as misfit:
            failed.append(misfit)
    raise failed[0]


def _of_another(graph: Graph, work: _Work) -> Report:
    """The two sides have not the same layers."""
    ours, theirs = _collection(work.ours.layers, True), _collection(work.theirs, True)
    missing, unused = _surplus(work.ours.layers, ours - theirs), _surplus(work.theirs, theirs - ours)
    parts = [f"the file has no {listed(missing)}"] if missing else []
    parts += [f"nothing of {graph.name} takes {listed(unused)}"] if unused else []
    return Report(
        graph.name,
        unused=tuple(layer.name for layer in unused),
        missing=tuple(layer.name for layer in missing),
        problem="; ".join(parts),
        help=_VARIANT if missing else _IGNORE,
    )


_IGNORE = "if the network is the same without them, leave them out with --ignore PATTERN"
_VARIANT = "is it another variant, or another number of classes? layers can start anew with --fresh PATTERN"


def _surplus(layers: Iterable[Layer], kinds: Counter[Kind]) -> list[Layer]:
    """The layers of these kinds."""
    return [layer for layer in layers if kinds[layer.squeezed] > 0]


def _misfit(graph: Graph, work: _Work, misfit: Misfit) -> Report:
    where = f"`{misfit.path}`" if misfit.path else "the file"
    problem = f"the layers are the same, but no order of the parts of {where} is that in which {graph.name} runs"
    return replace(_report(graph, work), problem=problem, help=_MAP)


_MAP = "say which module is which in a file of lines `ours = theirs`, and give it with --map"


def _ambiguous(graph: Graph, work: _Work, ambiguities: Sequence[Ambiguity]) -> Report:
    first, more = ambiguities[0], len(ambiguities) - 1
    which = f"{_told(first.theirs)} may be {_told(first.ours)} in more than one way: {first.why}"
    problem = which + (f" (and {more} more such places)" if more else "")
    return replace(_report(graph, work), problem=problem, help=_TRUST, ambiguous=tuple(ambiguities))


_TRUST = f"{_MAP}; or --trust-order, if the file's modules were registered in the order in which the paper draws them"


def _told(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:4]) + (" ..." if len(names) > 4 else "")


def _weights(graph: Graph, arrays: Mapping[str, Any], work: _Work, options: Options) -> dict[str, Array]:
    """The arrays by our names. Only axes of length 1 are ever added or taken away."""
    found: dict[str, Array] = {}
    shapes = {name: param.shape for name, param in weights.specs(graph).items()}
    for ours, theirs, _ in work.decided:
        for (role, name), (other, source) in zip(ours.roles, theirs.roles, strict=True):
            assert role == other
            found[name] = np.asarray(arrays[source], np.float32).reshape(shapes[name])
    if work.fresh:
        fresh = weights.initial(graph, options.seed)
        found |= {name: value for name, value in fresh.items() if name not in found}
    return weights.checked(graph, found, "the checkpoint")


__all__ = ["Options", "Pair", "convert", "mapping"]
