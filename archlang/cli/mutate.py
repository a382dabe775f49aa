"""`archlang mutate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, table
from archlang.cli.common import emit_json, json_option, load_net, net_options, title
from archlang.files import write_whole

if TYPE_CHECKING:
    from archlang.net import Net
    from archlang.search.mutations import Series


@click.command(
    epilog="For example: `archlang mutate zoo:mobilenet_v2` shows what can be mutated; with `-n 10 -o mutants` it "
    "writes ten mutants; `--only kernel,swap` allows these two kinds alone."
)
@net_options
@click.option("-n", "count", type=click.IntRange(1), help="How many mutants to make; without it, show what can be.")
@click.option(
    "--steps", default=1, show_default=True, type=click.IntRange(1), help="Mutations of each, one after another."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--only", metavar="KIND,...", default="", shell_complete=complete.mutations, help="Mutations to draw from."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write .arch files."
)
@json_option
def command(
    spec: str,
    net: str | None,
    overrides: dict[str, str],
    count: int | None,
    steps: int,
    seed: int,
    only: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Mutate a network: other kernels, widths, blocks, skips, each a small rewrite of its source.

    A mutant is an .arch file that checks, with the same inputs and outputs; its first line says what was done.
    """
    from archlang.search.mutations import Series, known, ordinary

    kinds = known([kind.strip() for kind in only.split(",") if kind.strip()])
    found = load_net(spec, net, overrides)
    series = Series(ordinary(found.value, found.args), kinds, seed, steps)
    if count is None and output is None:
        _show_kinds(found, series, as_json)
        return
    _show_mutants(found, series, spec, count or 1, output, as_json)


def _show_kinds(net: Net, series: Series, as_json: bool) -> None:
    rows = [
        {"kind": kind, "sites": len(sites), "rewrites": sum(len(site.rewrites) for site in sites),
         "example": sites[0].rewrites[0].story if sites else ""}
        for kind, sites in series.sites().items()
    ]  # fmt: skip
    if as_json:
        emit_json({"net": title(net), "mutations": rows})
        return
    cells = [tuple(row.values()) for row in rows]
    table.show(table.Table(("mutation", "sites", "rewrites", "such as"), cells, whole=("mutation",)))
    click.echo("not every rewrite fits: `-n` makes those that do")


def _show_mutants(net: Net, series: Series, spec: str, count: int, output: Path | None, as_json: bool) -> None:
    from archlang.cost import cost
    from archlang.search.program_space import named

    before = cost(net.graph).total
    rows: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        mutant = series.mutant(number)
        name = f"{net.name}_{number:03d}"
        total = cost(mutant.graph).total
        file = None if output is None else output / f"{name}.arch"
        if file is not None:
            header = [f"mutant of {' '.join(spec.split())}: {mutant.story}"]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, named(mutant.text, name, header))
        rows.append({"file": None if file is None else str(file), "kind": mutant.kind, "story": mutant.story,
                     "params": total.params, "macs": total.macs, "digest": mutant.graph.digest})  # fmt: skip
    if as_json:
        emit_json({"net": title(net), "params": before.params, "macs": before.macs, "mutants": rows})
        return
    first = (title(net), before.params, before.macs)
    table.show(
        table.Table(
            ("mutant", "params", "macs", "file") if output else ("mutant", "params", "macs"),
            [first + ("",) * bool(output), *(_cells(row) for row in rows)],
        )
    )


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    cells = (row["story"], row["params"], row["macs"])
    return cells if row["file"] is None else (*cells, row["file"])
