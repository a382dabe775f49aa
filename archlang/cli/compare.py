"""`archlang compare A B...`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import bytes_text, console, emit_json, json_option
from archlang.cli.images import pixel_options
from archlang.cli.table import Table, markdown, show

if TYPE_CHECKING:
    from archlang.compare import Difference, Facts, Latency
    from archlang.compare.outputs import Sample
    from archlang.runtimes import ModelFile

_FILE = click.Path(path_type=Path)
_MEASURED = ("median_ms", "p10_ms", "p90_ms")


@dataclass(frozen=True)
class Options:
    """What to compare, as given on the command line."""

    inputs: Path | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    samples: int
    seed: int
    latency: bool
    threads: int
    runs: int
    min_secs: float
    tolerance: float | None


@dataclass(frozen=True)
class Compared:
    """names: what each file is called in the tables. differences: from the first file, of each of the others."""

    paths: Sequence[Path]
    names: Sequence[str]
    facts: Sequence[Facts]
    latencies: Sequence[Latency] | None
    differences: Sequence[Sequence[Difference]]
    samples: int


@click.command(epilog="A file of archlang's own beside TensorFlow's:  archlang compare m.tflite by_tensorflow.tflite")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="A B...", shell_complete=complete.models)
@click.option(
    "--inputs", type=_FILE, help="An .npy / .npz of inputs, batch and channels first; or images. Else random."
)
@pixel_options
@click.option("--samples", type=click.IntRange(1), default=8, show_default=True, help="At most so many inputs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random inputs.")
@click.option("--no-latency", "latency", is_flag=True, flag_value=False, default=True, help="Do not measure time.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1), help="At least so many runs of each.")
@click.option(
    "--min-secs", default=1.0, show_default=True, type=click.FloatRange(0, 3600), help="For at least so long."
)
@click.option(
    "--tolerance", type=click.FloatRange(0), metavar="X", help="End with 1 where an output's relative error is larger."
)
@click.option("--md", "as_markdown", is_flag=True, help="The tables in Markdown.")
@json_option
def command(files: tuple[Path, ...], as_markdown: bool, as_json: bool, **options: Any) -> None:
    """Two or more .tflite or .onnx files side by side: operators, sizes, memory, latency, and outputs.

    All get the same inputs, and the outputs of each are compared with those of A: the largest difference, the relative
    error, the signal-to-noise ratio, the cosine, and how often the largest value is at the same place. Latencies are
    measured in turns.
    """
    if len(files) < 2:
        raise click.UsageError("at least two files are needed")
    chosen = Options(**options)
    found = compared(files, chosen)
    if as_json:
        emit_json(document(found))
    else:
        _print(found, as_markdown)
    worst = max(difference.agreement.relative for one in found.differences for difference in one)
    if chosen.tolerance is not None and not worst <= chosen.tolerance:
        raise click.exceptions.Exit(1)


def compared(files: Sequence[Path], options: Options) -> Compared:
    from archlang import compare
    from archlang.runtimes import opened

    found = [compare.facts(path) for path in files]
    models = [opened(path) for path in files]
    samples = _samples(models[0], options)
    names = _names(files)
    outputs = list(compare.differences(list(zip(names, models, strict=True)), samples))
    times = _latencies(files, options) if options.latency else None
    return Compared(files, names, found, times, outputs, len(samples))


def _names(files: Sequence[Path]) -> list[str]:
    """The files' names, with their folders where two are equal."""
    short = [path.name for path in files]
    return short if len(set(short)) == len(short) else [str(path) for path in files]


def _samples(model: ModelFile, options: Options) -> Sequence[Sample]:
    from archlang import compare, images

    path = options.inputs
    if path is None:
        return compare.random_samples(model, options.samples, options.seed)
    if path.suffix in (".npy", ".npz"):
        return compare.stored_samples(path, model, options.samples)
    shape = compare.random_samples(model, 1)[0][0].shape
    normalisation = images.Normalisation(options.mean or (0.0,), options.std or (255.0,))
    cut = images.inputs(images.found(path)[: options.samples], shape, normalisation)
    return [[image] for image in cut]


def _latencies(files: Sequence[Path], options: Options) -> list[Latency]:
    """With a line on a terminal's stderr that says how far it is."""
    from archlang.compare import latencies

    screen = console(stderr=True)
    with screen.status("measuring") as line:

        def told(done: int, all_: int) -> None:
            line.update(f"measuring: {done} of {all_}")

        return latencies(files, options.threads, "host", options.runs, options.min_secs, told)


# What is shown.


def document(found: Compared) -> dict[str, Any]:
    """The JSON document."""
    files = [
        {"file": str(path), **asdict(facts), "latency": asdict(found.latencies[i]) if found.latencies else None}
        for i, (path, facts) in enumerate(zip(found.paths, found.facts, strict=True))
    ]
    differences = [
        {"file": str(path), "output": one.output, "reference": one.reference, **asdict(one.agreement)}
        for path, ones in zip(found.paths[1:], found.differences, strict=True)
        for one in ones
    ]
    return {"files": files, "reference": str(found.paths[0]), "samples": found.samples, "differences": differences}


def _print(found: Compared, as_markdown: bool) -> None:
    for i, table in enumerate((_overview(found), _operators(found), _differences(found))):
        if i:
            click.echo()
        if as_markdown:
            click.echo(f"{table.caption}\n\n{markdown(table)}" if table.caption else markdown(table))
        else:
            show(table)
    for name in (name for name, facts in zip(found.names, found.facts, strict=True) if facts.placeholders):
        message = "was compiled without --calibration: its scales are placeholders, and its outputs mean nothing"
        click.echo(f"warning: {name} {message}", err=True)
    if found.latencies and any(one.noisy for one in found.latencies):
        click.echo("an interquartile range is over a tenth of its median: is the machine busy?", err=True)


_LINES: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("format", lambda facts: facts.format),
    ("file", lambda facts: bytes_text(facts.bytes)),
    ("operators", lambda facts: f"{sum(facts.operators.values()):,}"),
    ("computed as", lambda facts: _listed(f"{kind} {count}" for kind, count in _ranked(facts.computed.items()))),
    ("tensors", lambda facts: f"{facts.tensors:,}"),
    ("constants", lambda facts: bytes_text(facts.constants)),
    ("activations", lambda facts: "unknown" if facts.peak_bytes is None else bytes_text(facts.peak_bytes)),
    ("inputs", lambda facts: _listed(facts.inputs)),
    ("outputs", lambda facts: _listed(facts.outputs)),
)


def _overview(found: Compared) -> Table:
    rows = [[title, *(text(facts) for facts in found.facts)] for title, text in _LINES]
    if found.latencies:
        rows.append(["runtime", *(one.runtime for one in found.latencies)])
        rows += [[f"{name[:-3]}, ms", *(f"{getattr(one, name):.3g}" for one in found.latencies)] for name in _MEASURED]
    return Table(("", *found.names), rows)


def _ranked(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _operators(found: Compared) -> Table:
    totals: dict[str, int] = {}
    for facts in found.facts:
        for name, count in facts.operators.items():
            totals[name] = totals.get(name, 0) + count
    rows = [[name, *(facts.operators.get(name, 0) for facts in found.facts)] for name, _ in _ranked(totals.items())]
    return Table(("operator", *found.names), rows, ("total", *(sum(facts.operators.values()) for facts in found.facts)))


def _differences(found: Compared) -> Table:
    rows = [
        [name, one.output, *_numbers(one)]
        for name, ones in zip(found.names[1:], found.differences, strict=True)
        for one in ones
    ]
    titles = ("file", "output", "largest difference", "relative error", "SNR, dB", "cosine", "same top-1")
    count = "1 input" if found.samples == 1 else f"{found.samples} inputs"
    return Table(titles, rows, caption=f"outputs beside those of {found.names[0]}, on {count}")


def _numbers(one: Difference) -> list[str]:
    near = one.agreement
    return [
        f"{near.largest:.3g}",
        f"{near.relative:.2g}",
        f"{near.snr_db:.1f}",
        f"{near.cosine:.6f}",
        f"{near.top1:.0%}",
    ]
