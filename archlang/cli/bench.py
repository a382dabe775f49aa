"""`archlang bench SPEC|FILE`."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, predict
from archlang.cli.common import devices_option, emit_json, json_option, load_net, net_options
from archlang.cli.estimates import show_estimate
from archlang.cli.failures import OUTSIDE
from archlang.cli.table import Table, show
from archlang.errors import OutsideError

if TYPE_CHECKING:
    from archlang.device import BenchResult
    from archlang.device.estimate import Estimate

_SHOWN_OPS = 20


@click.command
@partial(net_options, spec_required=False)
@click.option(
    "--device",
    default="host",
    show_default=True,
    metavar="D",
    shell_complete=complete.several_devices,
    help="The device; `host` is this machine, devices.toml names others. Several, with commas, measure at once.",
)
@devices_option
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1), help="At least so many runs.")
@click.option(
    "--min-secs", default=1.0, show_default=True, type=click.FloatRange(0, 3600), help="For at least so long."
)
@click.option("--profile", is_flag=True, help="Also the time of each operator, where the runtime tells it.")
@click.option(
    "--quantize",
    type=click.Choice(["none", "int8"]),
    default="none",
    show_default=True,
    help="What a SPEC is compiled to: float32 or int8 TFLite.",
)
@predict.table_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    spec: str | None,
    net: str | None,
    overrides: dict[str, Any],
    device: str,
    threads: int,
    runs: int,
    min_secs: float,
    profile: bool,
    quantize: str,
    as_json: bool,
    **tables: Any,
) -> None:
    """Latency of a .tflite or .onnx file, or of SPEC, which is compiled to TFLite with fresh weights first.

    It warms up, then runs until both --runs and --min-secs are reached, and again where that was too noisy. The median
    counts; p10, p90 and the interquartile range tell how far to trust it.

    --build-table measures a sample of --space instead and fits a model, with which `cost --device` and a search predict
    latency; --validate measures networks that the model has not seen.
    """
    if spec is None or predict.asks_for_table(tables):
        predict.run(ctx, spec)
        return
    from archlang.device import bench, several

    def measure(name: str) -> BenchResult | Estimate:
        return several.estimate(name, model) or bench(model, threads, name, runs, min_secs, profile)

    with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
        model, measured = _model(spec, net, overrides, quantize, Path(folder))
        results = several.at_once(device.split(","), measure)
    if as_json:
        documents = [_document(name, result, measured) for name, result in results.items()]
        emit_json(documents[0] if len(documents) == 1 else documents)
    else:
        click.echo(measured)
        for name, result in results.items():
            _show(name, result)
    if any(isinstance(result, OutsideError) for result in results.values()):
        ctx.exit(OUTSIDE)


def _document(name: str, result: BenchResult | Estimate | OutsideError, measured: str) -> dict[str, Any]:
    if isinstance(result, OutsideError):
        return {"device": name, "measured": measured, "error": str(result)}
    return {"device": name, **result.as_json(), "measured": measured}


def _model(spec: str, net: str | None, overrides: dict[str, Any], quantize: str, folder: Path) -> tuple[Path, str]:
    """The file to be measured, and what it is in words."""
    if Path(spec).suffix in (".tflite", ".onnx"):
        if net is not None or overrides or quantize != "none":
            raise click.UsageError("--net, --set and --quantize are for a SPEC that is compiled, not for a file")
        return Path(spec), spec
    loaded = load_net(spec, net, overrides)
    path = folder / f"{loaded.name}.tflite"
    loaded.to_tflite(path, quantize=quantize, verify=False)
    return path, f"{spec} as {'float32' if quantize == 'none' else quantize} TFLite, fresh weights"


def _show(name: str, result: BenchResult | Estimate | OutsideError) -> None:
    from archlang.device.estimate import Estimate

    if isinstance(result, OutsideError):
        click.echo(f"error: {result}", err=True)
    elif isinstance(result, Estimate):
        show_estimate(name, result)
    else:
        _show_result(result)


def _show_result(result: BenchResult) -> None:
    click.echo(result)
    if result.noisy:
        click.echo("the interquartile range is over a tenth of the median: is the machine busy?", err=True)
    if result.ops is not None:
        ranked = sorted(result.ops, key=lambda op: op.ms, reverse=True)
        rows = [(op.name, op.op, op.ms, f"{op.share:.1%}") for op in ranked[:_SHOWN_OPS]]
        rest = len(ranked) - len(rows)
        click.echo()
        show(Table(("operator", "type", "ms", "share"), rows, caption=f"and {rest} quicker ones" if rest else ""))
