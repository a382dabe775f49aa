"""`archlang bench SPEC|FILE`."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import bench_profile, complete, predict
from archlang.cli.bench_progress import bench_progress
from archlang.cli.common import devices_option, emit_json, json_option, load_net, net_options
from archlang.cli.estimates import show_estimate
from archlang.cli.failures import OUTSIDE
from archlang.errors import OutsideError

if TYPE_CHECKING:
    from archlang.device import BenchResult
    from archlang.device.cache import Cache
    from archlang.device.estimate import Estimate
    from archlang.ir.graph import Graph


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
@click.option(
    "--profile", is_flag=True, help="Also the time of each operator, by layer, source line and block, where it is told."
)
@click.option(
    "--processes",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Of the model; the runs are shared out to them.",
)
@click.option(
    "--reference",
    metavar="FILE|none",
    default="own",
    show_default="a small network of archlang's own",
    help="The model that is measured in turns with it, to notice when the device is slower than usual.",
)
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where known latencies are looked up and kept; your own cache folder if not given.",
)
@click.option("--no-cache", is_flag=True, help="Measure anew, and keep nothing.")
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
    processes: int,
    reference: str,
    cache_folder: Path | None,
    no_cache: bool,
    quantize: str,
    as_json: bool,
    **tables: Any,
) -> None:
    """Latency of a .tflite or .onnx file, or of SPEC, which is compiled to TFLite with fresh weights first.

    Several processes each warm up, then run until both --runs and --min-secs are reached, and again where that was too
    noisy, in turns with a reference model. The median counts; p10, p90 and the interquartile range tell how far to
    trust it. A result that is calm is kept, and found again for the same model, device, runtime and threads.

    --build-table measures a sample of --space instead and fits a model, with which `cost --device` and a search predict
    latency; --validate measures networks that the model has not seen.
    """
    if spec is None or predict.asks_for_table(tables):
        predict.run(ctx, spec)
        return
    from archlang.device import several

    options: dict[str, Any] = {
        "threads": threads,
        "runs": runs,
        "min_secs": min_secs,
        "profile": profile,
        "processes": processes,
    }
    options |= {"cache": _cache(cache_folder, no_cache), "compare": None if reference == "none" else reference}
    with tempfile.TemporaryDirectory(prefix="archlang-") as folder, bench_progress(device) as told:
        model, measured, graph = _model(spec, net, overrides, quantize, Path(folder))
        results = several.at_once(device.split(","), partial(_measure, model, graph=graph, told=told, **options))
    if as_json:
        documents = [_document(name, result, measured, graph) for name, result in results.items()]
        emit_json(documents[0] if len(documents) == 1 else documents)
    else:
        click.echo(measured)
        for name, result in results.items():
            _show(name, result, graph)
    if any(isinstance(result, OutsideError) for result in results.values()):
        ctx.exit(OUTSIDE)


def _measure(model: Path, device: str, **options: Any) -> BenchResult | Estimate:
    from archlang.device import bench, several

    return several.estimate(device, model) or bench(model, device=device, **options)


def _cache(folder: Path | None, none: bool) -> Cache | None:
    from archlang.device.cache import Cache

    def note(text: str) -> None:
        click.echo(f"note: {text}", err=True)

    if none:
        return None
    return Cache.of_user(note) if folder is None else Cache(folder, note)


def _document(
    name: str, result: BenchResult | Estimate | OutsideError, measured: str, graph: Graph | None
) -> dict[str, Any]:
    if isinstance(result, OutsideError):
        return {"device": name, "measured": measured, "error": str(result)}
    return {"device": name, **result.as_json(), **bench_profile.as_json(result, graph), "measured": measured}


def _model(
    spec: str, net: str | None, overrides: dict[str, Any], quantize: str, folder: Path
) -> tuple[Path, str, Graph | None]:
    """The file to be measured, what it is in words, and the network that it was made from, where that is known."""
    if Path(spec).suffix in (".tflite", ".onnx"):
        if net is not None or overrides or quantize != "none":
            raise click.UsageError("--net, --set and --quantize are for a SPEC that is compiled, not for a file")
        return Path(spec), spec, _origin(Path(spec))
    loaded = load_net(spec, net, overrides)
    path = folder / f"{loaded.name}.tflite"
    loaded.to_tflite(path, quantize=quantize, verify=False)
    return path, f"{spec} as {'float32' if quantize == 'none' else quantize} TFLite, fresh weights", loaded.graph


def _origin(path: Path) -> Graph | None:
    from archlang.device.measure import origin

    return origin(path.read_bytes()) if path.suffix == ".tflite" and path.is_file() else None


def _show(name: str, result: BenchResult | Estimate | OutsideError, graph: Graph | None) -> None:
    from archlang.device.estimate import Estimate

    if isinstance(result, OutsideError):
        click.echo(f"error: {result}", err=True)
    elif isinstance(result, Estimate):
        show_estimate(name, result)
    else:
        _show_result(result)
        bench_profile.show_profile(result, graph)


def _show_result(result: BenchResult) -> None:
    click.echo(result)
    if result.reference is not None and result.ratio is not None:
        compared = result.reference
        click.echo(f"{result.ratio:.3f} times {compared.name} reference model, which took {compared.median_ms:.3f} ms")
    if result.cached:
        click.echo("from the cache: --no-cache measures anew")
    if result.corrected and result.reference is not None:
        slower = result.raw_median_ms / result.median_ms
        click.echo(
            f"the device was {slower:.2f} times slower than usual, as the reference shows: "
            f"{result.raw_median_ms:.3f} ms were measured, and corrected by that",
            err=True,
        )
    elif result.noisy:
        click.echo("the interquartile range is over a tenth of the median: is the machine busy?", err=True)
