"""`archlang cost SPEC`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from archlang.breakdown import LINES, Line, total_of
from archlang.cli import complete, table
from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title

if TYPE_CHECKING:
    from archlang.cost import LayerCost, NetCost
    from archlang.device.predict import Prediction
    from archlang.net import Net


@click.command
@net_options
@click.option(
    "--by",
    type=click.Choice(["layer", "block", "stage", "op"]),
    default="layer",
    show_default=True,
    help="One line for each.",
)
@click.option("--expand", is_flag=True, help="Every repeat on lines of its own, also where they are equal.")
@click.option("--csv", "style", flag_value="csv", help="The table as CSV.")
@click.option("--md", "style", flag_value="md", help="The table as Markdown.")
@click.option(
    "--device",
    metavar="D",
    shell_complete=complete.latency_tables,
    help="Latency too, as predicted: by a table that `bench --build-table` has written, or by that of a device.",
)
@json_option
def command(
    spec: str,
    net: str | None,
    overrides: dict[str, str],
    by: str,
    expand: bool,
    style: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """What SPEC costs for one input: parameters, multiply-accumulates (MACs), bytes of activations.

    A line may stand for several layers (column n): a convolution with its norm and activation, and equal repeats,
    which are numbered `layer3.1-5`. The bars show the shares of parameters and of MACs.
    """
    loaded = load_net(spec, net, overrides)
    found = loaded.cost()
    latency = None if device is None else _latency(device, loaded)
    if as_json:
        predicted = {} if latency is None else {"latency": {"device": device, **latency.as_json()}}
        emit_json({**document(loaded, found), **predicted})
        return
    _STYLES[style or "terminal"](_table(by, LINES[by](loaded.graph, found, not expand)))
    if style is None:
        click.echo(_fill(_summary(loaded, found)))
    if latency is not None:
        click.echo(_fill(f"latency on {device}, predicted: {latency}"), err=style is not None)
        _warn(latency)
    if loaded.lowered.trace:
        click.echo(_fill(_first_of(loaded)), err=style is not None)


def document(net: Net, found: NetCost) -> dict[str, Any]:
    """The document of `--json`. Shapes are lists, channels first, without the batch; `input` and `output` are the
    first ones, `inputs` and `outputs` all of them by name. `open_decisions`: of a space, how many the network of the
    first alternatives has taken; 0 for a net without choices."""
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
        "peak_memory_int8_bytes": found.peak_memory_int8_bytes,
        "open_decisions": len(net.lowered.trace),
        "layers": [_layer(layer) for layer in found.layers],
    }


def _layer(layer: LayerCost) -> dict[str, Any]:
    sizes = {"params": layer.cost.params, "macs": layer.cost.macs, "flops": layer.cost.flops}
    return {"name": layer.name, "op": layer.op, "output": list(layer.output.shape), **sizes}


def _table(by: str, lines: list[Line]) -> table.Table:
    titles, cells = _COLUMNS[by]
    rows = [(*cells(line), line.n, line.cost.params, line.cost.macs, line.activation) for line in lines]
    blank = [""] * (len(titles) - 1)
    total, activation = total_of(lines)
    totals = ("total", *blank, sum(line.n for line in lines), total.params, total.macs, activation)
    figures = ("n", "params", "MACs", _ACTIVATIONS)
    return table.Table((*titles, *figures), rows, totals, "", _SHARES, (_ACTIVATIONS, "op"), ("output",))


_ACTIVATIONS = "activation bytes"
_SHARES = ("params", "MACs")

_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Line], tuple[str, ...]]]] = {
    "layer": (("layer", "op", "output"), lambda line: (line.name, line.op, line.output)),
    "block": (("block", "output"), lambda line: (line.name, line.output)),
    "stage": (("stage", "output"), lambda line: (line.name, line.output)),
    "op": (("op",), lambda line: (line.op,)),
}

_STYLES: dict[str, Callable[[table.Table], None]] = {
    "terminal": table.show,
    "csv": lambda rows: click.echo(table.comma_separated(rows)),
    "md": lambda rows: click.echo(table.markdown(rows)),
}


def _latency(device: str, net: Net) -> Prediction:
    from archlang.device.predict import table as tables

    return tables.find(device).model.predict(net.graph)


def _warn(latency: Prediction) -> None:
    if latency.outside:
        others = f" and {len(latency.outside) - 1} more" if len(latency.outside) > 1 else ""
        click.echo(_fill(f"larger or smaller than all that was measured: {latency.outside[0]}{others}"), err=True)


def _summary(net: Net, found: NetCost) -> str:
    total = found.total
    return (
        f"{title(net)}: {total.params:,} parameters, {total.macs:,} MACs, {total.flops:,} FLOPs, activations of "
        f"{_bytes(found.peak_memory_bytes)} at most at once in float32, "
        f"{_bytes(found.peak_memory_int8_bytes)} in int8"
    )


def _bytes(count: int) -> str:
    return bytes_text(count).replace(" ", "\N{NO-BREAK SPACE}")


def _first_of(net: Net) -> str:
    """What the figures of a space are those of."""
    count = len(net.lowered.trace)
    taken = "the first alternative of its decision" if count == 1 else f"the first alternatives of {count} decisions"
    return f"{title(net)} is a space: this is the network of {taken}. `archlang check` tells the size of the space."


def _fill(text: str) -> str:
    width = table.terminal_width()
    if width is not None:
        text = textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)
    return text.replace("\N{NO-BREAK SPACE}", " ")
