"""`archlang deploy SPEC --for TARGET -o DIR`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.about import About, read_labels
from archlang.cli import compile as compiling
from archlang.cli import complete
from archlang.cli.common import bytes_text, devices_option, emit_json, json_option, load_net
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.deploy import Bundle

_TARGETS = ("android", "linux", "mcu")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="SPEC|FILE.tflite", shell_complete=complete.spec)
@click.option("--for", "target", required=True, type=click.Choice(_TARGETS), help="What the bundle is for.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder.")
@click.option(
    "--device",
    default="host",
    show_default=True,
    shell_complete=complete.devices,
    help="Where the model is measured for the manifest; `none` for nowhere.",
)
@devices_option
@json_option
def command(arguments: tuple[str, ...], target: str, out: Path, device: str, as_json: bool) -> None:
    """Write a folder with all that is needed to ship a network: the model, what its inputs and outputs mean, a runner,
    and a manifest with hashes and the measured numbers.

    SPEC is compiled to TFLite, with the options of `archlang compile` (--weights, --quantize, --calibration, --labels,
    --mean, --std, ...); a .tflite file is taken as it is, with --labels, --mean and --std. For `mcu` int8 is meant
    where no --quantize is given.
    """
    from archlang.deploy.bundle import check_place, deploy

    check_place(out)
    with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
        model, spec, options = _model(arguments, target, Path(folder))
        measured = _measured(model, device)
        content = model.read_bytes()
    name = Path(spec).stem if spec.endswith(".tflite") else spec
    bundle = deploy(content, target, out, name=name, source=spec, about=_about(options), measured=tuple(measured))
    if as_json:
        emit_json(_document(bundle, out))
    else:
        _print(bundle, out)


def _model(arguments: tuple[str, ...], target: str, folder: Path) -> tuple[Path, str, compiling.Options]:
    """The .tflite file, what it was made from, and the options of `compile` that were given."""
    words = [*arguments, "--to", "tflite", "-o", str(folder / "model.tflite")]
    if target == "mcu" and "--quantize" not in arguments:
        words += ["--quantize", "int8"]
    written_here = "--via" not in arguments and not any(word.endswith(".tflite") for word in arguments)
    if target == "mcu" and written_here:
        words += ["--runtime", "tflite-micro"]
    given = compiling.command.make_context("archlang deploy", words).params
    spec, net, overrides = (given.pop(name) for name in ("spec", "net", "overrides"))
    given.pop("as_json")
    options = compiling.Options(**given)
    if not spec.endswith(".tflite"):
        compiling.write(load_net(spec, net, overrides), spec, options)
        return folder / "model.tflite", spec, options
    if not Path(spec).is_file():
        raise fail("E1005", f"there is no file {spec}")
    if options.weights or net or overrides or "--quantize" in arguments:
        raise click.UsageError("--net, --set, --weights and --quantize are for a SPEC that is compiled, not for a file")
    return Path(spec), spec, options


def _about(options: compiling.Options) -> About:
    """Pixels are divided by 255 where one of mean and deviation alone is given, as `compile` has it."""
    pixels = options.mean is not None or options.std is not None
    mean, std = (options.mean or (0.0,), options.std or (255.0,)) if pixels else ((), ())
    return About(mean, std, read_labels(options.labels) if options.labels else ())


def _measured(model: Path, device: str) -> list[dict[str, Any]]:
    """Latency, or what is reckoned, without the single runs."""
    from archlang.device import bench, several

    if device == "none":
        return []
    found = several.estimate(device, model) or bench(model, device=device)
    kept = {key: value for key, value in found.as_json().items() if key not in ("samples_ms", "layers")}
    return [{"device": device, **kept}]


def _document(bundle: Bundle, out: Path) -> dict[str, Any]:
    return {
        "output": str(out),
        "target": bundle.target,
        "source": bundle.source,
        "files": sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()),
        "measured": list(bundle.measured),
    }


def _print(bundle: Bundle, out: Path) -> None:
    click.echo(f"wrote {out} for {bundle.target}, the model being {bytes_text(len(bundle.content))}:")
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        click.echo(f"  {path.relative_to(out).as_posix()}  {bytes_text(path.stat().st_size)}")
    for found in bundle.measured:
        if found.get("median_ms") is not None:
            kind = "reckoned" if found.get("estimate") else "measured"
            click.echo(f"{found['median_ms']:.3f} ms {kind} on {found['device']}")
