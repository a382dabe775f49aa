"""`archlang scale SPEC`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, scale_grid
from archlang.cli.common import (
    Remembering,
    called,
    console,
    devices_option,
    emit_json,
    json_option,
    load_net,
    net_options,
    title,
)
from archlang.cli.failures import INTERRUPTED
from archlang.cli.scale_budget import Limit
from archlang.cli.table import Table, show

if TYPE_CHECKING:
    from archlang.net import Net
    from archlang.scale.coefficients import Scales
    from archlang.scale.ladder import Meter, Reached
    from archlang.scale.scale import Family, Scaled, Told, Wanted

_DIMENSIONS = ("depth", "width", "resolution")
_BUDGETS = ("flops", "macs", "params", "latency")
_LAST, _LAST_COMPARED = 7, 3


def _mapping(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """`depth=d` for each dimension that the user maps."""
    found = {}
    for pair in pairs:
        dimension, equals, name = pair.partition("=")
        if dimension not in _DIMENSIONS or not equals or not name:
            raise click.BadParameter(f"`{pair}` is not DIMENSION=NAME, with one of {', '.join(_DIMENSIONS)}")
        found[dimension] = name
    return found


@click.command(
    cls=Remembering,
    epilog="For example: `archlang scale zoo:mobilenet_v2 --flops 2x` finds the member with twice the FLOPs, and "
    "writes it with the family around it; `archlang scale zoo:resnet:r50 --compare --plot r50.svg` scales one "
    "dimension at a time, and all together.",
)
@net_options
@click.option("--depth", type=float, metavar="A", help="Coefficient of the repeats; EfficientNet's are 1.2, 1.1, 1.15.")
@click.option("--width", type=float, metavar="B", help="Coefficient of the channels.")
@click.option("--resolution", type=float, metavar="C", help="Coefficient of the sides of the image.")
@click.option("--only", type=click.Choice(_DIMENSIONS), help="Scale one dimension alone.")
@click.option("--compare", is_flag=True, help="Each dimension alone, and all together: a family of each.")
@click.option(
    "--by",
    type=click.Choice(["flops", "macs", "latency", "formula"]),
    default="flops",
    show_default=True,
    help="What doubles from phi to phi + 1; formula: coefficients to the power of phi, whatever that costs.",
)
@click.option("--phi", "last", type=click.IntRange(1, 12), metavar="N", help="The largest phi; 7, or 3 with --compare.")
@click.option("--flops", type=Limit(), metavar="F", help="The largest member within F: 2G, or 2x the original's.")
@click.option("--macs", type=Limit(), metavar="M", help="The largest within so many multiply-accumulates.")
@click.option("--params", type=Limit(), metavar="P", help="The largest within so many parameters.")
@click.option("--latency", type=Limit(), metavar="T", help="The largest within this latency: 30ms, or 2x.")
@click.option(
    "--param", "mapped", multiple=True, callback=_mapping, metavar="D=NAME", help="The net's parameter for a dimension."
)
@click.option("--fix", "fixed", multiple=True, type=click.Choice(_DIMENSIONS), help="A dimension that stays as it is.")
@click.option(
    "--device",
    metavar="D",
    shell_complete=complete.devices,
    help="Where latency is measured, or predicted where the device has a latency table; `host` is this machine.",
)
@devices_option
@click.option(
    "--latency-table",
    metavar="T",
    shell_complete=complete.latency_tables,
    help="Predict latency by this table, a file or a device, and measure none.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="For measuring latency.")
@click.option(
    "--quantize",
    type=click.Choice(["none", "int8"]),
    default="none",
    show_default=True,
    help="What is measured: float32 or int8 TFLite.",
)
@scale_grid.options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The family; NET_scaled.arch if not given.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A drawing: .svg, .html or .png."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, spec: str, net: str | None, overrides: dict[str, str], as_json: bool, **options: Any
) -> None:
    """Scale a network in depth, width and resolution, and write the family as an .arch file with a table of variants.

    The coefficients are given (--depth, --width, --resolution), found by --evaluator in a grid where depth * width**2 *
    resolution**2 is about 2, or EfficientNet's. Members double what --by says. A net without parameters that scale it
    is rewritten so that it has them; its first member is the network itself.
    """
    from archlang.scale.scalable import scalable
    from archlang.scale.scale import Wanted, scaled

    given = {name: options[name] for name in _DIMENSIONS if options[name] is not None}
    _check_usage(options, given)
    found = load_net(spec, net, overrides)
    subject = scalable(found.value, found.args, options["mapped"], options["fixed"])
    grid = None
    methods, meters = _methods(options, given), _meters(options)
    if options["evaluator"] is not None and not options["compare"]:
        grid = scale_grid.search(subject, options, called(ctx))
        _stop_if(ctx, grid.interrupted)
        methods = {"compound": grid.best}
    last = options["last"] or (_LAST_COMPARED if options["compare"] else _LAST)
    wanted = Wanted(methods, options["by"], last, _budgets(options), meters)
    with _live(wanted) as told:
        result = scaled(subject, wanted, told)
    if options["evaluator"] is not None and options["compare"]:
        result, interrupted = scale_grid.evaluate(result, options, called(ctx))
        _stop_if(ctx, interrupted)
    output = options["output"] or Path(f"{subject.net.name}_scaled.arch")
    _write(result, found, output, called(ctx))
    drawn = _plot(result, found, options)
    if as_json:
        document = {**result.as_json(), "spec": spec, "output": str(output), "plot": drawn}
        emit_json({**document, "grid": None if grid is None else grid.as_json()})
        return
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    _show(result, found, grid)
    click.echo(f"wrote {output}" + (f" and {drawn}" if drawn else ""))


def _check_usage(options: Mapping[str, Any], given: Mapping[str, float]) -> None:
    """Raises UsageError for options that do not go together, ArchError E1014 for a plot of no known format."""
    from archlang.device.predict.plot import check_format

    if options["only"] and (given or options["compare"] or options["evaluator"]):
        raise click.UsageError("--only takes neither coefficients, --compare nor --evaluator")
    if options["only"] in options["fixed"]:
        raise click.UsageError(f"--only {options['only']} --fix {options['only']} leaves nothing to scale")
    if given and options["evaluator"] and not options["compare"]:
        raise click.UsageError("--evaluator finds the coefficients, which --depth, --width and --resolution give")
    if clash := [name for name in given if name in options["fixed"]]:
        raise click.UsageError(f"--{clash[0]} and --fix {clash[0]} contradict each other")
    if options["by"] == "latency" and options["device"] is None and options["latency_table"] is None:
        raise click.UsageError("--by latency needs --device D, or --latency-table T")
    if options["latency"] is not None and options["device"] is None and options["latency_table"] is None:
        raise click.UsageError("--latency needs --device D, or --latency-table T")
    if options["plot"] is not None:
        check_format(options["plot"])


def _methods(options: Mapping[str, Any], given: Mapping[str, float]) -> dict[str, Scales]:
    from archlang.scale.scale import methods

    return methods(given, options["only"], options["compare"], options["fixed"])


def _budgets(options: Mapping[str, Any]) -> tuple[Any, ...]:
    from archlang.scale.ladder import Budget

    return tuple(
        Budget(name, options[name].value, options[name].times) for name in _BUDGETS if options[name] is not None
    )


def _meters(options: Mapping[str, Any]) -> dict[str, Meter]:
    """What is told of members: with a device or a table their latency, too."""
    from archlang.device.predict import table
    from archlang.scale import latency
    from archlang.scale.ladder import METERS

    device, known = options["device"], options["latency_table"]
    if device is None and known is None:
        return dict(METERS)
    if known is not None or table.exists(device):
        return {**METERS, "latency": latency.predicted(known or device)}
    from archlang.device.cache import Cache

    cache = Cache.of_user(lambda text: click.echo(f"note: {text}", err=True))
    return {**METERS, "latency": latency.measured(device, options["threads"], options["quantize"], cache)}


@contextmanager
def _live(wanted: Wanted) -> Iterator[Told]:
    """What to call with each figure. Draws on stderr, and on a terminal only, where figures are measured."""
    screen = console(stderr=True)
    if not screen.is_terminal or "latency" not in wanted.meters:
        yield lambda method, exponent, figure: None
        return
    with screen.status("measuring") as status:
        yield lambda method, exponent, figure: status.update(f"{method}, exponent {exponent:.3f}: {figure:.4g}")


def _stop_if(ctx: click.Context, interrupted: bool) -> None:
    if interrupted:
        click.echo(f"stopped; to go on:  {called(ctx)} --resume", err=True)
        ctx.exit(INTERRUPTED)


def _write(result: Scaled, net: Net, output: Path, words: str) -> None:
    from archlang.scale.family import write_family

    header = [f"scaled from {net.spec}: {words}"]
    header += [f"{family.method}: {_coefficients(family)}" for family in result.families]
    write_family(output, result.net, result.members, header)


def _coefficients(family: Family) -> str:
    return f"{family.coefficients}, to the power of {_exponents(family)}"


def _exponents(family: Family) -> str:
    return ", ".join(f"{member.exponent:g}" for member in family.every)


def _plot(result: Scaled, net: Net, options: Mapping[str, Any]) -> str | None:
    """Draw the families: what an evaluator told of them, or else their latency or parameters."""
    if options["plot"] is None:
        return None
    from archlang.scale import plot

    path: Path = options["plot"]
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = [options["maximize"] or "accuracy", "latency", "params"]
    known = result.families[0].members[-1].metrics
    plot.write(result.series(), "flops", next(name for name in wanted if name in known), f"{title(net)}, scaled", path)
    return str(path)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _show(result: Scaled, net: Net, grid: scale_grid.Grid | None) -> None:
    if grid is not None:
        click.echo(f"the best of {grid.count} points: {grid.best} ({grid.metric} {grid.worth:.4g})")
    click.echo(f"{title(net)}, scaled by {_BY[result.wanted.by]}\n")
    for family in result.families:
        click.echo(f"{family.method}: coefficients {family.coefficients}")
        show(_table(result, family))
        for reached in family.reached:
            click.echo(_reached(family, reached))
        click.echo()


_BY = {
    "flops": "FLOPs, which double from phi to phi",
    "macs": "MACs, which double from phi to phi",
    "latency": "latency, which doubles from phi to phi",
    "formula": "the formula: the exponent is phi",
}


_SHOWN_ELSEWHERE = ("params", "macs", "flops", "peak_memory", "flash")


def _table(result: Scaled, family: Family) -> Table:
    metric = result.wanted.meter.name
    base = family.members[0].metrics[metric]
    names = [knob.name for knob in result.net.knobs.values()]
    extra = [name for name in family.every[-1].metrics if name not in _SHOWN_ELSEWHERE]
    titles = ("member", "exponent", *names, "params", "MACs", "FLOPs", *extra, f"{metric} x")
    rows = []
    for member in family.every:
        figures = [round(member.metrics[name]) for name in ("params", "macs", "flops")]
        others = [member.metrics.get(name, "") for name in extra]
        values = [f"{member.arguments[name]:g}" for name in names]
        cells = [member.name, f"{member.exponent:.3f}", *values, *figures, *others, member.metrics[metric] / base]
        rows.append(cells)
    return Table(titles, rows, whole=("member",), optional=("exponent", "FLOPs", "MACs"))


def _reached(family: Family, reached: Reached) -> str:
    """What a budget allows, exactly, and why not more."""
    from archlang.scale.ladder import figure_text

    unit = " ms" if reached.metric == "latency" else ""
    limit, found, beyond = map(figure_text, (reached.limit, reached.reached, reached.beyond))
    return (
        f"{reached.metric} within {limit}{unit}: exponent {reached.exponent:g} reaches {found}{unit} "
        f"({reached.reached / reached.limit:.1%}); the next member would have {beyond}{unit}"
    )
