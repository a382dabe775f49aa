"""A network's cost in lines: by layer, block, stage or op, with equal repeats folded into one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from archlang.cost import NetCost
from archlang.ir.graph import Graph, op_text
from archlang.ops.base import Cost, Op
from archlang.passes.fuse import fuse


@dataclass(frozen=True)
class Line:
    """A line of the table: `n` layers and what they cost together. activation: bytes of their outputs (float32).

    detail: the ops with all their attributes; reads: the lines that its input comes from. They tell whether two lines
    are equal.
    """

    name: str
    op: str
    output: str
    cost: Cost
    activation: int
    n: int = 1
    detail: str = ""
    reads: tuple[str, ...] = ()


def lines_of(graph: Graph, found: NetCost) -> list[Line]:
    """A line a layer, inputs among them, such that the columns add up to the totals: what exists in training only has
    parameters, and costs nothing else."""
    kept = {node.name for node in found.plain.nodes if not node.op.training_only}
    costs = {layer.name: layer.cost for layer in found.layers}
    lines = []
    for node in graph.nodes:
        spent, size = costs.get(node.name, Cost()), 4 * node.type.size
        if node.name not in kept:
            spent, size = Cost(spent.params), 0
        detail = "" if node.op.training_only else op_text(node.op)
        lines.append(Line(node.name, node.op.name, str(node.type), spent, size, detail=detail))
    return lines


def by_layer(graph: Graph, found: NetCost, fold: bool = True) -> list[Line]:
    """One line for a layer with the norm and the activation behind it, and for repeats that are equal."""
    lines = _with_norms_and_activations(graph, lines_of(graph, found))
    return _folded(graph, lines) if fold else lines


def by_block(graph: Graph, found: NetCost, fold: bool = True) -> list[Line]:
    """One line for each instance of a repeat, and for repeats that are equal; for what is in none, as by stage."""
    lines = _with_norms_and_activations(graph, lines_of(graph, found))
    whole = [replace(line, op="block") for line in _grouped(lines, lambda line: _outermost(graph, line.name))]
    return _folded(graph, whole) if fold else whole


def _outermost(graph: Graph, name: str) -> str:
    """The instance of the outermost repeat that a layer is in, or else the first component of its name."""
    parts = name.split(".")
    paths = (".".join(parts[:i]) for i in range(1, len(parts)))
    repeat = next((path for path in paths if path in graph.scopes and graph.scopes[path].kind == "repeat"), None)
    return parts[0] if repeat is None else f"{repeat}.{_instance(name, repeat)}"


def _folded(graph: Graph, lines: list[Line]) -> list[Line]:
    repeats = [path for path, scope in graph.scopes.items() if scope.kind == "repeat"]
    for path in sorted(repeats, key=lambda path: path.count("."), reverse=True):
        lines = _fold(lines, path)
    return lines


def _with_norms_and_activations(graph: Graph, lines: list[Line]) -> list[Line]:
    named = {line.name: line for line in lines}
    merged = fuse(graph, lambda producer, node: producer.op.name != "input" and _rides(node.op))
    return [
        _joined([named[part.name] for part in (node, *node.fused)], tuple(merged.nodes[j].name for j in node.inputs))
        for node in merged.nodes
    ]


def _rides(op: Op) -> bool:
    return op.elementwise or op.training_only or op.name == "bn"


def _joined(parts: Sequence[Line], reads: tuple[str, ...]) -> Line:
    """A line for a layer and what rides on it."""
    op, detail = " + ".join(part.op for part in parts), " + ".join(part.detail for part in parts)
    cost, activation = total_of(parts)
    return Line(parts[0].name, op, parts[-1].output, cost, activation, 1, detail, reads)


def total_of(lines: Iterable[Line]) -> tuple[Cost, int]:
    """What lines cost together, and the bytes of their activations."""
    total, activation = Cost(), 0
    for line in lines:
        total += line.cost
        activation += line.activation
    return total, activation


@dataclass
class _Run:
    """Equal instances of a repeat, one after the other: their numbers and the lines of the first."""

    numbers: list[str]
    lines: list[Line]


def _fold(lines: list[Line], path: str) -> list[Line]:
    """The numbered instances under `path` (`path.0`, `path.1`, ...), neighbours that are equal made one."""
    folded: list[Line] = []
    runs: list[_Run] = []
    for number, group in groupby(lines, lambda line: _instance(line.name, path)):
        if number is None:
            folded += _flush(runs, path) + list(group)
            runs = []
            continue
        instance = [_inside(line, f"{path}.{number}") for line in group]
        if runs and runs[-1].lines == instance:
            runs[-1].numbers.append(number)
        else:
            runs.append(_Run([number], instance))
    return folded + _flush(runs, path)


def _instance(name: str, path: str) -> str | None:
    """The number of the instance of the repeat at `path` that a layer belongs to."""
    return name[len(path) + 1 :].split(".")[0] if name.startswith(path + ".") else None


def _inside(line: Line, prefix: str) -> Line:
    """The line with names relative to its instance; what comes from outside has no name."""
    reads = tuple(name[len(prefix) :] if _is_in(name, prefix) else "" for name in line.reads)
    return replace(line, name=line.name[len(prefix) :], reads=reads)


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _flush(runs: list[_Run], path: str) -> list[Line]:
    lines = []
    for run in runs:
        prefix = f"{path}.{'-'.join(dict.fromkeys((run.numbers[0], run.numbers[-1])))}"
        lines += [_times(line, prefix, len(run.numbers)) for line in run.lines]
    return lines


def _times(line: Line, prefix: str, count: int) -> Line:
    cost = Cost(line.cost.params * count, line.cost.macs * count, line.cost.flops * count)
    reads = tuple(prefix + name if name else "" for name in line.reads)
    activation, n = line.activation * count, line.n * count
    return replace(line, name=prefix + line.name, cost=cost, activation=activation, n=n, reads=reads)


def by_stage(graph: Graph, found: NetCost, fold: bool = True) -> list[Line]:
    """One line for each part of the net: what the first component of a layer's name stands for."""
    return _grouped(_with_norms_and_activations(graph, lines_of(graph, found)), lambda line: line.name.split(".")[0])


def by_op(graph: Graph, found: NetCost, fold: bool = True) -> list[Line]:
    """One line for each kind of op, the one with most MACs first."""
    lines = _grouped(lines_of(graph, found), lambda line: line.op)
    return sorted(lines, key=lambda line: (-line.cost.macs, -line.cost.flops))


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> list[Line]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    found = []
    for name, group in groups.items():
        detail = "; ".join(line.detail for line in group)
        found.append(Line(name, name, group[-1].output, *total_of(group), len(group), detail))
    return found


LINES: dict[str, Callable[..., list[Line]]] = {
    "layer": by_layer,
    "block": by_block,
    "stage": by_stage,
    "op": by_op,
}
"""What `--by` takes -> the lines, equal repeats folded or not."""
