"""`archlang diff A B`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import table
from archlang.cli.common import emit_json, json_option, load_net, set_option, title
from archlang.diff import Change, Difference, Figure, Layer, diff

if TYPE_CHECKING:
    from archlang.net import Net


@click.command
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@set_option
@json_option
def command(before: str, after: str, overrides: dict[str, str], as_json: bool) -> None:
    """What changed from network A to network B: source, cost, layers.

    --set applies to both. The exit code is 0 whether they differ or not.
    """
    one, two = load_net(before, None, overrides), load_net(after, None, overrides)
    found = diff(one, two)
    if as_json:
        emit_json(document(one, two, found))
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
        click.secho(line, fg=_COLOURS.get(line[:1]), bold=line.startswith(("---", "+++")))
    if found.source:
        click.echo()
    rows = [(figure.name.replace("_", " "), figure.before, figure.after, _percent(figure)) for figure in found.cost]
    table.show(table.Table(("cost", title(one), title(two), "change"), rows))
    click.echo()
    if found.layers:
        table.show(table.Table(("", f"layers of {title(one)}", "", f"layers of {title(two)}", ""), _rows(found)))
    click.echo(_summary(found))


_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def _percent(figure: Figure) -> str:
    return "new" if figure.change is None else f"{figure.change:+.2f} %"


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _rows(found: Difference) -> list[tuple[str, ...]]:
    return [(_SIGNS[change.kind], *_cells(change.before), *_cells(change.after)) for change in found.layers]


def _cells(layer: Layer | None) -> tuple[str, str]:
    return (layer.name, f"{layer.op} : {layer.output}") if layer else ("", "")


def _summary(found: Difference) -> str:
    if found.equal:
        return f"the same network: {found.unchanged} layers"
    kinds = [change.kind for change in found.layers]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in _SIGNS)
    wired = "" if found.layers else "; the layers are the same, their wiring is not"
    return f"layers: {counts}, {found.unchanged} unchanged{wired}"
