"""`archlang compile SPEC --to TARGET`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang import backend
from archlang.cli import table
from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title
from archlang.errors import nearest
from archlang.files import write_whole

if TYPE_CHECKING:
    from archlang.ir.graph import Graph
    from archlang.net import Net


@dataclass(frozen=True)
class Options:
    """What to make of the network, as given on the command line."""

    target: str
    out: Path | None
    weights: Path | None
    quantize: str
    calibration: Path | None
    seed: int


def _known_target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    known = backend.names()
    if value not in known:
        raise click.BadParameter(f"there is no backend `{value}`; {nearest(value, known)}")
    return value


_FILE = click.Path(path_type=Path)


@click.command
@net_options
@click.option(
    "--to", "target", required=True, callback=_known_target, help="pytorch, onnx, tflite, or one installed beside them."
)
@click.option("-o", "--out", type=_FILE, help="The file to write; NAME.suffix if not given.")
@click.option("--weights", type=_FILE, help="A .safetensors file, or a .pt / .pth state dict; fresh ones if not given.")
@click.option("--quantize", type=click.Choice(backend.QUANTIZE_MODES), default="none", show_default=True)
@click.option("--calibration", type=_FILE, help="An .npy / .npz of inputs for int8: batch first, channels first.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of fresh weights.")
@json_option
def command(spec: str, net: str | None, overrides: dict[str, str], as_json: bool, **options: Any) -> None:
    """Generate SPEC as a file for a target."""
    backend.get(options["target"])  # imported before the clock starts
    start = time.perf_counter()
    loaded = load_net(spec, net, overrides)
    result = write(loaded, spec, Options(**options))
    result["seconds"] = round(time.perf_counter() - start, 4)
    if as_json:
        emit_json(result)
    else:
        _print(result)


def write(net: Net, spec: str, options: Options) -> dict[str, Any]:
    """Compile and write the file. The fields of the JSON document, but for the time."""
    artifact = backend.compile_graph(net.graph, options.target, _request(net.graph, spec, options))
    out = options.out or Path(_stem(net) + backend.get(options.target).suffix)
    write_whole(out, artifact.data)
    return {
        "net": title(net),
        "target": options.target,
        "output": str(out),
        "bytes": len(artifact.data),
        "params": net.cost().total.params,
        "quantize": options.quantize,
        "ops": dict(artifact.ops),
    }


def _stem(net: Net) -> str:
    """The file's name where none is given: `ResNet_r50` for a variant."""
    name, dot, variant = title(net).partition(".")
    return f"{name}_{variant}" if dot and variant.isidentifier() else net.name


def _request(graph: Graph, spec: str, options: Options) -> backend.Request:
    from archlang import calibration, weights

    arrays = None
    if options.weights is not None:
        arrays = weights.checked(graph, weights.load(options.weights), str(options.weights))
    samples = calibration.load(options.calibration, graph) if options.calibration is not None else None
    return backend.Request(arrays, options.quantize, samples, options.seed, spec)


def _print(result: dict[str, Any]) -> None:
    size, seconds = bytes_text(result["bytes"]), result["seconds"]
    click.echo(f"wrote {result['output']}: {size} in {seconds:.2f} s ({result['params']:,} parameters)")
    if result["ops"]:
        rows = sorted(result["ops"].items(), key=lambda item: (-item[1], item[0]))
        table.show(table.Table(("operator", "count"), rows, ("total", sum(result["ops"].values()))))
