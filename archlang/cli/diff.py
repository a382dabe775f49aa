"""`archlang diff A B`."""

from __future__ import annotations

import re
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, table
from archlang.cli.common import echo_diff_line, emit_json, import_path_option, json_option, load_net, set_option, title
from archlang.diff import Change, Difference, Figure, Layer, diff

if TYPE_CHECKING:
    from archlang.net import Net


@click.command
@click.argument("before", metavar="A", shell_complete=complete.spec)
@click.argument("after", metavar="B", shell_complete=complete.spec)
@set_option
@import_path_option
@click.option("--md", "as_markdown", is_flag=True, help="Markdown, for a pull request.")
@json_option
def command(before: str, after: str, overrides: dict[str, str], as_markdown: bool, as_json: bool) -> None:
    """What changed from network A to network B: source, cost, layers.

    --set applies to both. The exit code is 0 whether they differ or not.
    """
    one, two = load_net(before, None, overrides), load_net(after, None, overrides)
    found = diff(one, two)
    if as_json:
        emit_json(document(one, two, found))
    elif as_markdown:
        click.echo(_markdown(one, two, found))
    else:
        _print(one, two, found)


def document(one: Net, two: Net, found: Difference) -> dict[str, Any]:
    """The document of `--json`. `source` is a unified diff; a layer's `before` or `after` is null where it has none."""
    return {
        "before": title(one),
        "after": title(two),
        "equal": found.equal,
        "source": "\n".join(found.source),
        "cost": {figure.name: _figure(figure) for figure in found.cost},
        "layers": [_change(change) for change in found.layers],
        "unchanged_layers": found.unchanged,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    change = figure.change
    percent = None if change is None else round(change, 3)
    return {"before": figure.before, "after": figure.after, "change_percent": percent}


def _change(change: Change) -> dict[str, Any]:
    return {"change": change.kind, **asdict(change)}


def _print(one: Net, two: Net, found: Difference) -> None:
    for line in found.source:
        echo_diff_line(line)
    if found.source:
        click.echo()
    table.show(_cost(one, two, found))
    click.echo()
    if found.layers:
        table.show(_layers(one, two, found))
    click.echo(_summary(found))


def _markdown(one: Net, two: Net, found: Difference) -> str:
    ticks = [len(run) for line in found.source for run in re.findall("`+", line)]
    fence = "`" * (max([2, *ticks]) + 1)  # longer than any in the source
    source = "\n".join([f"{fence}diff", *found.source, fence]) if found.source else ""
    layers = table.markdown(_layers(one, two, found)) if found.layers else ""
    parts = [source, table.markdown(_cost(one, two, found)), layers, _summary(found)]
    return "\n\n".join(part for part in parts if part)


def _cost(one: Net, two: Net, found: Difference) -> table.Table:
    rows = [(figure.name.replace("_", " "), figure.before, figure.after, _percent(figure)) for figure in found.cost]
    return table.Table(("cost", title(one), title(two), "change"), rows)


def _layers(one: Net, two: Net, found: Difference) -> table.Table:
    return table.Table(("", f"layers of {title(one)}", "", f"layers of {title(two)}", ""), _rows(found))


def _percent(figure: Figure) -> str:
    return "new" if figure.change is None else f"{figure.change:+.2f} %"


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _rows(found: Difference) -> list[tuple[str, ...]]:
    """A row a change; an instance of a block that is added or removed is one row."""
    groups = groupby(found.layers, lambda change: (change.kind, _instance(change) or id(change)))
    return [row for _, group in groups for row in _group_rows(list(group))]


def _instance(change: Change) -> str:
    """The block of a layer that only one of the networks has."""
    only = change.before if change.after is None else change.after if change.before is None else None
    return only.block if only else ""


def _group_rows(group: list[Change]) -> list[tuple[str, ...]]:
    sign = _SIGNS[group[0].kind]
    if len(group) == 1:
        return [(sign, *_cells(group[0].before), *_cells(group[0].after))]
    before = [change.before for change in group if change.before]
    after = [change.after for change in group if change.after]
    return [(sign, *_block_cells(before), *_block_cells(after))]


def _block_cells(layers: list[Layer]) -> tuple[str, str]:
    if not layers:
        return "", ""
    ops = ", ".join(layer.op.partition("{")[0] for layer in layers)
    return layers[0].block, f"{ops} : {layers[-1].output}"


def _cells(layer: Layer | None) -> tuple[str, str]:
    return (layer.name, f"{layer.op} : {layer.output}") if layer else ("", "")


def _summary(found: Difference) -> str:
    if found.equal:
        return f"the same network: {found.unchanged} layers"
    kinds = [change.kind for change in found.layers]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in _SIGNS)
    wired = "" if found.layers else "; the layers are the same, their wiring is not"
    return f"layers: {counts}, {found.unchanged} unchanged{wired}"
