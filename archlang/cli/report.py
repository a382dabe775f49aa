"""`archlang report DIR`."""

from __future__ import annotations

from pathlib import Path

import click

from archlang.cli import complete
from archlang.cli.common import bytes_text, emit_json, json_option


@click.command
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path), shell_complete=complete.runs)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; report.html in DIR by default.",
)
@json_option
def command(folder: Path, out: Path | None, as_json: bool) -> None:
    """Write the run in DIR as one HTML page: the front, convergence, decisions, lineage, every candidate.

    The page needs nothing else and asks for nothing. It shows what the run's database holds now: the search may be
    going on, or have been killed.
    """
    from archlang.report import read, write_report

    run = read(folder)
    path = write_report(run, out)
    size = path.stat().st_size
    if as_json:
        emit_json({"output": str(path), "bytes": size, "trials": len(run.trials), "front": len(run.front)})
    else:
        click.echo(f"wrote {path}: {len(run.trials)} candidates, {len(run.front)} on the front, {bytes_text(size)}")
