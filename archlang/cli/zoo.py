"""`archlang zoo`: what ships."""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, table
from archlang.cli.common import coloured_source, emit_json, json_option, stdout_colours
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.catalogue import ZooEntry


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The networks that ship. Without a command: list them."""
    if ctx.invoked_subcommand is None:
        _list("", as_json)


@command.command("list")
@click.argument("pattern", default="")
@json_option
def list_command(pattern: str, as_json: bool) -> None:
    """Every net and variant, with its size; those alone whose SPEC has PATTERN in it (`resnet`, `b?`)."""
    _list(pattern, as_json)


@command.command("show")
@click.argument("name", shell_complete=complete.family)
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Print the source of NAME, a family such as `resnet` (or `zoo:resnet`)."""
    from archlang import catalogue

    path = _path(name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        nets = [entry.spec for entry in catalogue.nets(f"zoo:{path.stem}") if entry.family == path.stem]
        emit_json({"family": path.stem, "reference": catalogue.reference(text), "nets": nets, "text": text})
    else:
        click.echo(coloured_source(text), nl=False)


@command.command("copy")
@click.argument("name", shell_complete=complete.family)
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


def _list(pattern: str, as_json: bool) -> None:
    from archlang import catalogue

    rows = [_row(entry) for entry in catalogue.nets(pattern)]
    if as_json:
        emit_json(rows)
    elif not rows:
        raise fail("E0001", f"nothing in the zoo is called `{pattern}`", help="`archlang zoo` lists all of it")
    else:
        _print_families(rows)


def _print_families(rows: list[dict[str, Any]]) -> None:
    """Each family under its reference; 80 columns are enough but for long references, which are broken."""
    width = max(len(row["spec"]) for row in rows)
    for family, members in groupby(rows, key=lambda row: row["family"]):
        nets = list(members)
        reference = f"{family}: {nets[0]['reference']}" if nets[0]["reference"] else family
        click.echo(click.style(fill(reference, 80, subsequent_indent="    "), bold=True), color=stdout_colours())
        for row in nets:
            sizes = f"{table.short(row['params']):>7} params  {table.short(row['macs']):>7} MACs"
            click.echo(f"  {row['spec']:<{width}}  {sizes}  {_size(row['input'])}")


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
