"""`archlang graph SPEC -o FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title
from archlang.draw import DIRECTIONS, FORMATS, draw
from archlang.files import write_whole


def _known_suffix(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    if value.suffix[1:] not in FORMATS:
        known = ", ".join(f".{suffix}" for suffix in FORMATS)
        raise click.BadParameter(f"the suffix of `{value}` says the format, and must be one of {known}")
    return value


@click.command
@net_options
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    callback=_known_suffix,
    help="The file to write: .svg, .png, .html, .mmd (Mermaid) or .dot.",
)
@click.option("--depth", type=click.IntRange(min=0), default=0, show_default=True, help="Levels of blocks to open.")
@click.option(
    "--direction", type=click.Choice(DIRECTIONS), default=DIRECTIONS[0], show_default=True, help="Which way it runs."
)
@click.option("--expand", is_flag=True, help="Every op: all blocks open, all repeats drawn out.")
@json_option
def command(
    spec: str,
    net: str | None,
    overrides: dict[str, str],
    out: Path,
    depth: int,
    direction: str,
    expand: bool,
    as_json: bool,
) -> None:
    """Draw SPEC. Equal repeats are drawn once with `x 4`, blocks as one box each."""
    loaded = load_net(spec, net, overrides)
    data = draw(loaded.graph, out.suffix[1:], title(loaded), depth, expand, direction)
    write_whole(out, data)
    if as_json:
        emit_json({"net": title(loaded), "output": str(out), "format": out.suffix[1:], "bytes": len(data)})
    else:
        click.echo(f"wrote {out}: {bytes_text(len(data))}")
