"""`archlang bench SPEC|FILE`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import emit_json, json_option, load_net, net_options
from archlang.cli.table import Table, show

if TYPE_CHECKING:
    from archlang.device import BenchResult

_SHOWN_OPS = 20


@click.command
@net_options
@click.option(
    "--device",
    default="host",
    show_default=True,
    metavar="D",
    shell_complete=complete.devices,
    help="The device; `host` is this machine.",
)
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
@json_option
def command(
    spec: str,
    net: str | None,
    overrides: dict[str, Any],
    device: str,
    threads: int,
    runs: int,
    min_secs: float,
    profile: bool,
    quantize: str,
    as_json: bool,
) -> None:
    """Latency of a .tflite or .onnx file, or of SPEC, which is compiled to TFLite with fresh weights first.

    It warms up, then runs until both --runs and --min-secs are reached, and again where that was too noisy. The median
    counts; p10, p90 and the interquartile range tell how far to trust it.
    """
    from archlang.device import bench

    with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
        model, measured = _model(spec, net, overrides, quantize, Path(folder))
        result = bench(model, threads, device, runs, min_secs, profile)
    if as_json:
        emit_json({**result.as_json(), "measured": measured})
    else:
        _show(result, measured)


def _model(spec: str, net: str | None, overrides: dict[str, Any], quantize: str, folder: Path) -> tuple[Path, str]:
    """The file to be measured, and what it is in words."""
    if Path(spec).suffix in (".tflite", ".onnx"):
        if net is not None or overrides or quantize != "none":
            raise click.UsageError("--net, --set and --quantize are for a SPEC that is compiled, not for a file")
        return Path(spec), spec
    loaded = load_net(spec, net, overrides)
    path = folder / f"{loaded.name}.tflite"
    loaded.to_tflite(path, quantize=quantize)
    return path, f"{spec} as {'float32' if quantize == 'none' else quantize} TFLite, fresh weights"


def _show(result: BenchResult, measured: str) -> None:
    click.echo(f"{measured}\n{result}")
    if result.noisy:
        click.echo("the interquartile range is over a tenth of the median: is the machine busy?", err=True)
    if result.ops is not None:
        ranked = sorted(result.ops, key=lambda op: op.ms, reverse=True)
        rows = [(op.name, op.op, op.ms, f"{op.share:.1%}") for op in ranked[:_SHOWN_OPS]]
        rest = len(ranked) - len(rows)
        click.echo()
        show(Table(("operator", "type", "ms", "share"), rows, caption=f"and {rest} quicker ones" if rest else ""))
