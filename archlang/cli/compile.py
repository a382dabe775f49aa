"""`archlang compile SPEC --to TARGET`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang import backend
from archlang.cli import complete, table
from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title
from archlang.cli.images import pixel_options
from archlang.errors import nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    crops: int | None
    seed: int
    opset: int | None
    batch: int | None
    keep_bn: bool
    init: str
    zero_init: bool
    via: str | None


def _known_target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    known = backend.names()
    if value not in known:
        raise click.BadParameter(f"there is no backend `{value}`; {nearest(value, known)}")
    return value


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "dynamic":
        return None
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 2**31:
        raise click.BadParameter(f"`{value}` is neither a number of inputs nor `dynamic`")
    return int(value)


_FILE = click.Path(path_type=Path)


@click.command
@net_options
@click.option(
    "--to",
    "target",
    required=True,
    callback=_known_target,
    shell_complete=complete.backends,
    help="pytorch, keras, onnx, tflite, or one installed beside them.",
)
@click.option("-o", "--out", type=_FILE, help="The file to write; NAME.suffix if not given.")
@click.option("--weights", type=_FILE, help="A .safetensors file, or a .pt / .pth state dict; fresh ones if not given.")
@click.option("--quantize", type=click.Choice(backend.QUANTIZE_MODES), default="none", show_default=True)
@click.option(
    "--calibration",
    type=_FILE,
    help="For int8: an .npy / .npz of inputs, batch and channels first; or images, in a folder.",
)
@pixel_options
@click.option(
    "--crops", type=click.IntRange(min=1), help="Cuts of each calibration image: the middle, then random ones."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of fresh weights.")
@click.option("--opset", type=int, help="ONNX: the version of its operators, 17 and later; 17 if not given.")
@click.option("--batch", callback=_batch_size, default="dynamic", metavar="N", help="ONNX: `dynamic`, or a fixed size.")
@click.option("--keep-bn", is_flag=True, help="ONNX: BatchNorms stay nodes, and are not multiplied into convolutions.")
@click.option("--init", type=click.Choice(backend.INITIALISATIONS), default="paper", help="PyTorch: fresh weights.")
@click.option("--zero-init", is_flag=True, help="PyTorch: the last BatchNorm of a residual branch starts at 0.")
@click.option("--via", type=click.Choice(["tensorflow"]), help="TFLite: by TensorFlow's own converter.")
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
    out = options.out or Path(_stem(net) + backend.get(options.target).suffix)
    artifact = backend.compile_graph(net.graph, options.target, _request(net.graph, spec, options, out.name))
    size = artifact.write(out)
    return {
        "net": title(net),
        "target": options.target,
        "output": str(out),
        "bytes": size,
        "params": net.cost().total.params,
        "quantize": options.quantize,
        "ops": dict(artifact.ops),
    }


def _stem(net: Net) -> str:
    """The file's name where none is given: `ResNet_r50` for a variant."""
    name, dot, variant = title(net).partition(".")
    return f"{name}_{variant}" if dot and variant.isidentifier() else net.name


def _request(graph: Graph, spec: str, options: Options, file: str) -> backend.Request:
    from archlang import weights

    arrays = None
    if options.weights is not None:
        arrays = weights.checked(graph, weights.load(options.weights), str(options.weights))
    samples = _samples(graph, options)
    special = {name: getattr(options, name) for name in backend.OPTIONS}
    return backend.Request(arrays, options.quantize, samples, options.seed, spec, file, **special)


def _samples(graph: Graph, options: Options) -> NDArray[np.float32] | None:
    """The calibration inputs: an array as it is, images cut and normalised."""
    from archlang import calibration, images

    path, chosen = options.calibration, (options.mean, options.std, options.crops)
    if path is None or path.suffix in (".npy", ".npz"):
        if any(value is not None for value in chosen):
            raise click.UsageError("--mean, --std and --crops are for images, so --calibration must name some")
        return calibration.load(path, graph) if path is not None else None
    normalisation = images.Normalisation(options.mean or (0.0,), options.std or (255.0,))
    shape = graph.nodes[graph.inputs[0]].type.shape
    samples = images.inputs(images.found(path), shape, normalisation, options.crops or 1, options.seed)
    return calibration.checked(graph, samples, str(path))


def _print(result: dict[str, Any]) -> None:
    size, seconds = bytes_text(result["bytes"]), result["seconds"]
    click.echo(f"wrote {result['output']}: {size} in {seconds:.2f} s ({result['params']:,} parameters)")
    if result["ops"]:
        rows = sorted(result["ops"].items(), key=lambda item: (-item[1], item[0]))
        table.show(table.Table(("operator", "count"), rows, ("total", sum(result["ops"].values()))))
