"""`archlang bench SPEC|FILE`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
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
    from archlang.net import Net


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
    "--patience",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    metavar="SECS",
    help="So long to wait, in all, for a machine that is slower than usual to be undisturbed.",
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
@click.option(
    "--runtime",
    default="tflite",
    show_default=True,
    metavar="R",
    help="What runs a SPEC: tflite, onnx or torch (the generated module). Several, with commas, one after the other.",
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
    patience: float,
    reference: str,
    cache_folder: Path | None,
    no_cache: bool,
    quantize: str,
    runtime: str,
    as_json: bool,
    **tables: Any,
) -> None:
    """Latency of a .tflite or .onnx file, or of SPEC, which is compiled with fresh weights first, to TFLite unless
    --runtime says otherwise.

    Several processes each warm up, then run until both --runs and --min-secs are reached, and again where that was too
    noisy, in turns with a reference model; while that is slower than usual, they wait (--patience). The median counts;
    p10, p90 and the interquartile range tell how far to trust it. A result that is calm is kept, and found again for
    the same model, device, runtime and threads.

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
        "patience_secs": patience,
    }
    options |= {"cache": _cache(cache_folder, no_cache), "compare": None if reference == "none" else reference}
    with tempfile.TemporaryDirectory(prefix="archlang-") as folder, bench_progress(device) as told:
        found = [
            Found(subject, name, result)
            for subject in _subjects(spec, net, overrides, quantize, runtime, Path(folder))
            for name, result in several.at_once(
                device.split(","), partial(_measure, subject.model, graph=subject.graph, told=told, **options)
            ).items()
        ]
    if as_json:
        documents = [_document(each) for each in found]
        emit_json(documents[0] if len(documents) == 1 else documents)
    else:
        _show_all(found)
    if any(isinstance(each.result, OutsideError) for each in found):
        ctx.exit(OUTSIDE)


@dataclass(frozen=True)
class Subject:
    """A file to be measured, what it is in words, and the network that it was made from, where that is known."""

    model: Path
    words: str
    graph: Graph | None


@dataclass(frozen=True)
class Found:
    """What one device told."""

    subject: Subject
    device: str
    result: BenchResult | Estimate | OutsideError


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


def _document(found: Found) -> dict[str, Any]:
    named = {"device": found.device, "measured": found.subject.words}
    if isinstance(found.result, OutsideError):
        return {**named, "error": str(found.result)}
    profile = bench_profile.as_json(found.result, found.subject.graph)
    return {**found.result.as_json(), **profile, **named}


def _subjects(
    spec: str, net: str | None, overrides: dict[str, Any], quantize: str, runtimes: str, folder: Path
) -> list[Subject]:
    """The file that is given, or those that a SPEC is compiled to. Raises UsageError."""
    if Path(spec).suffix in (".tflite", ".onnx"):
        if net is not None or overrides or quantize != "none" or runtimes != "tflite":
            raise click.UsageError(
                "--net, --set, --quantize and --runtime are for a SPEC that is compiled, not for a file"
            )
        return [Subject(Path(spec), spec, _origin(Path(spec)))]
    names = list(dict.fromkeys(name.strip() for name in runtimes.split(",")))
    unknown = [name for name in names if name not in _COMPILED]
    if unknown:
        raise click.UsageError(f"--runtime {unknown[0]}: it is one of {', '.join(_COMPILED)}, or several with commas")
    if quantize != "none" and names != ["tflite"]:
        raise click.UsageError("--quantize is for --runtime tflite: the others are measured in float32")
    loaded = load_net(spec, net, overrides)
    return [
        Subject(
            make(loaded, quantize, folder), f"{spec} as {words.format(_NUMBERS[quantize])}, fresh weights", loaded.graph
        )
        for words, make in map(_COMPILED.__getitem__, names)
    ]


def _tflite(net: Net, quantize: str, folder: Path) -> Path:
    net.to_tflite(path := folder / f"{net.name}.tflite", quantize=quantize, verify=False)
    return path


def _onnx(net: Net, quantize: str, folder: Path) -> Path:
    net.to_onnx(path := folder / f"{net.name}.onnx")
    return path


def _torch(net: Net, quantize: str, folder: Path) -> Path:
    from archlang.device import torch_file

    torch_file.write(net.graph, net.name, path := folder / f"{net.name}{torch_file.SUFFIX}")
    return path


_COMPILED: dict[str, tuple[str, Callable[[Net, str, Path], Path]]] = {
    "tflite": ("{} TFLite", _tflite),
    "onnx": ("{} ONNX", _onnx),
    "torch": ("{} PyTorch, eager", _torch),
}
"""Runtime -> what a SPEC becomes for it, and how."""

_NUMBERS = {"none": "float32", "int8": "int8"}


def _origin(path: Path) -> Graph | None:
    from archlang.device.measure import origin

    return origin(path.read_bytes()) if path.suffix == ".tflite" and path.is_file() else None


def _show_all(found: list[Found]) -> None:
    words = ""
    for each in found:
        if each.subject.words != words:
            words = each.subject.words
            click.echo(words)
        _show(each)


def _show(found: Found) -> None:
    from archlang.device.estimate import Estimate

    if isinstance(found.result, OutsideError):
        click.echo(f"error: {found.result}", err=True)
    elif isinstance(found.result, Estimate):
        show_estimate(found.device, found.result)
    else:
        _show_result(found.result)
        bench_profile.show_profile(found.result, found.subject.graph)


def _show_result(result: BenchResult) -> None:
    click.echo(result)
    if result.reference is not None and result.ratio is not None:
        compared = result.reference
        click.echo(f"{result.ratio:.3f} times {compared.name} reference model, which took {compared.median_ms:.3f} ms")
    if result.cached:
        click.echo("from the cache: --no-cache measures anew")
    if result.waited_secs >= 1:
        click.echo(f"waited {result.waited_secs:.0f} s for the device to be undisturbed", err=True)
    if result.corrected and result.reference is not None:
        slower = result.raw_median_ms / result.median_ms
        click.echo(
            f"the device was {slower:.2f} times slower than usual, as the reference shows: "
            f"{result.raw_median_ms:.3f} ms were measured, and roughly corrected by that",
            err=True,
        )
    elif result.noisy:
        click.echo("the interquartile range is over a tenth of the median: is the machine busy?", err=True)
