"""`archlang compile SPEC --to TARGET`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang import backend
from archlang.about import About, read_labels
from archlang.cli import complete, table
from archlang.cli import quantize as quantize_cli
from archlang.cli.common import bytes_text, emit_json, json_option, load_net, net_options, title
from archlang.cli.compile_progress import compile_progress
from archlang.cli.images import pixel_options
from archlang.errors import nearest
from archlang.quantize.options import Range
from archlang.quantize.qat import RANGES, learnt

if TYPE_CHECKING:
    from archlang.calibration import Samples
    from archlang.ir.graph import Graph
    from archlang.net import Net
    from archlang.quantize.report import Report
    from archlang.verify import Verification


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
    labels: Path | None
    seed: int
    opset: int | None
    batch: int | None
    keep_bn: bool
    init: str
    zero_init: bool
    via: str | None
    verify: bool
    io: str | None
    runtime: str | None
    qat: str | None
    observer: str
    equalize: bool
    bias_correction: bool | None
    keep_float: tuple[str, ...]
    report: str | None


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
    help="For int8 and int16x8: an .npy / .npz of inputs, batch and channels first; or images, in a folder.",
)
@pixel_options
@click.option(
    "--crops", type=click.IntRange(min=1), help="Cuts of each calibration image: the middle, then random ones."
)
@click.option("--labels", type=_FILE, help="TFLite, ONNX: a text file with the name of a class on each line.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of fresh weights.")
@click.option("--opset", type=int, help="ONNX: the version of its operators, 17 and later; 17 if not given.")
@click.option("--batch", callback=_batch_size, default="dynamic", metavar="N", help="ONNX: `dynamic`, or a fixed size.")
@click.option("--keep-bn", is_flag=True, help="ONNX: BatchNorms stay nodes, and are not multiplied into convolutions.")
@click.option(
    "--init", type=click.Choice(backend.INITIALISATIONS), default="paper", help="PyTorch, Keras: fresh weights."
)
@click.option("--zero-init", is_flag=True, help="PyTorch, Keras: the last BatchNorm of a residual branch starts at 0.")
@click.option("--via", type=click.Choice(["tensorflow"]), help="TFLite: by TensorFlow's own converter.")
@click.option("--io", type=click.Choice(["float", "int8", "int16"]), help="TFLite: of quantized inputs and outputs.")
@click.option(
    "--runtime",
    type=click.Choice(["litert", "tflite-2.14", "tflite-micro"]),
    help="TFLite: where the file has to run; what that cannot do is refused. LiteRT if not given.",
)
@click.option("--no-verify", "verify", is_flag=True, flag_value=False, default=True, help="Write without a check.")
@quantize_cli.quantize_options
@click.option(
    "--qat",
    is_flag=False,
    flag_value="moving-average",
    type=click.Choice(RANGES),
    help="PyTorch: round in training as int8 does, with ranges that are averaged or learnt.",
)
@json_option
def command(spec: str, net: str | None, overrides: dict[str, str], as_json: bool, **options: Any) -> None:
    """Generate SPEC as a file for a target."""
    backend.get(options["target"])  # imported before the clock starts
    start = time.perf_counter()
    loaded = load_net(spec, net, overrides)
    result, report = write(loaded, spec, Options(**options))
    result["seconds"] = round(time.perf_counter() - start, 4)
    if as_json:
        emit_json(result)
        return
    _print(result)
    if report is not None and not quantize_cli.is_file(options["report"]):
        quantize_cli.show(report)


def write(net: Net, spec: str, options: Options) -> tuple[dict[str, Any], Report | None]:
    """Compile and write the file, and a report that goes to one. The fields of the JSON document, but for the time;
    and the report, where one is asked for."""
    out = options.out or Path(_stem(net) + backend.get(options.target).suffix)
    request = _request(net.graph, spec, options, out.name)
    with compile_progress(options.via) as told:
        request = replace(request, told=told)
        artifact = backend.compile_graph(net.graph, options.target, request)
        check = _check(net.graph, artifact, options, request) if options.verify else None
        size = artifact.write(out, check)
    if artifact.report is not None and quantize_cli.is_file(options.report):
        quantize_cli.write(artifact.report, Path(str(options.report)))
    document = {
        "net": title(net),
        "target": options.target,
        "output": str(out),
        "bytes": size,
        "params": net.cost().total.params,
        "quantize": options.quantize,
        "ops": dict(artifact.ops),
        "verification": check.verdict.as_json() if check else None,
        "warnings": list(artifact.warnings),
    }
    if artifact.report is not None:
        document["report"] = artifact.report.as_json()
    return document, artifact.report


def _check(graph: Graph, artifact: backend.Artifact, options: Options, request: backend.Request) -> Verification | None:
    from archlang.verify import verification

    suffix = backend.get(options.target).suffix
    return verification(graph, artifact, suffix, request.quantize, request.calibration, request.told)


def _stem(net: Net) -> str:
    """The file's name where none is given: `ResNet_r50` for a variant."""
    name, dot, variant = title(net).partition(".")
    return f"{name}_{variant}" if dot and variant.isidentifier() else net.name


def _request(graph: Graph, spec: str, options: Options, file: str) -> backend.Request:
    from archlang import weights

    arrays, ranges = None, dict[str, Range]()
    if options.weights is not None:
        loaded = weights.load(options.weights)
        arrays = weights.checked(graph, loaded, str(options.weights))
        ranges = learnt(loaded) if options.quantize in backend.INTEGER_MODES else {}
    samples = _samples(graph, options)
    special = {name: getattr(options, name) for name in backend.OPTIONS if name not in ("quantization", "about")}
    special["about"] = _about(options)
    special["quantization"] = quantize_cli.options(vars(options), ranges)
    return backend.Request(arrays, options.quantize, samples, options.seed, spec, file, **special)


def _about(options: Options) -> About:
    """What the file shall tell of its inputs and outputs, where the target has room for it."""
    pixels = options.mean is not None or options.std is not None or _are_images(options.calibration)
    if "about" not in getattr(backend.get(options.target), "options", ()):
        if options.labels or (pixels and options.calibration is None):
            raise click.UsageError(f"--labels, --mean and --std are for model files, and {options.target} makes none")
        return About()
    mean, std = (options.mean or (0.0,), options.std or (255.0,)) if pixels else ((), ())
    return About(mean, std, read_labels(options.labels) if options.labels else ())


def _are_images(path: Path | None) -> bool:
    return path is not None and path.suffix not in (".npy", ".npz")


def _samples(graph: Graph, options: Options) -> Samples | None:
    """The calibration inputs: an array as it is, images cut and normalised."""
    from archlang import calibration, images

    path = options.calibration
    if path is None or not _are_images(path):
        if options.crops is not None:
            raise click.UsageError("--crops is for images, so --calibration must name some")
        return calibration.load(path, graph) if path is not None else None
    normalisation = images.Normalisation(options.mean or (0.0,), options.std or (255.0,))
    shape = graph.nodes[graph.inputs[0]].type.shape
    samples = images.inputs(images.found(path), shape, normalisation, options.crops or 1, options.seed)
    return calibration.checked(graph, samples, str(path))


def _print(result: dict[str, Any]) -> None:
    size, seconds = bytes_text(result["bytes"]), result["seconds"]
    click.echo(f"wrote {result['output']}: {size} in {seconds:.2f} s ({result['params']:,} parameters)")
    for warning in result["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    _print_check(result["verification"])
    if result["ops"]:
        rows = sorted(result["ops"].items(), key=lambda item: (-item[1], item[0]))
        table.show(table.Table(("operator", "count"), rows, ("total", sum(result["ops"].values()))))


def _print_check(verdict: dict[str, Any] | None) -> None:
    if verdict is None:
        return
    click.echo(verdict["text"])
    if verdict["warning"]:
        click.echo(f"warning: {verdict['warning']}", err=True)
