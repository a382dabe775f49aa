"""`archlang weights`: foreign checkpoints onto a network, and a look into files of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import table
from archlang.cli.common import emit_json, json_option, load_net, net_options, title
from archlang.errors import ArchError, fail
from archlang.files import write_whole

if TYPE_CHECKING:
    from archlang.checkpoint import Report

_FILE = click.Path(path_type=Path)

_HOW = {
    "name": "by name",
    "map": "by the map",
    "only": "by shape and place: no other layer fits there",
    "called": "of several alike, by what they are called",
    "order": "of several alike, by their order",
    "fresh": "fresh, out of nothing in the file",
}
"""A decision's `how` as a person reads it."""


@click.group
def command() -> None:
    """Weights: import a foreign checkpoint, look into a file, compare two."""


@command.command("import")
@click.argument("checkpoint", type=_FILE)
@net_options
@click.option("-o", "--out", type=_FILE, required=True, help="The .safetensors file to write.")
@click.option("--report", type=_FILE, help="A JSON file for every decision; written also where the import is refused.")
@click.option("--map", "map_file", type=_FILE, help="Lines `ours = theirs`: which module takes which module's arrays.")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Leave layers of the file out, such as `aux*`.")
@click.option("--fresh", multiple=True, metavar="PATTERN", help="Layers of the network that start anew.")
@click.option("--trust-order", is_flag=True, help="Take layers of parallel branches in the order of the file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of fresh layers.")
@json_option
def import_command(
    checkpoint: Path, spec: str, net: str | None, overrides: dict[str, str], as_json: bool, **options: Any
) -> None:
    """Write the weights of CHECKPOINT, a .pt, .pth or .safetensors state dict of any origin, as weights of SPEC.

    By name where all names agree; else by shape, structure and order of evaluation. What is ambiguous is refused.
    """
    from archlang import weights
    from archlang.checkpoint import Options, convert, mapping

    loaded = load_net(spec, net, overrides)
    out: Path = options["out"]
    pairs = mapping.load(options["map_file"]) if options["map_file"] else {}
    chosen = Options(pairs, options["ignore"], options["fresh"], options["trust_order"], options["seed"])
    arrays, report = convert(loaded.graph, weights.load(checkpoint), chosen)
    if options["report"]:
        write_whole(options["report"], json.dumps(report.as_json(), indent=2) + "\n")
    if report.problem:
        raise _refused(report, checkpoint)
    weights.save(arrays, out, {"origin": str(checkpoint), "net": title(loaded)})
    if as_json:
        emit_json({"output": str(out), "arrays": len(arrays), **report.as_json()})
    else:
        _print_import(out, report, len(arrays))


def _refused(report: Report, checkpoint: Path) -> ArchError:
    code = "E0610" if report.ambiguous else "E0611"
    return fail(code, f"{checkpoint}: {report.problem}", help=report.help)


def _print_import(out: Path, report: Report, arrays: int) -> None:
    click.echo(f"wrote {out}: {arrays} arrays in {len(report.decisions)} layers")
    for how, count in report.counts.items():
        click.echo(f"  {count:>4} {_HOW[how]}")
    reshaped = sum(decision.reshaped for decision in report.decisions)
    if reshaped:
        click.echo(f"  {reshaped:>4} of them with axes of length 1 added or taken away")
    click.echo(f"no checkpoint says these, so they are those of {report.net}; compare an output with the original:")
    for line in report.assumed:
        click.echo(f"  {line}")


@command.command("show")
@click.argument("file", type=_FILE)
@json_option
def show_command(file: Path, as_json: bool) -> None:
    """The arrays of FILE: shape, mean, standard deviation, range, and how many values are not finite."""
    from archlang import weights

    rows = weights.summary(weights.load(file))
    if as_json:
        emit_json({"file": str(file), "arrays": rows})
        return
    titles = ("name", "shape", "mean", "deviation", "smallest", "largest")
    lines = [[row["name"], "x".join(map(str, row["shape"])), *(row[key] for key in titles[2:])] for row in rows]
    table.show(table.Table(titles, lines))
    broken = [row["name"] for row in rows if row["not_finite"]]
    click.echo(f"{len(rows)} arrays, {sum(row['size'] for row in rows):,} values")
    if broken:
        click.echo(f"not finite: {', '.join(broken)}")


@command.command("check")
@click.argument("file", type=_FILE)
@net_options
@json_option
def check_command(file: Path, spec: str, net: str | None, overrides: dict[str, str], as_json: bool) -> None:
    """Whether FILE holds exactly the weights of SPEC: every name, every shape, all values finite."""
    from archlang import weights

    loaded = load_net(spec, net, overrides)
    arrays = weights.checked(loaded.graph, weights.load(file), str(file))
    if as_json:
        emit_json({"ok": True, "file": str(file), "net": title(loaded), "arrays": len(arrays)})
    else:
        click.echo(f"ok  {file}: the {len(arrays)} arrays of {title(loaded)}")


@command.command("diff")
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@json_option
def diff_command(before: Path, after: Path, as_json: bool) -> None:
    """What differs between two files: arrays that one of them lacks, shapes, and by how much values differ."""
    from archlang import weights

    rows = weights.differences(weights.load(before), weights.load(after))
    if as_json:
        emit_json({"before": str(before), "after": str(after), "equal": not rows, "arrays": rows})
        return
    if not rows:
        click.echo("equal")
        return
    titles = ("name", "change", "difference", "relative")
    lines = [["" if row[title] is None else row[title] for title in titles] for row in rows]
    table.show(table.Table(titles, lines))
