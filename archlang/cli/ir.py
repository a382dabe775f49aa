"""`archlang ir SPEC`."""

from __future__ import annotations

import click

from archlang.cli.common import emit_json, json_option, load_net, net_options, title
from archlang.errors import nearest


def _known_passes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    from archlang.passes import PASSES

    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if name not in PASSES:
            raise click.BadParameter(f"there is no pass `{name}`; {nearest(name, PASSES)}")
    return names


@click.command
@net_options
@click.option("--passes", default="", callback=_known_passes, metavar="A,B", help="Passes to run first, in this order.")
@json_option
def command(spec: str, net: str | None, overrides: dict[str, str], passes: tuple[str, ...], as_json: bool) -> None:
    """Print the flat graph of SPEC as text, before or after passes."""
    from archlang.ir import print_graph
    from archlang.passes import PASSES, run

    loaded = load_net(spec, net, overrides)
    graph = run(loaded.graph, [PASSES[name] for name in passes])
    text = print_graph(graph)
    if as_json:
        emit_json({"net": title(loaded), "passes": list(passes), "digest": graph.digest, "text": text})
    else:
        click.echo(text, nl=False)
