"""`archlang zoo`: what ships."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import table
from archlang.cli.common import emit_json, json_option
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.catalogue import ZooEntry


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The networks that ship. Without a command: list them."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Every net and variant, with its size."""
    _list(as_json)


@command.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Print the source of NAME, a family such as `resnet` (or `zoo:resnet`)."""
    path = _path(name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        emit_json({"family": path.stem, "text": text})
    else:
        click.echo(text, nl=False)


@command.command("copy")
@click.argument("name")
@click.argument("to", required=False, type=click.Path(path_type=Path))
@json_option
def copy_command(name: str, to: Path | None, as_json: bool) -> None:
    """Copy the source of NAME here, or to TO, as a start for a file of your own."""
    source = _path(name)
    target = to or Path(source.name)
    if target.is_dir():
        target /= source.name
    if target.exists():
        raise fail("E0608", f"{target} exists already", help="give another name, or remove it first")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise fail("E0608", f"cannot write {target}: {error.strerror}") from error
    if as_json:
        emit_json({"family": source.stem, "file": str(target)})
    else:
        click.echo(f"wrote {target}")


def _path(name: str) -> Path:
    from archlang import catalogue

    return catalogue.path(name.removeprefix("zoo:").split(":")[0])


def _list(as_json: bool) -> None:
    from archlang import catalogue

    rows = [_row(entry) for entry in catalogue.nets()]
    if as_json:
        emit_json(rows)
        return
    titles = ("spec", "params", "macs", "input", "reference")
    lines = [[_size(row[title]) if title == "input" else row[title] for title in titles] for row in rows]
    table.show(table.Table(titles, lines))


def _size(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _row(entry: ZooEntry) -> dict[str, Any]:
    total = entry.net.cost().total
    graph = entry.net.graph
    return {
        "spec": entry.spec,
        "family": entry.family,
        "params": total.params,
        "macs": total.macs,
        "input": list(graph.nodes[graph.inputs[0]].type.shape),
        "reference": entry.reference,
    }
