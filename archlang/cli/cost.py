"""`archlang cost SPEC`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import table
from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title
from archlang.ops.base import Cost, Op

if TYPE_CHECKING:
    from archlang.cost import LayerCost, NetCost
    from archlang.ir.graph import Graph
    from archlang.net import Net


@click.command
@net_options
@click.option(
    "--by", type=click.Choice(["layer", "stage", "op"]), default="layer", show_default=True, help="One line for each."
)
@click.option("--csv", "style", flag_value="csv", help="The table as CSV.")
@click.option("--md", "style", flag_value="md", help="The table as Markdown.")
@json_option
def command(spec: str, net: str | None, overrides: dict[str, str], by: str, style: str | None, as_json: bool) -> None:
    """What SPEC costs for one input: parameters, multiply-accumulates (MACs), bytes of activations.

    A line may stand for several layers (column n): a convolution with its norm and activation, and equal repeats.
    """
    loaded = load_net(spec, net, overrides)
    found = loaded.cost()
    if as_json:
        emit_json(document(loaded, found))
        return
    lines = LINES[by](loaded.graph, found)
    _STYLES[style or "terminal"](_table(by, lines))
    if style is None:
        click.echo(_summary(loaded, found))


def document(net: Net, found: NetCost) -> dict[str, Any]:
    """The document of `--json`. Shapes are lists, channels first, without the batch; `input` and `output` are the
    first ones, `inputs` and `outputs` all of them by name."""
    graph = net.graph
    inputs = {graph.nodes[i].name: list(graph.nodes[i].type.shape) for i in graph.inputs}
    outputs = {out.name: list(graph.nodes[out.value].type.shape) for out in graph.outputs if not out.aux}
    return {
        "net": title(net),
        "input": next(iter(inputs.values())),
        "output": next(iter(outputs.values())),
        "inputs": inputs,
        "outputs": outputs,
        "params": found.total.params,
        "macs": found.total.macs,
        "flops": found.total.flops,
        "activation_bytes": found.activation_bytes,
        "peak_memory_bytes": found.peak_memory_bytes,
        "layers": [_layer(layer) for layer in found.layers],
    }


def _layer(layer: LayerCost) -> dict[str, Any]:
    sizes = {"params": layer.cost.params, "macs": layer.cost.macs, "flops": layer.cost.flops}
    return {"name": layer.name, "op": layer.op, "output": list(layer.output.shape), **sizes}


@dataclass(frozen=True)
class Line:
    """A line of the table: `n` layers and what they cost together. activation: bytes of their outputs (float32)."""

    name: str
    op: str
    output: str
    cost: Cost
    activation: int
    n: int = 1


def lines_of(graph: Graph, found: NetCost) -> list[Line]:
    """A line a layer, inputs among them, such that the columns add up to the totals: what exists in training only has
    parameters, and costs nothing else."""
    from archlang.passes import inference

    kept = {node.name for node in inference(graph).nodes}
    costs = {layer.name: layer.cost for layer in found.layers}
    lines = []
    for node in graph.nodes:
        spent = costs.get(node.name, Cost())
        if node.name in kept:
            lines.append(Line(node.name, node.op.name, str(node.type), spent, 4 * node.type.size))
        else:
            lines.append(Line(node.name, node.op.name, str(node.type), Cost(spent.params), 0))
    return lines


def by_layer(graph: Graph, found: NetCost) -> list[Line]:
    """One line for a layer with the norm and the activation behind it, and for repeats that are equal."""
    lines = _with_norms_and_activations(graph, lines_of(graph, found))
    repeats = [path for path, scope in graph.scopes.items() if scope.kind == "repeat"]
    for path in sorted(repeats, key=lambda path: path.count("."), reverse=True):
        lines = _fold(lines, path)
    return lines


def _with_norms_and_activations(graph: Graph, lines: list[Line]) -> list[Line]:
    from archlang.passes.fuse import fuse

    named = {line.name: line for line in lines}
    merged = fuse(graph, lambda producer, node: producer.op.name != "input" and _rides(node.op))
    return [_joined([named[part.name] for part in (node, *node.fused)]) for node in merged.nodes]


def _rides(op: Op) -> bool:
    return op.elementwise or op.training_only or op.name == "bn"


def _joined(parts: Sequence[Line]) -> Line:
    """A line for a layer and what rides on it."""
    op = " + ".join(part.op for part in parts)
    return Line(parts[0].name, op, parts[-1].output, *_sum(parts))


def _sum(lines: Iterable[Line]) -> tuple[Cost, int]:
    total, activation = Cost(), 0
    for line in lines:
        total += line.cost
        activation += line.activation
    return total, activation


def _fold(lines: list[Line], path: str) -> list[Line]:
    """The numbered instances under `path` (`path.0`, `path.1`, ...), neighbours that are equal made one."""
    folded: list[Line] = []
    runs: list[tuple[list[str], list[Line]]] = []
    for number, group in groupby(lines, lambda line: _instance(line.name, path)):
        if number is None:
            folded += _flush(runs, path) + list(group)
            runs = []
            continue
        instance = [replace(line, name=line.name[len(path) + len(number) + 1 :]) for line in group]
        if runs and runs[-1][1] == instance:
            runs[-1][0].append(number)
        else:
            runs.append(([number], instance))
    return folded + _flush(runs, path)


def _instance(name: str, path: str) -> str | None:
    """The number of the instance of the repeat at `path` that a layer belongs to."""
    return name[len(path) + 1 :].split(".")[0] if name.startswith(path + ".") else None


def _flush(runs: list[tuple[list[str], list[Line]]], path: str) -> list[Line]:
    lines = []
    for numbers, instance in runs:
        label = numbers[0] if len(numbers) == 1 else f"{{{numbers[0]}..{numbers[-1]}}}"
        lines += [_times(replace(line, name=f"{path}.{label}{line.name}"), len(numbers)) for line in instance]
    return lines


def _times(line: Line, count: int) -> Line:
    cost = Cost(line.cost.params * count, line.cost.macs * count, line.cost.flops * count)
    return replace(line, cost=cost, activation=line.activation * count, n=line.n * count)


def by_stage(graph: Graph, found: NetCost) -> list[Line]:
    """One line for each part of the net: what the first component of a layer's name stands for."""
    return _grouped(_with_norms_and_activations(graph, lines_of(graph, found)), lambda line: line.name.split(".")[0])


def by_op(graph: Graph, found: NetCost) -> list[Line]:
    """One line for each kind of op, the one with most MACs first."""
    lines = _grouped(lines_of(graph, found), lambda line: line.op)
    return sorted(lines, key=lambda line: (-line.cost.macs, -line.cost.flops))


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> list[Line]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return [Line(name, name, group[-1].output, *_sum(group), len(group)) for name, group in groups.items()]


LINES: dict[str, Callable[[Graph, NetCost], list[Line]]] = {"layer": by_layer, "stage": by_stage, "op": by_op}


def _table(by: str, lines: list[Line]) -> table.Table:
    titles, cells = _COLUMNS[by]
    rows = [(*cells(line), line.n, line.cost.params, line.cost.macs, line.activation) for line in lines]
    blank = [""] * (len(titles) - 1)
    total, activation = _sum(lines)
    totals = ("total", *blank, sum(line.n for line in lines), total.params, total.macs, activation)
    return table.Table((*titles, "n", "params", "MACs", "activation bytes"), rows, totals)


_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Line], tuple[str, ...]]]] = {
    "layer": (("layer", "op", "output"), lambda line: (line.name, line.op, line.output)),
    "stage": (("stage", "output"), lambda line: (line.name, line.output)),
    "op": (("op",), lambda line: (line.op,)),
}

_STYLES: dict[str, Callable[[table.Table], None]] = {
    "terminal": table.show,
    "csv": lambda rows: click.echo(table.comma_separated(rows)),
    "md": lambda rows: click.echo(table.markdown(rows)),
}


def _summary(net: Net, found: NetCost) -> str:
    total, memory = found.total, bytes_text(found.peak_memory_bytes)
    return (
        f"{title(net)}: {total.params:,} parameters, {total.macs:,} MACs, {total.flops:,} FLOPs, "
        f"{memory} of activations at most at once (float32)"
    )
